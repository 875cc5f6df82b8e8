"""The embedded estimator: find bodies, follow them, and look at each one's face and hands."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pose.errors import PoseError
from pose.estimators.base import Frame, Points, Scores, as_rgb, nobody
from pose.estimators.blazepose import landmarks
from pose.estimators.blazepose.detection import (
    Detection,
    Detector,
    free_columns,
    merged_bodies,
    tiles,
)
from pose.estimators.blazepose.landmarks import Body, Part
from pose.estimators.blazepose.regions import Region
from pose.estimators.blazepose.whole_body import expected_region, face_around, whole_body
from pose.estimators.sessions import Network, file_digest, settings_digest
from pose.layout import FACE, NECK, SEEN

NETWORKS = Path(__file__).parents[2] / "networks"

_FILES = (
    "pose_detection",
    "pose_landmark_full",
    "hand_recrop",
    "hand_landmark_full",
    "face_detection_short_range",
    "face_landmark",
)
# A closer look's tiles, and the still closer one's: a person a third as high as a 1080p frame is
# only found in the latter.
_TILE_PARTS = (1, 2)
_BODY_DETECTOR_INPUT, _BODY_STRIDES = 224, (8, 16, 32, 32, 32)
_FACE_DETECTOR_INPUT, _FACE_STRIDES = 128, (8, 16, 16, 16)
# Two regions whose bodies differ by less than this part of their side hold the same body.
_SAME_BODY = 0.08
# Columns beside people where others are looked for are at least this part of the frame's height.
_BESIDE = 0.2
# Shoulders less than this part of the face's height below its chin are looked for again, in a
# region this many times as large: where a small or blurred picture gives too small a region, the
# network fits the body into it. The second look counts if it finds them so much lower.
_SHOULDERS_BELOW, _WIDER, _LOWER = 0.3, 1.5, 0.15
# Two faces nearer than this part of their size are one.
_SAME_FACE = 0.25


@dataclass(frozen=True, kw_only=True)
class BlazePoseOptions:
    """The options that decide the embedded estimator's points."""

    stretch: int = 4
    """Frames from one thorough search to the next; see `BlazePose.look`."""
    follow: bool = False
    """Follow bodies between thorough searches instead of searching the frame again. It saves a
    quarter of the time, but a followed region differs from a searched one where the frame cuts a
    body off: points move by pixels from one kind to the other."""
    max_people: int = 10
    """The surest this many people of a frame are kept."""
    detection: float = 0.5
    """Lowest score of a detected body or face, in (0,1)."""
    presence: float = 0.5
    """Lowest presence of a body, hand or face, in (0,1)."""
    wrist: float = 0.1
    """A hand is looked for where its wrist is at least this visible, in [0,1)."""
    sure: float = 0.75
    """A large frame in which no body, or one below this score, is found deserves a closer look."""
    large: int = 448
    """A frame is large from this longer side in pixels on: twice the detector's input."""

    def __post_init__(self) -> None:
        for name in ("stretch", "max_people", "large"):
            if getattr(self, name) < 1:
                raise PoseError(f"{name} must be at least 1; got {getattr(self, name)}")
        for name in ("detection", "presence", "wrist", "sure"):
            if not 0 <= getattr(self, name) <= 1:
                raise PoseError(f"{name} must lie in [0,1]; got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class Person:
    """One person in the family's own points, before they become 134."""

    body: Body | None
    """None where a face fills the picture."""
    face: Part | None
    hands: dict[str, Part]
    """By "left" and "right"; a hand that was not found is missing."""


class BlazePose:
    """Six of the embedded networks as a `pose.estimators.base.ParallelEstimator`."""

    name = "blazepose"

    def __init__(self, options: BlazePoseOptions | None = None, *, folder: Path = NETWORKS) -> None:
        """Open the networks in `folder`. Raises PoseError where one is missing or broken."""
        self.options = options or BlazePoseOptions()
        self.stretch = self.options.stretch
        files = [folder / f"{name}.onnx" for name in _FILES]
        self.digest = settings_digest(*map(file_digest, files), *astuple(self.options))
        detector, self._body, self._hand_region, self._hand, face_detector, self._face = (
            Network(path) for path in files
        )
        self._detector = Detector(
            detector,
            size=_BODY_DETECTOR_INPUT,
            strides=_BODY_STRIDES,
            threshold=self.options.detection,
        )
        self._face_detector = Detector(
            face_detector,
            size=_FACE_DETECTOR_INPUT,
            strides=_FACE_STRIDES,
            threshold=self.options.detection,
        )
        self.reset()

    def __call__(self, frame: Frame, /) -> tuple[Points, Scores]:
        """See `Estimator`. People come surest first."""
        picture = as_rgb(frame)
        size = (picture.shape[1], picture.shape[0])
        return _whole_bodies(self.look(picture), size)

    def revisit(self, frame: Frame, points: Points, scores: Scores, /) -> tuple[Points, Scores]:
        """See `RevisitingEstimator`."""
        picture = as_rgb(frame)
        size = (picture.shape[1], picture.shape[0])
        bodies = self._bodies(picture, [expected_region(points)])
        people = [self._person(picture, *self._with_face(picture, body)) for body in bodies]
        bodiless = scores[NECK] < SEEN <= scores[FACE].mean()
        if not people and bodiless:
            people = self._faces_alone(picture, face_around(points[FACE]))
        return _whole_bodies(people, size)

    def reset(self) -> None:
        """See `Estimator`."""
        self._following: list[Region] = []
        self._age = 0

    def fork(self) -> Self:
        """See `ParallelEstimator`. The networks are shared: a session may run in many threads."""
        fork = copy.copy(self)
        fork.reset()
        return fork

    def look(self, frame: Frame) -> list[Person]:
        """The people of `frame` in the family's own points (33, 2x21 and 468).

        Every frame is searched as a whole. The first of a stretch is searched in tiles too where
        that is not sure of itself; in the others, what was found before is followed there.
        """
        bodies = [
            self._with_face(frame, body)
            for body in self._following_bodies(frame) or self._searched_bodies(frame)
        ]
        self._following = [body.following for body, _ in bodies]
        self._age = (self._age + 1) % self.options.stretch
        if not bodies:
            height, width = frame.shape[:2]
            everything = Region(x=width / 2, y=height / 2, side=max(width, height))
            return self._faces_alone(frame, everything)
        people: list[Person] = []
        for body, face in bodies:
            if not any(_same_face(face, person.face) for person in people):
                people.append(self._person(frame, body, face))
        return people

    def _faces_alone(self, frame: Frame, search: Region) -> list[Person]:
        """The surest face in `search` as a person of whom nothing else is in the picture."""
        region = landmarks.face_region(self._face_detector, frame, search, self.options.sure)
        if region is None:
            return []
        face = landmarks.find_face(self._face, frame, region)
        if face.presence < self.options.presence:
            return []
        return [Person(body=None, face=face, hands={})]

    def detect(self, frame: Frame) -> list[Detection]:
        """Bodies of the whole frame, the surest first."""
        height, width = frame.shape[:2]
        return self._detector(frame, Region(x=width / 2, y=height / 2, side=max(width, height)))

    def detect_closer(self, frame: Frame, detections: list[Detection]) -> list[Detection]:
        """`detections` and the bodies in square tiles, in smaller tiles where that is not enough.

        Where there are two people there may be a third, whom one of them hides from a look at
        everything at once.

        Of what only a tile shows, what is not sure is dropped: the closer the look, the more
        things resemble a body (an empty landscape's tiles scored up to 0.57, people 0.87 and
        more).
        """
        surest = detections
        height, width = frame.shape[:2]
        for parts in _TILE_PARTS:
            several = parts == 1 and len(detections) > 1
            if not several and not self._unsure(frame, detections):
                break
            squares = tiles(width, height, parts)
            if squares[0].side < _BODY_DETECTOR_INPUT:
                break
            closer = [body for tile in squares for body in self._detector(frame, tile)]
            detections = merged_bodies([*detections, *closer])
        return [body for body in detections if body.score >= self.options.sure or body in surest]

    def detect_beside(self, frame: Frame, bodies: Sequence[Body]) -> list[Detection]:
        """Bodies in the columns beside and between those that were found; sure ones alone.

        The detector often finds one of several people who stand side by side, however well the
        others can be seen; where it sees nothing of the one, it finds the others.
        """
        height, width = frame.shape[:2]
        taken = [extent for body in bodies if (extent := landmarks.columns(body)) is not None]
        if not taken:
            return []
        beside = []
        for columns in free_columns(width, taken, _BESIDE * height):
            alone = np.zeros_like(frame)
            alone[:, columns] = frame[:, columns]
            side = max(height, columns.stop - columns.start)
            square = Region(x=(columns.start + columns.stop) / 2, y=height / 2, side=side)
            beside += [b for b in self._detector(alone, square) if b.score >= self.options.sure]
        return beside

    def _unsure(self, frame: Frame, detections: list[Detection]) -> bool:
        large = max(frame.shape[:2]) >= self.options.large
        return large and (not detections or detections[-1].score < self.options.sure)

    def _following_bodies(self, frame: Frame) -> list[Body]:
        """With `follow`: the last frame's bodies, unless one was lost or it is time to search."""
        if not self.options.follow or self._age == 0:
            return []
        bodies = self._bodies(frame, self._following)
        return bodies if len(bodies) == len(self._following) else []

    def _searched_bodies(self, frame: Frame) -> list[Body]:
        detections = self.detect(frame)
        if self._age == 0:
            found = self.detect_closer(frame, detections)
            bodies = self._bodies(frame, [landmarks.body_region(body) for body in found])
            beside = self.detect_beside(frame, bodies)
            return self._bodies(frame, [landmarks.body_region(body) for body in beside], bodies)
        sure = [landmarks.body_region(b) for b in detections if b.score >= self.options.sure]
        unsure = [landmarks.body_region(b) for b in detections if b.score < self.options.sure]
        lost = not detections or self._unsure(frame, detections)
        before = self._following if lost else []
        return self._bodies(frame, [*sure, *before, *unsure])

    def _bodies(
        self, frame: Frame, regions: list[Region], known: Sequence[Body] = ()
    ) -> list[Body]:
        """The bodies in `regions`, each once, after those that are `known`."""
        bodies = list(known)
        for region in regions:
            if len(bodies) == self.options.max_people:
                break
            body = landmarks.find_body(self._body, frame, region)
            if body.presence < self.options.presence or not math.isfinite(body.following.side):
                continue
            if not any(_same(body, known) for known in bodies):
                bodies.append(body)
        return bodies

    def _with_face(self, frame: Frame, body: Body) -> tuple[Body, Part | None]:
        """The body with its face, looked for once more where its shoulders lie in the face."""
        face = self._find_face(frame, body)
        if face is None or landmarks.shoulders_below(body, face) >= _SHOULDERS_BELOW:
            return body, face
        wider = landmarks.find_body(self._body, frame, body.following.grown(_WIDER))
        lower = landmarks.shoulders_below(wider, face) - landmarks.shoulders_below(body, face)
        same = landmarks.same_head(body, wider, face)  # and not that of somebody beside
        if wider.presence < self.options.presence or not (same and lower >= _LOWER):
            return body, face
        return wider, self._find_face(frame, wider)

    def _person(self, frame: Frame, body: Body, face: Part | None) -> Person:
        hands = {side: self._find_hand(frame, body, side) for side in ("left", "right")}
        return Person(
            body=body,
            face=face,
            hands={side: hand for side, hand in hands.items() if hand is not None},
        )

    def _find_hand(self, frame: Frame, body: Body, side: str) -> Part | None:
        if landmarks.wrist_visibility(body, side) < self.options.wrist:
            return None
        search = landmarks.hand_search_region(body, side)
        region = landmarks.hand_region(self._hand_region, frame, search)
        hand = landmarks.find_hand(self._hand, frame, region)
        return hand if hand.presence >= self.options.presence else None

    def _find_face(self, frame: Frame, body: Body) -> Part | None:
        search = landmarks.face_search_region(body)
        region = landmarks.face_region(self._face_detector, frame, search)
        if region is None:
            return None
        face = landmarks.find_face(self._face, frame, region)
        return face if face.presence >= self.options.presence else None


def _whole_bodies(people: list[Person], size: tuple[int, int]) -> tuple[Points, Scores]:
    bodies = [whole_body(person.body, person.face, person.hands, size) for person in people]
    if not bodies:
        return nobody()
    return np.stack([points for points, _ in bodies]), np.stack([score for _, score in bodies])


def _same_face(first: Part | None, second: Part | None) -> bool:
    """True where two bodies were found for one face."""
    if first is None or second is None:
        return False
    size = min(float(np.hypot(*np.ptp(face.points, axis=0))) for face in (first, second))
    apart = np.linalg.norm(first.points - second.points, axis=1).mean()
    return bool(apart < _SAME_FACE * size)


def _same(first: Body, second: Body) -> bool:
    apart: NDArray[np.float32] = np.linalg.norm(first.points - second.points, axis=1)
    weights = first.visibility * second.visibility + 1e-6
    side = min(first.following.side, second.following.side)
    return float(np.average(apart, weights=weights)) < _SAME_BODY * side
