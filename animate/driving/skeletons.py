"""Control frames: the only pictures of a pose that ever exist.

They are drawn when a window needs them, or taken as they are from skeletons that somebody rendered.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from animate.driving.placement import EDGE, Placement
from animate.files import IMAGE_SUFFIXES, is_sequence
from animate.media import FrameSelection, FrameSource, image_files, open_video, read_image
from animate.media.suffixes import POSE_SUFFIXES
from animate.request.values import Size, Strength
from pose.draw import draw
from pose.errors import PoseError
from pose.formats.rendered import rendered_frame, same_proportions
from pose.sequence import PoseSequence

FULL = Strength()


class Skeletons(Protocol):
    """The control frames of a clip, at its size."""

    fps: Fraction
    """Exact rate of the clip."""

    def __len__(self) -> int:
        """Number of frames of the clip."""

    def picture(self, frame: int) -> np.ndarray:
        """(H,W,3) uint8 RGB: one frame's skeleton."""


class DrawnSkeletons:
    """Skeletons drawn from poses that lie on the clip's canvas; black where nobody was seen.

    `style` is the one that the control network was trained on; parts of `strength` below 1 are
    drawn fainter.
    """

    def __init__(
        self, poses: PoseSequence, size: Size, style: str, strength: Strength = FULL
    ) -> None:
        self.fps = poses.fps
        self._poses, self._size, self._style, self._strength = poses, size, style, strength

    def __len__(self) -> int:
        return self._poses.frames

    def picture(self, frame: int) -> np.ndarray:
        """See `Skeletons`."""
        poses = self._poses
        return draw(
            poses.points[frame],
            poses.scores[frame],
            poses.canvas,
            self._size,
            self._style,
            self._strength,
        )


class LedSkeletons:
    """A clip's skeletons behind one that leads: the reference's own pose, for models that begin
    every clip with the reference as it is."""

    def __init__(self, leading: np.ndarray, skeletons: Skeletons) -> None:
        """`leading` is (H,W,3) uint8 RGB."""
        self.fps = skeletons.fps
        self._leading, self._skeletons = leading, skeletons

    def __len__(self) -> int:
        return 1 + len(self._skeletons)

    def picture(self, frame: int) -> np.ndarray:
        """See `Skeletons`; frame 0 leads."""
        return self._skeletons.picture(frame - 1) if frame else self._leading


class PlacedSkeletons:
    """A clip's skeletons on another canvas, such as a larger one."""

    def __init__(self, skeletons: Skeletons, placement: Placement) -> None:
        self.fps = skeletons.fps
        self._skeletons, self._placement = skeletons, placement

    def __len__(self) -> int:
        return len(self._skeletons)

    def picture(self, frame: int) -> np.ndarray:
        """See `Skeletons`."""
        return self._placement.picture(self._skeletons.picture(frame))


class RenderedSkeletons:
    """Skeletons that somebody rendered, resized and otherwise untouched.

    Those of other proportions than the clip's are fitted into the reference's picture, and go where
    it goes: as poses do.

    They are kept in a temporary file that goes away with the object, so a long clip fills no
    memory.
    """

    def __init__(
        self,
        pictures: Iterable[np.ndarray],
        source: FrameSource,
        selection: FrameSelection,
        placement: Placement,
        name: str,
    ) -> None:
        """`pictures` are (H,W,3) uint8 RGB: one for each selected frame of `source`, or one for
        each of all its frames; `name` is theirs, for messages.

        Raises PoseError when the numbers do not fit, MediaError for damaged files.
        """
        size = placement.canvas
        sampling = source.sampling(selection)
        self.fps = sampling.fps
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the object lives
        weakref.finalize(self, self._file.close)
        self._shape = (size.height, size.width, 3)
        count = 0
        for image in pictures:
            self._file.write(_laid(image, placement).tobytes())
            count += 1
        if count == len(sampling.frames):
            self._places: Sequence[int] = range(count)
        elif max(sampling.frames) < count:
            self._places = sampling.frames
        else:
            raise PoseError(
                f"{name} has {count} skeletons; {len(sampling.frames)} are needed, one for each "
                f"selected frame of {source.info.path}, or one for each of its frames"
            )
        self._file.flush()

    def __len__(self) -> int:
        return len(self._places)

    def picture(self, frame: int) -> np.ndarray:
        """See `Skeletons`."""
        size = int(np.prod(self._shape))
        # No position is shared: the writer's thread reads here too.
        data = os.pread(self._file.fileno(), size, self._places[frame] * size)
        return np.frombuffer(data, np.uint8).reshape(self._shape)


class ControlFrames:
    """Skeletons as the control network takes them."""

    def __init__(self, skeletons: Skeletons) -> None:
        self.skeletons = skeletons

    def __len__(self) -> int:
        return len(self.skeletons)

    def __call__(self, frames: Sequence[int]) -> Tensor:
        """(F,3,H,W) float32 in [0,1] for these frames, on the CPU."""
        pictures = np.stack([self.skeletons.picture(frame) for frame in frames])
        return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


def is_rendered(path: Path) -> bool:
    """True if `--poses PATH` names rendered skeletons: a video, a folder with pictures, or numbered
    ones."""
    if path.is_dir():
        return any(file.suffix.lower() in IMAGE_SUFFIXES for file in path.iterdir())
    return path.suffix.lower() not in POSE_SUFFIXES


def _laid(image: np.ndarray, placement: Placement) -> np.ndarray:
    """A rendered skeleton (H,W,3) on the clip's canvas."""
    if same_proportions(image.shape[1::-1], placement.canvas):
        return rendered_frame(image, placement.canvas)
    width, height = placement.source
    scale = min(width / image.shape[1], height / image.shape[0])
    inner = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    page = np.zeros((height, width, 3), np.uint8)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    page[top : top + inner[1], left : left + inner[0]] = cv2.resize(
        image, inner, interpolation=method
    )
    return replace(placement, fill=EDGE).picture(page)


def rendered_pictures(path: Path) -> Iterator[np.ndarray]:
    """Skeletons (H,W,3) uint8 RGB of a video, a folder of pictures or numbered images."""
    if not path.is_dir() and not is_sequence(path):
        yield from (frame.image for frame in open_video(path).read())
        return
    yield from (read_image(file) for file in image_files(path))
