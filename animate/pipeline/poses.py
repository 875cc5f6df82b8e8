"""Poses of pictures in memory: estimate, clean, retarget, draw.

::

    poses = clean_poses(estimate_poses(frames, fps=25))
    person = estimate_poses([picture])
    control_frames = draw_poses(retarget_poses(poses, person))
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from animate.driving.estimators import estimator_options
from animate.driving.poses import person_of
from animate.errors import RequestError, raises_ours
from animate.media import open_video, source_digest
from animate.media.listed import ListedSource
from animate.pipeline.arrays import Pictures, is_path, read_pictures
from animate.request.values import Size, parse_rate
from pose.clean import CleaningOptions, clean
from pose.draw import draw
from pose.estimators import load_estimator
from pose.extract import extract
from pose.kinds import EstimatorName, RetargetMode
from pose.retarget import retarget
from pose.sequence import PoseSequence


@raises_ours
def estimate_poses(
    pictures: Pictures | str | Path,
    *,
    fps: float | Fraction | str | None = None,
    estimator: EstimatorName = "blazepose",
    estimator_folder: str | Path | None = None,
    device: str = "cpu",
) -> PoseSequence:
    """The poses of everybody in pictures, or in a video; the main person first.

    pictures: as `ControlNeXtVideoPipeline` takes `driving`
    fps: rate of pictures in memory or of numbered images (25 otherwise)
    estimator_folder: folder with the files of an estimator that is not bundled
    Raises RequestError for pictures that cannot be used, MotionError for an estimator.
    """
    folder = None if estimator_folder is None else Path(estimator_folder)
    rate = None if fps is None else parse_rate(fps, "fps")
    if is_path(pictures):
        source: Any = open_video(pictures, stated_fps=rate)
        digest = source_digest(pictures)
    else:
        source = ListedSource(read_pictures(pictures, "pictures"), rate or Fraction(25), "pictures")
        digest = source.digest()
    network = load_estimator(estimator, **estimator_options(estimator, folder, device))
    images = (frame.image for frame in source.read())
    return extract(images, network, fps=source.info.fps, source=digest)


@raises_ours
def clean_poses(
    poses: PoseSequence, *, gap: float = 0.35, smoothing: float = 0.055, flips: bool = True
) -> PoseSequence:
    """Poses with left and right repaired, short gaps bridged and points smoothed.

    gap: longest gap in seconds that is bridged
    smoothing: seconds over which neighbours count; 0 leaves points as they are
    flips: exchange left and right where they were mistaken for each other
    """
    return clean(_checked(poses), CleaningOptions(gap=gap, smoothing=smoothing, flips=flips))


@raises_ours
def retarget_poses(
    poses: PoseSequence,
    reference: PoseSequence,
    *,
    mode: RetargetMode = "robust",
    person: str = "main",
) -> PoseSequence:
    """One person's poses laid onto the person of a picture, on that picture's canvas.

    reference: poses of the picture, from `estimate_poses([picture])`
    person: whom to take: main, left, right or a number
    Raises MotionError where nobody is seen.
    """
    chosen = person_of(_checked(poses), person, Path("poses"))
    goal = _checked(reference)
    if mode != "none":
        goal = person_of(goal, "main", Path("reference"))
    return retarget(chosen, goal, mode=mode).sequence


@raises_ours
def draw_poses(
    poses: PoseSequence,
    *,
    size: tuple[int, int] | str | None = None,
    style: str = "published",
) -> np.ndarray:
    """Skeletons (F,H,W,3) uint8 RGB on black: control frames.

    size: (width, height) of the pictures; None: the poses' canvas
    style: the one that a model was trained on, see its variant's `pose_style`
    """
    poses = _checked(poses)
    target = Size(*poses.canvas) if size is None else Size.parse(size)
    pictures = [
        draw(points, scores, poses.canvas, (target.width, target.height), style)
        for points, scores in zip(poses.points, poses.scores, strict=True)
    ]
    return np.stack(pictures)


def _checked(poses: object) -> PoseSequence:
    if not isinstance(poses, PoseSequence):
        raise RequestError(f"poses are of the type {type(poses).__name__}; expected a PoseSequence")
    return poses
