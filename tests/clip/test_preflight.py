"""What cannot be is refused once, and before anything is read."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest

from animate import AnimationRequest, Animator
from animate.clip import fingerprint, preflight
from animate.errors import MediaError, RequestError
from temporal.errors import TemporalError
from tests.scene import write_scene


@pytest.fixture
def scene(tmp_path: Path) -> dict[str, Any]:
    return {**write_scene(tmp_path), "output": tmp_path / "clip.mp4", "retarget": "none"}


CONTRADICTIONS: list[tuple[dict[str, Any], str]] = [
    ({"compile": True, "keep_features": 2}, "--compile does not go with --keep-features"),
    ({"workers": 2, "keep_features": 2}, "leave out --keep-features or --workers"),
    ({"keep_features": 2, "schedule": "shifting"}, "use the static or the anchored schedule"),
    ({"compile": True, "offload": "stream"}, "--compile does not go with weights"),
    ({"compile": True, "pack_weights": True}, "--compile does not go with --pack-weights"),
    ({"device": "cpu", "offload": "model"}, "that saves nothing; leave it out"),
    ({"interpolate": True}, "give --stride or --fps"),
    ({"place_in_driving": True, "lock_background": True}, "--lock-background something else"),
    ({"fill": "blur"}, "--fill blur is for --fit pad"),
    ({"panels": "pose"}, "--panels is for --side-by-side, which is not there"),
    ({"strength": "face=0", "poses": "skeletons.mp4"}, "taken as they were rendered"),
    ({"sign": "chain.pem:key.pem", "output": "clip.mkv"}, "cannot hold Content Credentials"),
    ({"contact_sheet": "sheet.jpg"}, r"must be named \.png"),
    ({"codec": "png"}, "makes numbered images"),
    ({"codec": "prores"}, "prores"),
    ({"output": "clip.xyz"}, "no known suffix"),
    ({"output": "no/clip.mp4"}, "mkdir -p"),
    ({"output": "driving.mp4", "overwrite": True}, "would overwrite the driving video"),
    ({"output": f"{'x' * 251}.mp4"}, "that of its record has 256 bytes"),
    ({"side_by_side": "clip.mp4"}, "name the same file"),
    ({"contact_sheet": "reference.png", "overwrite": True}, "overwrite the reference image"),
]


@pytest.mark.parametrize(("changes", "message"), CONTRADICTIONS)
def test_what_contradicts_is_refused_with_no_file_opened(
    scene: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    message: str,
) -> None:
    folder = scene["output"].parent
    for name in ("output", "side_by_side", "contact_sheet"):
        if name in changes:
            changes = {**changes, name: folder / changes[name]}
    request = AnimationRequest.from_dict({**scene, **changes})

    def opened(path: Any, *rest: Any, **more: Any) -> Any:
        raise AssertionError(f"{path} was opened")

    for module, name in ((os, "open"), (io, "open")):
        monkeypatch.setattr(module, name, opened)
    monkeypatch.setattr("builtins.open", opened)
    with pytest.raises((RequestError, MediaError), match=message):
        preflight.check_request(request)


SETTLED: list[tuple[dict[str, Any], str]] = [
    ({"schedule": "anchored", "overlap": 3}, "the largest overlap for it .* is 2"),
    ({"overlap": 7}, "overlap 7 is not below"),
    ({"size": "63x64"}, "nearest is 64x64"),
    ({"memory": 1000}, "nearest budget"),
    ({"offload": "model"}, "that saves nothing"),
    ({"fps": 60, "interpolate": True}, "nothing is left out"),
    ({"precision": "float16"}, "precision float16 cannot be had"),
    ({"identity_folder": "nowhere"}, "identity folder nowhere is not there"),
    ({"estimator_network": "/dev/zero"}, "/dev/zero is not a regular file"),
]


@pytest.mark.parametrize(("changes", "message"), SETTLED)
def test_what_the_model_cannot_do_is_refused_before_a_file_is_hashed(
    animator: Animator,
    scene: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.setattr(fingerprint, "sha256", None)
    monkeypatch.setattr("animate.clip.make.clip_motion", None)
    before = sorted(scene["output"].parent.iterdir())
    with pytest.raises((RequestError, MediaError, TemporalError), match=message):
        animator(AnimationRequest.from_dict({**scene, **changes}))
    assert sorted(scene["output"].parent.iterdir()) == before


def test_a_run_checks_once_reads_each_input_once_and_probes_the_output_once(
    model: Path, scene: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    probed: list[str] = []
    real_sha256, real_probe = fingerprint.sha256, preflight.probe_folder

    def counted(path: Any) -> str:
        hashed.append(Path(path).name)
        return real_sha256(path)

    def probing(path: Path, **more: Any) -> None:
        probed.append(path.name)
        real_probe(path, **more)

    for module in ("animate.clip.fingerprint", "animate.driving.poses", "animate.media.numbered"):
        monkeypatch.setattr(f"{module}.sha256", counted)
    monkeypatch.setattr(preflight, "probe_folder", probing)
    request = AnimationRequest.from_dict({**scene, "model": model, "max_frames": 2})
    Animator.for_request(request)(request)
    assert sorted(hashed) == ["driving.mp4", "poses.npz", "reference.png"]
    assert probed == ["clip.mp4"]


def test_the_driving_video_is_hashed_once_for_many_clips(
    animator: Animator, scene: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    real = fingerprint.sha256

    def counted(path: Any) -> str:
        hashed.append(Path(path).name)
        return real(path)

    monkeypatch.setattr(fingerprint, "sha256", counted)
    digests = fingerprint.FileDigests()
    for number in range(2):
        values = {**scene, "output": scene["output"].with_name(f"{number}.mp4"), "max_frames": 1}
        animator(AnimationRequest.from_dict(values), digests=digests)
    assert hashed.count("driving.mp4") == 1


def test_too_few_handles_are_refused_before_anything_is_loaded(
    scene: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = len(os.listdir("/dev/fd"))
    monkeypatch.setattr("resource.getrlimit", lambda which: (opened + 8, opened + 8))
    with pytest.raises(RequestError, match=rf"may have {opened + 8} files .* ulimit -n 256"):
        preflight.check_request(AnimationRequest.from_dict(scene))
    assert not scene["output"].exists()


@pytest.mark.parametrize("name", ["clip.mp4", "clip.json"])
def test_files_of_others_that_cannot_be_replaced_are_refused_before_any_work(
    animator: Animator, scene: dict[str, Any], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = scene["output"].parent
    (folder / name).write_text("theirs")
    folder.chmod(0o1777)
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    monkeypatch.setattr("animate.clip.make.clip_motion", None)
    with pytest.raises(MediaError, match="belongs to another user"):
        animator(AnimationRequest.from_dict({**scene, "overwrite": True}))
    assert (folder / name).read_text() == "theirs"


@pytest.mark.parametrize("output", ["/", "."])
def test_an_output_without_a_name_is_refused_in_words(tmp_path: Path, output: str) -> None:
    write_scene(tmp_path, 2)
    request = AnimationRequest(
        reference=tmp_path / "reference.png", driving=tmp_path / "driving.mp4", output=output
    )
    with pytest.raises(MediaError, match=r"names no file; name one, such as .*clip\.mp4"):
        preflight.check_request(request)
