"""A stopped run beside what is in its way: foreign files, other runs, disks that are full."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from animate import Animator, files
from animate.cli.main import main
from animate.clip import keeper, write
from animate.clip.record import ClipRecord
from animate.errors import BusyError, MediaError
from tests.clip.stopped_runs import Listener, digest_of, run, uninterrupted

pytestmark = pytest.mark.usefixtures("at_every_chance")


def test_killed_between_the_clip_and_its_record_it_is_finished_without_asking_to_overwrite(
    animator: Animator, scene: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = uninterrupted(animator, scene)

    def killed(*args: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ClipRecord, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            run(animator, scene)
    assert scene["output"].is_file()
    run(animator, scene)
    assert digest_of(scene) == expected
    with pytest.raises(MediaError, match="exists already"):
        run(animator, scene)


def test_a_foreign_file_at_the_name_stays_after_a_kill_at_the_last_rename(
    animator: Animator, scene: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*args: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("animate.files._rename", killed_for(scene["output"], killed))
        with pytest.raises(KeyboardInterrupt):
            run(animator, scene)
    scene["output"].write_bytes(b"mine")
    with pytest.raises(MediaError, match="exists already"):
        run(animator, scene)
    assert main(["resume", str(scene["output"].parent / ".clip.mp4.work")]) == 2
    assert scene["output"].read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("stage", "message"), [("denoise", "exists already"), ("decode", "file exists")]
)
def test_a_foreign_file_that_comes_during_the_run_stays(
    animator: Animator, scene: dict[str, Any], stage: str, message: str
) -> None:
    class Meanwhile(Listener):
        def advance(self, steps: int = 1) -> None:
            if self._name == stage:
                scene["output"].write_bytes(b"mine")

    with pytest.raises(MediaError, match=message):
        run(animator, scene, Meanwhile())
    assert scene["output"].read_bytes() == b"mine"


def killed_for(path: Path, killed: Any) -> Any:
    """A rename that does not come to its end for one file."""
    real = files._rename

    def rename(partial: Path, target: Path, replace: bool) -> None:
        if target == path:
            killed()
        real(partial, target, replace)

    return rename


@pytest.mark.parametrize("work", [None, "none"])
def test_a_second_run_of_one_output_is_refused_whatever_its_work_folder(
    animator: Animator, scene: dict[str, Any], tmp_path: Path, work: str | None
) -> None:
    other = Animator(animator.engine, "a test")
    messages: list[str] = []

    class Beside(Listener):
        def advance(self, steps: int = 1) -> None:
            if not messages:
                with pytest.raises(BusyError) as refusal:
                    run(other, {**scene, "work": work or tmp_path / "elsewhere"})
                messages.append(str(refusal.value))

    run(animator, scene, Beside())
    assert f"another run (process {os.getpid()}) is writing output" in messages[0]
    digest_of(scene)


def test_a_disk_that_is_full_for_the_work_is_said_and_the_run_goes_on(
    animator: Animator, scene: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = uninterrupted(animator, scene)
    tried = []

    def full(path: Path, *args: Any) -> None:
        tried.append(path)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(keeper, "write_tensors", full)
    listener = Listener()
    run(animator, scene, listener)
    assert digest_of(scene) == expected
    assert len(tried) > 1
    [said] = [text for text in listener.warnings if "cannot be kept" in text]
    assert "no space left on device" in said


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of that size; skips the test where none may be mounted."""
    mount = shutil.which("mount")
    command = [mount or "", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() or not mount or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small file system needs the right to mount one")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_during_the_run_leaves_work_that_goes_on_when_there_is_room(
    animator: Animator, scene: dict[str, Any], model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {**scene, "output": scene["output"].with_name("clip.mkv"), "codec": "ffv1"}
    expected = uninterrupted(animator, {**scene})
    folder = values["output"].parent
    with small_disk(folder, "340k"):  # enough for the latents, not for the clip besides
        with pytest.raises(MediaError, match="cannot be written: no space left") as full:
            run(animator, values)
        assert "cnx resume" in "".join(full.value.__notes__)
        assert [file.name for file in folder.iterdir()] == [".clip.mkv.work"]
        subprocess.run(["mount", "-o", "remount,size=4m", str(folder)], check=True)
        assert main(["resume", str(values["output"])]) == 0
        record = json.loads((folder / "clip.json").read_text())
        assert record["output"]["frames_sha256"] == expected
        assert sorted(file.name for file in folder.iterdir()) == ["clip.json", "clip.mkv"]
    capsys.readouterr()


def test_a_clip_does_not_appear_where_there_is_no_room_for_its_record(
    animator: Animator, scene: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    monkeypatch.setattr(write, "RECORD_BYTES", 8 << 20)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, limit[1]))
    try:
        with pytest.raises(MediaError, match="cannot be written: file too large"):
            run(animator, scene)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    folder = scene["output"].parent
    assert [file.name for file in folder.iterdir()] == [".clip.mp4.work"]
    monkeypatch.undo()
    run(animator, scene)
    assert sorted(file.name for file in folder.iterdir()) == ["clip.json", "clip.mp4"]


def test_a_folder_that_cannot_be_written_is_said_before_any_work(
    animator: Animator, scene: dict[str, Any]
) -> None:
    folder = scene["output"].parent
    with small_disk(folder, "1m"):
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        listener = Listener()
        with pytest.raises(MediaError, match="read-only"):
            run(animator, scene, listener)
        assert not listener.done
