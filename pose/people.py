"""Who is who: people followed through a clip, the main one first, and how a user names one.

Legend: F frames, P people. Everything here works on keypoints; the pictures are gone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pose.errors import PoseError
from pose.layout import BODY, POINTS, SEEN
from pose.sequence import PoseSequence

# Falloff of each body joint in object keypoint similarity: COCO's published constants (how far
# annotators differ), in the order of the layout; the neck has its shoulders'.
_SIGMAS = np.array(
    [
        0.026, 0.079, 0.079, 0.072, 0.062, 0.079, 0.072, 0.062, 0.107, 0.087, 0.089,
        0.107, 0.087, 0.089, 0.025, 0.025, 0.035, 0.035,
    ]
)  # fmt: skip
# COCO measures an object's size as its outlined area, about this part of its box.
_OUTLINE = 0.53


@dataclass(frozen=True, kw_only=True)
class TrackingOptions:
    """When two poses are the same person."""

    similarity: float = 0.05
    """Lowest keypoint similarity from one frame to the next, in [0,1]. Low, since people dance:
    what decides between two people is which one is the more similar."""
    widening: float = 4.0
    """A person unseen for a second may have moved this many times further than in a frame."""
    reach: float = 2.0
    """A person lost and seen again within the same shot may have moved by this many of their own
    sizes a second, and half of one at once."""
    glimpse: int = 3
    """A person seen in fewer frames of a shot than this is dropped where somebody else is seen ten
    times as long: a shadow or a poster."""

    def __post_init__(self) -> None:
        if not 0 < self.similarity < 1:
            raise PoseError(f"similarity must lie between 0 and 1; got {self.similarity}")
        if self.widening < 0 or self.reach < 0 or self.glimpse < 1:
            raise PoseError("widening and reach must not be negative, glimpse at least 1")


@dataclass(kw_only=True)
class _Track:
    """One person followed without losing sight."""

    shot: int
    frames: list[int]
    slots: list[int]
    """Which of the frame's people it was."""
    points: NDArray[np.float32]
    scores: NDArray[np.float32]
    time: float
    """When last seen, in seconds, with the points and scores of then."""
    first_seen: float
    first_box: NDArray[np.float32]
    prominence: float = 0.0


@dataclass(kw_only=True)
class _Individual:
    """Tracks of one shot that are the same person."""

    tracks: list[_Track] = field(default_factory=list)

    @property
    def prominence(self) -> float:
        return sum(track.prominence for track in self.tracks)

    @property
    def seen(self) -> int:
        return sum(len(track.frames) for track in self.tracks)


class Tracker:
    """Follows the people of a clip, frame by frame; `assemble` then says who was who.

    Args:
        canvas: (width, height) of the frames.
        options: see `TrackingOptions`.
    """

    def __init__(self, canvas: tuple[int, int], options: TrackingOptions | None = None) -> None:
        self._canvas = canvas
        self._options = options or TrackingOptions()
        self._frames: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
        self._tracks: list[_Track] = []
        self._open: list[_Track] = []
        self._shot = 0

    def update(
        self,
        points: NDArray[np.float32],
        scores: NDArray[np.float32],
        *,
        time: float,
        new_shot: bool = False,
    ) -> None:
        """Add a frame's people, points (P,134,2) and scores (P,134), seen at `time` seconds."""
        if new_shot:
            self._shot += 1
            self._open = []
        frame = len(self._frames)
        self._frames.append((points, scores))
        followers = self._assign(points, scores, time)
        for slot in range(len(points)):
            track = followers.get(slot)
            if track is None:
                track = self._begin(points[slot], scores[slot], time)
            track.frames.append(frame)
            track.slots.append(slot)
            track.points, track.scores, track.time = points[slot], scores[slot], time
            track.prominence += prominence(points[slot], scores[slot], self._canvas)

    def assemble(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(F,P,134,2) points and (F,P,134) scores of the whole clip; the main person is the first.

        A person who is not in a frame has score 0 there. Across a cut, where nothing but the
        picture could tell who is who, the most prominent stays the first, and so on.
        """
        people: list[list[_Track]] = []
        for shot in range(self._shot + 1):
            for rank, individual in enumerate(self._individuals(shot)):
                if rank == len(people):
                    people.append([])
                people[rank] += individual.tracks
        people.sort(key=lambda tracks: -sum(track.prominence for track in tracks))
        points = np.zeros((len(self._frames), len(people), POINTS, 2), np.float32)
        scores = np.zeros((len(self._frames), len(people), POINTS), np.float32)
        for person, tracks in enumerate(people):
            for track in tracks:
                for frame, slot in zip(track.frames, track.slots, strict=True):
                    points[frame, person] = self._frames[frame][0][slot]
                    scores[frame, person] = self._frames[frame][1][slot]
        return points, scores

    def _assign(
        self, points: NDArray[np.float32], scores: NDArray[np.float32], time: float
    ) -> dict[int, _Track]:
        """The open track of each slot that has one: the likeliest assignment (Hungarian).

        Costs are logarithms. Summed as they are, similarities would give one person a perfect
        match at the price of a hopeless one for the other, where two people move side by side.
        """
        similar = np.zeros((len(self._open), len(points)))
        for row, track in enumerate(self._open):
            slack = 1 + self._options.widening * max(0.0, time - track.time)
            for slot in range(len(points)):
                similar[row, slot] = similarity(
                    (track.points, track.scores), (points[slot], scores[slot]), slack=slack
                )
        hopeless = self._options.similarity / 2
        rows, slots = linear_sum_assignment(-np.log(np.maximum(similar, hopeless)))
        return {
            int(slot): self._open[row]
            for row, slot in zip(rows, slots, strict=True)
            if similar[row, slot] >= self._options.similarity
        }

    def _begin(
        self, points: NDArray[np.float32], scores: NDArray[np.float32], time: float
    ) -> _Track:
        track = _Track(
            shot=self._shot,
            frames=[],
            slots=[],
            points=points,
            scores=scores,
            time=time,
            first_seen=time,
            first_box=box(points, scores),
        )
        self._tracks.append(track)
        self._open.append(track)
        return track

    def _individuals(self, shot: int) -> list[_Individual]:
        """A shot's people, the most prominent first: tracks joined over the time out of sight."""
        found: list[_Individual] = []
        for track in (track for track in self._tracks if track.shot == shot):
            lost = [one for one in found if one.tracks[-1].frames[-1] < track.frames[0]]
            near = [(self._distance(one.tracks[-1], track), one) for one in lost]
            reachable = [pair for pair in near if pair[0] <= 1]
            if reachable:
                min(reachable, key=lambda pair: pair[0])[1].tracks.append(track)
            else:
                found.append(_Individual(tracks=[track]))
        longest = max((one.seen for one in found), default=0)
        kept = [
            one for one in found if one.seen >= self._options.glimpse or 10 * one.seen > longest
        ]
        return sorted(kept, key=lambda one: -one.prominence)

    def _distance(self, before: _Track, after: _Track) -> float:
        """How far a lost person would have come, as a part of what is possible."""
        one, other = box(before.points, before.scores), after.first_box
        size = max(np.ptp(one.reshape(2, 2), axis=0).max(), 1e-6)
        moved = math.dist((one[:2] + one[2:]) / 2, (other[:2] + other[2:]) / 2) / size
        allowed = 0.5 + self._options.reach * max(0.0, after.first_seen - before.time)
        return moved / allowed


def similarity(
    one: tuple[NDArray[np.float32], NDArray[np.float32]],
    other: tuple[NDArray[np.float32], NDArray[np.float32]],
    *,
    slack: float = 1.0,
) -> float:
    """Object keypoint similarity in [0,1] of two people's (points (134,2), scores (134,)).

    Source: the COCO keypoint challenge. Only body joints that are seen in both count; without
    any it is 0. `slack` widens what counts as near.
    """
    both = (one[1][BODY] >= SEEN) & (other[1][BODY] >= SEEN)
    if not both.any():
        return 0.0
    size = max(_extent(*one), _extent(*other)) * slack
    apart = ((one[0][BODY][both] - other[0][BODY][both]) ** 2).sum(axis=1)
    width = (2 * _SIGMAS[both] * size) ** 2
    return float(np.exp(-apart / (2 * np.maximum(width, 1e-6))).mean())


def box(points: NDArray[np.float32], scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """(4,) left, top, right, bottom of a person's seen points (134,2), in pixels.

    Of all points with a score where none is seen well, zeros where there is none.
    """
    for lowest in (SEEN, np.finfo(np.float32).tiny):
        seen = points[scores >= lowest]
        if len(seen) > 1:
            return np.concatenate([seen.min(axis=0), seen.max(axis=0)])
    return np.zeros(4, np.float32)


def prominence(
    points: NDArray[np.float32], scores: NDArray[np.float32], canvas: tuple[int, int]
) -> float:
    """How much of one frame a person is: large, central and surely seen. In [0,1]."""
    around = box(points, scores)
    width, height = around[2:] - around[:2]
    size = math.sqrt(float(width * height) / (canvas[0] * canvas[1]))
    middle = (around[:2] + around[2:]) / 2
    aside = abs(float(middle[0]) / canvas[0] - 0.5) * 2
    return min(size, 1.0) * (1 - min(aside, 1.0) / 2) * float(scores[BODY].mean())


def _extent(points: NDArray[np.float32], scores: NDArray[np.float32]) -> float:
    left, top, right, bottom = box(points, scores)
    return math.sqrt(_OUTLINE * float(right - left) * float(bottom - top))


@dataclass(frozen=True, kw_only=True)
class PersonSummary:
    """One person of a sequence, as a preview names them."""

    index: int
    """The person's number, from 0; 0 is the main person."""
    frames: int
    """Frames in which the person can be seen."""
    box: tuple[float, float, float, float]
    """Median left, top, right, bottom in pixels over these frames."""
    place: str
    """"left", "middle" or "right" of the picture, as one sees it; "alone" where nobody else is."""

    @property
    def name(self) -> str:
        """What a preview writes beside the person."""
        return f"{self.index} main" if self.index == 0 else f"{self.index} {self.place}"


def summaries(sequence: PoseSequence) -> tuple[PersonSummary, ...]:
    """Everybody in `sequence`, in its order."""
    boxes = []
    for person in range(sequence.people):
        seen = np.flatnonzero(sequence.present[:, person])
        each = [box(sequence.points[i, person], sequence.scores[i, person]) for i in seen]
        boxes.append(np.median(each, axis=0) if each else np.zeros(4))
    centres = [(float(around[0] + around[2])) / 2 for around in boxes]
    return tuple(
        PersonSummary(
            index=person,
            frames=int(sequence.present[:, person].sum()),
            box=(float(b[0]), float(b[1]), float(b[2]), float(b[3])),
            place=_place(person, centres),
        )
        for person, b in enumerate(boxes)
    )


def _place(person: int, centres: Sequence[float]) -> str:
    if len(centres) == 1:
        return "alone"
    order = sorted(range(len(centres)), key=lambda index: (centres[index], index))
    if person == order[0]:
        return "left"
    return "right" if person == order[-1] else "middle"


def choose_person(sequence: PoseSequence, choice: str | int = "main") -> int:
    """The index of the person that `choice` names.

    Args:
        sequence: the main person first, as `pose.extract` gives it.
        choice: "main", "left" or "right" (of the picture, over the whole clip), or a number.

    Raises PoseError where nobody is there, or no such person.
    """
    if sequence.people == 0:
        raise PoseError("these poses hold nobody; choose a video in which a person can be seen")
    text = str(choice).strip().lower()
    if text == "main":
        return 0
    if text in ("left", "right"):
        places = [summary.place for summary in summaries(sequence)]
        return places.index(text) if text in places else 0
    if not text.isdecimal():
        raise PoseError(f"unknown person {choice!r}; choose main, left, right or a number")
    if int(text) >= sequence.people:
        last = sequence.people - 1
        have = f"people are numbered 0 to {last}" if last else "the only one is number 0"
        raise PoseError(f"there is no person {text}; {have}")
    return int(text)
