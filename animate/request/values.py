"""Values that people write in one way and programs use in another: sizes, guidance, times.

Each parser takes text as typed or as read from a file, gives the typed value, and raises
RequestError with an example of what it takes, for any value whatever. `str(value)` is text that
parses back.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import lru_cache
from numbers import Real
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from animate.errors import RequestError
from animate.request.wording import nearest, quoted

_LONGEST = 100
"""Characters of a number, time or amount; a longer text is none."""
_LONGEST_PATH, _LONGEST_PART = 4095, 255
"""Bytes of a path and of a name in it, as Linux allows them."""


def read_path(value: Any, name: str = "path") -> Path:
    """A path from text or a path object; `name` is that of the setting. Raises RequestError."""
    if isinstance(value, Path):
        _check_path(str(value), name)
        return value
    if not isinstance(value, str | PurePath):
        raise RequestError(f"{name} {quoted(value)} is not a path")
    _check_path(str(value), name)
    return _path(str(value))


@lru_cache(maxsize=4096)
def _path(text: str) -> Path:
    # Kept: 100,000 rows of a manifest name the same few inputs.
    return Path(text)


def _check_path(text: str, name: str) -> None:
    if not text:
        raise RequestError(f"{name} is empty; give a path, or leave it out")
    check_text(text, name)
    if len(text) > _LONGEST_PART // 4:  # a character has four bytes at most
        parts = [len(os.fsencode(part)) for part in text.split("/")]
        if max(parts) > _LONGEST_PART or sum(parts) + len(parts) > _LONGEST_PATH:
            raise RequestError(f"{name} {quoted(text)} is longer than file systems allow")


def check_text(text: str, name: str) -> None:
    """Raise RequestError for text that no file system and no library takes."""
    try:
        usable = "\0" not in text and (text.isascii() or os.fsencode(text) is not None)
    except UnicodeEncodeError:
        usable = False
    if not usable:
        raise RequestError(f"{name} {quoted(text)} has a zero byte or half a character in it")


def _written(value: Any) -> str:
    """A number, time or amount as it is written; empty for anything that is none."""
    if isinstance(value, bool) or not isinstance(value, str | Real):
        return ""
    try:
        text = str(value).strip()
    except ValueError:  # Python writes no number of more than 4,300 digits
        return ""
    return text if len(text) <= _LONGEST else ""


def _numbers(value: Any) -> list[float]:
    """The numbers in `A:B`, in a list, or a single one; empty where one of them is none."""
    if isinstance(value, str):
        value = value.split(":") if len(value) <= _LONGEST else ()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        value = (value,)
    if not isinstance(value, tuple | list) or len(value) > 2:
        return []
    try:
        return [float(part) for part in value]
    except (TypeError, ValueError, OverflowError):
        return []


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
            match = re.fullmatch(r"\s{0,9}(\d{1,9})\s{0,9}[xX×]\s{0,9}(\d{1,9})\s{0,9}", text)
            if match:
                return cls(int(match[1]), int(match[2])).checked()
        elif isinstance(text, (tuple, list)) and [type(v) for v in text] == [int, int]:
            return cls(*text).checked()
        raise RequestError(f"size {quoted(text)} is not WIDTHxHEIGHT in pixels, such as 576x1024")

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
        numbers = _numbers(text)
        if len(numbers) not in (1, 2) or not all(0 <= n <= 100 for n in numbers):
            raise RequestError(f"guidance {quoted(text)} is not SCALE or FIRST:LAST, such as 1:3")
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
        numbers = _numbers(text)
        low, high = numbers if len(numbers) == 2 else (0.0, 0.0)
        if not 0 <= low < high:
            raise RequestError(
                f"interval {quoted(text)} is not LOW:HIGH noise levels, such as 0.3:10"
            )
        return cls(low, high)

    def holds(self, sigma: float) -> bool:
        """True for a noise level from `low` to `high`."""
        return self.low <= sigma <= self.high


class Strength(NamedTuple):
    """Strength with which the parts of a skeleton are drawn, from 0 (not at all) to 1."""

    body: float = 1.0
    hands: float = 1.0
    face: float = 1.0

    def __str__(self) -> str:
        pairs = zip(self._fields, self, strict=True)
        return ",".join(f"{part}={number:g}" for part, number in pairs)

    @classmethod
    def parse(cls, value: Any) -> Strength:
        """`body=1,hands=0.8,face=0.6`, a mapping, or three numbers; what is left out is 1.

        Raises RequestError.
        """
        parts: Any = value
        if isinstance(value, str):
            words = [word.partition("=") for word in value.split(",")]
            parts = {name.strip(): number for name, _, number in words}
            parts = parts if len(parts) == len(words) else None  # a part is there twice
        elif isinstance(value, tuple | list) and len(value) == len(cls._fields):
            parts = dict(zip(cls._fields, value, strict=True))
        try:
            numbers = {str(name): float(number) for name, number in parts.items()}
        except (AttributeError, TypeError, ValueError, OverflowError):
            numbers = {}
        known = numbers and set(numbers) <= set(cls._fields)
        if not known or not all(0 <= number <= 1 for number in numbers.values()):
            unknown = sorted(set(numbers) - set(cls._fields))
            raise RequestError(
                f"strength {quoted(value)} is not parts with numbers from 0 to 1, such as "
                f"{cls(1, 0.8, 0.6)}{nearest(unknown[0], cls._fields) if unknown else ''}"
            )
        return cls(**numbers)


class Fill(str):
    """Surroundings of a picture that is shown whole: its `edge`, a `blur`, or a colour."""

    @classmethod
    def parse(cls, value: Any) -> Fill:
        """A word, or a colour by name or as #RRGGBB. Raises RequestError."""
        text = value.strip().lower() if isinstance(value, str) else ""
        if text not in ("edge", "blur"):
            try:
                cls(text).colour()
            except ValueError:
                from PIL import ImageColor

                known = ("edge", "blur", *ImageColor.colormap)
                raise RequestError(
                    f"fill {quoted(value)} is not edge, blur or a colour such as white or #18181c"
                    f"{nearest(text, known)}"
                ) from None
        return cls(text)

    def colour(self) -> tuple[int, int, int]:
        """(R,G,B) of a colour. Raises ValueError for a word."""
        from PIL import ImageColor

        red, green, blue = ImageColor.getrgb(self)[:3]
        return red, green, blue


class FrameNumber(int):
    """A position in a video counted in its frames, written `36f`; a plain number is seconds."""

    def __str__(self) -> str:
        return f"{int(self)}f"


def parse_time(value: Any) -> Fraction | FrameNumber:
    """Seconds (`1.5`, `1.5s`, `1:02.5`, `3/2`) as Fraction, or a frame number (`36f`)."""
    if isinstance(value, (Fraction, FrameNumber)):
        return value
    text = _written(value)
    if match := re.fullmatch(r"(\d+)f", text):
        return FrameNumber(match[1])
    if re.fullmatch(r"\d+/[1-9]\d*", text):
        return Fraction(text)
    match = re.fullmatch(r"(?:(\d+):)?(?:(\d+):)?(\d+(?:\.\d+)?)s?", text)
    if not match:
        raise RequestError(
            f"time {quoted(value)} is not seconds (1.5), h:m:s (0:01:02.5) or frames (36f)"
        )
    first, second, seconds = match.groups()
    hours, minutes = (int(first), int(second)) if second else (0, int(first or 0))
    return Fraction(seconds) + 60 * minutes + 3600 * hours


def parse_rate(value: Any, name: str = "frame rate") -> Fraction:
    """Frames per second: `25`, `29.97`, `30000/1001`. Raises RequestError that names `name`."""
    text = _written(value)
    valid = re.fullmatch(r"\d+(\.\d*)?|\.\d+|\d+/[1-9]\d*", text)
    rate = Fraction(text) if valid else Fraction(0)
    if not 0 < rate <= 1000:
        raise RequestError(f"{name} {quoted(value)} is not frames per second, such as 30000/1001")
    return rate


def parse_bytes(value: Any) -> int:
    """`8GiB`, `8GB`, `800MiB` or a number of bytes."""
    units = {"": 1, "b": 1}
    for power, letter in enumerate("kmgt", start=1):
        units[f"{letter}ib"] = 1024**power
        units[f"{letter}b"] = units[letter] = 1000**power
    match = re.fullmatch(r"(\d{1,20}(?:\.\d+)?)\s*([a-z]*)", _written(value).lower())
    if not match or match[2] not in units:
        raise RequestError(f"memory {quoted(value)} is not an amount such as 8GiB")
    return int(Fraction(match[1]) * units[match[2]])


class Lora(NamedTuple):
    """A file of adapters, and how strongly they are added."""

    path: Path
    weight: float = 1.0

    def __str__(self) -> str:
        return f"{self.path}:{self.weight:g}"

    @classmethod
    def parse(cls, value: Any) -> Lora:
        """`FILE` or `FILE:WEIGHT`, or the two. Raises RequestError."""
        path: Any = value
        weight: Any = 1.0
        if isinstance(value, (tuple, list)) and len(value) == 2:
            path, weight = value
        elif isinstance(value, str) and (match := re.fullmatch(r"(.+):([-+.\deE]{1,20})", value)):
            path, weight = match.groups()
        try:
            number = float(weight)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not isinstance(path, str | PurePath) or not str(path) or not abs(number) <= 10:
            raise RequestError(
                f"lora {quoted(value)} is not FILE or FILE:WEIGHT with a weight from -10 to 10"
            )
        return cls(read_path(path, "lora"), number)

    @classmethod
    def parse_all(cls, values: Any) -> tuple[Lora, ...]:
        """One or several. Raises RequestError."""
        if isinstance(values, Lora) or not isinstance(values, (tuple, list)):
            return (cls.parse(values),)
        return tuple(cls.parse(value) for value in values)

    def paths(self) -> Iterator[Path]:
        """The file."""
        yield self.path

    def with_paths(self, change: Callable[[Path], Path]) -> Lora:
        """The same with its file changed."""
        return self._replace(path=change(self.path))


class Signing(NamedTuple):
    """PEM files of a certificate chain, the signer's own first, and of its private key."""

    chain: Path
    key: Path

    def __str__(self) -> str:
        return f"{self.chain}:{self.key}"

    @classmethod
    def parse(cls, value: Any) -> Signing:
        """`CERT:KEY`, or the two paths. Raises RequestError."""
        parts: Any = value
        if isinstance(value, str):
            chain, _, key = value.rpartition(":")
            parts = (chain, key) if chain and key else ()
        if not isinstance(parts, (tuple, list)) or len(parts) != 2:
            raise RequestError(f"sign {quoted(value)} is not CERT:KEY, two PEM files")
        return cls(*(read_path(part, "sign") for part in parts))

    def paths(self) -> Iterator[Path]:
        """Both files."""
        yield from self

    def with_paths(self, change: Callable[[Path], Path]) -> Signing:
        """The same with its files changed."""
        return Signing(*map(change, self))


class ModelName(str):
    """The name of a model variant or, where it has a slash in it, the path of a model folder."""

    @classmethod
    def parse(cls, value: Any) -> ModelName:
        """Text, or the path of a folder. Raises RequestError."""
        path = read_path(value, "model")
        if isinstance(value, str):
            return cls(value)
        return cls(path if "/" in str(path) else f"./{path}")

    def paths(self) -> Iterator[Path]:
        """The folder, where it is one."""
        if "/" in self:
            yield Path(self)

    def with_paths(self, change: Callable[[Path], Path]) -> ModelName:
        """The same with its folder changed."""
        return ModelName(change(Path(self))) if "/" in self else self
