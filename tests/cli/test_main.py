from __future__ import annotations

import errno
import io
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from animate.cli.main import COMMANDS, main
from animate.errors import MediaError
from tests.scene import write_scene
from tests.toy import toy_model

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "toy"
    toy_model(folder)
    return folder


@pytest.fixture
def arguments(tmp_path: Path, model: Path) -> list[str]:
    files = write_scene(tmp_path)
    named = {**files, "output": tmp_path / "clip.mp4", "model": model, "retarget": "none"}
    return ["run", *(str(part) for name, value in named.items() for part in (f"--{name}", value))]


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {name} " in shown for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"usage: cnx {command}" in capsys.readouterr().out


def test_help_of_a_run_shows_every_promised_option(capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", "--help"])
    shown = capsys.readouterr().out
    for name in (
        "reference", "driving", "output", "model", "seed", "stride", "max-frames", "size", "steps",
        "window", "overlap", "guidance", "poses", "estimator", "quiet", "json-progress", "debug",
    ):  # fmt: skip
        assert f"--{name}" in shown


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from animate.cli.main import main; main(['--help']); main(['run', '--help']);"
        "print(*sorted({'torch', 'numpy', 'cv2', 'av', 'diffusers'} & set(sys.modules)), 'loaded')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1].strip() == "loaded"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["rnu"], "did you mean 'run'"),
        (["run", "--steps", "x"], "not a whole number"),
        (["run", "--size", "12"], "576x1024"),
        (["run", "--retarget", "sideways"], "robust"),
        (["run"], "reference is missing"),
        (["run", "--no-such-option"], "--no-such-option"),
    ],
)
def test_slips_end_with_code_2_and_a_word(
    given: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(given) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert "Traceback" not in shown


def test_a_run_writes_clip_and_record_and_says_so(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 0
    assert (tmp_path / "clip.mp4").is_file()
    assert (tmp_path / "clip.json").is_file()
    shown = capsys.readouterr()
    assert "12 frames" in shown.err
    assert shown.out == ""


def test_quiet_is_quiet(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--quiet"]) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")


def test_progress_for_programs_is_one_object_a_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--json-progress"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    stages = [event for event in events if event["event"] == "stage"]
    assert {"encode", "denoise", "decode"} <= {event["name"] for event in stages}
    assert stages[-1]["done"] == stages[-1]["total"] == 12
    assert events[-1]["event"] == "done"
    assert events[-1]["fps"] == "29"


def test_settings_from_files_and_the_command_line_has_the_last_word(
    arguments: list[str], tmp_path: Path
) -> None:
    (tmp_path / "a.yaml").write_text("steps: 3\nseed: 4\nsampling:\n  guidance: 1:2\n")
    assert main([*arguments, "--config", str(tmp_path / "a.yaml"), "--seed", "9"]) == 0
    kept: dict[str, Any] = json.loads((tmp_path / "clip.json").read_text())
    sampling = kept["request"]["sampling"]
    assert (sampling["steps"], sampling["seed"], sampling["guidance"]) == (3, 9, "1:2")


def test_an_unknown_name_in_a_file_is_an_error(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text("stepz: 3\n")
    assert main([*arguments, "--config", str(tmp_path / "a.yaml")]) == 2
    assert "did you mean 'steps'" in capsys.readouterr().err


def raising(error: BaseException) -> Any:
    def stand_in(argv: list[str]) -> int:
        raise error

    return stand_in


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (RuntimeError("oops"), 1), (MemoryError(), 2)]
)
def test_faults_have_their_own_codes(
    error: BaseException,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("animate.cli.run.main", raising(error))
    assert main(["run"]) == code
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("options", [["models", "list"], ["models", "list", "--kind", "still"]])
def test_a_reader_that_has_seen_enough_is_no_fault(options: list[str]) -> None:
    """The output of one is longer than what a stream holds back, that of the other is not."""
    read, write = os.pipe()
    os.close(read)
    code = f"from animate.cli.main import main; raise SystemExit(main({options}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_broken_pipe_of_something_else_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("animate.cli.run.main", raising(BrokenPipeError("of a worker")))
    assert main(["run"]) == 1
    assert "of a worker" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (RuntimeError("oops"), 1, "cnx: a fault of the program, not yours: RuntimeError: oops"),
        (MediaError("no such video"), 2, "cnx: no such video"),
    ],
)
def test_debug_shows_where_and_changes_nothing_else(
    error: Exception,
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("animate.cli.run.main", raising(error))
    assert main(["run", "--debug", "--progress", "openjd"]) == code
    shown = capsys.readouterr()
    trace, _, told = shown.err.partition("\ncnx: ")
    assert trace.startswith("Traceback")
    assert "in stand_in" in trace
    assert f"cnx: {told}".startswith(message)
    assert "--debug" not in told
    assert shown.out.startswith("openjd_fail: ")


@pytest.mark.parametrize("own", ["ACTIVE", None])
def test_waiting_threads_sleep_unless_told_otherwise(
    own: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if own is not None:
        monkeypatch.setenv("OMP_WAIT_POLICY", own)
    main(["models", "list"])
    assert os.environ["OMP_WAIT_POLICY"] == (own or "PASSIVE")


def test_too_small_an_address_space_is_said_before_libraries_are_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda which: (400_000 << 10, 400_000 << 10))
    assert main(["run", "--help"]) == 0
    capsys.readouterr()
    assert main(["run", "--quiet"]) == 2
    assert "may map 390 MiB" in capsys.readouterr().err


def test_a_stream_prints_names_that_it_has_no_characters_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="ascii"))
    monkeypatch.setattr("animate.cli.models.main", lambda options: print("gehört-\udcff.mp4"))
    assert main(["models"]) == 0
    assert written.getvalue() == b"geh\\xf6rt-\\udcff.mp4\n"


def test_a_folder_that_was_removed_is_no_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert main(["run", "--reference", "a.png", "--driving", "b.mp4", "--output", "c.mp4"]) == 2
    assert "the current folder has been removed" in capsys.readouterr().err
    assert main(["run", "--help"]) == 0


@pytest.mark.parametrize("folder", ["/nowhere", "x" * 5000, "a\0b"], ids=["gone", "long", "nul"])
def test_work_goes_on_from_here_where_its_folder_cannot_be_gone_to(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    went_on: list[str] = []
    monkeypatch.setattr("animate.clip.work.find_request", lambda path: (None, Path(folder)))
    monkeypatch.setattr("animate.cli.resume.make_clip", lambda *_: went_on.append(os.getcwd()))
    assert main(["resume", ".clip.mp4.work"]) == 0
    assert went_on == [os.getcwd()]


def test_too_few_handles_are_said_before_libraries_are_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    unlimited = resource.RLIM_INFINITY
    limits = {resource.RLIMIT_NOFILE: (8, 8)}
    monkeypatch.setattr("resource.getrlimit", lambda which: limits.get(which, (unlimited,) * 2))
    assert main(["run", "--quiet"]) == 2
    message = capsys.readouterr().err
    assert "may have 8 files open at once" in message
    assert "ulimit -n" in message


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EIO])
def test_a_refusal_of_the_system_is_no_fault_of_the_program(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "animate.cli.models.main", raising(OSError(number, os.strerror(number), "a.bin"))
    )
    assert main(["models"]) == 2
    message = capsys.readouterr().err
    assert f"a file: a.bin: {os.strerror(number).lower()}" in message
    assert "fault" not in message


@pytest.mark.parametrize(
    "limit",
    [
        OSError(errno.EMFILE, "Too many open files", "a.mp4"),
        OSError(errno.EFBIG, "File too large"),
        BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"),
        RuntimeError("can't start new thread"),
    ],
    ids=["files", "size", "processes", "threads"],
)
def test_a_limit_of_the_system_is_no_fault_of_the_program(
    limit: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def reach(options: list[str]) -> int:
        raise limit

    monkeypatch.setattr("animate.cli.models.main", reach)
    assert main(["models"]) == 2
    message = capsys.readouterr().err
    assert "ulimit" in message
    assert "fault" not in message
