"""Settings as a form, and the command that says the same."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from animate.cli.arguments import parse, read_options
from animate.cli.run import parser
from animate.errors import RequestError
from animate.request.request import AnimationRequest
from animate.request.schema import plain, settings_of
from animate.studio.desk import Studio
from animate.studio.forms import ELSEWHERE, command_of, fields, presets, read_request
from animate.studio.project import Project
from tests.studio.asking import ask

BASE = {"reference": "me.png", "driving": "dance.mp4", "output": "clip.mp4"}
SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"seed": 7, "steps": "12", "guidance": "1:2.5", "size": "96x144"},
    {"start": "3f", "end": "1.5", "max_frames": 9, "person": "1"},
    {"poses": "dance.npz", "smooth": False, "audio": False, "lock_background": True},
    {"lora": ["a b.safetensors:0.5", "c.safetensors"], "cache": "none"},
    {"stride": 2, "interpolate": "true", "memory": "8GiB", "contact_sheet": "sheet.png"},
)


def test_every_setting_is_in_the_form_or_asked_for_elsewhere() -> None:
    names = [field.name for field in fields()]
    assert sorted([*names, *ELSEWHERE]) == sorted(settings_of(AnimationRequest))
    usual = [field.usual for field in fields()]
    assert usual == sorted(usual, reverse=True)
    assert all(field.help for field in fields())


def test_presets_are_those_of_the_command_line(folder: Path) -> None:
    project = Project(folder)
    assert "quick" in [preset.name for preset in presets()]
    for preset in presets():
        assert preset.text
        chosen = read_request(project, {**BASE, **preset.settings})
        typed = read_options(
            AnimationRequest,
            parse(parser(), [*shlex.split(command_of(project, read_request(project, BASE)))[2:],
                             "--config", preset.name]),
        )  # fmt: skip
        assert plain(typed.sampling) == plain(chosen.sampling)
        assert (typed.stride, typed.model) == (chosen.stride, chosen.model)


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_command_makes_the_same_request(folder: Path, settings: dict[str, Any]) -> None:
    project = Project(folder)
    request = read_request(project, {**BASE, **settings})
    words = shlex.split(command_of(project, request))
    assert words[:2] == ["cnx", "run"]
    assert str(folder) not in " ".join(words)
    typed = read_options(AnimationRequest, parse(parser(), words[2:]))
    absolute = typed.with_paths(lambda path: project.root / path)
    assert plain(absolute) == plain(request)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"steps": 0}, "steps"),
        ({"steps": "many"}, "steps"),
        ({"colour": "red"}, "colour"),
        ({"fit": "squash"}, "fit"),
        ({"start": "5f", "end": "5f"}, "end"),
        ({"smooth": "perhaps"}, "smooth"),
    ],
)
def test_a_bad_value_is_named(folder: Path, settings: dict[str, Any], fault: str) -> None:
    with pytest.raises(RequestError, match=fault):
        read_request(Project(folder), {**BASE, **settings})


def test_the_outlook_names_faults_sizes_and_frames(app: Any) -> None:
    def look(**settings: object) -> Any:
        settings = {"reference": "me.png", "driving": "dance.mp4", "model": "tiny", **settings}
        answer = ask(app, "/api/outlook", method="POST", body={"settings": settings})
        assert answer.status == 200, answer.body
        return answer.values

    usual = look(poses="dance.npz", size="64x64", max_frames=5)
    assert usual["model"] == "tiny"
    assert usual["frames"] == 5
    assert usual["memory"] > 0
    assert usual["time"] == ""
    assert "no earlier records" in usual["basis"]
    assert usual["command"].startswith("cnx run --reference me.png --driving dance.mp4")
    assert any("tiny was made for" in remark for remark in usual["remarks"])
    assert "start" in look(start="99f")["problem"]
    assert "multiples" in look(size="65x65")["problem"]


def test_settings_models_and_points_are_told(app: Any) -> None:
    values = ask(app, "/api/settings").values
    tiny = next(model for model in values["models"] if model["name"] == "tiny")
    assert tiny["installed"]
    assert tiny["licence"] == "Apache-2.0"
    assert len(values["layout"]["names"]) == 134
    assert values["fields"][0]["usual"]


def test_variations_make_a_clip_for_every_combination(studio: Studio) -> None:
    settings = {"reference": "me.png", "driving": "dance.mp4"}
    names = studio.submit(settings, {"seed": ["1", "2"], "retarget": ["robust", "none"]})
    assert len(set(names)) == 4
    given = [view.settings for view in reversed(studio.clips.views())]
    assert [(each["seed"], each.get("retarget", "robust")) for each in given] == [
        (1, "robust"), (1, "none"), (2, "robust"), (2, "none"),
    ]  # fmt: skip
    with pytest.raises(RequestError, match="enough"):
        studio.submit(settings, {"seed": [str(n) for n in range(99)]})
    with pytest.raises(RequestError, match="steps"):
        studio.submit(settings, {"steps": ["1", "0"]})
    assert len(studio.clips.views()) == 4
