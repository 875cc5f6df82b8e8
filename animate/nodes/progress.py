"""A clip's progress in ComfyUI's editor, with previews; its interrupt stops the work."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import comfy.model_management
import comfy.utils
from PIL import Image

from animate.progress import Sink, Stage

_STEPS = 1000
_PREVIEW = 256
"""Longest side of a preview in pixels."""


class EditorProgress(Sink):
    """One bar for the whole clip."""

    def __init__(self) -> None:
        self._bar = comfy.utils.ProgressBar(_STEPS)
        self._value = 0.0
        self.picture: Image.Image | None = None
        """Preview that is shown from the next step on."""

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Stage]:
        """A part of the bar."""
        yield _Part(self, self.course.share(name) or (self._value, 1.0), total)

    def note(self, text: str) -> None:
        """Put a remark into ComfyUI's log."""
        logging.getLogger("cnx-animate").info(text)

    def warn(self, text: str) -> None:
        """Put a warning into ComfyUI's log."""
        logging.getLogger("cnx-animate").warning(text)

    def show(self, value: float) -> None:
        """Show a part of the whole, in [0,1]. Raises ComfyUI's own error when it is interrupted."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        self._value = max(self._value, value)
        picture, self.picture = self.picture, None
        preview = None if picture is None else ("JPEG", picture, _PREVIEW)
        self._bar.update_absolute(round(self._value * _STEPS), _STEPS, preview)

    def look(self, pipe: Any, step: int, timestep: Any, tensors: Any) -> None:
        """Take a preview of the clip's middle frame: a callback of a pipeline."""
        latents = tensors["latents"][0]
        self.picture = Image.fromarray(pipe.preview(latents[len(latents) // 2]))
        self.show(self._value)


class _Part:
    def __init__(
        self, progress: EditorProgress, share: tuple[float, float], total: int | None
    ) -> None:
        self._progress, self._share, self._total, self._done = progress, share, total, 0

    def advance(self, steps: int = 1) -> None:
        """Report `steps` more finished steps."""
        self._done += steps
        first, last = self._share
        self._progress.show(first + (last - first) * min(1, self._done / (self._total or 1)))

    def skip(self, steps: int = 1) -> None:
        """Count steps that an earlier run has finished."""
        self.advance(steps)
