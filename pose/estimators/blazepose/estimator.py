"""The embedded estimator: find bodies, follow them, and look at each one's face and hands."""

from __future__ import annotations

import copy
import math
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pose.errors import PoseError
from pose.estimators.base import Frame, Points, Scores, as_rgb, nobody
from pose.estimators.blazepose import landmarks
from pose.estimators.blazepose.detection import Detection, Detector, merged, tiles
from pose.estimators.blazepose.landmarks import Body, Part
from pose.estimators.blazepose.regions import Region
from pose.estimators.blazepose.whole_body import whole_body
from pose.estimators.sessions import Network, file_digest, settings_digest

NETWORKS = Path(__file__).parents[2] / "networks"

_FILES = (
    "pose_detection",
    "pose_landmark_full",
    "hand_recrop",
    "hand_landmark_full",
    "face_detection_short_range",
    "face_landmark",
)
_BODY_DETECTOR_INPUT, _BODY_STRIDES = 224, (8, 16, 32, 32, 32)
_FACE_DETECTOR_INPUT, _FACE_STRIDES = 128, (8, 16, 16, 16)
# Two regions whose bodies differ by less than this part of their side hold the same body.
_SAME_BODY = 0.08


@dataclass(frozen=True, kw_only=True)
class BlazePoseOptions:
    """What decides the embedded estimator's points."""

    redetect: int = 1
    """Frames from one search of the whole frame to the next; a found body is followed between.
    Following saves a quarter of the time, but the regions it looks at differ from searched ones
    where the frame cuts a body off: points move by pixels from one kind to the other."""
    max_people: int = 10
    """The surest this many people of a frame are kept."""
    detection: float = 0.5
    """Lowest score of a detected body or face, in (0,1)."""
    presence: float = 0.5
    """Lowest presence of a body, hand or face, in (0,1)."""
    wrist: float = 0.1
    """A hand is looked for where its wrist is at least this visible, in [0,1)."""
    closer_look: float = 0.75
    """Square tiles of a large frame are searched too where the best body scores below this."""
    large: int = 448
    """A frame is large from this longer side in pixels on: twice the detector's input."""

    def __post_init__(self) -> None:
        for name in ("redetect", "max_people", "large"):
            if getattr(self, name) < 1:
                raise PoseError(f"{name} must be at least 1; got {getattr(self, name)}.")
        for name in ("detection", "presence", "wrist", "closer_look"):
            if not 0 <= getattr(self, name) <= 1:
                raise PoseError(f"{name} must lie in [0,1]; got {getattr(self, name)}.")


@dataclass(frozen=True, kw_only=True)
class Person:
    """One person in the family's own points, before they become 134."""

    body: Body
    face: Part | None
    hands: dict[str, Part]
    """By "left" and "right"; a hand that was not found is missing."""


class BlazePose:
    """The six embedded networks as a `pose.estimators.base.ParallelEstimator`."""

    name = "blazepose"

    def __init__(self, options: BlazePoseOptions | None = None, *, folder: Path = NETWORKS) -> None:
        """Open the networks in `folder`. Raises PoseError where one is missing or broken."""
        self.options = options or BlazePoseOptions()
        self.stretch = self.options.redetect
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
        people = [
            whole_body(person.body, person.face, person.hands, size)
            for person in self.look(picture)
        ]
        if not people:
            return nobody()
        return np.stack([points for points, _ in people]), np.stack([score for _, score in people])

    def reset(self) -> None:
        """See `Estimator`."""
        self._following: list[Region] = []
        self._age = 0

    def fork(self) -> Self:
        """See `ParallelEstimator`. The networks are shared: a session may run in many threads."""
        other = copy.copy(self)
        other.reset()
        return other

    def look(self, frame: Frame) -> list[Person]:
        """The people of `frame` in the family's own points (33, 2x21 and 468)."""
        bodies = self._followed(frame)
        if not bodies:
            found = self.detect(frame)
            bodies = self._bodies(frame, [landmarks.body_region(body) for body in found])
        self._following = [body.following for body in bodies]
        self._age = (self._age + 1) % self.options.redetect
        return [self._person(frame, body) for body in bodies]

    def detect(self, frame: Frame) -> list[Detection]:
        """Bodies in the frame and, where none is sure and the frame is large, in its tiles."""
        height, width = frame.shape[:2]
        longer = max(width, height)
        found = self._detector(frame, Region(x=width / 2, y=height / 2, side=longer))
        sure = bool(found) and found[0].score >= self.options.closer_look
        if sure or longer < self.options.large:
            return found
        closer = [body for tile in tiles(width, height) for body in self._detector(frame, tile)]
        return merged([*found, *closer])

    def _followed(self, frame: Frame) -> list[Body]:
        """The last frame's bodies, where they went; none when it is time to search again.

        Where one was lost, the whole frame is searched: it may have jumped.
        """
        if self._age == 0:
            return []
        bodies = self._bodies(frame, self._following)
        return bodies if len(bodies) == len(self._following) else []

    def _bodies(self, frame: Frame, regions: list[Region]) -> list[Body]:
        bodies: list[Body] = []
        for region in regions:
            body = landmarks.find_body(self._body, frame, region)
            if body.presence < self.options.presence or not math.isfinite(body.following.side):
                continue
            if not any(_same(body, other) for other in bodies):
                bodies.append(body)
            if len(bodies) == self.options.max_people:
                break
        return bodies

    def _person(self, frame: Frame, body: Body) -> Person:
        hands = {side: self._find_hand(frame, body, side) for side in ("left", "right")}
        return Person(
            body=body,
            face=self._find_face(frame, body),
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


def _same(one: Body, other: Body) -> bool:
    apart: NDArray[np.float32] = np.linalg.norm(one.points - other.points, axis=1)
    weights = one.visibility * other.visibility + 1e-6
    side = min(one.following.side, other.following.side)
    return float(np.average(apart, weights=weights)) < _SAME_BODY * side
