"""People followed through a clip by motion, face and clothes; the main one comes first.

Legend: F frames, P people. Everything here works on keypoints and a few colours; the pictures are
gone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pose.appearance import CLOTHES, colour_cost, remembered
from pose.errors import PoseError
from pose.exchanges import Sights, put_right
from pose.layout import LEFT_HIP, LEFT_SHOULDER, NECK, NOSE, POINTS, RIGHT_HIP, RIGHT_SHOULDER, SEEN
from pose.likeness import SURE, Person, box, covers, likeness, prominence

# Joints whose mean is a person's middle, as far as they are seen: what moves is the trunk.
_TRUNK = [NOSE, NECK, RIGHT_SHOULDER, LEFT_SHOULDER, RIGHT_HIP, LEFT_HIP]
# Seconds over which a velocity is learnt, and in which it is forgotten out of sight.
_STEADINESS, _FORGETTING = 0.2, 0.5
Floats = NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class TrackingOptions:
    """Limits within which two poses are the same person."""

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
    patience: float = 1.0
    """Seconds for which somebody who is not detected is looked for where they should be."""

    def __post_init__(self) -> None:
        if not 0 < self.similarity < 1:
            raise PoseError(f"similarity must lie between 0 and 1; got {self.similarity}")
        if min(self.widening, self.reach, self.patience) < 0 or self.glimpse < 1:
            raise PoseError("widening, reach, patience must be 0 or more, glimpse at least 1")


@dataclass(kw_only=True, eq=False)
class _Track:
    """One person followed without losing sight."""

    shot: int
    frames: list[int]
    slots: list[int]
    """Number of the person among each frame's people."""
    points: NDArray[np.float32]
    scores: NDArray[np.float32]
    time: float
    """Seconds of the latest sight, with the points and scores of then."""
    first_seen: float
    first_box: NDArray[np.float32]
    first_colours: Floats
    colours: Floats
    """(3,3) mean RGB of trunk, arms and thighs; NaN where they were not seen."""
    velocity: Floats = field(default_factory=lambda: np.zeros(2))
    """Pixels a second of the middle."""
    prominence: float = 0.0

    def predicted(self, time: float) -> Person:
        """The person as expected at `time`: moved on, ever more slowly while out of sight."""
        ahead = max(0.0, time - self.time)
        travel = self.velocity * _FORGETTING * (1 - math.exp(-ahead / _FORGETTING))
        return (self.points + travel).astype(np.float32), self.scores

    def see(self, points: NDArray[np.float32], scores: NDArray[np.float32], time: float) -> None:
        """Learn the motion from a further sight."""
        elapsed = time - self.time
        both = (scores[_TRUNK] >= SEEN) & (self.scores[_TRUNK] >= SEEN)
        if elapsed > 0 and both.any():
            moved = (points[_TRUNK][both] - self.points[_TRUNK][both]).mean(axis=0)
            share = 1 - math.exp(-elapsed / _STEADINESS)
            self.velocity = (1 - share) * self.velocity + share * moved / elapsed
        self.points, self.scores, self.time = points, scores, time


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


@dataclass(frozen=True, kw_only=True, eq=False)
class _Look:
    """One frame's people as they came in."""

    shot: int
    time: float
    points: NDArray[np.float32]
    """(P,134,2)."""
    scores: NDArray[np.float32]
    """(P,134)."""
    colours: Floats
    """(P,3,3) of their clothes; NaN where unseen."""
    clear: NDArray[np.bool_]
    """(P,): nobody else is in front or behind."""
    prominence: Floats
    """(P,)."""


class Tracker:
    """Follows the people of a clip, frame by frame; `assemble` then says who was who.

    Args:
        canvas: (width, height) of the frames.
        options: see `TrackingOptions`.
    """

    def __init__(self, canvas: tuple[int, int], options: TrackingOptions | None = None) -> None:
        self._canvas = canvas
        self._options = options or TrackingOptions()
        self._looks: list[_Look] = []
        self._tracks: list[_Track] = []
        self._open: list[_Track] = []
        self._shot = 0

    def new_shot(self) -> None:
        """Forget who was where: the next frame starts another shot."""
        self._shot += 1
        self._open = []

    def missing(
        self,
        points: NDArray[np.float32],
        scores: NDArray[np.float32],
        *,
        time: float,
        colours: Floats | None = None,
    ) -> list[Person]:
        """People who should be in the frame by their motion, but are not among those found."""
        recent = self._recent(time)
        if not recent:
            return []
        matched = {id(track) for track in self._assign(points, scores, colours, time).values()}
        lost = [track.predicted(time) for track in recent if id(track) not in matched]
        return [person for person in lost if self._within(person)]

    def is_same(self, person: Person, expected: Person) -> bool:
        """True where `person` is the one who was `expected`."""
        return likeness(person, expected, slack=2.0) >= self._options.similarity

    def update(
        self,
        points: NDArray[np.float32],
        scores: NDArray[np.float32],
        *,
        time: float,
        colours: Floats | None = None,
    ) -> None:
        """Add a frame's people, points (P,134,2) and scores (P,134), seen at `time` seconds.

        `colours` (P,3,3) are those of their clothes (see `clothes`).
        """
        frame = len(self._looks)
        followers = self._assign(points, scores, colours, time)
        lost = [track for track in self._recent(time) if track not in followers.values()]
        if colours is None:
            colours = np.full((len(points), len(CLOTHES), 3), np.nan)
        slots = range(len(points))
        clear = [not self._hidden(slot, points, scores, lost, time) for slot in slots]
        shares = [prominence(points[slot], scores[slot], self._canvas) for slot in slots]
        look = _Look(
            shot=self._shot,
            time=time,
            points=points,
            scores=scores,
            colours=colours,
            clear=np.array(clear, bool),
            prominence=np.array(shares, float),
        )
        self._looks.append(look)
        for slot in slots:
            worn = colours[slot]
            track = followers.get(slot)
            if track is None:
                track = self._begin(points[slot], scores[slot], time, worn)
            track.frames.append(frame)
            track.slots.append(slot)
            track.see(points[slot], scores[slot], time)
            if np.isnan(track.colours).all() or clear[slot]:
                track.colours = remembered(track.colours, worn)
            track.prominence += shares[slot]

    def assemble(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(F,P,134,2) points and (F,P,134) scores of the whole clip; the main person is the first.

        A person who is not in a frame has score 0 there. Across a cut, where nothing but the
        picture could tell who is who, the most prominent stays the first, and so on.
        """
        shots = [self._slots(shot) for shot in range(self._shot + 1)]
        people = max((slots.shape[1] for slots in shots), default=0)
        padded = [
            np.pad(slots, ((0, 0), (0, people - slots.shape[1])), constant_values=-1)
            for slots in shots
        ]
        slots = np.concatenate(padded)
        shares = np.zeros(people)
        points = np.zeros((len(slots), people, POINTS, 2), np.float32)
        scores = np.zeros((len(slots), people, POINTS), np.float32)
        for frame, person in zip(*np.nonzero(slots >= 0), strict=True):
            look, slot = self._looks[frame], slots[frame, person]
            points[frame, person], scores[frame, person] = look.points[slot], look.scores[slot]
            shares[person] += look.prominence[slot]
        order = np.argsort(-shares, kind="stable")
        return points[:, order], scores[:, order]

    def _slots(self, shot: int) -> NDArray[np.intp]:
        """(F,P) number of each person among the people of the shot's frames, -1 where absent.

        The most prominent person is the first.
        """
        looks = [look for look in self._looks if look.shot == shot]
        first = next((k for k, look in enumerate(self._looks) if look.shot == shot), 0)
        individuals = self._individuals(shot)
        slots = np.full((len(looks), len(individuals)), -1, np.intp)
        for person, individual in enumerate(individuals):
            for track in individual.tracks:
                slots[np.array(track.frames) - first, person] = track.slots
        if slots.shape[1] > 1:
            slots = np.take_along_axis(slots, put_right(_sights(looks, slots)), axis=1)
        shares = np.zeros(slots.shape[1])
        for look, row in zip(looks, slots, strict=True):
            shares[row >= 0] += look.prominence[row[row >= 0]]
        return slots[:, np.argsort(-shares, kind="stable")]

    def _recent(self, time: float) -> list[_Track]:
        """Tracks whose people may still be near to where they should be."""
        return [track for track in self._open if time - track.time <= self._options.patience]

    def _hidden(
        self,
        slot: int,
        points: NDArray[np.float32],
        scores: NDArray[np.float32],
        lost: list[_Track],
        time: float,
    ) -> bool:
        """True where somebody else, found or expected, is in front of or behind a person.

        The colours on the way of this one's limbs may be the other's then.
        """
        person = points[slot], scores[slot]
        others = [(points[k], scores[k]) for k in range(len(points)) if k != slot]
        others += [track.predicted(time) for track in lost]
        return any(covers(person, other) for other in others)

    def _within(self, person: Person) -> bool:
        """True where a person's middle lies in the picture."""
        x, y = person[0][_TRUNK].mean(axis=0)
        return bool(0 <= x <= self._canvas[0] and 0 <= y <= self._canvas[1])

    def _assign(
        self,
        points: NDArray[np.float32],
        scores: NDArray[np.float32],
        colours: Floats | None,
        time: float,
    ) -> dict[int, _Track]:
        """The open track of each slot that has one: the likeliest assignment (Hungarian).

        Costs are logarithms. Summed as they are, similarities would give one person a perfect
        match at the price of a hopeless one for the other, where two people move side by side.
        Somebody out of sight may be further away, but is less likely at any one point: what widens
        the similarity is charged for in two dimensions.
        """
        similar = np.zeros((len(self._open), len(points)))
        cost = np.zeros_like(similar)
        hopeless = self._options.similarity / 2
        for row, track in enumerate(self._open):
            slack = 1 + self._options.widening * max(0.0, time - track.time)
            expected = track.predicted(time)
            for slot in range(len(points)):
                person = points[slot], scores[slot]
                alike = likeness(expected, person, slack=slack)
                if alike < SURE:  # perhaps the motion was misjudged
                    alike = max(alike, likeness((track.points, track.scores), person, slack=slack))
                similar[row, slot] = alike
                cost[row, slot] = -math.log(max(similar[row, slot], hopeless)) + 2 * math.log(slack)
                if colours is not None:
                    cost[row, slot] += colour_cost(track.colours, colours[slot])
        rows, slots = linear_sum_assignment(cost)
        return {
            int(slot): self._open[row]
            for row, slot in zip(rows, slots, strict=True)
            if similar[row, slot] >= self._options.similarity
        }

    def _begin(
        self,
        points: NDArray[np.float32],
        scores: NDArray[np.float32],
        time: float,
        colours: Floats,
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
            first_colours=colours,
            colours=colours,
        )
        self._tracks.append(track)
        self._open.append(track)
        return track

    def _individuals(self, shot: int) -> list[_Individual]:
        """A shot's people, the most prominent first: tracks joined over the time out of sight."""
        people: list[_Individual] = []
        for track in (track for track in self._tracks if track.shot == shot):
            lost = [ended for ended in people if ended.tracks[-1].frames[-1] < track.frames[0]]
            distances = [self._distance(ended.tracks[-1], track) for ended in lost]
            nearest = int(np.argmin(distances)) if distances else 0
            if distances and distances[nearest] <= 1:
                lost[nearest].tracks.append(track)
            else:
                people.append(_Individual(tracks=[track]))
        longest = max((individual.seen for individual in people), default=0)
        lasting = [
            individual
            for individual in people
            if individual.seen >= self._options.glimpse or 10 * individual.seen > longest
        ]
        return sorted(lasting, key=lambda individual: -individual.prominence)

    def _distance(self, before: _Track, after: _Track) -> float:
        """Way that a lost person would have come, as a part of what is possible.

        Other clothes count as way too. What is seen for a glimpse only may not have come far:
        somebody who leaves does not turn into a shadow elsewhere.
        """
        old, new = box(*before.predicted(after.first_seen)), after.first_box
        size = max(np.ptp(old.reshape(2, 2), axis=0).max(), 1e-6)
        moved = math.dist((old[:2] + old[2:]) / 2, (new[:2] + new[2:]) / 2) / size
        glimpse = len(after.frames) < self._options.glimpse <= len(before.frames)
        elapsed = 0.0 if glimpse else max(0.0, after.first_seen - before.time)
        allowed = 0.5 + self._options.reach * elapsed
        return moved / allowed + colour_cost(before.colours, after.first_colours) / 2


def _sights(looks: list[_Look], slots: NDArray[np.intp]) -> Sights:
    """A shot as it was followed, for `put_right`."""
    count, people = slots.shape
    middles, sizes = np.full((count, people, 2), np.nan), np.full((count, people), np.nan)
    colours = np.full((count, people, len(CLOTHES), 3), np.nan)
    clear = np.zeros((count, people), bool)
    for frame, person in zip(*np.nonzero(slots >= 0), strict=True):
        look, slot = looks[frame], slots[frame, person]
        seen = look.scores[slot, _TRUNK] >= SEEN
        around = box(look.points[slot], look.scores[slot])
        middles[frame, person] = (
            look.points[slot, _TRUNK][seen].mean(axis=0)
            if seen.any()
            else (around[:2] + around[2:]) / 2
        )
        sizes[frame, person] = (around[2:] - around[:2]).max()
        colours[frame, person], clear[frame, person] = look.colours[slot], look.clear[slot]
    times = np.array([look.time for look in looks])
    return Sights(times=times, middles=middles, sizes=sizes, colours=colours, clear=clear)
