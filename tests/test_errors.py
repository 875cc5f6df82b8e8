from __future__ import annotations

import inspect

import pytest

from animate import errors
from animate.errors import (
    AnimateError,
    BudgetError,
    MotionError,
    RequestError,
    UserError,
    WindowError,
    raises_ours,
    reason_of,
)
from pose.errors import PoseError
from temporal.errors import MemoryBudgetError, TemporalError


@raises_ours
def raising(error: Exception) -> None:
    error.add_note("to go on: cnx resume")
    raise error


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (PoseError("nobody is seen"), MotionError),
        (TemporalError("no such window"), WindowError),
        (MemoryBudgetError("nothing fits"), BudgetError),
    ],
)
def test_errors_of_the_lower_packages_leave_as_both(
    error: Exception, ours: type[Exception]
) -> None:
    with pytest.raises(AnimateError, match=str(error)) as caught:
        raising(error)
    assert type(caught.value) is ours
    assert isinstance(caught.value, UserError)
    assert isinstance(caught.value, type(error))
    assert caught.value.__notes__ == ["to go on: cnx resume"]
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [RequestError("x"), MotionError("x"), KeyError("x")])
def test_other_errors_pass_as_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        raising(error)
    assert caught.value is error


def test_the_tree_is_drawn_whole() -> None:
    assert errors.__doc__ is not None
    drawn = [
        line.split("+--")[1].split()[0] for line in errors.__doc__.splitlines() if "+--" in line
    ]
    kinds = [name for name, kind in vars(errors).items()
             if inspect.isclass(kind) and issubclass(kind, AnimateError)]  # fmt: skip
    assert sorted([*drawn, "AnimateError"]) == sorted(kinds)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device", "/Shots/A.png"), "no space left on device"),
        (ValueError("Embedded null byte in /Shots"), "embedded null byte in /Shots"),
        (OSError(), "OSError"),
    ],
)
def test_words_of_the_system_stand_within_a_sentence(error: Exception, words: str) -> None:
    assert reason_of(error) == words
