"""Values that people write in one way and programs use in another: sizes, guidance, times.

Each parser takes text as typed or as read from a file, gives the typed value, and raises
RequestError with an example of what it takes. `str(value)` is text that parses back.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from animate.errors import RequestError


class Size(NamedTuple):
    """A picture's size in pixels, width first."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    @classmethod
    def parse(cls, text: Any) -> Size:
        """`WxH`, or two numbers. Raises RequestError."""
        if isinstance(text, str):
            match = re.fullmatch(r"\s*(\d+)\s*[xX×]\s*(\d+)\s*", text)
            if match:
                return cls(int(match[1]), int(match[2])).checked()
        elif isinstance(text, (tuple, list)) and [type(v) for v in text] == [int, int]:
            return cls(*text).checked()
        raise RequestError(f"size {text!r} is not WIDTHxHEIGHT in pixels, such as 576x1024")

    def checked(self) -> Size:
        if min(self) < 1 or max(self) > 8192:
            raise RequestError(f"size {self} is impossible: each side must be 1 to 8192 pixels")
        return self


class Guidance(NamedTuple):
    """Classifier-free guidance scale at a window's first and last frame, linear between them."""

    first: float
    last: float

    def __str__(self) -> str:
        return f"{self.first:g}" if self.first == self.last else f"{self.first:g}:{self.last:g}"

    @classmethod
    def parse(cls, text: Any) -> Guidance:
        """`SCALE`, `FIRST:LAST`, a number or two. Raises RequestError."""
        parts: Any = text.split(":") if isinstance(text, str) else text
        if isinstance(parts, (int, float)) and not isinstance(parts, bool):
            parts = (parts,)
        try:
            numbers = [float(part) for part in parts]
        except (TypeError, ValueError):
            numbers = []
        if len(numbers) not in (1, 2) or not all(0 <= n <= 100 for n in numbers):
            raise RequestError(f"guidance {text!r} is not SCALE or FIRST:LAST, such as 1:3")
        return cls(numbers[0], numbers[-1])


class NoiseInterval(NamedTuple):
    """Noise levels (sigma) from low to high, both included."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:g}:{self.high:g}"

    @classmethod
    def parse(cls, text: Any) -> NoiseInterval:
        """`LOW:HIGH`, or two numbers. Raises RequestError."""
        parts: Any = text.split(":") if isinstance(text, str) else text
        try:
            low, high = (float(part) for part in parts)
        except (TypeError, ValueError):
            low, high = 0.0, 0.0
        if not 0 <= low < high:
            raise RequestError(f"interval {text!r} is not LOW:HIGH noise levels, such as 0.3:10")
        return cls(low, high)

    def holds(self, sigma: float) -> bool:
        """True for a noise level from `low` to `high`."""
        return self.low <= sigma <= self.high


class FrameNumber(int):
    """A place in a video counted in its frames, written `36f`; a plain number is seconds."""

    def __str__(self) -> str:
        return f"{int(self)}f"


def parse_time(text: Any) -> Fraction | FrameNumber:
    """Seconds (`1.5`, `1.5s`, `1:02.5`, `3/2`) as Fraction, or a frame number (`36f`)."""
    if isinstance(text, (Fraction, FrameNumber)):
        return text
    shown = str(text).strip()
    if match := re.fullmatch(r"(\d+)f", shown):
        return FrameNumber(match[1])
    if re.fullmatch(r"\d+/[1-9]\d*", shown):
        return Fraction(shown)
    match = re.fullmatch(r"(?:(\d+):)?(?:(\d+):)?(\d+(?:\.\d+)?)s?", shown)
    if not match:
        raise RequestError(f"time {text!r} is not seconds (1.5), h:m:s (0:01:02.5) or frames (36f)")
    first, second, seconds = match.groups()
    hours, minutes = (int(first), int(second)) if second else (0, int(first or 0))
    return Fraction(seconds) + 60 * minutes + 3600 * hours


def parse_rate(text: Any) -> Fraction:
    """Frames per second: `25`, `29.97`, `30000/1001`."""
    try:
        rate = Fraction(str(text))
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise RequestError(f"frame rate {text!r} is not frames per second, such as 30000/1001")
    return rate


def parse_bytes(text: Any) -> int:
    """`8GiB`, `8GB`, `800MiB` or a number of bytes."""
    units = {"": 1, "b": 1}
    for power, letter in enumerate("kmgt", start=1):
        units[f"{letter}ib"] = 1024**power
        units[f"{letter}b"] = units[letter] = 1000**power
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", str(text).strip().lower())
    if not match or match[2] not in units:
        raise RequestError(f"memory {text!r} is not an amount such as 8GiB")
    return int(float(match[1]) * units[match[2]])


class Lora(NamedTuple):
    """A file of adapters, and how strongly they are added."""

    path: Path
    weight: float = 1.0

    def __str__(self) -> str:
        return f"{self.path}:{self.weight:g}"

    @classmethod
    def parse(cls, text: Any) -> Lora:
        """`FILE` or `FILE:WEIGHT`, or the two. Raises RequestError."""
        if isinstance(text, (tuple, list)) and len(text) == 2:
            path, weight = text
        else:
            match = re.fullmatch(r"(.+?)(?::([-+.\deE]+))?", str(text), re.DOTALL)
            path, weight = (match[1], match[2] or 1.0) if match else ("", 1.0)
        try:
            number = float(weight)
        except (TypeError, ValueError):
            number = math.nan
        if not str(path) or not abs(number) <= 10:
            raise RequestError(
                f"lora {text!r} is not FILE or FILE:WEIGHT with a weight from -10 to 10"
            )
        return cls(Path(path), number)

    @classmethod
    def parse_all(cls, values: Any) -> tuple[Lora, ...]:
        """One or several. Raises RequestError."""
        one = isinstance(values, (str, Path, Lora))
        return tuple(cls.parse(value) for value in ([values] if one else values))
