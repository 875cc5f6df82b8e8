"""Sizes of stills, and pictures brought to them. Sizes are (width, height) in pixels."""

from __future__ import annotations

import numpy as np
from PIL import Image

from animate.driving.placement import Placement, place_picture
from animate.errors import RequestError
from animate.models.stills import StillDesign
from animate.progress import Progress
from animate.request.request import Fit
from animate.request.values import Size

Picture = Image.Image | np.ndarray
GRID = 8
"""Both sides of a picture are multiples of this."""
_LARGEST = 2.25
"""Areas that the base was trained on, beyond which a size that nobody named is made smaller."""


def chosen_size(
    size: Size | None,
    natural: Picture | None,
    design: StillDesign,
    progress: Progress | None = None,
) -> Size:
    """The size of a still: the one that is named, else that of a picture, else the design's first.

    A picture that is much larger than what the base was trained on gives its proportions alone.
    Raises RequestError for a size off the grid.
    """
    if size is not None:
        check_size(size)
        return size
    if natural is None:
        return design.sizes[0]
    width, height = pil(natural).size
    area = design.sizes[0].width * design.sizes[0].height
    if width * height > _LARGEST * area:
        scale = (area / (width * height)) ** 0.5
        smaller = Size(on_grid(width * scale), on_grid(height * scale))
        if progress is not None:
            progress.note(f"size: {smaller}, about what {design.name} was trained on")
        return smaller
    return Size(max(GRID, width // GRID * GRID), max(GRID, height // GRID * GRID))


def size_like(size: Size, design: StillDesign) -> Size:
    """The size on the grid with the proportions of another and about the area that a design's base
    was trained on, but not larger than that other."""
    area = design.sizes[0].width * design.sizes[0].height
    scale = min(1.0, (area / (size.width * size.height)) ** 0.5)
    return Size(on_grid(size.width * scale), on_grid(size.height * scale))


def on_grid(length: float) -> int:
    """The multiple of the grid that is nearest to a length."""
    return max(GRID, round(length / GRID) * GRID)


def check_size(size: Size) -> None:
    """Raise RequestError for a size off the grid, naming the nearest that is on it."""
    if size.width % GRID or size.height % GRID:
        raise RequestError(
            f"size {size} cannot be made: both sides must be multiples of {GRID}; the nearest is "
            f"{Size(on_grid(size.width), on_grid(size.height))}"
        )


def placement_for(source: Size, size: Size, fit: Fit) -> Placement:
    """The way a picture is brought to a size; proportions that differ by less than a step of the
    grid are stretched."""
    skew = abs(source.width * size.height - source.height * size.width)
    return place_picture(source, size, "stretch" if skew < GRID * max(source) else fit)


def fitted_to(picture: Picture, size: Size, fit: Fit) -> Image.Image:
    """A picture brought to a size. Raises RequestError for arrays that are no picture."""
    image = pil(picture)
    placement = placement_for(Size(*image.size), size, fit)
    if placement.scaled == size:
        return image.resize(size, Image.Resampling.LANCZOS)
    return Image.fromarray(placement.picture(np.asarray(image)))


def pil(picture: Picture) -> Image.Image:
    """A picture as RGB. Raises RequestError for arrays of another shape or type."""
    if isinstance(picture, Image.Image):
        return picture.convert("RGB")
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise RequestError(
            f"a picture of shape {picture.shape} and type {picture.dtype} is not (H,W,3) uint8 RGB"
        )
    return Image.fromarray(picture)
