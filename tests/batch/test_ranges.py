from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animate.batch.ranges import format_ranges, parse_ranges
from animate.errors import RequestError

NUMBERS = st.integers(1, 5000)


@given(st.sets(NUMBERS, min_size=1, max_size=60))
def test_what_is_written_is_read_back(numbers: set[int]) -> None:
    assert parse_ranges(format_ranges(numbers)) == tuple(sorted(numbers))


@given(NUMBERS, st.integers(0, 300), st.integers(1, 40))
def test_a_range_is_every_nth_from_its_first(first: int, length: int, step: int) -> None:
    last = first + length
    assert parse_ranges(f"{first}-{last}x{step}") == tuple(range(first, last + 1, step))


@given(st.lists(st.tuples(NUMBERS, st.integers(0, 30), st.integers(1, 5)), min_size=1, max_size=5))
def test_a_list_is_the_union_of_its_parts(parts: list[tuple[int, int, int]]) -> None:
    texts = [f"{a}-{a + n}x{s}" for a, n, s in parts]
    expected = set().union(*(parse_ranges(text) for text in texts))
    assert parse_ranges(", ".join(texts)) == tuple(sorted(expected))


@pytest.mark.parametrize(
    ("text", "numbers"), [("7", (7,)), ("1-3", (1, 2, 3)), ("1-10x3,20", (1, 4, 7, 10, 20))]
)
def test_examples(text: str, numbers: tuple[int, ...]) -> None:
    assert parse_ranges(text) == numbers


@pytest.mark.parametrize(
    "text", ["", "a", "3-1", "0-4", "1-5x0", "1--5", "1:5", "1-9999999", "1-5x", "-3", "1,,2"]
)
def test_others_are_refused_with_the_text(text: str) -> None:
    with pytest.raises(RequestError, match="range"):
        parse_ranges(text)


def test_no_numbers_are_no_range() -> None:
    with pytest.raises(RequestError):
        format_ranges([])
