"""Pictures and poses of programs, checked once and brought to the arrays that the engine takes.

Every fault is named with the argument, what it is, and what was expected.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from PIL import Image as Pillow

from animate.errors import RequestError
from animate.media.image import read_image, rgb_picture
from animate.media.info import Image
from pose.layout import POINTS
from pose.sequence import PoseSequence

Picture = Pillow.Image | np.ndarray | torch.Tensor | str | os.PathLike[str]
"""A picture: of Pillow; an array (H,W,3), uint8 or floats in [0,1], RGB; a tensor (3,H,W) or
(1,3,H,W) of the same values; or the path of a file."""
Pictures = Sequence[Picture] | np.ndarray | torch.Tensor
"""Pictures of one size: a sequence of `Picture`, an array (F,H,W,3), or a tensor (F,3,H,W)."""
Poses = PoseSequence | np.ndarray | torch.Tensor | str | os.PathLike[str]
"""Poses: a sequence; an array (F,P,134,3) or (F,134,3) of x, y in pixels and score; or the path of
a pose file or of rendered skeletons."""

_VALUES = "expected uint8 from 0 to 255, or floats from 0 to 1"


def is_path(value: object) -> TypeGuard[str | os.PathLike[str]]:
    """True for text and path objects."""
    return isinstance(value, str | os.PathLike)


def several(images: Any) -> list[Any]:
    """The pictures that become a video each: those of a list or of a batch, or the one.

    Raises RequestError for an empty list.
    """
    if isinstance(images, torch.Tensor | np.ndarray) and images.ndim == 4:
        images = list(images)
    if not isinstance(images, list | tuple):
        return [images]
    if not images:
        raise RequestError("image is an empty list; give at least one picture")
    return list(images)


def read_picture(value: Any, name: str) -> Image:
    """(H,W,3) uint8 RGB of a `Picture`; `name` is the argument's, for messages.

    Raises RequestError for arrays of another shape, type or range, MediaError for damaged files.
    """
    if is_path(value):
        return read_image(Path(value))
    if isinstance(value, Pillow.Image):
        return rgb_picture(value, name)
    if isinstance(value, torch.Tensor):
        tensor = value[0] if value.ndim == 4 and len(value) == 1 else value
        if tensor.ndim != 3 or len(tensor) != 3:
            raise RequestError(
                f"{name} is a tensor of shape {tuple(value.shape)}; expected (3, height, width): "
                f"{_shape_hint(tuple(value.shape), first=True)}"
            )
        return _levels(_numbers(tensor.permute(1, 2, 0)), name)
    if isinstance(value, np.ndarray):
        if value.ndim != 3 or value.shape[-1] != 3:
            raise RequestError(
                f"{name} is an array of shape {value.shape}; expected (height, width, 3): "
                f"{_shape_hint(value.shape, first=False)}"
            )
        return _levels(value, name)
    raise RequestError(
        f"{name} is of the type {type(value).__name__}; expected a picture of Pillow, an array, a "
        "tensor, or the path of a file"
    )


def read_pictures(value: Any, name: str) -> list[Image]:
    """(H,W,3) uint8 RGB of each of some `Pictures`.

    Raises RequestError where there is none, or one has another size than the first.
    """
    if isinstance(value, torch.Tensor | np.ndarray):
        if isinstance(value, torch.Tensor) and value.ndim == 5 and len(value) == 1:
            value = value[0]
        if value.ndim != 4:
            expected = "(frames, height, width, 3)"
            if isinstance(value, torch.Tensor):
                expected = "(frames, 3, height, width)"
            raise RequestError(f"{name} has the shape {tuple(value.shape)}; expected {expected}")
    elif not isinstance(value, Sequence) or isinstance(value, bytes):
        raise RequestError(
            f"{name} is of the type {type(value).__name__}; expected a list of pictures, an array, "
            "a tensor, or the path of a video"
        )
    if len(value) == 0:
        raise RequestError(f"{name} is empty; give at least one picture")
    pictures = [read_picture(picture, f"{name}[{number}]") for number, picture in enumerate(value)]
    for number, picture in enumerate(pictures):
        if picture.shape != pictures[0].shape:
            raise RequestError(
                f"{name}[{number}] is {_size(picture)}, {name}[0] is {_size(pictures[0])}; bring "
                "all to one size"
            )
    return pictures


def read_mask(value: Any, name: str, size: tuple[int, int]) -> np.ndarray:
    """(H,W) float32 in [0,1] of a mask of a picture of this size (width, height).

    Raises RequestError for another shape or range.
    """
    mask = _numbers(value) if isinstance(value, torch.Tensor) else value
    if isinstance(mask, np.ndarray) and mask.ndim == 3 and len(mask) == 1:
        mask = mask[0]
    expected = (size[1], size[0])
    if not isinstance(mask, np.ndarray) or mask.shape != expected:
        shape = mask.shape if isinstance(mask, np.ndarray) else type(mask).__name__
        raise RequestError(f"{name} is {shape}; expected {expected}, as the image is")
    values = mask.astype(np.float32)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise RequestError(f"{name} has values that are not from 0 to 1")
    return values


def read_poses(value: Any, name: str, *, canvas: tuple[int, int], fps: Fraction) -> PoseSequence:
    """The poses of a sequence, or of an array of points.

    canvas: (width, height) in pixels of the picture that an array's points lie on
    fps: rate of an array's frames
    Raises RequestError for arrays of another shape or range.
    """
    if isinstance(value, PoseSequence):
        return value
    if isinstance(value, torch.Tensor):
        value = _numbers(value)
    if not isinstance(value, np.ndarray):
        raise RequestError(
            f"{name} is of the type {type(value).__name__}; expected a PoseSequence, an array of "
            "points, or the path of a pose file"
        )
    points = value[:, None] if value.ndim == 3 else value
    if points.ndim != 4 or points.shape[2:] != (POINTS, 3) or len(points) == 0:
        raise RequestError(
            f"{name} is an array of shape {value.shape}; expected (frames, people, {POINTS}, 3) or "
            f"(frames, {POINTS}, 3): x and y in pixels, and a score"
        )
    if not np.issubdtype(points.dtype, np.number) or not np.isfinite(points).all():
        raise RequestError(f"{name} has values that are no finite numbers; give absent points 0")
    scores = points[..., 2]
    if scores.min() < 0 or scores.max() > 1:
        raise RequestError(
            f"{name} has scores from {scores.min():g} to {scores.max():g}; expected 0 (absent) to 1"
        )
    return PoseSequence(
        points=points[..., :2],
        scores=scores,
        canvas=canvas,
        fps=fps,
        times=np.arange(len(points)) / float(fps),
    )


def _numbers(tensor: torch.Tensor) -> np.ndarray:
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    return tensor.numpy()


def _levels(pixels: np.ndarray, name: str) -> Image:
    """(H,W,3) uint8 of levels, or of floats in [0,1]. Raises RequestError."""
    if pixels.size == 0:
        raise RequestError(f"{name} has the shape {pixels.shape}, which holds no pixel")
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    if not np.issubdtype(pixels.dtype, np.floating):
        raise RequestError(f"{name} has the type {pixels.dtype}; {_VALUES}")
    if not np.isfinite(pixels).all():
        raise RequestError(f"{name} has values that are not finite; {_VALUES}")
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or high > 1:
        raise RequestError(f"{name} has values from {low:g} to {high:g}; {_VALUES}")
    return np.rint(pixels.astype(np.float32) * 255).astype(np.uint8)


def _shape_hint(shape: tuple[int, ...], *, first: bool) -> str:
    """The way out for an array of another shape; `first` where the channels come first."""
    channels = shape[0 if first else -1] if len(shape) == 3 else None
    if channels == 4:
        return "lay the picture over a colour, or leave the fourth channel (alpha) out"
    if channels == 1 or len(shape) == 2:
        return "repeat the grey channel three times"
    if len(shape) == 3 and shape[-1 if first else 0] == 3:
        return "move the channels to the " + ("front" if first else "end")
    return "one RGB picture"


def _size(picture: Image) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"
