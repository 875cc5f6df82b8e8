from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from animate.errors import ModelError, RequestError
from animate.request.request import AnimationRequest, RuntimeOptions, SamplingOptions
from animate.request.schema import (
    build,
    flat,
    plain,
    read_value,
    settings_of,
    validate,
)
from animate.request.setting import option
from animate.request.setting_paths import paths_of, plain_with_paths, with_paths
from animate.request.values import Lora, Signing, Size

PATHS = {"reference": "a.png", "driving": "b.mp4", "output": "c.mp4"}
SETTINGS = settings_of(AnimationRequest)


@dataclass(frozen=True, kw_only=True)
class Part:
    kind: Literal["a", "b"] = "a"
    count: int


@dataclass(frozen=True, kw_only=True)
class Whole:
    name: str
    part: Part | None = None
    parts: tuple[Part, ...] = ()
    named: dict[str, Part] = field(default_factory=dict)
    sizes: tuple[Size, ...] = ()
    folder: Path | None = None
    weight: float = 1.0


def request(**values: object) -> AnimationRequest:
    return AnimationRequest.from_dict({**PATHS, **values})


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def doubled(levels: int) -> list[Any]:
    value: list[Any] = ["x"]
    for _ in range(levels):
        value = [value] * 10
    return value


def test_a_dataclass_of_any_shape_is_read_and_written() -> None:
    values = {"name": "n", "part": {"count": 1}, "parts": [{"kind": "b", "count": 2}],
              "named": {"x": {"count": 3}}, "sizes": ["2x3", [4, 5]],
              "folder": "f", "weight": 2}  # fmt: skip
    built = build(Whole, values, "f.yaml")
    assert built == Whole(
        name="n", part=Part(count=1), parts=(Part(kind="b", count=2),),
        named={"x": Part(count=3)}, sizes=(Size(2, 3), Size(4, 5)), folder=Path("f"), weight=2.0,
    )  # fmt: skip
    assert build(Whole, plain(built)) == built


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nam": "n"}, r"f\.yaml: unknown setting 'nam'; did you mean 'name'\?"),
        ({}, r"f\.yaml: the setting 'name' is missing"),
        ({"name": 3}, r"f\.yaml: name 3 is not text"),
        ({"name": "n", "part": 3}, r"part must hold names with values, not 3"),
        ({"name": "n", "part": {"cuont": 1}}, r"part: unknown setting 'cuont'.*'count'"),
        ({"name": "n", "part": {}}, r"the setting 'part\.count' is missing"),
        ({"name": "n", "part": {"count": True}}, r"part\.count True is not a whole number"),
        ({"name": "n", "part": {"count": 1, "kind": "c"}}, r"part\.kind 'c' is not one of a, b"),
        ({"name": "n", "parts": {"count": 1}}, r"parts \{'count': 1\} is not a list"),
        ({"name": "n", "named": {"x": {"count": "y"}}}, r"named\.x\.count 'y'"),
        ({"name": "n", "sizes": ["big"]}, r"sizes: size 'big' is not WIDTHxHEIGHT"),
        ({"name": "n", "folder": ["f"]}, r"folder \['f'\] is not a path"),
        ([], r"settings must hold names with values"),
    ],
)
def test_faults_name_the_file_and_the_setting(values: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build(Whole, values, "f.yaml", ModelError)


def test_a_setting_that_is_given_twice_is_refused() -> None:
    for values in ({"steps": 3, "sampling": {"steps": 4}}, {"max-frames": 3, "max_frames": 3}):
        with pytest.raises(RequestError, match="is given twice"):
            request(**values)


def test_many_unknown_names_are_counted_at_once() -> None:
    begun = time.perf_counter()
    with pytest.raises(RequestError, match="and 29995 more"):
        flat(AnimationRequest, {f"steqs{number}": 1 for number in range(30_000)})
    assert time.perf_counter() - begun < 5


HOSTILE: dict[str, Any] = {
    "an object": {"a": 1},
    "a list": ["a"],
    "a zero byte": "a\0b",
    "half a character": "a\ud800",
    "bytes": b"a",
    "a set": {"a"},
    "true": True,
    "a number": math.nan,
    "a huge number": 10**400,
    "nested lists": nested(100_000),
    "lists of the same lists": doubled(12),
    "a long text": "9" * 1_000_000,
    "a long exponent": "1e999999999",
    "a long fraction": "1/" + "9" * 10_000,
    "an object of a class": object(),
    "an empty text": "",
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_hostile_values_are_one_short_error_at_once(value: Any) -> None:
    begun = time.perf_counter()
    for name, setting in SETTINGS.items():
        fault, typed = "", None
        try:
            typed = setting.read(value)
        except RequestError as reason:
            fault = str(reason)
        assert len(fault.encode()) < 500, name
        assert not isinstance(typed, bool) or bool in setting.kinds, name
        assert not isinstance(typed, dict | list | bytes | set), name
    assert time.perf_counter() - begun < 5


def test_a_setting_without_a_value_has_its_usual_one() -> None:
    """`person:` in a file, and null in JSON, hold nothing."""
    usual = build(AnimationRequest, PATHS)
    for name in SETTINGS.keys() - PATHS.keys():
        assert build(AnimationRequest, {**PATHS, name: None}) == usual, name
    assert build(AnimationRequest, {**PATHS, "sampling": {"keep_features": None}}) == usual
    with pytest.raises(RequestError, match="reference is missing"):
        build(AnimationRequest, {**PATHS, "reference": None})


@given(st.sampled_from(sorted(SETTINGS)), st.text(max_size=40))
def test_no_text_ends_in_anything_but_a_value_or_a_request_error(name: str, text: str) -> None:
    try:
        value = SETTINGS[name].read_text(text)
    except RequestError:
        return
    assert SETTINGS[name].read(plain(value)) == value


def test_numbers_of_numpy_are_numbers() -> None:
    options = SamplingOptions(steps=np.int64(3), control_weight=np.float32(0.5))  # type: ignore[arg-type]
    assert (options.steps, options.control_weight) == (3, 0.5)
    assert type(options.steps) is int


def test_a_group_of_settings_must_be_of_its_class() -> None:
    with pytest.raises(RequestError, match=r"sampling .* is not of the class SamplingOptions"):
        AnimationRequest(**PATHS, sampling={"steps": 3})  # type: ignore[arg-type]


def test_every_setting_says_what_it_is() -> None:
    by_role: dict[str, set[str]] = {}
    for setting in SETTINGS.values():
        by_role.setdefault(setting.role, set()).add(setting.name)
    assert by_role["input"] == {
        "reference", "driving", "poses", "lora", "model", "estimator_folder", "identity",
        "identity_folder", "still_lora", "still_model", "estimator_network", "upscale",
        "preview_decoder",
    }  # fmt: skip
    assert by_role["place"] == {"cache", "work", "sign"}
    assert {"output", "side_by_side", "contact_sheet"} < by_role["output"]
    assert {"seed", "size", "retarget", "decode_chunk"} < by_role["look"]
    assert {"device", "threads", "overwrite"} < by_role["runtime"]
    assert not any(
        "path" in str(SETTINGS[name].hint).lower() for name in by_role["look"] | by_role["runtime"]
    )


def full() -> AnimationRequest:
    return request(
        model="my/model", lora=["x.safetensors:0.5", "y"], poses="p.npz", side_by_side="s.mp4",
        estimator_folder="e", cache="none", work="w", sign="c.pem:k.pem",
    )  # fmt: skip


def test_paths_are_found_by_their_roles() -> None:
    named = {role: [(s.name, str(path)) for s, path in paths_of(full(), role)]
             for role in ("input", "output", "place")}  # fmt: skip
    assert named["input"] == [
        ("reference", "a.png"), ("driving", "b.mp4"), ("model", "my/model"),
        ("lora", "x.safetensors"), ("lora", "y"), ("poses", "p.npz"), ("estimator_folder", "e"),
    ]  # fmt: skip
    assert named["output"] == [("output", "c.mp4"), ("side_by_side", "s.mp4")]
    assert named["place"] == [("work", "w"), ("sign", "c.pem"), ("sign", "k.pem")]


def test_paths_are_changed_and_nothing_else() -> None:
    moved = full().with_paths(lambda path: "/x" / path)
    assert {str(path)[:3] for _, path in moved.paths("input", "output", "place")} == {"/x/"}
    assert moved.lora[0] == Lora(Path("/x/x.safetensors"), 0.5)
    assert moved.runtime.sign == Signing(Path("/x/c.pem"), Path("/x/k.pem"))
    assert (moved.runtime.cache, moved.model) == (Path("none"), "/x/my/model")
    assert moved.look() == full().look()
    assert with_paths(request(), Path).model == "auto"
    assert AnimationRequest.from_dict(moved.settings()) == moved


def test_paths_of_plain_values_are_changed_by_their_roles() -> None:
    values = {"reference": ["a", "b"], "driving": 3, "work": "none", "model": "tiny", "seed": 1,
              "lora": "x:0.5", "output": "o", "sign": "c:k"}  # fmt: skip
    changed = plain_with_paths(AnimationRequest, values, lambda path: "/x" / path, "input", "place")
    assert plain(changed) == {
        **values, "reference": ["/x/a", "/x/b"], "lora": [["/x/x", 0.5]], "sign": "/x/c:/x/k"
    }  # fmt: skip


def test_a_class_reads_its_own_settings() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Own:
        rate: Fraction | None = option(None, "x", parse=Fraction)
        count: int = option(3, "x", most=5)

        def __post_init__(self) -> None:
            validate(self)

    assert Own(rate="1/2").rate == Fraction(1, 2)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="count 9 is out of range: at most 5"):
        Own(count=9)


def test_the_words_of_a_setting_have_a_nearest_one() -> None:
    with pytest.raises(RequestError, match="one of crop, pad, stretch; did you mean 'stretch'"):
        request(fit="strech")
    with pytest.raises(RequestError, match="precision 'half' is not one of"):
        RuntimeOptions(precision="half")  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Listed:
    words: tuple[Literal["a", "b"], ...] = ()


def test_a_list_of_words_is_read_word_by_word() -> None:
    assert build(Listed, {"words": ["b", "a"]}) == Listed(words=("b", "a"))
    with pytest.raises(RequestError, match="'c' is not one of a, b"):
        build(Listed, {"words": ["a", "c"]})


@dataclass(frozen=True, kw_only=True)
class Record:
    pair: tuple[int, float] = (1, 2.0)
    size: Size | Literal["truth"] = "truth"
    parts: tuple[Part, ...] = ()
    anything: object = None


def test_records_are_read_with_names_of_a_later_version() -> None:
    values = {"pair": [3, 4], "size": "2x3", "parts": [{"count": 1, "new": 2}], "later": 5,
              "anything": {"a": 1}}  # fmt: skip
    assert read_value(Record, values, "") == Record(
        pair=(3, 4.0), size=Size(2, 3), parts=(Part(count=1),), anything={"a": 1}
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pair": [3]}, r"pair \[3\] is not a list of 2"),
        ({"pair": [3, math.nan]}, "pair nan is not a finite number"),
        ({"size": "big"}, "size 'big' is not WIDTHxHEIGHT"),
        ({"parts": [{}]}, r"the setting 'parts\.count' is missing"),
        ([], "must hold names with values"),
    ],
)
def test_records_that_were_tampered_with_are_refused(values: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        read_value(Record, values, "")
