from __future__ import annotations

import pytest

from animate.errors import RequestError
from animate.generate.settings import ClipSettings, cautions, settle
from animate.models.variants import load_variant
from animate.request.request import AnimationRequest
from animate.request.values import Size

PATHS = {"reference": "a.png", "driving": "b.mp4", "output": "c.mp4"}
PORTRAIT = Size(800, 1275)


def resolved(reference: Size = PORTRAIT, **values: object) -> ClipSettings:
    request = AnimationRequest.from_dict({**PATHS, **values})
    return settle(request, load_variant("svd-v2"), reference)


def test_what_is_open_takes_the_variants_default() -> None:
    settings, variant = resolved(), load_variant("svd-v2")
    for name in ("steps", "window", "overlap", "guidance", "schedule", "fusing", "decode_chunk"):
        assert getattr(settings, name) == getattr(variant.defaults, name)
    assert settings.control_weight == variant.injection.weight


def test_what_is_given_stays() -> None:
    settings = resolved(steps=3, guidance="1:2", size="512x512", control_weight=0.0)
    assert (settings.steps, settings.control_weight) == (3, 0.0)
    assert settings.guidance == (1, 2)
    assert settings.size == (512, 512)


def test_the_size_follows_the_references_shape() -> None:
    assert resolved(PORTRAIT).size == (576, 896)
    assert resolved(Size(1920, 1080)).size == (1024, 576)


def test_an_open_overlap_shrinks_with_the_window() -> None:
    assert resolved(window=4).overlap == 3


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, []),
        ({"solver": "heun", "steps": 10}, []),
        ({"solver": "heun", "steps": 1}, []),  # a single step is Euler's
        ({"solver": "euler", "steps": 3}, []),
        ({"solver": "heun", "steps": 3}, ["heun with 3 steps"]),
        ({"decode_chunk": 1}, ["decode-chunk 1"]),
        ({"decode_chunk": 2}, []),
        ({"solver": "heun", "steps": 9, "decode_chunk": 1}, ["take 10 steps", "decode-chunk 1"]),
    ],
)
def test_what_makes_worse_pictures_is_said(values: dict[str, object], said: list[str]) -> None:
    warnings = cautions(resolved(**values), load_variant("svd-v2"))
    assert len(warnings) == len(said)
    assert all(part in warning for part, warning in zip(said, warnings, strict=True))


def test_impossible_settings_name_the_nearest() -> None:
    with pytest.raises(RequestError, match="nearest is 576x1024"):
        resolved(size="570x1000")
    with pytest.raises(RequestError, match="use at most 23"):
        resolved(overlap=24)
