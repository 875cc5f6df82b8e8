"""Corrections by hand: small values that are listed, taken back and replayed over a sequence.

An edit names frames from `first` to `last`, both included, and one person. A `Draft` holds the
sequence that it began with beside the corrected one, so nothing that was estimated is lost.

Legend: F frames, P people, 134 points of `pose.layout`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pose.arrays import Array, Indices
from pose.clean import smooth
from pose.errors import PoseError
from pose.layout import BODY, FACE, FEET, LEFT_HAND, MIRROR, POINTS, RIGHT_HAND, SEEN
from pose.sequence import PoseSequence

_FARTHEST = 4.0
"""Canvases that a point may lie away from the picture's corner."""
_MOST_STRENGTH = 2.0
_LONGEST_SMOOTHING = 2.0
Singles = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Edit(ABC):
    """One correction of one person over a range of frames."""

    kind: ClassVar[str]
    """Word by which a list of edits names it."""
    first: int
    """First frame."""
    last: int
    """Last frame, included."""
    person: int = 0
    """The person's number."""

    def check(self, draft: Draft) -> None:
        """Raise PoseError where the draft has no such frames, person or points."""
        if not 0 <= self.first <= self.last < draft.base.frames:
            raise PoseError(
                f"frames {self.first} to {self.last} are not among 0 to {draft.base.frames - 1}"
            )
        draft.check_person(self.person)

    def apply(self, draft: Draft) -> tuple[int, int]:
        """Change the draft; returns the first changed frame and the one after the last."""
        self.change(draft.points, draft.scores, draft)
        return self.first, self.last + 1

    @abstractmethod
    def change(self, points: Singles, scores: Singles, draft: Draft) -> None:
        """Change points (F,P,134,2) and scores (F,P,134) of a draft that the edit fits."""

    @property
    def _range(self) -> tuple[slice, int]:
        return slice(self.first, self.last + 1), self.person


@dataclass(frozen=True, kw_only=True)
class Move(Edit):
    """Points of one frame, moved. One that was not seen is seen from now on."""

    kind = "move"
    points: tuple[tuple[int, float, float], ...]
    """Index, x and y in pixels of the canvas, of every point that was moved."""

    def check(self, draft: Draft) -> None:
        super().check(draft)
        if self.first != self.last:
            raise PoseError("points are moved in one frame; give the same first and last")
        farthest = _FARTHEST * max(draft.base.canvas)
        for point, x, y in self.points:
            _check_point(point)
            if not (abs(x) <= farthest and abs(y) <= farthest):
                raise PoseError(f"point {point} would lie at {x:g}, {y:g}, far off the picture")

    def change(self, points: Singles, scores: Singles, draft: Draft) -> None:
        for point, x, y in self.points:
            points[self.first, self.person, point] = x, y
            if scores[self.first, self.person, point] < SEEN:
                scores[self.first, self.person, point] = 1.0


@dataclass(frozen=True, kw_only=True)
class Erase(Edit):
    """Points that are not seen; all of them where none is named."""

    kind = "erase"
    joints: tuple[int, ...] = ()
    """Points that are erased; none: the person."""

    def check(self, draft: Draft) -> None:
        super().check(draft)
        _check_points(self.joints)

    def change(self, points: Singles, scores: Singles, draft: Draft) -> None:
        scores[self._range][:, list(self.joints) or slice(None)] = 0.0


@dataclass(frozen=True, kw_only=True)
class Hold(Edit):
    """The pose of the first frame, over the others."""

    kind = "hold"

    def change(self, points: Singles, scores: Singles, draft: Draft) -> None:
        points[self._range] = points[self.first, self.person]
        scores[self._range] = scores[self.first, self.person]


@dataclass(frozen=True, kw_only=True)
class SwapSides(Edit):
    """Left and right of the person exchanged."""

    kind = "swap-sides"

    def change(self, points: Singles, scores: Singles, draft: Draft) -> None:
        mirror = np.array(MIRROR)
        points[self._range] = points[self._range][:, mirror]
        scores[self._range] = scores[self._range][:, mirror]


@dataclass(frozen=True, kw_only=True)
class SwapPeople(Edit):
    """Two people who were taken for each other, exchanged."""

    kind = "swap-people"
    with_person: int
    """Number of the second person."""

    def check(self, draft: Draft) -> None:
        super().check(draft)
        draft.check_person(self.with_person)

    def change(self, points: Singles, scores: Singles, draft: Draft) -> None:
        frames, pair = slice(self.first, self.last + 1), [self.person, self.with_person]
        points[frames, pair] = points[frames, pair[::-1]]
        scores[frames, pair] = scores[frames, pair[::-1]]


@dataclass(frozen=True, kw_only=True)
class Tween(Edit):
    """The frames between two that are right: points seen in both lie on the line between them.

    With `motion`, the frames between keep their own motion: the corrections of the first and of the
    last frame are spread over them.
    """

    kind = "tween"
    joints: tuple[int, ...] = ()
    """Points that follow; none: all."""
    motion: bool = False
    """Spread corrections, in place of positions."""

    def check(self, draft: Draft) -> None:
        super().check(draft)
        _check_points(self.joints)
        if self.last - self.first < 2:
            raise PoseError(
                f"nothing lies between frames {self.first} and {self.last}; choose a longer range"
            )

    def change(self, points: Singles, scores: Singles, draft: Draft) -> None:
        person, ends = self.person, [self.first, self.last]
        joints = np.array(self.joints or range(POINTS))
        joints = joints[(scores[ends, person][:, joints] >= SEEN).all(axis=0)]
        inner = np.arange(self.first + 1, self.last)
        rows = inner[:, None]
        share = self._share(inner, draft)
        start, stop = points[ends, person][:, joints].astype(np.float64)
        if self.motion:
            base = draft.base.points[:, person]
            begin, end = start - base[self.first, joints], stop - base[self.last, joints]
            points[rows, person, joints] = base[rows, joints] + _between(begin, end, share)
            unseen = scores[rows, person, joints] < SEEN
            level = np.minimum(*scores[ends, person][:, joints])
            scores[rows, person, joints] = np.where(unseen, level, scores[rows, person, joints])
            return
        points[rows, person, joints] = _between(start, stop, share)
        begin, end = scores[ends, person][:, joints, None].astype(np.float64)
        scores[rows, person, joints] = _between(begin, end, share)[..., 0]

    def _share(self, inner: Indices, draft: Draft) -> Array:
        """(N,1,1): part of the way from the first frame to the last, by time."""
        times = draft.base.times
        duration = times[self.last] - times[self.first]
        if duration <= 0:
            return ((inner - self.first) / (self.last - self.first))[:, None, None]
        return np.asarray((times[inner] - times[self.first]) / duration)[:, None, None]


@dataclass(frozen=True, kw_only=True)
class Smooth(Edit):
    """Motion made calm, with what lies around the range in the same shot as its neighbours."""

    kind = "smooth"
    seconds: float = 0.12
    """Bandwidth; see `pose.clean.CleaningOptions.smoothing`."""

    def check(self, draft: Draft) -> None:
        super().check(draft)
        if not 0 < self.seconds <= _LONGEST_SMOOTHING:
            raise PoseError(
                f"smoothing of {self.seconds:g} s is out of range: above 0 and at most "
                f"{_LONGEST_SMOOTHING:g}"
            )

    def change(self, points: Singles, scores: Singles, draft: Draft) -> None:
        for start, stop in draft.base.shots:
            first, end = max(start, self.first), min(stop, self.last + 1)
            if first >= end:
                continue
            shot, inner = slice(start, stop), slice(first - start, end - start)
            calm, level = smooth(
                points[shot, self.person].astype(np.float64),
                scores[shot, self.person].astype(np.float64),
                draft.base.times[shot],
                self.seconds,
            )
            points[first:end, self.person] = calm[inner]
            scores[first:end, self.person] = level[inner]


@dataclass(frozen=True, kw_only=True)
class Strength(Edit):
    """Weights of body, hands and face: factors on their scores, by which skeletons are drawn."""

    kind = "strength"
    body: float = 1.0
    """Factor for body and feet."""
    hands: float = 1.0
    """Factor for both hands."""
    face: float = 1.0
    """Factor for the face."""

    def check(self, draft: Draft) -> None:
        super().check(draft)
        for name in ("body", "hands", "face"):
            value = getattr(self, name)
            if not 0 <= value <= _MOST_STRENGTH:
                raise PoseError(
                    f"strength {name} {value:g} is out of range: from 0 to {_MOST_STRENGTH:g}"
                )

    def change(self, points: Singles, scores: Singles, draft: Draft) -> None:
        factors = np.ones(POINTS, np.float32)
        for parts, factor in (
            ((BODY, FEET), self.body),
            ((LEFT_HAND, RIGHT_HAND), self.hands),
            ((FACE,), self.face),
        ):
            for part in parts:
                factors[part] = factor
        scores[self._range] = np.clip(scores[self._range] * factors, 0, 1)


KINDS: Mapping[str, type[Edit]] = {
    kind.kind: kind for kind in (Move, Erase, Hold, SwapSides, SwapPeople, Tween, Smooth, Strength)
}
"""Edits by their words."""


class Draft:
    """A sequence and its corrected copy."""

    def __init__(self, base: PoseSequence, edits: Sequence[Edit] = ()) -> None:
        """Raises PoseError for an edit that does not fit."""
        self.base = base
        self.points = base.points.copy()
        """(F,P,134,2) float32, corrected."""
        self.scores = base.scores.copy()
        """(F,P,134) float32, corrected."""
        for edit in edits:
            self.apply(edit)

    def apply(self, edit: Edit) -> tuple[int, int]:
        """Make one more correction; returns the first changed frame and the one after the last.

        Raises PoseError where it does not fit; nothing is changed then.
        """
        edit.check(self)
        return edit.apply(self)

    def check_person(self, person: int) -> None:
        """Raise PoseError where there is no such person."""
        if not 0 <= person < self.base.people:
            raise PoseError(f"there is no person {person}; there are {self.base.people}")

    @property
    def sequence(self) -> PoseSequence:
        """The corrected sequence."""
        return replace(self.base, points=self.points, scores=self.scores)


def edit_from_plain(values: object) -> Edit:
    """The edit of plain JSON values with its `kind`. Raises PoseError for anything else."""
    if not isinstance(values, Mapping) or values.get("kind") not in KINDS:
        kind = values.get("kind") if isinstance(values, Mapping) else values
        raise PoseError(f"{kind!r} is no kind of edit; there are {', '.join(KINDS)}")
    kind = KINDS[values["kind"]]
    known = {item.name: item for item in fields(kind)}
    arguments: dict[str, Any] = {}
    for name, value in values.items():
        if name == "kind":
            continue
        if name not in known:
            raise PoseError(f"an edit of kind {kind.kind} has no {name}")
        arguments[name] = _typed(str(known[name].type), value, name)
    missing = [n for n, item in known.items() if item.default is MISSING and n not in arguments]
    if missing:
        raise PoseError(f"an edit of kind {kind.kind} needs {', '.join(missing)}")
    return kind(**arguments)


def edit_to_plain(edit: Edit) -> dict[str, object]:
    """Plain JSON values of an edit, with its kind."""
    return {"kind": edit.kind, **asdict(edit)}


def _typed(hint: str, value: object, name: str) -> object:
    """A value of one of the types that edits have. Raises PoseError."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint == "int" and number and value == int(value):  # type: ignore[call-overload]
        return int(value)  # type: ignore[call-overload]
    if hint == "float" and number and np.isfinite(value):  # type: ignore[call-overload]
        return float(value)  # type: ignore[arg-type]
    if hint == "bool" and isinstance(value, bool):
        return value
    if hint.startswith("tuple") and isinstance(value, list | tuple):
        if hint == "tuple[int, ...]":
            return tuple(_typed("int", item, name) for item in value)
        return tuple(_moved(item, name) for item in value)
    raise PoseError(f"{name} of an edit cannot be {value!r}")


def _moved(item: object, name: str) -> tuple[object, ...]:
    if not isinstance(item, list | tuple) or len(item) != 3:
        raise PoseError(f"{name} of an edit are lists of an index, x and y, not {item!r}")
    types = ("int", "float", "float")
    return tuple(_typed(hint, value, name) for hint, value in zip(types, item, strict=True))


def _check_points(points: Sequence[int]) -> None:
    for point in points:
        _check_point(point)


def _check_point(point: int) -> None:
    if not 0 <= point < POINTS:
        raise PoseError(f"there is no point {point}; points are numbered 0 to {POINTS - 1}")


def _between(start: Array, stop: Array, share: Array) -> Array:
    return np.asarray(start * (1 - share) + stop * share)
