"""Small pictures of a job for its card in the report: JPEGs as base64 text.

`reference`, `driving` and `pose` are one each, `results` is a list.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from animate.animator import Animator
from animate.driving.poses import selection_of
from animate.driving.skeletons import Skeletons
from animate.media import FrameSelection, open_video, read_image
from animate.progress import Progress
from animate.request.request import AnimationRequest, AnimationResult

HEIGHT = 144
"""Rows of a picture; smaller ones stay as they are."""
RESULTS = 5
"""Frames of a clip that are shown."""
_QUALITY = 76


class WatchingAnimator(Animator):
    """An animator that keeps the last clip's skeletons until the next."""

    skeletons: Skeletons | None = None

    def __call__(
        self, request: AnimationRequest, progress: Progress | None = None, **named: Any
    ) -> AnimationResult:
        """See `Animator`."""
        self.skeletons = None
        return super().__call__(request, progress, on_skeletons=self._watch, **named)

    def _watch(self, skeletons: Skeletons) -> None:
        self.skeletons = skeletons


def watching_animator(request: AnimationRequest) -> WatchingAnimator:
    """The animator that a request asks for. Raises as `Animator.for_request`."""
    animator = WatchingAnimator.for_request(request)
    assert isinstance(animator, WatchingAnimator)
    return animator


def clip_pictures(request: AnimationRequest, animator: Animator | None) -> dict[str, Any]:
    """Reference, driving frame and pose in the middle of the clip, and frames of the result."""
    found: dict[str, Any] = _found(reference=lambda: read_image(request.reference))
    skeletons = getattr(animator, "skeletons", None)
    if skeletons is not None:
        middle = len(skeletons) // 2
        found |= _found(
            driving=lambda: driving_frame(request, middle),
            pose=lambda: skeletons.picture(middle),
        )
        with suppress(Exception):
            frames = result_frames(request.output, len(skeletons))
            found["results"] = [jpeg(frame) for frame in frames]
    return found


def input_pictures(request: AnimationRequest) -> dict[str, str]:
    """Reference and first driving frame of a job that failed, where they can be read."""
    return _found(
        reference=lambda: read_image(request.reference),
        driving=lambda: driving_frame(request, 0),
    )


def driving_frame(request: AnimationRequest, number: int) -> np.ndarray:
    """(H,W,3) uint8 RGB: what the clip's frame `number` follows."""
    source = open_video(request.driving, images_fps=request.fps)
    frame = source.sampling(selection_of(request)).frames[number]
    return next(iter(source.read(FrameSelection(start=frame, max_frames=1)))).image


def result_frames(clip: Path, count: int) -> Iterator[np.ndarray]:
    """`RESULTS` frames from a clip's first to its last, or all of a shorter one."""
    wanted = {round(i * (count - 1) / max(1, RESULTS - 1)) for i in range(RESULTS)}
    for number, frame in enumerate(open_video(clip).read()):
        if number in wanted:
            yield frame.image


def _found(**pictures: Callable[[], np.ndarray]) -> dict[str, str]:
    """The pictures that can be had: a report is no reason for a job to fail."""
    found = {}
    for name, read in pictures.items():
        try:
            found[name] = jpeg(read())
        except Exception:
            continue
    return found


def jpeg(image: np.ndarray) -> str:
    """Base64 of a JPEG at most `HEIGHT` rows high, from (H,W,3) uint8 RGB."""
    buffer = io.BytesIO()
    _small(image).save(buffer, format="JPEG", quality=_QUALITY, optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def _small(image: np.ndarray) -> PIL.Image.Image:
    picture = PIL.Image.fromarray(image)
    if picture.height <= HEIGHT:
        return picture
    width = max(1, round(picture.width * HEIGHT / picture.height))
    return picture.resize((width, HEIGHT), PIL.Image.Resampling.LANCZOS)
