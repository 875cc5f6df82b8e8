"""Guides name what is there: links, files, commands with their options, and Python that runs."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from animate.cli.arguments import Parser, parse
from animate.cli.main import COMMANDS
from animate.cli.train import ACTIONS
from animate.errors import RequestError
from animate.models.variants import load_variant, variant_names
from tests.toy_still import write_still_files

ROOT = Path(__file__).parent.parent
GUIDES = (
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "animate").rglob("*.md")),
)
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.M | re.S)
"""A fenced block: its language and its text."""
CALL = re.compile(r"[$ ]*(?:\S*bin/)?cnx |(?:torchrun|accelerate) .*-m animate.cli.main ")
"""How a line that calls `cnx` begins."""


def name_of(guide: Path) -> str:
    return str(guide.relative_to(ROOT))


each_guide = pytest.mark.parametrize("guide", GUIDES, ids=name_of)


def fences(guide: Path, *languages: str) -> list[str]:
    return [text for language, text in FENCE.findall(guide.read_text()) if language in languages]


def calls_of_cnx(guide: Path) -> Iterator[list[str]]:
    """The words behind each `cnx` (or its module) in the guide's fences and sentences."""
    for text in fences(guide, "", "sh"):
        for line in text.replace("\\\n", " ").splitlines():
            start = re.match(
                r"[$ ]*(?:\S*bin/)?cnx |(?:torchrun|accelerate) .*-m animate.cli.main ", line
            )
            if start and "[--" not in line:  # not a synopsis
                yield shlex.split(re.sub(r"\s# .*", "", line[start.end() :]))
    for match in re.finditer(r"`cnx ([^`]+)`", FENCE.sub("", guide.read_text())):
        yield shlex.split(match[1])


def parser_of(words: list[str]) -> tuple[Parser, list[str]]:
    """The parser that reads a call of `cnx`, and what it is given."""
    name, options = words[0], words[1:]
    if name == "train" and options and options[0] in ACTIONS:
        return ACTIONS[options[0]].parser(), options[1:]
    parser: Parser = import_module(f"animate.cli.{name}").parser()
    return parser, options


def complaint(words: list[str]) -> str:
    """The parser's complaint of a call, but for what a sentence or `...` leaves out."""
    given = ["2" if word == "N" else word for word in words if word != "..."]
    if {"--help", "--help-all", "--version"} & set(given):
        return ""
    try:
        parse(*parser_of(given))
    except RequestError as reason:
        if not re.match(r"missing: |.* needs a value$", str(reason)):
            return f"cnx {shlex.join(words)}: {reason}"
    return ""


@each_guide
def test_links_lead_to_files(guide: Path) -> None:
    targets = re.findall(r"\]\(([^)\s#]+)\)", guide.read_text())
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (guide.parent / target).exists()] == []


@each_guide
def test_files_of_the_project_are_there(guide: Path) -> None:
    text = guide.read_text()
    rooms = "animate|configs|docs|pose|scripts|temporal|tests"
    paths = re.findall(rf"(?:`|python )((?:{rooms})/[\w./-]+)", text)
    modules = re.findall(r"-m ((?:animate|scripts)\.[\w.]+\w)", text)
    benchmarks = re.findall(r"scripts/benchmark\.py ([a-z_ ]+)", text)
    paths += [module.replace(".", "/") + ".py" for module in modules]
    paths += [f"scripts/benchmarks/{name}.py" for name in " ".join(benchmarks).split()]
    assert [path for path in paths if "NAME" not in path and not (ROOT / path).exists()] == []


@each_guide
def test_options_of_the_scripts_are_there(guide: Path) -> None:
    shared = (ROOT / "scripts" / "bundled" / "command.py").read_text()
    text = guide.read_text().replace("\\\n", " ")
    for script, options in re.findall(r"python (?:-m )?(scripts[\w./]+\w)([^`\n]*)", text):
        path = ROOT / (script if script.endswith(".py") else script.replace(".", "/") + ".py")
        own = options.partition("#")[0].partition(" -- ")[0]
        for option in re.findall(r"--[a-z][\w-]+", own):
            assert f'"{option}"' in path.read_text() + shared, f"{script} has no {option}"


def test_commands_of_the_guides_are_understood() -> None:
    calls = [words for guide in GUIDES for words in calls_of_cnx(guide)]
    assert len(calls) > 100
    assert [said for words in calls if (said := complaint(words))] == []


@pytest.mark.parametrize("name", [*COMMANDS, *(f"train {action}" for action in ACTIONS)])
def test_the_example_in_a_command_s_help_is_understood(name: str) -> None:
    parser, _ = parser_of(name.split())
    lines = (parser.epilog or "").replace("\\\n", " ").splitlines()
    calls = [line.strip()[4:] for line in lines if line.strip().startswith("cnx ")]
    assert [said for call in calls if (said := complaint(shlex.split(call, comments=True)))] == []


def test_an_option_that_is_not_there_is_noticed() -> None:
    assert "unknown option --strides" in complaint(["run", "--strides", "2"])


def test_rows_of_manifests_are_understood(tmp_path: Path) -> None:
    from animate import load_manifest

    manifests = [t for t in fences(ROOT / "docs" / "batch.md", "") if t.startswith("{")]
    assert len(manifests) == 2
    for name in ("me.png", "dance.mp4", "walk.mp4", "run.mp4", "people/a.png", "poses/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for number, text in enumerate(manifests):
        (tmp_path / f"{number}.jsonl").write_text(text)
        assert len(load_manifest(tmp_path / f"{number}.jsonl", tmp_path / "clips").jobs) >= 3


@pytest.fixture
def shoot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the guides' Python is run, with the files that it names."""
    from animate.media import open_writer, write_png
    from scripts.tiny.characters import render_clip
    from scripts.tiny.make_demo import CYCLES_A_FRAME, DRIVING_SEED, REFERENCE_SEED

    size = (192, 288)
    write_png(tmp_path / "me.png", render_clip(REFERENCE_SEED, 1, size, shot="full").reference)
    take = render_clip(DRIVING_SEED, 3, size, shot="full", speed=CYCLES_A_FRAME)
    with open_writer(tmp_path / "dance.mp4", size=size, fps=Fraction(24)) as writer:
        for frame in take.frames:
            writer.write(frame)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_python(guide: str, *, model: str = "") -> dict[str, Any]:
    """Run a guide's blocks of Python one after another; returns what they have named.

    model: what takes the place of a model that has to be fetched
    """
    names: dict[str, Any] = {}
    for text in fences(ROOT / guide, "python"):
        text = re.sub(r'"(svd-v2|stable-diffusion-v1-5)"', f'"{model}"', text)
        exec(compile(text, guide, "exec"), names)
    return names


@pytest.mark.parametrize("guide", GUIDES, ids=name_of)
def test_python_of_the_guides_names_what_is_there(guide: Path) -> None:
    for text in fences(guide, "python"):
        tree = ast.parse(text)
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        missing = [
            f"{node.module}.{alias.name}"
            for node in imports
            for alias in node.names
            if not hasattr(import_module(str(node.module)), alias.name)
        ]
        assert missing == []


def test_python_of_the_readme_runs(shoot: Path) -> None:
    names = run_python("README.md")
    assert (shoot / "first.png").is_file()
    assert names["result"].output.name == "clip.mp4"
    assert names["result"].frames == len(names["out"].frames[0]) == 2


@pytest.mark.slow
def test_python_of_the_guide_to_it_runs(shoot: Path) -> None:
    names = run_python("docs/python.md", model="tiny")
    assert len(list(shoot.glob("frame-*.png"))) == 3
    assert names["control_frames"].shape[0] == len(names["out"].frames[0]) == 3


@pytest.mark.slow
def test_python_of_the_guide_to_stills_runs(shoot: Path) -> None:
    from animate.media import write_png

    files = write_still_files(shoot)
    write_png(shoot / "skeleton.png", np.zeros((64, 64, 3), np.uint8))
    assert run_python("docs/stills.md", model=str(files.base))["picture"].size == (64, 64)


def test_python_of_the_guide_to_evaluation_runs(shoot: Path) -> None:
    for name in ("clip.mp4", "real.mp4"):
        (shoot / name).symlink_to("dance.mp4")
    assert run_python("docs/evaluation.md")["evaluation"].clips[0].value("psnr") == 100
    assert (shoot / "scores.html").is_file()


@pytest.mark.slow
def test_python_of_the_guide_to_batches_runs(shoot: Path) -> None:
    (shoot / "jobs.jsonl").write_text('{"reference": "me.png", "driving": "dance.mp4"}\n')
    names = run_python("docs/batch.md")
    assert [cell.error for cell in names["comparison"].cells] == [""] * 6
    assert names["record"].status == "done"


def test_the_table_of_animators_states_their_windows() -> None:
    guide = (ROOT / "docs" / "models.md").read_text()
    table = guide.partition("\n| variant | base |")[2].partition("\n\n")[0]
    rows = {
        name: cells
        for line in table.splitlines()[2:]
        for cells in [line.split(" | ")]
        for name in re.findall(r"`([^`]+)`", cells[0])
    }
    assert set(rows) == set(variant_names()) - {"tiny"}
    for name, cells in rows.items():
        sampling = load_variant(name).sampling
        for words in (f"{sampling.window} ({sampling.overlap})", f"`{sampling.schedule}`"):
            assert words in cells[4], name
