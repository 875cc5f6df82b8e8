from __future__ import annotations

from pathlib import Path

import pytest

from animate.generate.settings import settle
from animate.models.variants import load_variant
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
