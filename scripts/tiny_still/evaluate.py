"""Measure an exported model on people and poses that it was not trained on.

    python -m scripts.tiny_still.evaluate MODEL [--lora FILE] [--json FILE] [--sheet PNG]

Everything is known of a procedural person. Before a plain wall the figure is what is not of the
wall's colour, in generated pictures and true ones alike; its overlap (IoU) with the true figure
says whether the pose is followed. True pictures, measured the same way, are the best to expect;
pictures without control are what a prompt alone gives. A colour counts as found where the mean of
the shirt's or the wall's pixels, placed by the true pose, is nearest to the colour that the prompt
names.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from animate.files import write_text
from animate.media.image import write_png
from animate.request.values import Lora
from animate.stills.pipeline import StillPipeline
from animate.training.samples import draw_control
from pose import layout
from scripts.tiny_still.people import COLOURS, HELD_OUT, Scene, render, words_of

Picture = NDArray[np.uint8]
_WALLS = ("white", "grey", "blue", "green", "yellow", "pink")
_DISTANCE = 28.0
"""Distance in Lab from the wall's colour beyond which a pixel is of the figure."""


@dataclass(frozen=True, kw_only=True)
class StillScores:
    """Means over held-out people."""

    iou: float
    """Overlap of the figure with the true one of the pose."""
    shirt: float
    """Share of pictures whose shirt or dress has the colour that the prompt names."""
    wall: float
    """Share of pictures whose wall has the colour that the prompt names."""
    chroma: float
    """Mean distance from grey in Lab: ink on paper has little."""


def held_out(count: int, size: tuple[int, int]) -> list[Scene]:
    """One pose each of people that no recipe trains on, before plain walls of another colour than
    their clothes and hair."""
    scenes = []
    for seed in range(HELD_OUT, HELD_OUT + count):
        words = words_of(seed)
        worn = (words.top, words.bottom, words.hair_colour)
        walls = [wall for wall in _WALLS if wall not in worn]
        scenes.append(render(seed, 1, size, wall=walls[seed % len(walls)]))
    return scenes


def figure(picture: Picture) -> NDArray[np.bool_]:
    """(h,w) pixels that are not of the wall's colour, which is taken from the picture's sides."""
    values = lab(picture)
    sides = np.concatenate([values[: len(values) // 2, :3], values[: len(values) // 2, -3:]], 1)
    colour = np.median(sides.reshape(-1, 3), 0)
    lit = np.array([0.5, 1.0, 1.0])  # a wall gets darker downwards
    return np.asarray(np.linalg.norm((values - colour) * lit, axis=-1) > _DISTANCE / 2)


def lab(picture: Picture) -> NDArray[np.float32]:
    """(h,w,3) of a picture in the Lab space, its lightness from 0 to 100."""
    return np.asarray(cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB))


def nearest_colour(pixels: Picture) -> str:
    """Name of the colour that is nearest to the mean of pixels (n,3)."""
    mean = lab(pixels.reshape(1, -1, 3)).reshape(-1, 3).mean(0)
    names = list(COLOURS)
    known = lab(np.array([[COLOURS[name] for name in names]], np.uint8))[0]
    return names[int(np.linalg.norm(known - mean, axis=1).argmin())]


def shirt_pixels(picture: Picture, scene: Scene) -> Picture:
    """(n,3) pixels between shoulders and hips, the outer third left out."""
    points = scene.points[0]
    corners = points[[layout.RIGHT_SHOULDER, layout.LEFT_SHOULDER, layout.LEFT_HIP,
                      layout.RIGHT_HIP]]  # fmt: skip
    inner = corners.mean(0) + 0.6 * (corners - corners.mean(0))
    inside = np.zeros(picture.shape[:2], np.uint8)
    cv2.fillPoly(inside, [np.round(inner).astype(np.int32)], 1)
    return picture[inside > 0] if inside.any() else picture[:1, 0]


def score(pictures: Sequence[Picture], scenes: Sequence[Scene]) -> StillScores:
    """Scores of one picture for each scene."""
    rows = []
    for picture, scene in zip(pictures, scenes, strict=True):
        shape, truth = figure(picture), scene.masks[0] > 127
        iou = (shape & truth).sum() / max((shape | truth).sum(), 1)
        shirt = nearest_colour(shirt_pixels(picture, scene)) == scene.words.top
        wall = nearest_colour(picture[:20, :4].reshape(-1, 3)) == scene.words.wall
        chroma = np.linalg.norm(lab(picture)[..., 1:], axis=-1).mean()
        rows.append((iou, shirt, wall, chroma))
    iou, shirts, walls, chroma = np.mean(rows, 0)
    return StillScores(iou=float(iou), shirt=float(shirts), wall=float(walls), chroma=float(chroma))


def generate(
    pipeline: StillPipeline, scenes: Sequence[Scene], *, controlled: bool
) -> list[Picture]:
    """A picture for each scene's caption, with its pose for control or without."""
    size = pipeline.design.sizes[0]
    style = pipeline.design.pose_style
    pictures = []
    for number, scene in enumerate(scenes):
        control = draw_control(scene.points, scene.scores, tuple(size), style)[0]  # type: ignore[arg-type]
        picture = pipeline(
            scene.words.caption(), control if controlled else None, size=size, seed=number
        )
        pictures.append(np.asarray(picture))
    return pictures


def evaluate(
    model: Path, count: int, lora: Path | None = None
) -> tuple[dict[str, StillScores], Picture]:
    """Scores by what was done, and a sheet of pictures: truth, controlled, free, styled."""
    pipeline = StillPipeline.from_pretrained(str(model), device="cpu", precision="float32")
    width, height = pipeline.design.sizes[0]
    scenes = held_out(count, (width, height))
    rows = {
        "truth": [scene.pictures[0] for scene in scenes],
        "with control": generate(pipeline, scenes, controlled=True),
        "without control": generate(pipeline, scenes, controlled=False),
    }
    if lora is not None:
        pipeline.load_lora((Lora(lora, 1.0),))
        rows["with control and LoRA"] = generate(pipeline, scenes, controlled=True)
    shown = [np.concatenate(pictures[:12], 1) for pictures in rows.values()]
    return {name: score(pictures, scenes) for name, pictures in rows.items()}, np.concatenate(shown)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--lora", type=Path)
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args(arguments)
    scores, sheet = evaluate(options.model, options.count, options.lora)
    print(f"| {options.count} held-out people | pose IoU | shirt | wall | chroma |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, values in scores.items():
        print(f"| {name} | {values.iou:.3f} | {values.shirt:.2f} | {values.wall:.2f} "
              f"| {values.chroma:.1f} |")  # fmt: skip
    if options.json is not None:
        plain = {name: asdict(row) for name, row in scores.items()}
        write_text(options.json, json.dumps(plain, indent=1) + "\n")
    if options.sheet is not None:
        write_png(options.sheet, sheet)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
