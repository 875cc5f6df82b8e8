"""Distance of the poses that a clip shows from those that were asked for, in trunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

from animate.evaluation.scores import Score, mean_score
from animate.media.info import Image
from animate.progress import Progress
from pose.errors import PoseError
from pose.estimators.base import Estimator
from pose.extract import extract
from pose.layout import (
    BODY,
    FACE,
    LEFT_HAND,
    LEFT_HIP,
    LEFT_SHOULDER,
    NECK,
    RIGHT_HAND,
    RIGHT_HIP,
    RIGHT_SHOULDER,
    SEEN,
)
from pose.sequence import PoseSequence

NEAR = 0.2
"""Trunks within which a point is right."""
SHORT_SIDE = 768
"""Smaller pictures are enlarged to this short side before poses are estimated."""
_TRUNK_OF_SHOULDERS = 1.45
"""Length of a trunk in widths of the shoulders, of an average adult's joints."""
_PARTS = {
    "": tuple(range(BODY.start, BODY.stop)),
    "_hands": (*range(LEFT_HAND.start, LEFT_HAND.stop), *range(RIGHT_HAND.start, RIGHT_HAND.stop)),
    "_face": tuple(range(FACE.start, FACE.stop)),
}


def enlarged(picture: Image) -> Image:
    """A picture (h,w,3) with a short side of `SHORT_SIDE` at least."""
    scale = SHORT_SIDE / min(picture.shape[:2])
    if scale <= 1:
        return picture
    return np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC))


def clip_poses_again(
    pictures: Iterable[Image],
    estimator: Estimator,
    *,
    fps: Fraction,
    count: int,
    size: tuple[int, int],
    progress: Progress,
) -> PoseSequence:
    """Poses of everybody in a clip of `count` pictures, on pictures of `size` (width, height)."""
    with progress.stage("poses of the clip", count) as stage:
        poses = extract(
            (enlarged(picture) for picture in pictures),
            estimator,
            fps=fps,
            on_frame=lambda done: stage.advance(),
        )
    scale = size[0] / poses.canvas[0]
    return replace(poses, points=poses.points * np.float32(scale), canvas=size)


def trunks(points: NDArray[np.float32], scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """(F,) length from the neck to the middle of the hips; the median where they are not seen.

    Of somebody whose hips are seen in no frame it is taken as 1.45 widths of the shoulders, where
    these are widest. Raises PoseError where these are not seen either.
    """
    hips = (points[:, LEFT_HIP] + points[:, RIGHT_HIP]) / 2
    lengths = np.linalg.norm(points[:, NECK].astype(np.float64) - hips, axis=-1)
    seen = (scores[:, [NECK, LEFT_HIP, RIGHT_HIP]] >= SEEN).all(-1) & (lengths > 0)
    if not seen.any():
        return np.full(len(points), _TRUNK_OF_SHOULDERS * _shoulders(points, scores))
    return np.where(seen, lengths, np.median(lengths[seen]))


def _shoulders(points: NDArray[np.float32], scores: NDArray[np.float32]) -> float:
    """Width of the shoulders in the frames in which they are widest."""
    widths = np.linalg.norm(points[:, RIGHT_SHOULDER] - points[:, LEFT_SHOULDER], axis=-1)
    seen = (scores[:, [RIGHT_SHOULDER, LEFT_SHOULDER]] >= SEEN).all(-1) & (widths > 0)
    if not seen.any():
        raise PoseError("neither hips nor shoulders are seen in any frame that was asked for")
    return float(np.percentile(widths[seen], 90))


def pose_scores(control: PoseSequence, estimated: PoseSequence) -> list[Score]:
    """Scores of the poses estimated against those asked for, frame by frame, one person each.

    A frame in which nobody was asked for does not count. Raises PoseError where nobody is.
    """
    count = min(control.frames, estimated.frames)
    asked, scores = control.points[:count, 0], control.scores[:count, 0]
    wanted = control.present[:count, 0]
    if not wanted.any():
        raise PoseError("nobody was asked for in any frame")
    person = likeliest_person(control, estimated)
    there = estimated.present[:count, person] if estimated.people else np.zeros(count, bool)
    points = estimated.points[:count, person] if estimated.people else np.zeros_like(asked)
    seen = estimated.scores[:count, person] if estimated.people else np.zeros_like(scores)
    distances = np.linalg.norm(points - asked, axis=-1) / trunks(asked, scores)[:, None]
    both = (scores >= SEEN) & (seen >= SEEN) & (wanted & there)[:, None]
    result: list[Score | None] = []
    for part, indices in _PARTS.items():
        mask, away = both[:, indices], distances[:, indices]
        result.append(mean_score(f"pose_error{part}", _means(away, mask)))
        result.append(mean_score(f"pose_share{part}", _means(100.0 * (away < NEAR), mask)))
    body = scores[:, BODY] >= SEEN
    result.append(mean_score("pose_seen", _means(100.0 * both[:, BODY], body & wanted[:, None])))
    missed = wanted & ~there
    curve = tuple(float(m) if w else None for m, w in zip(missed, wanted, strict=True))
    result.append(Score(measure="missed_frames", value=float(missed.sum()), curve=curve))
    return [score for score in result if score is not None]


def likeliest_person(control: PoseSequence, estimated: PoseSequence) -> int:
    """The person of the clip who stands nearest to the one asked for; 0 where nobody is seen."""
    count = min(control.frames, estimated.frames)
    distances = []
    for person in range(estimated.people):
        both = (control.scores[:count, 0] >= SEEN) & (estimated.scores[:count, person] >= SEEN)
        both[:, BODY.stop :] = False
        away = np.linalg.norm(control.points[:count, 0] - estimated.points[:count, person], axis=-1)
        # Frames in which a person is missing count as far off.
        far = float(max(control.canvas))
        distances.append(np.where(both, away, far)[:, BODY].mean())
    return int(np.argmin(distances)) if distances else 0


def _means(values: NDArray[np.floating], mask: NDArray[np.bool_]) -> Iterator[float | None]:
    """Mean of each row over its mask; None where that is empty."""
    for row, chosen in zip(values, mask, strict=True):
        yield float(row[chosen].mean()) if chosen.any() else None


def on_clip(control: PoseSequence, fps: Fraction, count: int) -> PoseSequence:
    """Control poses by time at each of a clip's `count` frames; those behind the last are left out.

    The nearest pose counts, at most half a frame of the poses away.
    """
    times = np.arange(count) / float(fps)
    nearest = np.searchsorted((control.times[1:] + control.times[:-1]) / 2, times)
    slack = 0.5 / float(control.fps) + 1e-6
    near = np.abs(control.times[nearest] - times) <= slack
    return control.select([int(index) for index in nearest[near]], fps=fps)
