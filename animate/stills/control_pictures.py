"""Control pictures that are made from a photo: edges, a skeleton, depth, a person's outline.

All take a photo (H,W,3) uint8 RGB and return a picture of the same kind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from animate.driving.estimators import estimator_options
from animate.driving.limb_warp import person_cover
from animate.errors import MediaError, ModelError
from animate.request.request import Fit
from animate.request.values import Size
from animate.stills.sizes import placement_for
from pose.draw import draw
from pose.estimators import load_estimator
from pose.layout import SEEN

_COVERED = 0.35
"""Cover of a pixel from which on it is of the person."""


@dataclass(frozen=True, kw_only=True)
class ControlSource:
    """A photo and what is needed to make a control picture from it."""

    photo: np.ndarray
    """(H,W,3) uint8 RGB."""
    name: str
    """File of the photo, for messages."""
    size: Size
    """Size of the still, which skeletons are drawn at."""
    fit: Fit = "crop"
    """Way to bring a photo of another shape to that size."""
    pose_style: str
    """Style (of `pose.draw`) of skeletons."""
    depth_model: Path | None = None
    """Folder of a transformers model for depth estimation."""


def canny(photo: np.ndarray) -> np.ndarray:
    """Edges, by the published thresholds around the median of the photo's grey."""
    import cv2

    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    median = float(np.median(grey))
    edges = cv2.Canny(grey, int(max(0, 0.67 * median)), int(min(255, 1.33 * median)))
    return np.repeat(edges[..., None], 3, 2)


def pose(source: ControlSource) -> np.ndarray:
    """The skeletons of the photo's people at the still's size. Raises MediaError where nobody is
    seen."""
    points, scores = _people(source)
    height, width = source.photo.shape[:2]
    size = (source.size.width, source.size.height)
    placed = placement_for(Size(width, height), source.size, source.fit).points(points)
    return draw(placed, scores, size, size, source.pose_style)


def mask(source: ControlSource) -> np.ndarray:
    """White where the photo's people are, by the reach of their limbs. Raises MediaError."""
    height, width = source.photo.shape[:2]
    covered = np.zeros((height, width), np.float32)
    for points, scores in zip(*_people(source), strict=True):
        seen = np.asarray(scores) >= SEEN
        cover = person_cover(np.asarray(points, np.float64), seen, (width, height))
        np.maximum(covered, cover, out=covered)
    white = np.where(covered > _COVERED, 255, 0).astype(np.uint8)
    return np.repeat(white[..., None], 3, 2)


def depth(source: ControlSource) -> np.ndarray:
    """Depth, near is bright, by the named model. Raises ModelError where it cannot be used."""
    from PIL import Image
    from transformers import pipeline

    folder = source.depth_model
    assert folder is not None, "the request has a model where it asks for depth"
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"depth model {folder} has no config.json; name the folder of a transformers model for "
            "depth estimation"
        )
    if not list(folder.glob("*.safetensors")):
        raise ModelError(f"depth model {folder} has no .safetensors file; pickles are not opened")
    try:
        estimate: Any = pipeline("depth-estimation", model=str(folder), device="cpu")
        values = np.asarray(estimate(Image.fromarray(source.photo))["depth"].convert("L"))
    except (ValueError, OSError, KeyError, RuntimeError, ImportError, AttributeError) as reason:
        raise ModelError(
            f"depth model {folder} cannot be used: {str(reason).splitlines()[0]}"
        ) from reason
    return np.repeat(values[..., None], 3, 2)


MAKERS: dict[str, Callable[[ControlSource], np.ndarray]] = {
    "canny": lambda source: canny(source.photo),
    "pose": pose,
    "depth": depth,
    "mask": mask,
}
"""Makers of control pictures by the words of a request."""


def _people(source: ControlSource) -> tuple[np.ndarray, np.ndarray]:
    estimator = load_estimator("blazepose", **estimator_options("blazepose", None, "cpu"))
    points, scores = estimator(source.photo)
    if not len(points):
        raise MediaError(f"nobody is seen in {source.name}; give another photo")
    return points, scores
