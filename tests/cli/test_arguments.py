from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from animate.cli.completion import all_actions, whole_parser
from animate.cli.main import COMMANDS, main
from animate.request.request import AnimationRequest, RuntimeOptions, SamplingOptions
from animate.request.schema import settings_of


def fault(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main([*arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("cnx: ")
    assert shown.err.count("\n") == 1
    return shown.err.removeprefix("cnx: ").rstrip("\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run --stpes 3", "unknown option --stpes; did you mean --steps?"),
        ("run --sed=3", "unknown option --sed; did you mean --seed?"),
        ("run --xxxxxxxxx", "unknown option --xxxxxxxxx; see cnx run --help-all"),
        ("info a.mp4 --xxxxxxxxx", "unknown option --xxxxxxxxx; see cnx info --help"),
        ("run clip.mp4", "argument 'clip.mp4' is one too many; see cnx run --help"),
        ("run --steps x", "--steps 'x' is not a whole number"),
        ("run --steps 0", "--steps 0 is out of range: at least 1 and at most 1000"),
        ("run --control-weight nan", "--control-weight nan is not a finite number"),
        ("run --max-frames 1.5", "--max-frames '1.5' is not a whole number"),
        ("run --size 12", "--size '12' is not WIDTHxHEIGHT in pixels"),
        ("run --fps fast", "--fps: frame rate 'fast' is not frames per second"),
        ("run --retarget robst", "did you mean 'robust'?"),
        ("run --steps", "--steps needs a value"),
        ("run --reference a --driving b --output c --fps 3 --stride 2", "--stride and --fps both"),
        ("run --reference a --driving b --output c --window 4 --overlap 4", "--overlap 4 is not"),
        ("run --reference a --driving b --output c --person bob", "--person 'bob' is not main"),
        ("run --config quik", "did you mean 'quick'? (presets: published-v1, published-v2, quick;"),
        ("run --quiet --json-progress", "--quiet and --json-progress exclude each other"),
        ("batch", "missing: MANIFEST, --output-dir; see cnx batch --help"),
        ("batch m.jsonl --output-dri d", "unknown option --output-dri; did you mean --output-dir?"),
        ("batch m.jsonl --output-dir d --jobs x", "--jobs 'x' is not a number"),
        (
            "pose extarct",
            "action 'extarct' is not one of extract, preview, retarget, convert, render; did",
        ),
        ("pose extract a.mp4 --stide 2", "unknown option --stide; did you mean --stride?"),
        ("pose extract a.mp4 -o b.npz --stride 0", "--stride 0 is out of range: at least 1"),
        ("pose convert a -o b --to npz --canvas big", "--canvas 'big' is not WIDTHxHEIGHT"),
        ("plan --precision half", "--precision 'half' is not one of auto, float32"),
        ("plan --frames 0", "--frames 0 is out of range"),
        (
            "completion fihs",
            "SHELL 'fihs' is not one of bash, zsh, fish, tcsh; did you mean 'fish'",
        ),
        ("--hlep", "unknown command '--hlep'; did you mean '--help'?"),
        ("run", "--reference is missing: give its path"),
        ("run --reference a", "--driving is missing: give its path, or poses alone"),
        ("run --fill blurr", "--fill 'blurr' is not edge, blur or a colour"),
        ("run --fill blurr", "did you mean 'blur'?"),
        ("run --panels pose,reslt", "did you mean 'result'?"),
        ("run --strength hand=1", "did you mean 'hands'?"),
        ("run --reference a --driving b --output c --person lft", "did you mean 'left'?"),
        ("train exprt", "exprt is neither a recipe nor an action; did you mean 'export'?"),
    ],
)
def test_a_slip_names_the_option_as_it_is_typed(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in fault(*arguments.split(), capsys=capsys)


def flags(text: str) -> set[str]:
    return {word.strip(",[]") for word in text.split() if word.startswith("--")}


@pytest.mark.parametrize("command", ["run", "batch"])
def test_the_help_shows_the_usual_options_and_help_all_the_others(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help"]) == 0
    usual = flags(capsys.readouterr().out)
    assert main([command, "--help-all"]) == 0
    everything = flags(capsys.readouterr().out)
    settings = settings_of(AnimationRequest)
    own = {"reference", "driving", "output", "overwrite"} if command == "batch" else set()
    stated = {s.flag for s in settings.values() if s.name not in own}
    assert stated <= everything
    assert {s.flag for s in settings.values() if s.usual and s.name not in own} <= usual
    hidden = {s.flag for s in settings.values() if not s.usual} - {"--help"}
    assert not hidden & usual - {"--sign"}
    unsettled = {"--restyle-only"} if command == "run" else set()
    assert everything - usual == hidden | unsettled | {f"--no-{n}" for n in ("smooth", "audio")}


@pytest.mark.parametrize("command", ["run", "batch", "plan", "pose"])
def test_commands_restate_no_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An option with the name of a setting has its words, wherever it stands."""
    settings = settings_of(AnimationRequest)
    parser: Any = whole_parser(None)._subparsers._group_actions[0].choices[command]  # type: ignore[union-attr]
    own = {("plan", "device"), *(("pose", n) for n in ("output", "reference", "size", "fps"))}
    restated = [
        (action.dest, str(action.help).replace("%%", "%"))
        for action in all_actions(parser)
        if (setting := settings.get(action.dest)) is not None
        and setting.flag in action.option_strings
        and setting.hint is not bool
        and (command, action.dest) not in own
    ]
    assert restated
    assert [name for name, text in restated if settings[name].help not in text] == []


def test_completion_knows_every_command_option_and_word(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab")
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    for name in COMMANDS:
        assert f"cnx_{name}" in script
    options = {item.name for kind in (AnimationRequest, SamplingOptions, RuntimeOptions)
               for item in fields(kind)} - {"sampling", "runtime"}  # fmt: skip
    for name in options:
        assert f"--{name.replace('_', '-')}" in script
    assert "dpmpp-2m" in script
    assert "published-v2" in script


def test_without_shtab_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    message = fault("completion", "bash", capsys=capsys)
    assert message.endswith("install it: pip install 'cnx-animate[completion]'")


def test_a_closed_or_full_stderr_hides_no_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["rnu"]) == 2
    with open("/dev/full", "w", buffering=1) as full:
        monkeypatch.setattr(sys, "stderr", full)
        assert main(["rnu"]) == 2


def test_a_shell_completes_names_words_and_files(tmp_path: Path) -> None:
    """The script's own function, as bash calls it for a line whose last word is completed."""
    shtab = pytest.importorskip("shtab")
    script = shtab.complete(whole_parser(shtab.FILE), "bash")
    (tmp_path / "quite.yaml").touch()
    lines = {
        "cnx pose re": {"retarget", "render"},
        "cnx run --ret": {"--retarget"},
        "cnx run --retarget ": {"none", "affine", "robust", "limbs"},
        "cnx run --config qui": {"quick", "quite.yaml"},
        "cnx run --model svd-v1": {"svd-v1"},
        "cnx run --poses q": {"quite.yaml"},
        "cnx run --fill b": {"blur"},
        "cnx run --codec ffv": {"ffv1"},
        "cnx still --config q": {"quite.yaml"},
        "cnx batch q": {"quite.yaml"},
        "cnx train ": {"export", "delta", "apply", "quite.yaml"},
        "cnx compare --protocol q": {"quick"},
        "cnx completion f": {"fish"},
        "cnx --v": {"--version"},
    }
    asked = "".join(
        f"COMP_WORDS=({' '.join(map(repr, line.split(' ')))}); COMP_CWORD={line.count(' ')}\n"
        "_shtab_cnx; echo ${COMPREPLY[*]}\n"
        for line in lines
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{script}\n{asked}"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    answers = [set(answer.split()) for answer in done.stdout.splitlines()]
    assert dict(zip(lines, answers, strict=True)) == lines


def test_no_command_loads_heavy_libraries_to_know_its_arguments() -> None:
    """A shell asks for completion at its start, and everybody for help."""
    heavy = {"torch", "diffusers", "transformers", "cv2", "scipy", "onnxruntime", "av"}
    code = (
        "import sys\nfrom importlib import import_module\n"
        f"for name in {[*COMMANDS]}: import_module(f'animate.cli.{{name}}').parser()\n"
        f"print(sorted({heavy} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_laid_out_for_a_terminal(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    prose = [line for line in text.splitlines() if "  cnx" not in line and "{" not in line]
    assert max(map(len, prose)) <= 90
    assert "(default: )" not in text
    assert "(default: (" not in text


def test_the_usual_options_are_those_of_the_first_page(capsys: pytest.CaptureFixture[str]) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    table = readme.split("## The usual settings")[1].split("\n##")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = set(re.findall(r"--[a-z-]+", " ".join(rows)))
    assert len(named) > 20
    assert main(["run", "--help"]) == 0
    assert named <= flags(capsys.readouterr().out)
