"""A file is written by one run at a time, whatever it is called by."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from animate.clip.claim import claimed
from animate.errors import BusyError, MediaError
from animate.files import claim_name, is_claim, is_partial

ROOT = Path(__file__).parents[2]
HOLD = (
    "import sys, time; from pathlib import Path; from animate.clip.claim import claimed\n"
    "with claimed(Path(sys.argv[1])):\n    print('in', flush=True); time.sleep(60)\n"
)


def holder(path: Path) -> subprocess.Popen[str]:
    """Another process that holds the claim on a file."""
    command = [sys.executable, "-c", HOLD, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    return process


def claim(path: Path) -> None:
    with claimed(path):
        pass


def test_the_second_is_told_who_holds_it_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    with holder(clip) as process:
        try:
            with pytest.raises(BusyError, match=rf"process {process.pid}\) is writing output"):
                claim(clip)
            claim(tmp_path / "other.mp4")
        finally:
            process.send_signal(signal.SIGKILL)
    (left,) = os.listdir(tmp_path)
    assert is_claim(left)
    assert not is_partial(left)
    claim(clip)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("clip.mp4", "link/clip.mp4"),
        ("clip.mp4", "link.mp4"),
        ("shot/%04d.png", "shot/####.png"),
        ("shot/%04d.png", "link/shot/%d.png"),
    ],
)
def test_it_is_the_same_by_any_name(tmp_path: Path, first: str, second: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "link.mp4").symlink_to(tmp_path / "clip.mp4")
    with claimed(tmp_path / first), pytest.raises(BusyError):
        claim(tmp_path / second)


def test_an_error_in_the_run_ends_it(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), claimed(tmp_path / "clip.mp4"):
        raise KeyboardInterrupt
    assert not os.listdir(tmp_path)


def test_nothing_is_written_through_a_link_or_over_another_file(tmp_path: Path) -> None:
    clip, precious = tmp_path / "clip.mp4", tmp_path / "precious"
    precious.write_bytes(b"mine")
    claim_name(clip).symlink_to(precious)
    with pytest.raises(MediaError, match="is a link; remove it"):
        claim(clip)
    claim_name(clip).unlink()
    os.link(precious, claim_name(clip))
    with pytest.raises(MediaError, match="is in the way"):
        claim(clip)
    claim_name(clip).unlink()
    claim_name(clip).write_bytes(b"x" * 100)
    with pytest.raises(MediaError, match="is in the way"):
        claim(clip)
    assert precious.read_bytes() == b"mine"


def test_long_names_that_begin_alike_have_claims_of_their_own(tmp_path: Path) -> None:
    with claimed(tmp_path / f"{'x' * 240}1.mp4"):
        claim(tmp_path / f"{'x' * 240}2.mp4")


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no such file or directory"):
        claim(tmp_path / "no" / "clip.mp4")
