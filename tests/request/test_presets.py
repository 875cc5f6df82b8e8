from __future__ import annotations

from pathlib import Path

import pytest

from animate.errors import ModelError
from animate.generate.settings import settle
from animate.models.variants import load_variant
from animate.request import presets
from animate.request.request import AnimationRequest
from animate.request.values import Size
from animate.request.yaml_file import read_yaml

PRESETS = sorted((Path(__file__).parents[2] / "configs" / "presets").glob("*.yaml"))
PATHS = {"reference": "a.png", "driving": "b.mp4", "output": "c.mp4"}


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_every_preset_makes_a_request_that_its_model_takes(preset: Path) -> None:
    request = AnimationRequest.from_dict({**PATHS, **read_yaml(preset)})
    variant = load_variant("svd-v2" if request.model == "auto" else request.model)
    assert settle(request, variant, Size(576, 1024)).steps == request.sampling.steps


@pytest.mark.parametrize("name", ["v1", "v2"])
def test_published_presets_say_what_the_variant_says(name: str) -> None:
    (preset,) = (path for path in PRESETS if path.stem == f"published-{name}")
    request = AnimationRequest.from_dict({**PATHS, **read_yaml(preset)})
    defaults = load_variant(request.model).sampling
    assert request.sampling.schedule == f"controlnext-{name}"
    for setting in ("steps", "window", "overlap", "guidance"):
        assert getattr(request.sampling, setting) == getattr(defaults, setting)


def test_presets_are_found_by_name_and_files_by_path() -> None:
    assert "quick" in presets.preset_names()
    assert presets.config_path("quick").is_file()
    assert presets.config_path("./quick") == Path("quick")
    assert presets.config_path("quick.yaml") == Path("quick.yaml")


def test_configs_are_found_in_a_checkout_and_in_an_installed_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert (presets.configs_folder() / "models" / "svd-v2.yaml").is_file()
    installed = tmp_path / "site" / "animate" / "configs" / "models"
    installed.mkdir(parents=True)
    monkeypatch.setattr(presets, "__file__", str(tmp_path / "site/animate/request/presets.py"))
    assert presets.configs_folder() == installed.parent
    installed.rmdir()
    with pytest.raises(ModelError, match="install it again"):
        presets.configs_folder()
