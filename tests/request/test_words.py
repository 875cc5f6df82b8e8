"""The allowed words of a setting stand where the thing is implemented, and once."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path
from typing import get_args

import pytest

from animate.generate.schedules import SOLVERS
from animate.request.request import AnimationRequest, Fit, Levels
from animate.request.schema import settings_of
from animate.request.wording import nearest, spans
from pose.estimators import NAMES
from pose.retarget import MODES
from temporal.noise import NOISE_KINDS
from temporal.published import PUBLISHED
from temporal.slot_weights import WEIGHTS
from temporal.windows import SCHEDULES

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("schedule", (*SCHEDULES, *PUBLISHED)), ("fusing", WEIGHTS), ("noise", NOISE_KINDS),
        ("solver", SOLVERS), ("levels", get_args(Levels)), ("fit", get_args(Fit)),
        ("retarget", MODES), ("estimator", NAMES),
    ],
)  # fmt: skip
def test_a_setting_takes_the_words_that_are_implemented(
    setting: str, words: tuple[str, ...]
) -> None:
    assert settings_of(AnimationRequest)[setting].choices == words


def literals(path: Path) -> list[frozenset[str]]:
    """The words of every `Literal[...]` in a file that has two or more."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Subscript) and getattr(node.value, "id", "") == "Literal":
            words = [leaf.value for leaf in ast.walk(node.slice) if isinstance(leaf, ast.Constant)]
            if len(words) > 1:
                found.append(frozenset(map(str, words)))
    return found


def test_no_words_are_listed_twice() -> None:
    places: dict[frozenset[str], list[str]] = defaultdict(list)
    for package in ("animate", "pose", "temporal"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for words in literals(path):
                places[words].append(str(path.relative_to(ROOT)))
    twice = {", ".join(sorted(words)): paths for words, paths in places.items() if len(paths) > 1}
    assert not twice


def test_letters_in_another_order_are_the_nearest_word() -> None:
    assert nearest("h246", ["h264", "h265"]) == "; did you mean 'h264'?"
    assert nearest("h26", ["h264", "h265"])
    assert nearest("xyz", ["h264", "h265"]) == ""


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([], ""),
        ([4], "4"),
        ([0, 1, 2, 5, 8, 9], "0 to 2, 5, 8 to 9"),
        (range(0, 20, 2), "0, 2, 4, 6, 8, 10 and 4 more"),
    ],
)
def test_numbers_that_follow_each_other_are_one_span(numbers: list[int], text: str) -> None:
    assert spans(numbers) == text
