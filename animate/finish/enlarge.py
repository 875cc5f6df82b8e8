"""Frames enlarged after they were generated, by Lanczos or by an upscaler of the user's.

A model draws best at the sizes it was trained on; a clip of another size is made at the nearest of
them and enlarged here. What is left over of another shape is cut off at both sides alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from animate.driving.placement import Placement, place_picture
from animate.errors import ModelError, RequestError
from animate.media.info import Image
from animate.request.request import AnimationRequest
from animate.request.values import Size

_TILE = 256
"""Pixels of a frame's side that an upscaler looks at together, so that memory stays bounded."""
_MARGIN = 16
"""Pixels around a tile that it sees as well, so that no border shows."""


class Upscaler:
    """A network that enlarges pictures by its own factor; spandrel knows its architecture."""

    def __init__(self, path: Path, device: torch.device) -> None:
        """Read the weights at `path`.

        Raises RequestError without spandrel, ModelError for a file that is no upscaler of RGB.
        """
        from animate.models.weight_files import read_weights

        try:
            import spandrel
        except ImportError as reason:
            raise RequestError(
                "--upscale needs spandrel, which knows the architectures of upscalers: pip install "
                "'cnx-animate[upscale]'; without --upscale frames are enlarged by Lanczos"
            ) from reason
        weights = read_weights(path)
        try:
            network: Any = spandrel.ModelLoader().load_from_state_dict(dict(weights))
        except Exception as reason:  # each architecture has faults of its own
            raise ModelError(f"{path} is no upscaler that spandrel knows: {reason}") from reason
        channels = getattr(network, "input_channels", 0), getattr(network, "output_channels", 0)
        if channels != (3, 3):
            raise ModelError(
                f"{path} is no upscaler of RGB: it has {channels} channels, not (3, 3)"
            )
        self.scale = int(network.scale)
        self._network, self._device = network.to(device).eval(), device

    def __call__(self, frame: Image) -> Image:
        """The frame (H,W,3) uint8, `scale` times as large; computed tile by tile."""
        height, width = frame.shape[:2]
        scale = self.scale
        large = np.empty((height * scale, width * scale, 3), np.uint8)
        padded = np.pad(frame, ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0)), mode="edge")
        for top in range(0, height, _TILE):
            for left in range(0, width, _TILE):
                rows, columns = min(_TILE, height - top), min(_TILE, width - left)
                tile = padded[top : top + rows + 2 * _MARGIN, left : left + columns + 2 * _MARGIN]
                inner = self._enlarged(tile)[_MARGIN * scale :, _MARGIN * scale :]
                target = large[top * scale :, left * scale :][: rows * scale, : columns * scale]
                target[:] = inner[: rows * scale, : columns * scale]
        return large

    def _enlarged(self, tile: Image) -> Image:
        pixels = torch.from_numpy(np.ascontiguousarray(tile)).to(self._device)
        with torch.inference_mode():
            result = self._network(pixels.permute(2, 0, 1)[None].float() / 255)
        levels = (result[0].clamp(0, 1) * 255).round().to(torch.uint8)
        return np.asarray(levels.permute(1, 2, 0).cpu().numpy())


@dataclass(frozen=True, kw_only=True, eq=False)
class Enlargement:
    """The way of generated frames to a larger size."""

    placement: Placement
    """From the generated size to the size that is written."""
    upscaler: Upscaler | None = None

    @property
    def size(self) -> Size:
        """(width, height) that is written."""
        return self.placement.canvas

    @property
    def factor(self) -> float:
        """Factor of the width and the height."""
        return self.placement.scaled.width / self.placement.source.width

    def __call__(self, frames: Iterable[Image]) -> Iterator[Image]:
        """Frames (H,W,3) uint8 enlarged as they come."""
        return map(self.picture, frames)

    def picture(self, frame: Image) -> Image:
        """One frame enlarged."""
        large = self.upscaler(frame) if self.upscaler is not None else frame
        return _resized(large, self.placement)


def find_enlargement(
    request: AnimationRequest, generated: Size, device: torch.device
) -> Enlargement | None:
    """The enlargement that a request asks for; None for none.

    Raises RequestError for a size that is smaller than the generated one, or without spandrel;
    ModelError for a file that is no upscaler.
    """
    check_enlargement(request, generated)
    if request.enlarge_to is None and request.upscale is None:
        return None
    upscaler = Upscaler(request.upscale, device) if request.upscale is not None else None
    if request.enlarge_to is not None:
        size = request.enlarge_to
    else:
        assert upscaler is not None
        size = Size(generated.width * upscaler.scale, generated.height * upscaler.scale)
    return Enlargement(placement=place_picture(generated, size, "crop"), upscaler=upscaler)


def check_enlargement(request: AnimationRequest, generated: Size) -> None:
    """Raise RequestError where frames would become smaller."""
    target = request.enlarge_to
    if target is None or (target.width >= generated.width and target.height >= generated.height):
        return
    raise RequestError(
        f"--enlarge-to {target} is smaller than the frames of {generated} that are generated; "
        f"give --size {target} in its place, or a larger one"
    )


def _resized(picture: Image, placement: Placement) -> Image:
    """The picture, of any size of the placement's shape, laid onto the placement's canvas."""
    target = placement.scaled
    if picture.shape[1::-1] != tuple(target):
        shrinks = target.width < picture.shape[1]
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4
        picture = np.asarray(cv2.resize(picture, tuple(target), interpolation=method), np.uint8)
    left, top = -placement.offset[0], -placement.offset[1]
    width, height = placement.canvas
    return np.ascontiguousarray(picture[top : top + height, left : left + width])
