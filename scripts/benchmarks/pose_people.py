"""People who cross: identity switches, frames found and error, against the rendered truth.

Rendered figures walk past each other in front of one place; who is in front hides the others. The
baseline is the same estimator without looking for people where they should be.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pose.estimators.base import Estimator, Frame, Points, Scores
from pose.estimators.blazepose.estimator import BlazePose
from pose.extract import extract
from pose.layout import BODY, NECK, SEEN
from pose.sequence import PoseSequence
from scripts.benchmarks.rows import Row
from scripts.tiny.characters.clip import Take, render_clip

_CANVAS, _FIGURE = (864, 512), (288, 512)
_FRAMES, _FPS = 36, Fraction(18)
_SCENES = ((11, 23), (31, 47), (5, 17, 29), (8, 19, 41), (3, 27, 13))
"""Seeds of the figures in each scene, the one behind first."""
_NEAR = 0.12
"""Parts of the picture's height within which a found person is a rendered one."""
_VISIBLE = 0.6
"""Share of a figure that must not be hidden for it to be expected."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """A rendered clip of several people."""

    frames: list[NDArray[np.uint8]]
    points: NDArray[np.float32]
    """(F,P,134,2)."""
    visible: NDArray[np.bool_]
    """(F,P): enough of the person can be seen."""


class _Plain:
    """An estimator with nothing but the protocol: nobody is looked for again."""

    name = "plain"

    def __init__(self) -> None:
        self._estimator: Estimator = BlazePose()
        self.digest = self._estimator.digest

    def __call__(self, frame: Frame, /) -> tuple[Points, Scores]:
        return self._estimator(frame)

    def reset(self) -> None:
        self._estimator.reset()


def run() -> list[Row]:
    """Two and three figures who cross, by the estimator and by it without its second look."""
    scenes = [crossing(seeds) for seeds in _SCENES]
    full = [measured(scene, BlazePose()) for scene in scenes]
    plain = [measured(scene, _Plain()) for scene in scenes]
    names = ("identity switches", "visible people found", "median error")
    units = ("", "%", "px")
    rows = []
    for scene, seeds in enumerate(_SCENES):
        for figure, (name, unit) in enumerate(zip(names, units, strict=True)):
            rows.append(
                Row(
                    name=f"{len(seeds)} people, scene {scene}: {name}",
                    value=full[scene][figure],
                    unit=unit,
                    baseline=plain[scene][figure],
                )
            )
    return rows


def crossing(seeds: tuple[int, ...]) -> Scene:
    """Figures on the ways from one side to the other and back, at speeds of their own."""
    takes = [render_clip(seed, _FRAMES, _FIGURE, shot="full") for seed in seeds]
    place = np.full((*_CANVAS[::-1], 3), (150, 160, 170), np.uint8)
    share = np.linspace(0, 1, _FRAMES)
    room = _CANVAS[0] - _FIGURE[0]
    lefts = [
        np.round(room * (share if number % 2 else 1 - share) * (1 - 0.12 * number)).astype(int)
        for number in range(len(seeds))
    ]
    frames, seen = [], np.zeros((_FRAMES, len(seeds)), bool)
    points = np.zeros((_FRAMES, len(seeds), 134, 2), np.float32)
    for index in range(_FRAMES):
        picture = place.copy()
        covered = [np.zeros(_CANVAS[::-1], np.uint8) for _ in seeds]
        for number, take in enumerate(takes):
            _paint(picture, covered[number], take, index, lefts[number][index])
            points[index, number] = take.points[index] + (lefts[number][index], 0)
        for number, mask in enumerate(covered):
            hidden = np.maximum.reduce([np.zeros_like(mask), *covered[number + 1 :]])
            seen[index, number] = (np.minimum(mask, 255 - hidden)).sum() > _VISIBLE * mask.sum()
        frames.append(picture)
    return Scene(frames=frames, points=points, visible=seen)


def _paint(
    picture: NDArray[np.uint8], mask: NDArray[np.uint8], take: Take, index: int, left: int
) -> None:
    part = slice(left, left + _FIGURE[0])
    cover = take.masks[index][..., None] / 255.0
    mixed = take.frames[index] * cover + picture[:, part] * (1 - cover)
    picture[:, part], mask[:, part] = mixed.astype(np.uint8), take.masks[index]


def measured(scene: Scene, estimator: Estimator) -> tuple[float, float, float]:
    """Identity switches, share of visible people found in per cent, median error in pixels."""
    poses = extract(iter(scene.frames), estimator, fps=_FPS)
    switches, errors = 0, []
    identities: dict[int, int] = {}
    for index in range(len(scene.frames)):
        for number, person in _matches(poses, scene, index, identities):
            switches += identities.get(number, person) != person
            identities[number] = person
            seen = poses.scores[index, person, BODY] >= SEEN
            apart = poses.points[index, person, BODY] - scene.points[index, number, BODY]
            errors.append(np.linalg.norm(apart, axis=1)[seen])
    error = float(np.median(np.concatenate(errors))) if errors else float("nan")
    return float(switches), 100 * len(errors) / max(1, int(scene.visible.sum())), error


def _matches(
    poses: PoseSequence, scene: Scene, index: int, before: dict[int, int]
) -> list[tuple[int, int]]:
    """(rendered, found) people of a frame, each once.

    As in CLEAR MOT (Bernardin and Stiefelhagen, 2008): a pair of `before` stays one as long as
    both are near to each other, the others are paired by the nearest necks. So an exchange counts
    where it shows: when those who stood in one spot part again.
    """
    present, visible = np.flatnonzero(poses.present[index]), np.flatnonzero(scene.visible[index])
    truth = scene.points[index][visible][:, None, NECK]
    apart = np.linalg.norm(truth - poses.points[index][present][None, :, NECK], axis=2)
    near = _NEAR * _CANVAS[1]
    for row, number in enumerate(visible):
        column = np.flatnonzero(present == before.get(int(number), -1))
        if len(column) and apart[row, column[0]] < near:
            apart[row, column[0]] = 0
    rows, columns = linear_sum_assignment(np.where(apart < near, apart, 10 * near))
    return [
        (int(visible[row]), int(present[column]))
        for row, column in zip(rows, columns, strict=True)
        if apart[row, column] < near
    ]
