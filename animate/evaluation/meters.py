"""Meters: each takes a clip's frames in order, one at a time, and gives scores at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray

from animate.evaluation.identity import SAME_PERSON, FaceEmbedder
from animate.evaluation.measures import SHORTEST, psnr, seam_ratio
from animate.evaluation.motion import (
    REPEATED,
    DenseFlow,
    difference,
    is_black,
    longest_run,
    mean_lab,
    sharpness,
    slope,
)
from animate.evaluation.protocols import EQUAL_PSNR, PICTURE_MEASURES, Comparison, Protocol
from animate.evaluation.scores import Score, mean_score
from animate.finish.body import body_unit, distance
from animate.media.info import Image
from animate.request.values import Size
from pose.draw import draw
from pose.sequence import PoseSequence

AWAY = 2.3
"""Body units from every skeleton at which a pixel is surely background."""
_STYLE = "canonical"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One frame of the clip and its companion's."""

    index: int
    frame: Image
    before: Image | None
    """The clip's frame before this one."""
    truth: Image | None = None
    starts_shot: bool = False
    """True for the first frame of a shot, which the frame before says nothing of."""


class Meter(Interface):
    """Takes the frames of one clip."""

    def add(self, step: Step) -> None:
        """Look at the next frame."""

    def scores(self) -> list[Score]:
        """Scores of all frames so far."""


class PairMeter(Interface):
    """Takes pairs of pictures of one size: a clip's and the true ones."""

    def compare(self, frame: Image, truth: Image) -> None:
        """Look at the next pair."""

    def scores(self) -> list[Score]:
        """Scores of all pairs so far."""


class TruthMeter:
    """A `Meter` of a comparison: pictures are resized once for all that compares them."""

    def __init__(self, comparison: Comparison, meters: Sequence[PairMeter]) -> None:
        self.comparison, self.meters = comparison, tuple(meters)

    def add(self, step: Step) -> None:
        """See `Meter`."""
        most = self.comparison.max_frames
        if step.truth is None or (most is not None and step.index >= most):
            return
        frame, truth = self.comparison.pictures(step.frame, step.truth)
        for meter in self.meters:
            meter.compare(frame, truth)

    def scores(self) -> list[Score]:
        """See `Meter`."""
        return [score for meter in self.meters for score in meter.scores()]


class PictureMeter:
    """A `PairMeter` of pixels, by several protocols; what these share is computed once."""

    def __init__(self, measures: Sequence[tuple[Protocol, Sequence[str]]]) -> None:
        """`measures` of `PICTURE_MEASURES` for each protocol."""
        self._curves: list[tuple[Protocol, str, list[float]]] = [
            (protocol, name, []) for protocol, names in measures for name in names
        ]

    def compare(self, frame: Image, truth: Image) -> None:
        """See `PairMeter`."""
        values: dict[tuple[str, str], float] = {}
        for protocol, name, curve in self._curves:
            key = (name, protocol.formula(name))
            if key not in values:
                values[key] = protocol.picture_measure(name, frame, truth)
            curve.append(values[key])

    def scores(self) -> list[Score]:
        """See `PairMeter`."""
        means = [mean_score(name, curve, p.name) for p, name, curve in self._curves]
        return [score for score in means if score is not None]


class MotionMeter:
    """Changes from frame to frame: flicker, warping error, seams, repeated frames."""

    def __init__(self, borders: Sequence[int], *, with_flow: bool, with_faults: bool) -> None:
        self._borders = borders
        self._flow = DenseFlow() if with_flow else None
        self._with_faults = with_faults
        self._steps: list[float | None] = []
        self._warping: list[float | None] = []
        self._black: list[bool] = []

    def add(self, step: Step) -> None:
        """See `Meter`."""
        if self._with_faults:
            self._black.append(is_black(step.frame))
        if step.before is None or step.starts_shot:
            self._steps.append(None)
            self._warping.append(None)
            return
        self._steps.append(difference(step.frame, step.before))
        if self._flow is not None:
            self._warping.append(self._flow.warping_error(step.before, step.frame))

    def scores(self) -> list[Score]:
        """See `Meter`."""
        flicker = (None if v is None else 1 - v / 255 for v in self._steps)
        scores = [mean_score("flicker", flicker)]
        if self._flow is not None:
            scores.append(mean_score("warping_error", self._warping, scale=1000))
        if self._borders:
            scores.append(self._seams())
        if self._with_faults:
            scores += self._faults()
        return [score for score in scores if score is not None]

    def _seams(self) -> Score | None:
        try:
            value = seam_ratio(self._steps, self._borders)
        except ValueError:
            return None
        usual = [v for i, v in enumerate(self._steps) if v is not None and i not in self._borders]
        mean = float(np.mean(usual)) or 1.0
        curve = tuple(
            v / mean if v is not None and i in self._borders else None
            for i, v in enumerate(self._steps)
        )
        return Score(measure="seams", value=value, curve=curve)

    def _faults(self) -> list[Score]:
        repeated = [v is not None and v < 255 * REPEATED for v in self._steps]
        return [
            _count("black_frames", self._black),
            _count("repeated_frames", repeated),
            Score(measure="longest_freeze", value=float(longest_run(repeated))),
        ]


class LookMeter:
    """Colour and sharpness of whole pictures, and how they drift."""

    def __init__(self, reference: Image | None, *, with_drift: bool) -> None:
        """`reference` has the clip's size; without one there is no score of sharpness."""
        self._reference = None if reference is None else sharpness(reference)
        self._with_drift = with_drift
        self._sharpness: list[float] = []
        self._colours: list[NDArray[np.float64]] = []

    def add(self, step: Step) -> None:
        """See `Meter`."""
        self._sharpness.append(sharpness(step.frame))
        if self._with_drift:
            self._colours.append(mean_lab(step.frame))

    def scores(self) -> list[Score]:
        """See `Meter`."""
        scores: list[Score | None] = []
        values = np.array(self._sharpness)
        if self._reference:
            scores.append(mean_score("sharpness", values / self._reference))
        if self._with_drift and len(values) > 1:
            colours = np.stack(self._colours)
            away = np.linalg.norm(colours - colours[0], axis=1)
            drift = 100 * float(np.linalg.norm(slope(colours)))
            scores.append(Score(measure="colour_drift", value=drift, curve=tuple(away.tolist())))
            if values.mean() > 0:
                change = 100 * 100 * float(slope(values)) / float(values.mean())
                scores.append(Score(measure="sharpness_drift", value=change))
        return [score for score in scores if score is not None]


class BackgroundMeter:
    """PSNR to the reference's pixels outside all people."""

    def __init__(
        self, picture: Image, reference: PoseSequence, people: Sequence[PoseSequence]
    ) -> None:
        """`picture` is the reference on the clip's canvas; `people` the poses asked for and those
        that were found on the clip, with a frame for each of the clip's."""
        self._picture = picture
        self._people = people
        self._size = (picture.shape[1], picture.shape[0])
        standing = self._skeleton(reference, 0)
        count = min(poses.frames for poses in people)
        looks = range(0, count, max(1, count // 16))
        self._unit = body_unit([standing, *(self._skeleton(people[0], index) for index in looks)])
        self._standing = distance(standing, self._unit)
        self._curve: list[float | None] = []

    def add(self, step: Step) -> None:
        """See `Meter`."""
        away = self._standing
        for poses in self._people:
            if step.index < poses.frames:
                skeleton = self._skeleton(poses, step.index)
                away = np.minimum(away, distance(skeleton, self._unit))
        value = psnr(step.frame, self._picture, away > AWAY)
        self._curve.append(None if np.isnan(value) else min(EQUAL_PSNR, value))

    def scores(self) -> list[Score]:
        """See `Meter`."""
        score = mean_score("background", self._curve)
        return [] if score is None else [score]

    def _skeleton(self, poses: PoseSequence, index: int) -> Image:
        points, scores = poses.points[index], poses.scores[index]
        return draw(points, scores, poses.canvas, self._size, _STYLE)


class IdentityMeter:
    """Distance of each frame's face to the reference's."""

    def __init__(
        self, embed: FaceEmbedder, reference: NDArray[np.float32], estimated: PoseSequence
    ) -> None:
        """`reference` (128,) is the reference's face; `estimated` the clip's one person."""
        self._embed, self._reference, self._estimated = embed, reference, estimated
        self._curve: list[float | None] = []

    def add(self, step: Step) -> None:
        """See `Meter`."""
        face = None
        if step.index < self._estimated.frames and self._estimated.people:
            points, scores = (
                self._estimated.points[step.index, 0],
                self._estimated.scores[step.index, 0],
            )
            face = self._embed(step.frame, points, scores)
        self._curve.append(None if face is None else float(np.linalg.norm(face - self._reference)))

    def scores(self) -> list[Score]:
        """See `Meter`."""
        same = (None if v is None else 100.0 * (v <= SAME_PERSON) for v in self._curve)
        scores = [mean_score("identity", self._curve), mean_score("identity_share", same)]
        faceless = [value is None for value in self._curve]
        return [*(s for s in scores if s is not None), _count("faceless_frames", faceless)]


def _count(measure: str, flags: Sequence[bool]) -> Score:
    curve = tuple(float(flag) for flag in flags)
    return Score(measure=measure, value=float(sum(flags)), curve=curve)


def picture_measures(protocol: Protocol, size: Size) -> tuple[list[str], dict[str, int]]:
    """Measures of a protocol for pictures of a size; and those left out, with the pixels that the
    short side must have."""
    wanted = [name for name in PICTURE_MEASURES if protocol.wants(name)]
    small = {name: least for name, least in SHORTEST.items() if min(size) < least}
    return [name for name in wanted if name not in small], {
        n: small[n] for n in wanted if n in small
    }
