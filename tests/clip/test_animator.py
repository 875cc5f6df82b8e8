"""The whole way from files to a clip, on a model with random weights."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np
import pytest
import torch

from animate import AnimationRequest, AnimationResult, Animator
from animate.clip.record import ClipRecord
from animate.errors import BudgetError, MediaError, MotionError, RequestError
from animate.media import write_png
from animate.progress import Quiet
from pose.draw import draw
from pose.errors import PoseError
from tests.scene import poses, write_scene, write_video
from tests.toy import toy_model


@pytest.fixture
def scene(tmp_path: Path) -> dict[str, Any]:
    files: dict[str, Any] = dict(write_scene(tmp_path, sound=True))
    return {**files, "output": tmp_path / "clip.mp4", "retarget": "none"}


def run(animator: Animator, values: dict[str, Any], **changes: Any) -> AnimationResult:
    return animator(AnimationRequest.from_dict({**values, **changes}))


def record(result: AnimationResult) -> dict[str, Any]:
    return json.loads(result.sidecar.read_text())


def frames_digest(result: AnimationResult) -> str:
    return record(result)["output"]["frames_sha256"]


def test_a_clip_has_exact_time_and_the_driving_videos_sound(
    animator: Animator, scene: dict[str, Any]
) -> None:
    result = run(animator, scene, stride=2)
    assert (result.frames, result.fps) == (6, Fraction(29, 2))
    with av.open(str(result.output)) as clip:
        video, sound = clip.streams.video[0], clip.streams.audio[0]
        shown = [frame.time for frame in clip.decode(video)]
        assert len(shown) == 6
        assert shown[-1] == pytest.approx(5 * 2 / 29, abs=1e-4)
        assert float(sound.duration * sound.time_base) == pytest.approx(12 / 29, abs=2 / 29)


def test_the_sidecar_records_what_it_takes_to_make_it_again(
    animator: Animator, scene: dict[str, Any]
) -> None:
    result = run(animator, scene, seed=5)
    kept = record(result)
    assert kept["seed"] == 5
    assert kept["settings"]["window"] == 4
    assert kept["settings"]["size"] == str(result.size) == "64x64"
    assert kept["output"]["fps"] == "29"
    assert set(kept["inputs"]) == {"reference", "driving", "poses"}
    assert kept["model"]["weights_sha256"]
    assert kept["seconds"]
    assert kept["peak_host_bytes"] > 1 << 20
    assert str(result.output.parent) not in json.dumps(kept)
    again = ClipRecord.read(result.sidecar).request_in(result.sidecar.parent)
    again = replace(again, overwrite=True)
    assert frames_digest(animator(again)) == kept["output"]["frames_sha256"]


CHANGES = {
    "seed": 1, "steps": 3, "window": 3, "overlap": 2, "schedule": "shifting", "fusing": "flat",
    "guidance": "2", "control_weight": 0.0, "noise": "repeated", "solver": "heun",
    "size": "72x64", "decode_chunk": 2, "smooth": False, "stride": 2, "fps": 20, "max_frames": 8,
    "start": "3f", "end": "9f", "levels": "align-your-steps", "keep_features": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def unchanged(animator: Animator, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("unchanged")
    values = {**write_scene(folder), "output": folder / "clip.mp4", "retarget": "none"}
    return frames_digest(run(animator, values))


@pytest.mark.parametrize("name", CHANGES)
def test_every_setting_has_an_effect(
    animator: Animator, scene: dict[str, Any], unchanged: str, name: str
) -> None:
    assert frames_digest(run(animator, scene, **{name: CHANGES[name]})) != unchanged


def test_the_same_settings_give_the_same_frames(
    animator: Animator, scene: dict[str, Any], unchanged: str
) -> None:
    assert frames_digest(run(animator, scene, audio=False)) == unchanged


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_a_video_of_any_length_works(
    animator: Animator, scene: dict[str, Any], tmp_path: Path, frames: int
) -> None:
    driving = write_video(tmp_path / "short.mp4", frames)
    kept = poses(frames).save(tmp_path / "short.npz")
    assert run(animator, scene, driving=driving, poses=kept).frames == frames


def test_nothing_is_left_when_the_work_fails(
    animator: Animator, scene: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        yield from ()
        raise KeyboardInterrupt

    monkeypatch.setattr("animate.generate.video_diffusion.decode_frames", broken)
    before = set(scene["output"].parent.iterdir())
    with pytest.raises(KeyboardInterrupt):
        run(animator, scene)
    assert set(scene["output"].parent.iterdir()) == before


def test_an_existing_clip_is_kept_unless_asked(animator: Animator, scene: dict[str, Any]) -> None:
    scene["output"].write_text("mine")
    with pytest.raises(MediaError, match="exists already"):
        run(animator, scene)
    assert scene["output"].read_text() == "mine"
    assert run(animator, scene, overwrite=True).frames == 12


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"size": "63x64"}, RequestError, "nearest is 64x64"),
        ({"reference": "none.png"}, MediaError, r"none\.png does not exist"),
        ({"output": "no/such/clip.mp4"}, MediaError, "mkdir -p no/such"),
        ({"output": "clip.xyz"}, MediaError, "clip.xyz"),
        ({"person": "3"}, MotionError, "no person 3"),
        ({"start": "1:00"}, MediaError, "driving.mp4"),
    ],
)
def test_mistakes_are_named(
    animator: Animator,
    scene: dict[str, Any],
    changes: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        run(animator, scene, **changes)


def test_poses_of_another_video_are_refused(
    animator: Animator, scene: dict[str, Any], tmp_path: Path
) -> None:
    kept = poses(12, source="0" * 64).save(tmp_path / "other.npz")
    with pytest.raises(PoseError, match=r"other\.npz"):
        run(animator, scene, poses=kept)


def test_poses_that_end_too_early_are_refused(
    animator: Animator, scene: dict[str, Any], tmp_path: Path
) -> None:
    kept = poses(6).save(tmp_path / "short.npz")
    with pytest.raises(PoseError, match=r"no pose for 0\.2"):
        run(animator, scene, poses=kept)


@pytest.mark.parametrize("kind", ["folder", "%04d.png", "video"])
def test_rendered_skeletons_are_taken_as_they_are(
    animator: Animator, scene: dict[str, Any], unchanged: str, tmp_path: Path, kind: str
) -> None:
    drawn = poses(12)
    folder = tmp_path / "skeletons"
    folder.mkdir()
    if kind != "video":
        for frame in range(12):
            picture = draw(drawn.points[frame], drawn.scores[frame], drawn.canvas, (64, 64))
            write_png(folder / f"{frame:04d}.png", picture)
        folder = folder if kind == "folder" else folder / kind
    else:
        folder = write_video(tmp_path / "skeletons.mp4", 12)
    result = run(animator, scene, poses=folder, stride=2)
    assert result.frames == 6
    assert "rendered" in record(result)["poses"]
    if kind != "video":
        full = run(animator, scene, poses=folder, smooth=False, overwrite=True)
        as_poses = run(animator, scene, smooth=False, overwrite=True)
        assert frames_digest(full) == frames_digest(as_poses)


def test_too_few_rendered_skeletons_are_refused(
    animator: Animator, scene: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(PoseError, match="has 3 skeletons; 12 are needed"):
        run(animator, scene, poses=write_video(tmp_path / "short.mp4", 3))


def test_a_cache_is_used_the_second_time(
    animator: Animator, scene: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    estimated = []

    class Estimator:
        name = digest = "stand-in"

        def __call__(self, frame: Any) -> Any:
            estimated.append(frame)
            one = poses(1)
            return one.points[0], one.scores[0]

        def reset(self) -> None:
            pass

    monkeypatch.setattr("animate.animator.load_estimator", lambda name: Estimator())
    fresh = Animator(animator.engine, "a test")
    changes = {"poses": None, "cache": tmp_path / "cache", "max_frames": 4, "overwrite": True}
    first = frames_digest(run(fresh, scene, **changes))
    assert len(estimated) == 4
    assert frames_digest(run(fresh, scene, **changes)) == first
    assert len(estimated) == 4
    assert frames_digest(run(fresh, scene, **{**changes, "cache": "none"})) == first
    assert len(estimated) == 8
    (damaged,) = (tmp_path / "cache").glob("*.npz")
    precious = tmp_path / "precious"
    precious.write_bytes(damaged.read_bytes()[:100])
    damaged.unlink()
    damaged.symlink_to(precious)
    assert frames_digest(run(fresh, scene, **changes)) == first
    assert len(estimated) == 12
    assert len(precious.read_bytes()) == 100  # nothing was written through the link


def test_keeping_within_memory_gives_the_same_frames_but_for_rounding(
    animator: Animator, scene: dict[str, Any], tmp_path: Path
) -> None:
    plain = run(animator, scene, codec="ffv1", output=tmp_path / "a.mkv")
    small = run(animator, scene, codec="ffv1", output=tmp_path / "b.mkv", memory="64MiB")
    for one, other in zip(shown(plain), shown(small), strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1


def shown(result: AnimationResult) -> list[np.ndarray]:
    with av.open(str(result.output)) as clip:
        return [frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)]


def test_too_little_memory_names_the_least_that_works(
    animator: Animator, scene: dict[str, Any]
) -> None:
    with pytest.raises(BudgetError, match="nearest budget"):
        run(animator, scene, memory=1000)


def test_memory_that_runs_out_makes_the_plan_smaller_and_says_so(
    animator: Animator, scene: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from animate.generate import pipeline

    real, calls = pipeline.denoise, []

    def tight(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("stand-in")
        return real(*args, **kwargs)

    class Said(Quiet):
        warnings: ClassVar[list[str]] = []

        def warn(self, text: str) -> None:
            self.warnings.append(text)

    monkeypatch.setattr(pipeline, "denoise", tight)
    request = AnimationRequest.from_dict({**scene, "memory": "1GiB"})
    assert animator(request, progress=Said()).frames == 12
    assert len(calls) == 2
    assert "memory ran out to denoise" in Said.warnings[0]


def test_eight_bit_weights_are_used_and_recorded(
    scene: dict[str, Any], unchanged: str, tmp_path: Path
) -> None:
    toy_model(tmp_path / "toy")
    small = Animator.from_pretrained(tmp_path / "toy", device="cpu", precision="int8")
    result = run(small, scene)  # the animator's own precision
    assert record(result)["precision"] == "int8"
    assert frames_digest(result) != unchanged


def test_eight_bit_weights_do_not_stay_for_the_next_clip(
    scene: dict[str, Any], tmp_path: Path
) -> None:
    toy_model(tmp_path / "toy")
    own = Animator.from_pretrained(tmp_path / "toy", device="cpu")
    first = frames_digest(run(own, scene))
    run(own, scene, output=tmp_path / "small.mp4", precision="int8")
    assert frames_digest(run(own, scene, output=tmp_path / "again.mp4")) == first


@pytest.mark.parametrize("role", ["driving", "reference"])
def test_a_clip_never_overwrites_what_it_is_made_from(
    animator: Animator, scene: dict[str, Any], role: str
) -> None:
    before = Path(scene[role]).read_bytes()
    place = {"driving": "output", "reference": "contact_sheet"}[role]
    same = Path(scene[role]).parent / "." / Path(scene[role]).name
    with pytest.raises(RequestError, match="would overwrite the"):
        run(animator, scene, **{place: same}, overwrite=True)
    assert Path(scene[role]).read_bytes() == before


@pytest.mark.parametrize(
    ("driving", "output"), [("in/%04d.png", "in/%04d.png"), ("in/####.png", "in/%04d.png")]
)
def test_numbered_images_never_overwrite_those_that_drive_them(
    animator: Animator, scene: dict[str, Any], tmp_path: Path, driving: str, output: str
) -> None:
    (tmp_path / "in").mkdir()
    for number in (1, 2):
        write_png(tmp_path / f"in/{number:04d}.png", np.zeros((32, 32, 3), np.uint8))
    places = {"driving": tmp_path / driving, "output": tmp_path / output}
    with pytest.raises(RequestError, match="would overwrite"):
        run(animator, scene, **places, overwrite=True)
    assert len(list((tmp_path / "in").iterdir())) == 2


@pytest.mark.parametrize("name", ["output", "driving"])
def test_names_that_no_record_can_hold_are_refused_before_any_work(
    animator: Animator, scene: dict[str, Any], tmp_path: Path, name: str
) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    with pytest.raises(MediaError, match=r"caf\?\.mp4 is not UTF-8"):
        run(animator, scene, **{name: odd})


def test_older_numbered_images_that_go_are_none_that_are_read(
    animator: Animator, scene: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "s").mkdir()
    picture = Path(scene["reference"]).rename(tmp_path / "s/0500.png")
    places = {"reference": picture, "output": tmp_path / "s/%04d.png"}
    with pytest.raises(RequestError, match="would overwrite the reference image"):
        run(animator, scene, **places, overwrite=True)
    assert picture.is_file()


def test_a_clip_never_overwrites_its_pose_file(
    animator: Animator, scene: dict[str, Any], tmp_path: Path
) -> None:
    poses(12).save(tmp_path / "clip.json")
    with pytest.raises(RequestError, match=r"record .*clip\.json would overwrite the pose file"):
        run(animator, scene, poses=tmp_path / "clip.json", overwrite=True)


def test_guidance_within_an_interval_differs_from_guidance_everywhere(
    animator: Animator, scene: dict[str, Any]
) -> None:
    guided = {"guidance": "3", "steps": 3, "overwrite": True}
    everywhere = frames_digest(run(animator, scene, **guided))
    assert frames_digest(run(animator, scene, **guided, guidance_interval="1:100")) != everywhere


def test_threads_are_limited_and_recorded(animator: Animator, scene: dict[str, Any]) -> None:
    before = torch.get_num_threads()
    assert record(run(animator, scene, threads=before + 1, max_frames=2))["threads"] == before + 1
    assert torch.get_num_threads() == before  # the next clip, and the caller, have their own


def test_a_unet_is_compiled_when_asked_for(
    animator: Animator, scene: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[str] = []

    @contextmanager
    def noted(network: torch.nn.Module, *, backend: str) -> Iterator[None]:
        compiled.append(backend)
        yield

    monkeypatch.setattr("animate.generate.network.compiled", noted)
    run(animator, scene, max_frames=2, overwrite=True)
    assert not compiled
    run(animator, scene, max_frames=2, compile=True, overwrite=True)
    assert compiled == ["inductor"]
