from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animate.errors import RequestError
from animate.request.request import AnimationRequest, RuntimeOptions, SamplingOptions
from animate.request.schema import plain, settings_of
from animate.request.values import (
    FrameNumber,
    Guidance,
    NoiseInterval,
    Size,
    parse_bytes,
    parse_rate,
    parse_time,
)

PATHS = {"reference": "a.png", "driving": "b.mp4", "output": "c.mp4"}

OTHER_VALUES = {
    "size": "96x144", "fit": "pad", "stride": 2, "start": "1.5", "end": "9f",
    "max_frames": 5, "estimator": "dwpose", "person": "left", "retarget": "affine",
    "smooth": False, "absence": "hold", "seed": 7, "steps": 3, "window": 9, "overlap": 2,
    "schedule": "shifting",
    "fusing": "flat", "guidance": "1:3", "control_weight": 0.5, "noise": "repeated",
    "solver": "heun", "levels": "align-your-steps", "guidance_interval": "0.3:10",
    "keep_features": 2,
}  # fmt: skip


def request(**values: object) -> AnimationRequest:
    return AnimationRequest.from_dict({**PATHS, **values})


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_every_setting_that_decides_the_pictures_is_in_the_look(name: str) -> None:
    changed = request(**{name: OTHER_VALUES[name]})
    assert changed.look() != request().look()


@pytest.mark.parametrize("change", [{"output": "d.mp4"}, {"device": "cpu"}, {"overwrite": True}])
def test_what_does_not_decide_the_pictures_leaves_the_look(change: dict[str, object]) -> None:
    assert request(**change).look() == request().look()


def test_settings_build_the_same_request() -> None:
    full = request(**OTHER_VALUES, model="svd-v2", memory="8GiB", cache="poses", poses="p.npz")
    assert AnimationRequest.from_dict(full.settings()) == full


def test_flat_and_nested_settings_mean_the_same() -> None:
    assert request(steps=3) == request(sampling={"steps": 3})
    assert request(**{"max-frames": 3}) == request(max_frames=3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stepz": 3}, "did you mean 'steps'"),
        ({"steps": 0}, "at least 1"),
        ({"steps": "x"}, "not a whole number"),
        ({"steps": True}, "not a whole number"),
        ({"control_weight": float("nan")}, "not a finite number"),
        ({"schedule": "zigzag"}, "not one of static"),
        ({"window": 4, "overlap": 4}, "use at most 3"),
        ({"start": "6", "end": "5"}, "not after start"),
        ({"fps": 25, "stride": 2}, "give one of them"),
        ({"person": "bob"}, "main, left, right"),
        ({"device": "gpu"}, "cuda:N"),
        ({"sampling": 3}, "names with values"),
        ({"output": None}, "output is missing"),
    ],
)
def test_bad_settings_say_what_to_do(values: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        request(**values)


def test_python_callers_may_give_plain_text_and_numbers() -> None:
    made = AnimationRequest(reference="a", driving="b", output="c", size="2x3", start=2, fps="25")  # type: ignore[arg-type]
    assert made.reference == Path("a")
    assert made.size == Size(2, 3)
    assert made.start == 2
    assert made.fps == 25


@given(st.integers(1, 8192), st.integers(1, 8192))
def test_sizes_survive_text(width: int, height: int) -> None:
    assert Size.parse(str(Size(width, height))) == (width, height)


@given(st.fractions(0, 10_000) | st.integers(0, 10**6).map(FrameNumber))
def test_times_survive_text(time: Fraction | FrameNumber) -> None:
    again = parse_time(str(time))
    assert again == time
    assert type(again) is type(time)


@given(st.text(max_size=12))
def test_no_text_breaks_a_parser(text: str) -> None:
    parsers = (Size.parse, Guidance.parse, NoiseInterval.parse, parse_time, parse_rate, parse_bytes)
    for parse in parsers:
        try:
            value = parse(text)
        except RequestError:
            continue
        assert value is not None


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1:30", 90), ("1:00:00.5", 3600.5), ("2.5s", 2.5)]
)
def test_times(text: str, seconds: float) -> None:
    assert parse_time(text) == Fraction(seconds)


@pytest.mark.parametrize(("text", "value"), [("8GiB", 8 << 30), ("1.5 gb", 1.5e9), ("12", 12)])
def test_amounts_of_memory(text: str, value: float) -> None:
    assert parse_bytes(text) == value


def test_guidance_is_one_number_or_two() -> None:
    assert Guidance.parse("1:30") == (1, 30)
    assert Guidance.parse(2.5) == (2.5, 2.5)


def test_every_option_is_documented() -> None:
    stated = {name for kind in (SamplingOptions, RuntimeOptions, AnimationRequest)
              for name in kind.__dataclass_fields__} - {"sampling", "runtime"}  # fmt: skip
    settings = settings_of(AnimationRequest)
    assert stated == settings.keys()
    assert all(setting.help for setting in settings.values())


def test_values_are_written_as_json_knows_them() -> None:
    assert plain({"a": (Path("b"), Fraction(1, 2))}) == {"a": ["b", "1/2"]}
