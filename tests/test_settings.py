from __future__ import annotations

import pytest

from animate.errors import RequestError
from animate.models.variants import load_variant
from animate.options import AnimationRequest
from animate.settings import resolve_request
from animate.values import Size

PATHS = {"reference": "a.png", "driving": "b.mp4", "output": "c.mp4"}
PORTRAIT = Size(800, 1275)


def resolved(reference: Size = PORTRAIT, **values: object) -> AnimationRequest:
    request = AnimationRequest.from_dict({**PATHS, **values})
    return resolve_request(request, load_variant("svd-v2"), reference)


def test_what_is_open_takes_the_variants_default() -> None:
    request = resolved()
    variant = load_variant("svd-v2")
    assert request.sampling.window == variant.sampling.window
    assert request.sampling.guidance == variant.sampling.guidance
    assert request.runtime.decode_chunk == variant.sampling.decode_chunk
    assert request.model == "svd-v2"


def test_what_is_given_stays() -> None:
    request = resolved(steps=3, guidance="1:2", size="512x512", control_weight=0.0)
    assert (request.sampling.steps, request.sampling.control_weight) == (3, 0.0)
    assert request.sampling.guidance == (1, 2)
    assert request.size == (512, 512)


def test_the_size_follows_the_references_shape() -> None:
    assert resolved(PORTRAIT).size == (576, 896)
    assert resolved(Size(1920, 1080)).size == (1024, 576)


def test_an_open_overlap_shrinks_with_the_window() -> None:
    assert resolved(window=4).sampling.overlap == 3


def test_impossible_settings_name_the_nearest() -> None:
    with pytest.raises(RequestError, match="nearest is 576x1024"):
        resolved(size="570x1000")
    with pytest.raises(RequestError, match="use at most 23"):
        resolved(overlap=24)
