from __future__ import annotations

import sys
from dataclasses import fields
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
        ("completion fihs", "SHELL 'fihs' is not one of bash, zsh, tcsh"),
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
