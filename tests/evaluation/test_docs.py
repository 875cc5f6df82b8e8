"""docs/evaluation.md defines every measure, protocol and file."""

from __future__ import annotations

from pathlib import Path

import pytest

from animate.evaluation.network_files import FILES
from animate.evaluation.protocols import load_protocol, protocol_names
from animate.evaluation.scores import MEASURES

DOCS = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text()


@pytest.mark.parametrize("measure", MEASURES)
def test_each_measure_is_defined(measure: str) -> None:
    part = measure.removesuffix("_hands").removesuffix("_face")
    assert f"`{part}`" in DOCS
    assert (
        part == measure
        or f"...{measure.removeprefix('pose_error').removeprefix('pose_share')}" in DOCS
    )


@pytest.mark.parametrize("name", protocol_names())
def test_each_protocol_is_named_and_can_be_loaded(name: str) -> None:
    assert f"`{name}`" in DOCS
    assert load_protocol(name).summary


@pytest.mark.parametrize("entry", FILES.values(), ids=FILES)
def test_each_file_is_named(entry: object) -> None:
    assert f"`{entry.name}`" in DOCS  # type: ignore[attr-defined]
