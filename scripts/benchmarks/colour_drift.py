"""Distance of colours from the truth over a long clip, with --anchor-colour and without.

The bundled model animates rendered people whose truth is known for 200 frames. In each frame the
mean Lab colour of the figure and of the background is compared with the true frame's; drift is the
slope of that distance by least squares, stray its mean, flicker the mean change of the colour
error from one frame to the next.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from animate.evaluation.measures import figure_mask
from animate.evaluation.motion import slope
from animate.finish.body import body_unit
from animate.finish.colour import AnchoredColour
from pose.draw import draw
from scripts.benchmarks._clips import Studio, Way
from scripts.benchmarks.rows import Row
from scripts.tiny.characters import render_clip

FRAMES = 200
PEOPLE = 2
_FIRST = 900_000
_WAY = Way()


def run(model: str = "tiny", frames: int = FRAMES, people: int = PEOPLE) -> list[Row]:
    studio = Studio(model)
    errors: dict[tuple[str, str], list[NDArray[np.float64]]] = {}
    for number in range(people):
        for way, values in _person(studio, _FIRST + number, frames).items():
            for part, error in values.items():
                errors.setdefault((part, way), []).append(error)
    figures = {key: _figures(rows) for key, rows in errors.items()}
    return [
        Row(
            name=f"{part}, {quantity}",
            value=figures[part, "anchored"][quantity],
            unit=unit,
            baseline=figures[part, "as generated"][quantity],
            note=f"with --anchor-colour against without; {people} clips of {frames} frames",
        )
        for part in ("figure", "background")
        for quantity, unit in (
            ("stray", "dE"),
            ("drift", "dE per 100 frames"),
            ("flicker", "dE per frame"),
        )
    ]


def _person(studio: Studio, seed: int, frames: int) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Lab errors (F,3) of figure and background, as generated and anchored."""
    size = (studio.size.width, studio.size.height)
    take = render_clip(seed, frames, size)
    control = studio.draw(take.points, take.scores)
    generated = studio.make(take, _WAY).frames
    points, scores = take.reference_points, take.reference_scores
    pose = draw(points[None], scores[None], size, size, studio.variant.pose_style)
    skeletons = [control.skeletons.picture(number) for number in range(frames)]
    unit = body_unit([pose, *skeletons[::8]])
    anchor = AnchoredColour(take.reference, pose, unit, memory=studio.variant.defaults.window)
    anchored = np.stack([anchor(a, b) for a, b in zip(generated, skeletons, strict=True)])
    masks = [figure_mask(frame, take.background) for frame in take.frames]
    return {
        "as generated": _errors(generated, take.frames, masks),
        "anchored": _errors(anchored, take.frames, masks),
    }


def _errors(
    generated: NDArray[np.uint8], truth: NDArray[np.uint8], masks: list[NDArray[np.bool_]]
) -> dict[str, NDArray[np.float64]]:
    error = _lab(generated) - _lab(truth)
    return {
        "figure": np.array([e[m].mean(0) for e, m in zip(error, masks, strict=True)]),
        "background": np.array([e[~m].mean(0) for e, m in zip(error, masks, strict=True)]),
    }


def _lab(frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    scaled = frames.astype(np.float32) / 255
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2LAB) for frame in scaled]).astype(np.float64)


def _figures(errors: list[NDArray[np.float64]]) -> dict[str, float]:
    strays = [np.linalg.norm(error, axis=1) for error in errors]
    return {
        "stray": float(np.mean(strays)),
        "drift": float(np.mean([100 * slope(s) for s in strays])),
        "flicker": float(
            np.mean([np.linalg.norm(np.diff(error, axis=0), axis=1).mean() for error in errors])
        ),
    }
