"""Frames filled in by optical flow, and the reference's background put back: PSNR to the truth."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from animate.evaluation.measures import psnr
from animate.finish.background import LockedBackground
from animate.finish.body import body_unit, distance
from animate.finish.interpolation import Between
from pose.draw import draw
from scripts.benchmarks._clips import Studio, Way
from scripts.benchmarks.rows import Row
from scripts.tiny.characters import render_clip
from scripts.tiny.characters.clip import Take

_PEOPLE = 4
_ENLARGED = 6
_FIRST = 900_100
_OUTSIDE = 1.6
"""Body units from both skeletons beyond which a pixel is counted as background."""


def run(model: str = "tiny") -> list[Row]:
    studio = Studio(model)
    size = (studio.size.width, studio.size.height)
    takes = [render_clip(_FIRST + number, 24, size) for number in range(_PEOPLE)]
    filled, repeated, mixed = np.mean([_filled(take.frames) for take in takes], 0)
    small_motion, large_motion = np.mean([_filled_enlarged(take.frames) for take in takes[:2]], 0)
    locked, unlocked = _background(studio, takes[0])
    frames = "every second frame of rendered dancers left out and filled in"
    return [
        Row(
            name="interpolated", value=filled, unit="dB", baseline=repeated, note=f"{frames}; held"
        ),
        Row(name="interpolated", value=filled, unit="dB", baseline=mixed, note="both mixed"),
        Row(
            name="interpolated, enlarged",
            value=small_motion,
            unit="dB",
            baseline=large_motion,
            note=f"{frames}, {_ENLARGED} times as large: motion found before that; after it",
        ),
        Row(
            name="locked background",
            value=locked,
            unit="dB",
            baseline=unlocked,
            note="to the reference, outside both people; as generated",
        ),
    ]


def _filled(frames: NDArray[np.uint8]) -> tuple[float, float, float]:
    """PSNR of frames in between: by flow, by holding the one before, by mixing both."""
    rows = []
    for previous, truth, following in zip(frames[:-2:2], frames[1:-1:2], frames[2::2], strict=True):
        mean = ((previous.astype(int) + following + 1) // 2).astype(np.uint8)
        between = Between(previous, following).at(0.5)
        rows.append([min(60.0, psnr(picture, truth)) for picture in (between, previous, mean)])
    flow, repeated, mixed = np.mean(rows, 0)
    return float(flow), float(repeated), float(mixed)


def _filled_enlarged(frames: NDArray[np.uint8]) -> tuple[float, float]:
    """PSNR of frames between enlarged ones: by motion found before enlarging, and after."""
    height, width = frames.shape[1] * _ENLARGED, frames.shape[2] * _ENLARGED
    method = cv2.INTER_LANCZOS4
    large = [cv2.resize(frame, (width, height), interpolation=method) for frame in frames[:9]]
    rows = []
    for previous, truth, following in zip(large[:-2:2], large[1:-1:2], large[2::2], strict=True):
        pair = (
            Between(previous, following, enlarged=factor).at(0.5)
            for factor in (float(_ENLARGED), 1.0)
        )
        rows.append([min(60.0, psnr(picture, truth)) for picture in pair])
    generated_size, enlarged_size = np.mean(rows, 0)
    return float(generated_size), float(enlarged_size)


def _background(studio: Studio, take: Take) -> tuple[float, float]:
    size = (studio.size.width, studio.size.height)
    control = studio.draw(take.points, take.scores)
    generated = studio.make(take, Way()).frames
    points, scores = take.reference_points, take.reference_scores
    pose = draw(points[None], scores[None], size, size, studio.variant.pose_style)
    skeletons = [control.skeletons.picture(number) for number in range(len(generated))]
    unit = body_unit([pose, *skeletons])
    lock = LockedBackground(take.reference, pose, unit)
    rows = []
    for frame, skeleton in zip(generated, skeletons, strict=True):
        away = np.minimum(distance(pose, unit), distance(skeleton, unit)) > _OUTSIDE
        pair = (lock(frame, skeleton), frame)
        rows.append([min(60.0, psnr(picture, take.reference, away)) for picture in pair])
    locked, plain = np.mean(rows, 0)
    return float(locked), float(plain)
