"""From a decoded video frame to an upright RGB picture with square pixels."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

from animate.errors import MediaError
from animate.media import hdr
from animate.media.info import Image

_TRANSFER = {16: "pq", 18: "hlg"}
"""Codes of ITU-T H.273 for SMPTE ST 2084 and ARIB STD-B67."""
_UNSPECIFIED = 2
_HD_HEIGHT = 720
"""Lines from which an untagged picture is taken to be in BT.709 colours instead of BT.601."""
_WHITE = 255
_MOST_STRETCH = 8
"""Width of a pixel by its height, or the reverse, beyond which a header is taken for wrong."""
_MOST_PIXELS = 70_000_000
"""A little more than 8192x8192, the most that common formats have; damaged headers claim more."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The way from stored frames to upright ones, read from the first frame."""

    width: int
    """Pixels across as stored."""
    height: int
    """Pixels down as stored."""
    pixel_aspect: Fraction
    """Width of a stored pixel by its height."""
    transposed: bool
    """True if rows become columns (first)."""
    flip_x: bool
    """True if left and right are then exchanged."""
    flip_y: bool
    """True if top and bottom are then exchanged."""
    transfer: str
    """"sdr", "pq" or "hlg"."""
    interlaced: bool
    """True if the frames are woven of two fields."""

    @property
    def square(self) -> tuple[int, int]:
        """(width, height) as stored, stretched along the longer way to square pixels."""
        if self.pixel_aspect >= 1:
            return max(1, round(self.width * self.pixel_aspect)), self.height
        return self.width, max(1, round(self.height / self.pixel_aspect))

    @property
    def upright(self) -> tuple[int, int]:
        """(width, height) of the pictures that come out."""
        width, height = self.square
        return (height, width) if self.transposed else (width, height)

    @property
    def rotation(self) -> int:
        """Degrees counter-clockwise, 0 to 270, applied after `mirrored`."""
        if self.transposed:
            return 90 if self.flip_y != self.mirrored else 270
        return 180 if self.flip_y else 0

    @property
    def mirrored(self) -> bool:
        """True if left and right are exchanged besides the rotation."""
        return self.transposed == (self.flip_x == self.flip_y)


def shape_of(frame: av.VideoFrame, aspect: Fraction | None, path: object) -> Shape:
    """The shape of a clip by its first decoded frame.

    Raises MediaError for one that is slanted or impossibly large or long.
    """
    pixel_aspect = aspect if aspect and aspect > 0 else Fraction(1)
    if not 1 / _MOST_STRETCH <= pixel_aspect <= _MOST_STRETCH:
        raise MediaError(
            f"{path} states pixels that are {float(pixel_aspect):g} times as wide as high; set "
            "its aspect ratio right, or export it with square pixels"
        )
    transposed, flip_x, flip_y = _orientation(frame, path)
    shape = Shape(
        width=frame.width,
        height=frame.height,
        pixel_aspect=pixel_aspect,
        transposed=transposed,
        flip_x=flip_x,
        flip_y=flip_y,
        transfer=_TRANSFER.get(frame.color_trc, "sdr"),
        interlaced=frame.interlaced_frame,
    )
    width, height = shape.square
    if max(width * height, frame.width * frame.height) > _MOST_PIXELS:
        raise MediaError(
            f"{path} is too large ({width}x{height}); make it smaller, "
            f"{_MOST_PIXELS // 1_000_000} million pixels at most"
        )
    return shape


def _orientation(frame: av.VideoFrame, path: object) -> tuple[bool, bool, bool]:
    """(transposed, flip_x, flip_y) of the frame's display matrix.

    The matrix (a, b, u, c, d, v, ...) sends stored (x, y) to (a*x + c*y, b*x + d*y).
    """
    # The library says mapping and gives a sequence of items.
    for data in cast("list[Any]", frame.side_data):
        if data.type == SideDataType.DISPLAYMATRIX:
            a, b, _, c, d = struct.unpack("=5i", bytes(data)[:20])
            straight, turned = max(abs(a), abs(d)), max(abs(b), abs(c))
            if min(straight, turned) * 50 > max(straight, turned):
                raise MediaError(
                    f"{path} is rotated by an angle that is no quarter turn; "
                    "turn it upright in a video editor first"
                )
            return (True, c < 0, b < 0) if turned > straight else (False, a < 0, d < 0)
    return False, False, False


class PictureMaker:
    """Makes the pictures of one clip; all come out in the size of `shape`."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        # One for all frames: it keeps its tables, which take longer than a small picture.
        self._reformatter = VideoReformatter()
        self._changed = VideoReformatter()
        self.resized = False
        """True once a frame of another size than the first has come; it is letterboxed."""

    def __call__(self, frame: av.VideoFrame) -> Image:
        """(height, width, 3) uint8 RGB, upright. Of float precision where tone-mapped."""
        shape = self._shape
        target = "rgb48le" if shape.transfer != "sdr" else "rgb24"
        if (frame.width, frame.height) == (shape.width, shape.height):
            picture = self._convert(frame, target, shape.square, self._reformatter)
        else:
            picture = self._letterboxed(frame, target)
        if shape.transposed:
            picture = picture.transpose(1, 0, 2)
        if shape.flip_x:
            picture = picture[:, ::-1]
        if shape.flip_y:
            picture = picture[::-1]
        return np.ascontiguousarray(picture)

    def _letterboxed(self, frame: av.VideoFrame, target: str) -> Image:
        """A frame of another size, as large as it fits in the middle of a black picture."""
        self.resized = True
        width, height = self._shape.square
        stretch = self._shape.pixel_aspect
        scale = min(width / (frame.width * stretch), Fraction(height, frame.height))
        inner = max(1, int(frame.width * stretch * scale)), max(1, int(frame.height * scale))
        picture = np.zeros((height, width, 3), np.uint8)
        left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
        picture[top : top + inner[1], left : left + inner[0]] = self._convert(
            frame, target, inner, self._changed
        )
        return picture

    def _convert(
        self,
        frame: av.VideoFrame,
        target: str,
        size: tuple[int, int],
        reformatter: VideoReformatter,
    ) -> Image:
        width, height = size
        has_alpha = any(component.is_alpha for component in frame.format.components)
        if has_alpha and target == "rgb24":
            target = "rgba"
        converted = reformatter.reformat(
            frame,
            format=target,
            width=width,
            height=height,
            src_colorspace=_colours(frame),
            interpolation=Interpolation.BICUBIC if (frame.width, frame.height) != size else None,
            threads=1,  # the other cores decode the next frames meanwhile
        )
        array = converted.to_ndarray()
        if target == "rgba":
            return over_white(array)
        if target == "rgb48le":
            return hdr.to_sdr(array, self._shape.transfer)
        return array


def _colours(frame: av.VideoFrame) -> int | None:
    """The matrix of an untagged frame's colours; None leaves it to the tag."""
    if frame.colorspace != _UNSPECIFIED:
        return None
    return Colorspace.ITU709 if frame.height >= _HD_HEIGHT else Colorspace.ITU601


def over_white(rgba: np.ndarray) -> Image:
    """(height, width, 4) uint8 RGBA over a white ground, as (height, width, 3) uint8."""
    alpha = rgba[..., 3:].astype(np.uint16)
    mixed = rgba[..., :3] * alpha + _WHITE * (_WHITE - alpha)
    return ((mixed + _WHITE // 2) // _WHITE).astype(np.uint8)


def deinterlaced(frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Full frames of woven ones, one of each, at the same stamps.

    By the library's `bwdif` filter (motion-adaptive, w3fdif and yadif combined); frames that are
    not marked as interlaced pass through it unchanged.
    """
    graph: av.filter.Graph | None = None
    for frame in frames:
        if graph is None:
            graph = _bwdif(frame)
        graph.push(frame)
        yield from _pulled(graph, frame.time_base)
    if graph is not None:
        graph.push(None)
        yield from _pulled(graph, frame.time_base)


def _bwdif(frame: av.VideoFrame) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
    )
    graph.link_nodes(
        source,
        graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced"),
        graph.add("buffersink"),
    ).configure()
    return graph


def _pulled(graph: av.filter.Graph, time_base: Fraction | None) -> Iterator[av.VideoFrame]:
    while True:
        try:
            frame = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        assert isinstance(frame, av.VideoFrame)
        if frame.pts is not None and time_base and frame.time_base:
            frame.pts = round(frame.pts * frame.time_base / time_base)
        yield frame
