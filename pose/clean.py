"""Make estimated motion steady without moving it in time: flips, gaps, smoothing.

Everything happens within shots, person by person, and looks as far ahead as back, so nothing lags.
Frames in which a person is missing for longer than the gap limit stay without that person.

Legend: F frames of one shot, 134 points.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pose.arrays import Array, Indices, Mask
from pose.errors import PoseError
from pose.flips import repair_flips
from pose.kinds import Absence
from pose.layout import LEFT_HAND, LEFT_WRIST, RIGHT_HAND, RIGHT_WRIST, SEEN
from pose.sequence import PoseSequence

FADE = 0.35
"""Seconds in which a pose fades out where a person is lost, and in again."""
# Beyond this many bandwidths a neighbour weighs less than a hundredth.
_REACH = 3
Singles = NDArray[np.float32]
# Frames that are smoothed at once; bounds the memory of long clips.
_BLOCK = 1024
# Frames repeated at one time are taken to last this many seconds.
_SHORTEST_FRAME = 1e-3
# Keeps a fit through too few neighbours from bending: curvature is only believed when several
# frames show it. In units of one frame's full weight.
_STIFFNESS = np.diag([0.0, 1e-6, 1e-3])


@dataclass(frozen=True, kw_only=True)
class CleaningOptions:
    """Repairs, and the amount of smoothing."""

    gap: float = 0.35
    """Longest gap in seconds that is bridged, between two frames that show the point; 0 bridges
    nothing."""
    smoothing: float = 0.055
    """Bandwidth in seconds: how far a frame's neighbours count (Gaussian, one standard deviation);
    0 leaves points as estimated. Motion slower than this passes unchanged."""
    flips: bool = True
    """Exchange left and right where they were clearly mistaken for each other."""

    def __post_init__(self) -> None:
        for name in ("gap", "smoothing"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise PoseError(f"{name} must be 0 or more seconds, not {value}")


def clean(sequence: PoseSequence, options: CleaningOptions | None = None) -> PoseSequence:
    """The sequence with flips repaired, gaps bridged and points smoothed, in this order."""
    options = options or CleaningOptions()
    points = sequence.points.astype(np.float64)
    scores = sequence.scores.astype(np.float64)
    for start, stop in sequence.shots:
        times = sequence.times[start:stop]
        for person in range(sequence.people):
            shot = slice(start, stop), person
            points[shot], scores[shot] = _clean_shot(points[shot], scores[shot], times, options)
    return replace(sequence, points=points.astype(np.float32), scores=scores.astype(np.float32))


def _clean_shot(
    points: Array, scores: Array, times: Array, options: CleaningOptions
) -> tuple[Array, Array]:
    if options.flips:
        points, scores = repair_flips(points, scores)
    points, scores = bridge_gaps(points, scores, times, options.gap)
    if options.smoothing == 0:
        return points, scores
    return smooth(points, scores, times, options.smoothing)


def fill_absence(sequence: PoseSequence, absence: Absence = "fade") -> PoseSequence:
    """The sequence with frames of nobody filled, person by person and shot by shot.

    Leading frames hold the first pose. Then "hold" keeps the last pose until the next sight of the
    person; "fade" lets it go within `FADE` seconds and the next one come; "empty" fills nothing.
    Shots without the person, such as black frames, are frames of nobody of the shot before them;
    those before the first sight lead it.
    """
    if absence == "empty":
        return sequence
    points, scores = sequence.points.copy(), sequence.scores.copy()
    for person in range(sequence.people):
        seen = sequence.present[:, person]
        starts = [start for start, stop in sequence.shots if seen[start:stop].any()]
        for start, stop in pairwise([0, *starts[1:], sequence.frames] if starts else []):
            shot, times = (slice(start, stop), person), sequence.times[start:stop]
            points[shot], scores[shot] = _held(
                points[shot],
                scores[shot],
                times,
                np.flatnonzero(seen[start:stop]),
                absence == "fade",
            )
    return replace(sequence, points=points, scores=scores)


def _held(
    points: Singles, scores: Singles, times: Array, present: Indices, fading: bool
) -> tuple[Singles, Singles]:
    """One person's shot with every absent frame held at a neighbouring sight, dimmed if fading."""
    frames = np.arange(len(points))
    before = np.searchsorted(present, frames, side="right") - 1
    after = np.searchsorted(present, frames)
    earlier, later = present[before.clip(0)], present[after.clip(None, len(present) - 1)]
    leading, trailing = frames < present[0], frames > present[-1]
    since, until = times - times[earlier], times[later] - times
    next_one = leading | (fading & ~trailing & (until < since))
    nearest = np.where(next_one, later, earlier)
    away = np.where(next_one, until, since)
    light = np.clip(1 - away / FADE, 0, 1) if fading else np.ones(len(points))
    light[leading], light[present] = 1, 1
    return points[nearest], scores[nearest] * light[:, None].astype(scores.dtype)


def without_lone_hands(sequence: PoseSequence) -> PoseSequence:
    """The sequence without hands whose wrist is not seen: their arm has left the picture."""
    scores = sequence.scores.copy()
    for hand, wrist in ((LEFT_HAND, LEFT_WRIST), (RIGHT_HAND, RIGHT_WRIST)):
        scores[..., hand] *= scores[..., wrist, None] >= SEEN
    return replace(sequence, scores=scores)


def bridge_gaps(points: Array, scores: Array, times: Array, longest: float) -> tuple[Array, Array]:
    """Fill points that are unseen for at most `longest` seconds between two sights of them.

    A filled point lies on the line between both sights and has the lower of their scores. Points
    are (F,134,2), scores (F,134), times (F,) in seconds.
    """
    points, scores = points.copy(), scores.copy()
    for point in range(points.shape[1]):
        seen = np.flatnonzero(scores[:, point] >= SEEN)
        gaps = np.diff(seen) > 1
        for before, after in zip(seen[:-1][gaps], seen[1:][gaps], strict=True):
            # The time without a sight: between the frames just outside the gap, less one frame.
            missing = times[after] - times[before]
            frames = after - before - 1
            if missing * frames / (frames + 1) > longest + 1e-6:
                continue
            share = ((times[before + 1 : after] - times[before]) / max(missing, 1e-9))[:, None]
            ends = points[before, point], points[after, point]
            points[before + 1 : after, point] = (1 - share) * ends[0] + share * ends[1]
            scores[before + 1 : after, point] = min(scores[before, point], scores[after, point])
    return points, scores


def smooth(points: Array, scores: Array, times: Array, bandwidth: float) -> tuple[Array, Array]:
    """Local quadratic regression over time, weighted by score: zero phase, irregular times welcome.

    A parabola per point and frame is fitted to the frames around, seen ones only; its value at the
    frame is the smoothed place. Unseen points stay as they are. Scores of seen points become the
    weighted mean of their neighbours', since the drawing shades by them.
    """
    reach = _reach(times, bandwidth)
    smoothed, calm = points.copy(), scores.copy()
    for start in range(0, len(points), _BLOCK):
        stop = min(start + _BLOCK, len(points))
        around = slice(max(0, start - reach), min(len(points), stop + reach))
        inner = slice(start - around.start, stop - around.start)
        positions, levels = _smooth_block(
            points[around], scores[around], times[around], bandwidth, reach
        )
        smoothed[start:stop], calm[start:stop] = positions[inner], levels[inner]
    return smoothed, calm


def _smooth_block(
    points: Array, scores: Array, times: Array, bandwidth: float, reach: int
) -> tuple[Array, Array]:
    seen = scores >= SEEN
    sums, products, level = _moments(points, scores, seen, times / bandwidth, reach)
    # Without any curvature or slope to believe (one seen frame alone) the fit is that frame.
    stiff = _STIFFNESS * np.maximum(1e-12, scores[..., None, None] ** 2)
    fitted = np.linalg.solve(sums + stiff, products)[..., 0, :]
    calm = np.where(seen, np.clip(level, SEEN, 1), scores)
    return np.where(seen[..., None], fitted, points), calm


def _moments(
    points: Array, scores: Array, seen: Mask, times: Array, reach: int
) -> tuple[Array, Array, Array]:
    """Normal equations of every fit, (F,134,3,3) and (F,134,3,2), and the mean score (F,134).

    `times` are in bandwidths; neighbours up to `reach` frames away are added.
    """
    count, joints = scores.shape
    sums = np.zeros((count, joints, 3, 3))
    products = np.zeros((count, joints, 3, 2))
    level = np.zeros((count, joints))
    # An unseen point gets a fit that is thrown away; this keeps its equations solvable.
    sums[~seen] = np.eye(3)
    trust = np.where(seen, scores, 0.0) ** 2
    reach = min(reach, count - 1)
    for step in range(-reach, reach + 1):
        here = slice(max(0, -step), count - max(0, step))
        there = slice(max(0, step), count - max(0, -step))
        distance = times[there] - times[here]
        weight = np.exp(-0.5 * distance**2)[:, None] * trust[there] * seen[here]
        powers = distance[:, None] ** np.arange(3)
        sums[here] += weight[..., None, None] * (powers[:, :, None] * powers[:, None])[:, None]
        products[here] += (
            weight[..., None, None] * powers[:, None, :, None] * points[there][:, :, None]
        )
        level[here] += weight * scores[there]
    total = np.where(seen, sums[..., 0, 0], 1.0)
    return sums, products, level / total


def _reach(times: Array, bandwidth: float) -> int:
    """Frames to look at on each side so as to reach as far as neighbours count."""
    if len(times) < 2:
        return 0
    typical = max(float(np.median(np.diff(times))), _SHORTEST_FRAME)
    return int(np.ceil(_REACH * bandwidth / typical))
