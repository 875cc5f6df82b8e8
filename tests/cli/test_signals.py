from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from animate.cli.main import main
from animate.cli.signals import Terminated, raised_on_signals

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGXCPU, 152)]
)
def test_a_signal_ends_a_command_in_order(
    number: signal.Signals,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tidied: list[str] = []

    def slow(argv: list[str]) -> int:
        try:
            os.kill(os.getpid(), number)
            raise AssertionError("not reached")
        finally:
            os.kill(os.getpid(), signal.SIGTERM)  # a farm that repeats itself
            tidied.append("yes")

    monkeypatch.setattr("animate.cli.run.main", slow)
    before = signal.signal(number, signal.SIG_DFL)  # nohup may have started the tests
    try:
        assert main(["run"]) == code
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert tidied == ["yes"]
    assert number.name in capsys.readouterr().err


def test_a_signal_that_is_ignored_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("animate.cli.run.main", lambda argv: os.kill(os.getpid(), signal.SIGHUP))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as by nohup
    try:
        assert main(["run"]) == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_while_a_finished_process_ends_changes_no_code() -> None:
    code = (
        "import atexit, os, signal, sys\n"
        "atexit.register(os.kill, os.getpid(), signal.SIGTERM)\n"
        "sys.argv = ['cnx', 'models', 'list']\n"
        "from animate.cli.main import main\nsys.exit(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_thread_that_may_set_no_handler_is_left_alone() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with raised_on_signals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_what_tidies_up_after_an_interruption_sees_it_too() -> None:
    assert issubclass(Terminated, KeyboardInterrupt)


def test_the_process_itself_ends_with_143() -> None:
    code = (
        "import sys, time, animate.cli.run as run\n"
        "def wait(argv):\n    print('ready', flush=True); time.sleep(60)\n"
        "run.main = wait\n"
        "from animate.cli.main import main\nsys.exit(main(['run', '--progress', 'openjd']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "ready"
    process.terminate()
    out, err = process.communicate(timeout=20)
    assert process.returncode == 143
    assert out.startswith("openjd_fail: ended by SIGTERM")
    assert err.startswith("cnx: ended by SIGTERM")


@pytest.mark.parametrize(
    "given",
    [["--quiet", "--json-progress"], ["--quiet", "--progress", "alf"],
     ["--json-progress", "--progress=plain"]],
)  # fmt: skip
def test_two_ways_of_showing_exclude_each_other(
    given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *given]) == 2
    shown = capsys.readouterr().err
    assert "exclude each other" in shown
    assert all(part.split("=")[0] in shown for part in given if part.startswith("--"))


def test_an_unknown_way_of_showing_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--progress", "opencue"]) == 2
    assert "openjd" in capsys.readouterr().err


def test_a_farm_reads_why_a_task_failed(capsys: pytest.CaptureFixture[str]) -> None:
    missing: list[Any] = ["--reference", "no.png", "--driving", "no.mp4", "--output", "o.mp4"]
    assert main(["run", *missing, "--progress", "openjd"]) == 2
    shown = capsys.readouterr()
    assert "openjd_fail: reference image no.png does not exist" in shown.out
    assert "cnx: reference image no.png does not exist" in shown.err
