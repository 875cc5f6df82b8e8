"""Small pictures for the report: players in step, and worst frames."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from animate.evaluation.scores import Score
from animate.media import open_writer
from animate.media.info import Image
from animate.media.writer import FrameSink

HEIGHT = 256
"""Pixels of a player's height."""
MOST_SECONDS = 60
"""Seconds of a clip that a player holds, so that the page stays small."""
DIFFERENCE_GAIN = 4
_WORST_HEIGHT = 200
_JPEG_QUALITY = 82


@dataclass(frozen=True, kw_only=True)
class ClipPreview:
    """Pictures of one clip in the report."""

    panes: tuple[str, ...]
    """Names of the pictures beside each other, from the left."""
    video: str
    """An MP4 file as base64."""
    frames: int
    """Frames of the video."""
    worst: tuple[tuple[int, str, str], ...]
    """(frame, measures that are worst in it, JPEG as base64)."""


@dataclass(frozen=True, kw_only=True)
class Panes:
    """Pictures of one moment that are shown beside each other."""

    clip: Image
    truth: Image | None
    driving: Image | None

    def montage(self, names: Sequence[str], height: int) -> Image:
        """(height,w,3): the panes of these names; grey where a picture is missing."""
        shape = self.clip.shape
        width = max(2, round(shape[1] * height / shape[0] / 2) * 2)
        return np.concatenate([_scaled(self._pane(name), width, height) for name in names], 1)

    def _pane(self, name: str) -> Image | None:
        if name != "difference":
            return {"clip": self.clip, "truth": self.truth, "driving": self.driving}[name]
        if self.truth is None:
            return None
        height, width = self.clip.shape[:2]
        truth = cv2.resize(self.truth, (width, height), interpolation=cv2.INTER_AREA)
        away = cv2.absdiff(self.clip, truth).astype(np.uint16) * DIFFERENCE_GAIN
        return np.minimum(away, 255).astype(np.uint8)


def _scaled(picture: Image | None, width: int, height: int) -> Image:
    """A picture within (height,width,3), centred on grey."""
    canvas = np.full((height, width, 3), 60, np.uint8)
    if picture is None:
        return canvas
    scale = min(width / picture.shape[1], height / picture.shape[0])
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    small = cv2.resize(picture, size, interpolation=method)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    canvas[top : top + size[1], left : left + size[0]] = small
    return canvas


class PreviewWriter:
    """Writes the player's video as frames pass; a context manager."""

    def __init__(self, panes: tuple[str, ...], fps: Fraction) -> None:
        self.panes = panes
        self.frames = 0
        self._fps = fps
        self._most = max(1, int(MOST_SECONDS * fps))
        self._stack = ExitStack()
        self._writer: FrameSink | None = None

    def __enter__(self) -> PreviewWriter:
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="cnx-preview-"))
        self._path = Path(folder) / "preview.mp4"
        self._open = ExitStack()
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()
        self._stack.close()

    def add(self, panes: Panes) -> None:
        """Write the next moment, unless the player is full."""
        if self.frames >= self._most:
            return
        picture = panes.montage(self.panes, HEIGHT)
        if self._writer is None:
            size = (picture.shape[1], picture.shape[0])
            self._writer = self._open.enter_context(
                open_writer(self._path, size=size, fps=self._fps)
            )
        self._writer.write(picture)
        self.frames += 1

    def video(self) -> str:
        """The finished MP4 file as base64; nothing can be added behind."""
        self._open.close()
        return base64.b64encode(self._path.read_bytes()).decode()


def worst_frames(scores: Iterable[Score], count: int) -> dict[int, list[str]]:
    """Frames in which measures are worst, with the titles of these measures."""
    frames: dict[int, list[str]] = {}
    for score in scores:
        values = [value for value in score.curve if value is not None]
        if not values or min(values) == max(values):
            continue
        title = score.definition.title
        for index in score.worst_frames(count):
            names = frames.setdefault(index, [])
            if title not in names:
                names.append(title)
    return frames


def jpeg(panes: Panes, names: Sequence[str]) -> str:
    """The panes beside each other as JPEG in base64."""
    picture = panes.montage(names, _WORST_HEIGHT)
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    _, data = cv2.imencode(".jpg", picture[..., ::-1], options)
    return base64.b64encode(data.tobytes()).decode()
