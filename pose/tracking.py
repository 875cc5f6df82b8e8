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

from pose.errors import PoseError
from pose.layout import (
    BODY,
    FACE,
    LEFT_ELBOW,
    LEFT_HIP,
    LEFT_KNEE,
    LEFT_SHOULDER,
    NECK,
    NOSE,
    POINTS,
    RIGHT_ELBOW,
    RIGHT_HIP,
    RIGHT_KNEE,
    RIGHT_SHOULDER,
    SEEN,
)

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
# Falloff of the mean distance of two faces' points, in sizes of the face.
_FACE_SPREAD = 0.35
# Two poses of a frame are one person where their faces or bodies are nearer than this.
_ONE_FACE, _ONE_BODY = 0.25, 0.5
# Nothing else is asked about people who are this similar.
_SURE = 0.8
# Joints whose mean is a person's middle, as far as they are seen: what moves is the trunk.
_TRUNK = [NOSE, NECK, RIGHT_SHOULDER, LEFT_SHOULDER, RIGHT_HIP, LEFT_HIP]
# Seconds over which a velocity is learnt, and in which it is forgotten out of sight.
_STEADINESS, _FORGETTING = 0.2, 0.5
# Levels of 255 by which the clothes of one person may look different from frame to frame; what they
# say is bounded, since whoever passes in front has other ones.
_COLOUR_SPREAD = 25.0
_MOST_COLOUR_COST = 1.0
# Share of a new look at the clothes in what is remembered of them.
_LEARNING = 0.1
# Parts of the clothes as rows of joints; each is looked at along the line between them.
_CLOTHES = (
    ((RIGHT_SHOULDER, LEFT_HIP), (LEFT_SHOULDER, RIGHT_HIP)),
    ((RIGHT_SHOULDER, RIGHT_ELBOW), (LEFT_SHOULDER, LEFT_ELBOW)),
    ((RIGHT_HIP, RIGHT_KNEE), (LEFT_HIP, LEFT_KNEE)),
)
_ALONG = np.linspace(0.2, 0.8, 5)[:, None]

Floats = NDArray[np.floating]
Person = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Points (134,2) and scores (134,) of one person in one frame."""


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


@dataclass(kw_only=True)
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


class Tracker:
    """Follows the people of a clip, frame by frame; `assemble` then says who was who.

    Args:
        canvas: (width, height) of the frames.
        options: see `TrackingOptions`.
    """

    def __init__(self, canvas: tuple[int, int], options: TrackingOptions | None = None) -> None:
        self._canvas = canvas
        self._options = options or TrackingOptions()
        self._frames: list[Person] = []
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
        recent = [track for track in self._open if time - track.time <= self._options.patience]
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
        frame = len(self._frames)
        self._frames.append((points, scores))
        followers = self._assign(points, scores, colours, time)
        for slot in range(len(points)):
            worn = np.full((len(_CLOTHES), 3), np.nan) if colours is None else colours[slot]
            track = followers.get(slot)
            if track is None:
                track = self._begin(points[slot], scores[slot], time, worn)
            track.frames.append(frame)
            track.slots.append(slot)
            track.see(points[slot], scores[slot], time)
            track.colours = _remembered(track.colours, worn)
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
                if alike < _SURE:  # perhaps the motion was misjudged
                    alike = max(alike, likeness((track.points, track.scores), person, slack=slack))
                similar[row, slot] = alike
                cost[row, slot] = -math.log(max(similar[row, slot], hopeless)) + 2 * math.log(slack)
                if colours is not None:
                    cost[row, slot] += _colour_cost(track.colours, colours[slot])
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
        return moved / allowed + _colour_cost(before.colours, after.first_colours) / 2


def clothes(frame: NDArray[np.uint8], people: Floats, scores: Floats) -> Floats:
    """(P,3,3) mean RGB of everybody's trunk, arms and thighs in a frame; NaN where unseen.

    `people` are points (P,134,2) in pixels of `frame` (H,W,3), with scores (P,134).
    """
    height, width = frame.shape[:2]
    colours = np.full((len(people), len(_CLOTHES), 3), np.nan)
    for person, (points, seen) in enumerate(zip(people, scores >= SEEN, strict=True)):
        for part, lines in enumerate(_CLOTHES):
            places = [
                points[a] * (1 - _ALONG) + points[b] * _ALONG
                for a, b in lines
                if seen[a] and seen[b]
            ]
            if places:
                x, y = np.concatenate(places).astype(np.intp).T
                pixels = frame[y.clip(0, height - 1), x.clip(0, width - 1)]
                colours[person, part] = pixels.mean(axis=0)
    return colours


def _remembered(colours: Floats, worn: Floats) -> Floats:
    mixed = (1 - _LEARNING) * colours + _LEARNING * worn
    return np.where(np.isnan(colours), worn, np.where(np.isnan(worn), colours, mixed))


def _colour_cost(worn: Floats, second: Floats) -> float:
    """Negative log-likelihood that both are one person's clothes, bounded; 0 where unknown."""
    both = ~np.isnan(worn).any(axis=1) & ~np.isnan(second).any(axis=1)
    if not both.any():
        return 0.0
    apart = np.linalg.norm(worn[both] - second[both], axis=1) / _COLOUR_SPREAD
    return float(min(_MOST_COLOUR_COST, 0.5 * np.median(apart) ** 2))


def likeness(first: Person, second: Person, *, slack: float = 1.0) -> float:
    """Similarity of two people in [0,1] by their bodies or their faces, whichever says more."""
    bodies = similarity(first, second, slack=slack)
    return bodies if bodies > _SURE else max(bodies, _face_similarity(first, second, slack))


def similarity(first: Person, second: Person, *, slack: float = 1.0) -> float:
    """Object keypoint similarity in [0,1] of two people's (points (134,2), scores (134,)).

    Source: the COCO keypoint challenge. Only body joints that are seen in both count; without
    any it is 0. `slack` widens what counts as near.
    """
    both = (first[1][BODY] >= SEEN) & (second[1][BODY] >= SEEN)
    if not both.any():
        return 0.0
    size = max(_extent(*first), _extent(*second)) * slack
    apart = ((first[0][BODY][both] - second[0][BODY][both]) ** 2).sum(axis=1)
    width = (2 * _SIGMAS[both] * size) ** 2
    return float(np.exp(-apart / (2 * np.maximum(width, 1e-6))).mean())


def _face_similarity(first: Person, second: Person, slack: float) -> float:
    apart = face_distance(first, second)
    return 0.0 if apart is None else math.exp(-((apart / (_FACE_SPREAD * slack)) ** 2) / 2)


def face_distance(first: Person, second: Person) -> float | None:
    """Mean distance of two faces' points, in sizes of the smaller; None where one is not seen."""
    if min(first[1][FACE].mean(), second[1][FACE].mean()) < SEEN:
        return None
    faces = first[0][FACE], second[0][FACE]
    size = min(float(np.hypot(*np.ptp(face, axis=0))) for face in faces)
    return float(np.linalg.norm(faces[0] - faces[1], axis=1).mean()) / max(size, 1e-6)


def same_body(first: Person, second: Person) -> bool:
    """True where two poses of one frame show the same person."""
    apart = face_distance(first, second)
    return (apart is not None and apart < _ONE_FACE) or similarity(first, second) > _ONE_BODY


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
    """Share of one frame that a person takes: large, central and surely seen. In [0,1]."""
    around = box(points, scores)
    width, height = around[2:] - around[:2]
    size = math.sqrt(float(width * height) / (canvas[0] * canvas[1]))
    middle = (around[:2] + around[2:]) / 2
    aside = abs(float(middle[0]) / canvas[0] - 0.5) * 2
    return min(size, 1.0) * (1 - min(aside, 1.0) / 2) * float(scores[BODY].mean())


def _extent(points: NDArray[np.float32], scores: NDArray[np.float32]) -> float:
    left, top, right, bottom = box(points, scores)
    return math.sqrt(_OUTLINE * float(right - left) * float(bottom - top))
