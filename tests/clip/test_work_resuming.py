"""A run that was stopped anywhere goes on, and ends with the frames of one that was not."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from animate import Animator
from animate.cli.main import main
from animate.clip import keeper
from animate.clip.marker import read_begun
from animate.clip.work_folder import WorkFolder
from animate.errors import MediaError, WorkError
from animate.files import hidden_name
from tests.clip.stopped_runs import Listener, digest_of, run, stopped, uninterrupted

pytestmark = pytest.mark.usefixtures("at_every_chance")

CASES: dict[str, dict[str, Any]] = {
    "euler": {},
    "heun": {"solver": "heun"},
    "unipc": {"solver": "unipc", "steps": 3, "schedule": "anchored"},
    "shifting": {"schedule": "shifting", "guidance": "1:3"},
    "guided in part": {"keep_features": 2, "steps": 4, "guidance": "2", "guidance_interval": "1:9"},
}


@pytest.mark.parametrize("case", CASES)
def test_stopped_in_any_stage_it_goes_on_to_the_same_frames(
    animator: Animator, scene: dict[str, Any], case: str
) -> None:
    values = {**scene, **CASES[case]}
    expected = uninterrupted(animator, values)
    whole = Listener()
    run(animator, {**values, "output": scene["output"].with_name("w.mp4")}, whole)
    for file in scene["output"].parent.iterdir():
        file.unlink()
    frames = whole.done["denoise"]
    for stage, after in (("denoise", frames - 5), ("decode", 7)):
        stopped(animator, values, stage, after)
        again = Listener()
        run(animator, values, again)
        assert digest_of(values) == expected
        assert again.done["decode"] == 12
        if stage == "decode":
            assert "denoise" not in again.done
            assert 0 < again.skipped["decode"] < 12
        else:
            assert again.done["denoise"] == frames
            assert 0 < again.skipped["denoise"] < frames
        for file in scene["output"].parent.iterdir():
            file.unlink()


def test_what_was_done_is_not_done_again(
    animator: Animator, scene: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from animate.generate import pipeline, video_diffusion

    stopped(animator, scene, "decode", 9)
    decoded: list[int] = []
    real = video_diffusion.decode_frames

    def counted(vae: Any, latents: torch.Tensor, options: Any, *, first: int) -> Any:
        decoded.append(len(latents) - first)
        return real(vae, latents, options, first=first)

    monkeypatch.setattr(video_diffusion, "decode_frames", counted)
    monkeypatch.setattr(pipeline, "denoise", None)
    result = run(animator, scene)
    # The group under way and the one in the keeper's hands are lost, no more.
    assert decoded[0] <= 12 - 9 + 4
    assert json.loads(result.sidecar.read_text())["resumed"]["begun_with"]["threads"] >= 1


@pytest.mark.parametrize("damage", ["newest", "all", "frames"])
def test_a_damaged_record_is_noticed_and_the_one_before_it_used(
    animator: Animator, scene: dict[str, Any], damage: str
) -> None:
    expected = uninterrupted(animator, scene)
    work = stopped(animator, scene, "decode", 9)
    pattern = "frames-*" if damage == "frames" else "latents-*"
    records = sorted(work.glob(pattern))
    assert len(records) >= 2
    for path in records[-1:] if damage == "newest" else records:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    listener = Listener()
    run(animator, scene, listener)
    assert digest_of(scene) == expected
    assert "is damaged" in "\n".join(listener.warnings)
    frames = listener.done["denoise"]
    assert frames == {"newest": 24, "all": 24, "frames": 0}[damage]  # counted from the beginning


@pytest.mark.parametrize("instead", ["latents", "another run's"])
def test_other_records_in_place_of_frames_are_noticed_and_frames_decoded_again(
    animator: Animator, scene: dict[str, Any], instead: str
) -> None:
    expected = uninterrupted(animator, scene)
    other = stopped(animator, {**scene, "seed": 5}, "decode", 9)
    content = (other / "frames-000000").read_bytes()
    assert main(["clean", str(other), "--yes", "--quiet"]) == 0
    work = stopped(animator, scene, "decode", 9)
    if instead == "latents":
        content = next(work.glob("latents-*")).read_bytes()
    (work / "frames-000000").write_bytes(content)
    listener = Listener()
    run(animator, scene, listener)
    assert digest_of(scene) == expected
    message = "holds something else" if instead == "latents" else "is of another run"
    assert message in "\n".join(listener.warnings)


@pytest.mark.parametrize("threads", [-1, 0, 10**6, "4", None, True, [1]])
def test_conditions_that_cannot_be_are_not_followed(
    animator: Animator, scene: dict[str, Any], threads: object
) -> None:
    work = stopped(animator, scene, "denoise", 15)
    marker = json.loads((work / "work.json").read_text())
    marker["conditions"]["threads"] = threads
    (work / "work.json").write_text(json.dumps(marker))
    assert main(["resume", str(work)]) == 2
    before = torch.get_num_threads()
    listener = Listener()
    run(animator, {**scene, "max_frames": 2}, listener)
    assert torch.get_num_threads() == before
    assert "is of no use to this run" in "\n".join(listener.warnings)


def test_another_number_of_threads_is_set_back(animator: Animator, scene: dict[str, Any]) -> None:
    other = torch.get_num_threads()
    work = stopped(animator, scene, "denoise", 15)
    manifest = json.loads((work / "work.json").read_text())
    assert manifest["conditions"]["threads"] == other
    manifest["conditions"]["precision"] = "float16"
    (work / "work.json").write_text(json.dumps(manifest))
    listener = Listener()
    torch.set_num_threads(other + 1)
    try:
        result = run(animator, scene, listener)
        assert torch.get_num_threads() == other + 1
    finally:
        torch.set_num_threads(other)
    assert json.loads(result.sidecar.read_text())["threads"] == other
    assert f"{other} threads, as the run began with" in listener.notes
    assert "precision float16 is now float32" in listener.warnings[0]


def test_other_settings_are_refused_while_work_is_there(
    animator: Animator, scene: dict[str, Any]
) -> None:
    stopped(animator, scene, "denoise", 15)
    with pytest.raises(WorkError, match="seed 0 instead of 3"):
        run(animator, {**scene, "seed": 3})
    (scene["driving"].parent / "reference.png").write_bytes(
        (scene["driving"].parent / "reference.png").read_bytes() + b"\0"
    )
    with pytest.raises(WorkError, match="other input files"):
        run(animator, scene)


def test_kept_work_is_left_and_serves_another_output(
    animator: Animator, scene: dict[str, Any], tmp_path: Path
) -> None:
    expected = uninterrupted(animator, scene)
    kept = {**scene, "keep_work": True, "work": tmp_path / "work"}
    run(animator, kept)
    with pytest.raises(MediaError, match="exists already"):
        run(animator, kept)
    listener = Listener()
    other = {"output": tmp_path / "out" / "clip.mkv", "codec": "ffv1", "overwrite": True}
    run(animator, {**kept, **other}, listener)
    assert "denoise" not in listener.done
    record = json.loads((tmp_path / "out" / "clip.json").read_text())
    assert record["output"]["frames_sha256"] == expected


def test_estimated_poses_are_kept_where_no_cache_is(
    animator: Animator, scene: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.scene import poses

    class Estimator:
        name = digest = "stand-in"
        seen = 0

        def __call__(self, frame: Any) -> Any:
            Estimator.seen += 1
            one = poses(1)
            return one.points[0], one.scores[0]

        def reset(self) -> None:
            pass

    monkeypatch.setattr("animate.animator.load_estimator", lambda name: Estimator())
    fresh = Animator(animator.engine, "a test")
    values = {**scene, "poses": None, "cache": "none"}
    stopped(fresh, values, "denoise", 15)
    run(fresh, values)
    assert Estimator.seen == 12


def arguments(values: dict[str, Any], model: Path) -> list[str]:
    named = {**values, "model": model}
    words = [str(x) for k, value in named.items() for x in (f"--{k}".replace("_", "-"), value)]
    return ["run", *words, "--progress", "plain"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_stop_a_run_and_the_command_says_how_to_go_on(
    scene: dict[str, Any],
    model: Path,
    number: int,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # A shell's background jobs are started deaf to it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with monkeypatch.context() as patch:
        real = keeper.FolderKeeper.offer_state

        def offer(self: Any, state: Any, scheduler: Any) -> None:
            real(self, state, scheduler)
            if state.step == 1:
                os.kill(os.getpid(), number)

        patch.setattr(keeper.FolderKeeper, "offer_state", offer)
        assert main(arguments(scene, model)) == code
    signal.signal(signal.SIGINT, before)
    work = scene["output"].parent / ".clip.mp4.work"
    said = capsys.readouterr().err
    assert f"what is done is kept; to go on: cnx resume {work}" in said
    assert main(["resume", str(work), "--progress", "plain"]) == 0
    assert "going on from step 1 of 2" in capsys.readouterr().err
    digest_of(scene)


def test_what_is_left_can_be_seen_and_thrown_away(
    animator: Animator, scene: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    work = stopped(animator, scene, "denoise", 15)
    folder = work.parent
    size = sum(file.stat().st_size for file in work.iterdir())
    hidden_name(folder / "clip.mp4").write_bytes(bytes(1000))
    (folder / "mine.partial").write_text("mine")
    assert main(["clean", str(folder), "--dry-run"]) == 0
    said = capsys.readouterr().err
    assert f"would remove {work} (unfinished work, {size:,} bytes)" in said
    assert f"2 things, {size + 1000:,} bytes would be freed" in said
    assert work.is_dir()
    begun = read_begun(work)
    assert begun is not None
    held = WorkFolder.open(work, str(scene["output"]), begun)
    assert main(["clean", str(work), "--yes"]) == 0
    assert "kept, a run is using it" in capsys.readouterr().err
    assert main(["resume", str(work)]) == 2
    assert f"another run (process {os.getpid()})" in capsys.readouterr().err
    held.leave(done=False)
    assert main(["clean", str(folder.parent), "--recursive", "--quiet", "--yes"]) == 0
    assert [file.name for file in folder.iterdir()] == ["mine.partial"]
    capsys.readouterr()
    assert main(["clean", str(folder)]) == 0
    assert "nothing to remove" in capsys.readouterr().err
    assert main(["clean", str(folder / "no")]) == 2
    assert main(["resume", str(folder)]) == 2
    assert "no unfinished work" in capsys.readouterr().err
