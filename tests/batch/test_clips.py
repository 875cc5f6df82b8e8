"""What a worker keeps from one clip to the next, and what it gives back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from animate import AnimationRequest
from animate.batch.clips import ClipMaker
from animate.batch.executor import SerialExecutor, Task
from animate.batch.tasks import ClipReport, ClipTask, StageMessage
from tests.scene import write_scene
from tests.toy import toy_model


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    for number in (1, 2):
        toy_model(folder / f"toy{number}", seed=number)
    return folder / "toy1", folder / "toy2"


def make(maker: ClipMaker, folder: Path, model: Path, **changes: Any) -> ClipReport:
    files = {name: folder / name for name in ("reference.png", "driving.mp4", "poses.npz")}
    values = {path.stem: path for path in files.values()}
    values |= {"output": folder / "clip.mp4", "model": str(model), "overwrite": True}
    values |= {"retarget": "none", "max_frames": 2, "steps": 1, "device": "cpu", **changes}
    task = ClipTask(request=AnimationRequest.from_dict(values))
    messages: list[Any] = []
    report = maker(task, messages.append)
    stages = [message for message in messages if isinstance(message, StageMessage)]
    ended = [message.stage for message in stages if message.event == "end"]
    assert report.failure is not None or "denoise" in ended
    return report


def test_a_model_is_loaded_once_and_one_at_a_time(
    tmp_path: Path, models: tuple[Path, Path]
) -> None:
    write_scene(tmp_path, 4)
    maker = ClipMaker(0)
    assert make(maker, tmp_path, models[0]).failure is None
    first = maker._animator
    second = make(maker, tmp_path, models[0], seed=3)
    assert maker._animator is first
    assert second.seconds["load"] < 0.1
    assert second.model == "toy"
    pictures = second.pictures
    assert all((pictures.reference, pictures.driving, pictures.pose))
    assert len(pictures.results) == 2
    make(maker, tmp_path, models[1])
    assert maker._animator is not first


def test_a_scratch_disk_may_be_empty(tmp_path: Path, models: tuple[Path, Path]) -> None:
    write_scene(tmp_path, 4)
    work = tmp_path / "scratch" / "job" / ".clip.work"
    assert make(ClipMaker(0), tmp_path, models[0], work=work, keep_work=True).failure is None
    assert (work / "work.json").is_file()
    (tmp_path / "file").touch()
    report = make(ClipMaker(0), tmp_path, models[0], work=tmp_path / "file" / "job" / "work")
    assert report.failure is not None
    assert "name another with --work FOLDER" in report.failure.message


def test_workers_of_a_model_go_with_it(
    tmp_path: Path, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_scene(tmp_path, 4)
    closed: list[Any] = []

    def close(animator: Any) -> None:
        closed.append(id(animator))
        raise RuntimeError("the cluster is gone")

    monkeypatch.setattr("animate.animator.Animator.close", close)
    maker = ClipMaker(0)
    make(maker, tmp_path, models[0])
    first = id(maker._animator)
    # One that cannot be closed costs a clip, not all that follow.
    report = make(maker, tmp_path, models[1])
    assert report.failure is not None
    assert closed == [first]
    assert make(maker, tmp_path, models[1]).failure is None
    # In this process a batch leaves nothing behind.
    executor = SerialExecutor()
    executor.open(lambda worker: maker, lambda number, message: None)
    executor.submit(Task(number=1, payload=None))
    executor.wait()
    with pytest.raises(RuntimeError):
        executor.close()
    assert len(closed) == 2
    executor.close()


def test_want_of_memory_gives_everything_back(
    tmp_path: Path, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_scene(tmp_path, 4)
    maker = ClipMaker(0)
    make(maker, tmp_path, models[0])

    def full(*args: Any, **named: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr("animate.generate.video_diffusion.decode_frames", full)
    # Workers that are gone do not hide what happened.
    monkeypatch.setattr("animate.animator.Animator.close", full)
    report = make(maker, tmp_path, models[0])
    assert report.failure is not None
    assert (report.failure.kind, report.failure.passing) == ("out-of-memory", True)
    assert maker._animator is None
    monkeypatch.undo()
    assert make(maker, tmp_path, models[0]).failure is None


def test_a_failed_clip_still_has_pictures_of_what_could_be_read(
    tmp_path: Path, models: tuple[Path, Path]
) -> None:
    write_scene(tmp_path, 4)
    report = make(ClipMaker(0), tmp_path, models[0], size="63x64")
    assert report.failure is not None
    assert report.failure.kind == "request"
    assert all((report.pictures.reference, report.pictures.driving))
    assert not report.pictures.pose
    report = make(ClipMaker(0), tmp_path, models[0], poses=tmp_path / "gone.npz")
    assert report.failure is not None
    assert report.failure.kind == "missing-file"
