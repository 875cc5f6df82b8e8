"""Small pictures of a job for its card in the report: JPEGs as base64 text."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import PIL.Image

from animate.batch.records import Pictures
from animate.driving.poses import selection_of
from animate.driving.skeletons import Skeletons
from animate.media import FrameSelection, open_video, read_image
from animate.request.request import AnimationRequest

HEIGHT = 144
"""Rows of a picture; smaller ones stay as they are."""
PREVIEW_HEIGHT = 360
"""Rows of a picture of an unfinished clip."""
RESULTS = 5
"""Frames of a clip in the report."""
_QUALITY = 76


def clip_pictures(request: AnimationRequest, skeletons: Skeletons) -> Pictures:
    """Reference, driving frame and pose in the middle of the clip, and frames of the result."""
    middle = len(skeletons) // 2
    results: tuple[str, ...] = ()
    with suppress(Exception):
        results = tuple(jpeg(frame) for frame in result_frames(request.output, len(skeletons)))
    return Pictures(
        reference=picture_of(lambda: read_image(request.reference)),
        driving=picture_of(lambda: driving_frame(request, middle)),
        pose=picture_of(lambda: skeletons.picture(middle)),
        results=results,
    )


def input_pictures(request: AnimationRequest) -> Pictures:
    """Reference and first driving frame of a job that failed, where they can be read."""
    return Pictures(
        reference=picture_of(lambda: read_image(request.reference)),
        driving=picture_of(lambda: driving_frame(request, 0)),
    )


def driving_frame(request: AnimationRequest, number: int) -> np.ndarray:
    """(H,W,3) uint8 RGB: the driving frame of the clip's frame `number`."""
    source = open_video(request.driving, stated_fps=request.fps)
    frame = source.sampling(selection_of(request)).frames[number]
    return next(iter(source.read(FrameSelection(start=frame, max_frames=1)))).image


def result_frames(clip: Path, count: int) -> Iterator[np.ndarray]:
    """`RESULTS` frames from a clip's first to its last, or all of a shorter one."""
    numbers = {round(i * (count - 1) / max(1, RESULTS - 1)) for i in range(RESULTS)}
    for number, frame in enumerate(open_video(clip).read()):
        if number in numbers:
            yield frame.image


def picture_of(read: Callable[[], np.ndarray]) -> str:
    """A small picture, or an empty text where it cannot be had: a report is no reason to fail."""
    with suppress(Exception):
        return jpeg(read())
    return ""


def jpeg(image: np.ndarray) -> str:
    """Base64 of a JPEG at most `HEIGHT` rows high, from (H,W,3) uint8 RGB."""
    return base64.b64encode(jpeg_bytes(image, HEIGHT)).decode()


def jpeg_bytes(image: np.ndarray, rows: int = PREVIEW_HEIGHT) -> bytes:
    """A JPEG at most `rows` high, from (H,W,3) uint8 RGB."""
    buffer = io.BytesIO()
    _small(image, rows).save(buffer, format="JPEG", quality=_QUALITY, optimize=True)
    return buffer.getvalue()


def _small(image: np.ndarray, rows: int) -> PIL.Image.Image:
    picture = PIL.Image.fromarray(image)
    if picture.height <= rows:
        return picture
    width = max(1, round(picture.width * rows / picture.height))
    return picture.resize((width, rows), PIL.Image.Resampling.LANCZOS)
