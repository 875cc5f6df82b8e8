"""Jitter removed by smoothing, its error and its lag, on known and on real motion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pose.clean import clean
from pose.layout import BODY, FACE, HANDS, SEEN
from pose.sequence import PoseSequence
from scripts.benchmarks._dancer import dancer
from scripts.benchmarks.rows import Row

# Noise of the estimator on a 576x1024 picture, standard deviation in pixels, by part.
_NOISE = ((BODY, 2.0), (FACE, 0.8), *((hand, 2.5) for hand in HANDS))
_LAG_STEP = 0.05


def run() -> list[Row]:
    """A dancer of 10 seconds with noise; the truth is known, so are error and lag."""
    truth = dancer(300)
    noisy = add_noise(truth, seed=0)
    smooth = clean(noisy)
    return [
        *rows("dancer", noisy, smooth),
        Row(
            name="dancer: mean error to the truth",
            value=distance(smooth, truth),
            unit="px",
            baseline=distance(noisy, truth),
            note="baseline: before cleaning",
        ),
        Row(
            name="dancer: lag",
            value=lag(smooth, truth),
            unit="frames",
            note="shift in time at which the cleaned motion fits the truth best",
        ),
    ]


def rows(name: str, raw: PoseSequence, smoothed: PoseSequence) -> list[Row]:
    """Jitter and deviation, in pixels of the canvas, of points seen before and after."""
    seen = (raw.scores >= SEEN) & (smoothed.scores >= SEEN)
    return [
        Row(
            name=f"{name}: jitter",
            value=jitter(smoothed, seen),
            unit="px",
            baseline=jitter(raw, seen),
            note="mean second difference; baseline: before cleaning",
        ),
        Row(
            name=f"{name}: mean deviation",
            value=float(np.linalg.norm(smoothed.points - raw.points, axis=-1)[seen].mean()),
            unit="px",
            note="how far cleaning moves a point",
        ),
        Row(
            name=f"{name}: lag against the uncleaned motion",
            value=lag(smoothed, raw),
            unit="frames",
        ),
    ]


def jitter(sequence: PoseSequence, seen: NDArray[np.bool_]) -> float:
    """Mean length of second differences over three frames that all show the point, in pixels."""
    second = np.linalg.norm(np.diff(sequence.points, n=2, axis=0), axis=-1)
    return float(second[seen[2:] & seen[1:-1] & seen[:-2]].mean())


def distance(first: PoseSequence, second: PoseSequence) -> float:
    """Mean distance in pixels between points."""
    return float(np.linalg.norm(first.points - second.points, axis=-1).mean())


def lag(moved: PoseSequence, goal: PoseSequence) -> float:
    """Frames by which the body of `moved` comes after `goal`: the shift of least square error."""
    frames = np.arange(moved.frames, dtype=np.float64)
    inner = slice(5, moved.frames - 5)
    both = (moved.scores >= SEEN) & (goal.scores >= SEEN)
    seen = both[:, 0, BODY].all(axis=0)
    moved_points = moved.points[:, 0, BODY][:, seen].reshape(moved.frames, -1)
    goal_points = goal.points[:, 0, BODY][:, seen].reshape(moved.frames, -1)
    shifts = np.arange(-2, 2 + _LAG_STEP / 2, _LAG_STEP)
    errors = []
    for shift in shifts:
        late = np.stack(
            [np.interp(frames - shift, frames, column) for column in goal_points.T], axis=1
        )
        # Interpolation smooths in between frames, and would favour such shifts: compare both so.
        shifted = np.stack(
            [np.interp(frames + shift, frames, column) for column in moved_points.T], axis=1
        )
        errors.append(
            float(
                ((moved_points - late)[inner] ** 2).mean()
                + ((shifted - goal_points)[inner] ** 2).mean()
            )
        )
    best = int(np.argmin(errors))
    if not 0 < best < len(shifts) - 1:
        return float(shifts[best])
    below, at, above = errors[best - 1 : best + 2]
    bent = below - 2 * at + above
    return float(shifts[best] + (_LAG_STEP * (below - above) / (2 * bent) if bent > 0 else 0))


def add_noise(sequence: PoseSequence, seed: int) -> PoseSequence:
    """The sequence as an estimator might see it: independent noise on every point and frame."""
    generator = np.random.default_rng(seed)
    points = sequence.points.astype(np.float64)
    for part, level in _NOISE:
        points[:, :, part] += generator.normal(0, level, points[:, :, part].shape)
    return replace(sequence, points=points.astype(np.float32))
