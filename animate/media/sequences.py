"""Clips as numbered still images, under names that render farms and editors understand."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from animate import files
from animate.errors import InternalError, MediaError, reason_of
from animate.files import FRAME_NUMBER
from animate.media.image import png_bytes
from animate.media.info import Image

FIRST = 1
"""Number of the first file, as video tools count."""


def file_name(pattern: str, number: int) -> str:
    """The name for frame `number` under `pattern`, such as "%04d.png"."""
    return FRAME_NUMBER.sub(lambda match: f"{number:0{_digits(match)}d}", pattern)


def _digits(match: re.Match[str]) -> int:
    return len(match["hashes"]) if match["hashes"] else int(match["digits"] or 1)


def sequence_files(path: Path) -> list[Path]:
    """Files that are frames of the sequence `path`, in order of their numbers."""
    match = FRAME_NUMBER.search(path.name)
    if match is None or not path.parent.is_dir():
        return []
    before, after = re.escape(path.name[: match.start()]), re.escape(path.name[match.end() :])
    shape = re.compile(f"{before}(\\d{{{_digits(match)},}}){after}")
    matches = [
        (int(hit[1]), file) for file in path.parent.iterdir() if (hit := shape.fullmatch(file.name))
    ]
    return [file for _, file in sorted(matches)]


def check_sequence(path: Path, overwrite: bool, *, probe: bool = True) -> None:
    """Raise MediaError if the files of `path` cannot be written.

    The last folder is made if it is missing; what is above it must be there.
    """
    if path.suffix.lower() != ".png":
        raise MediaError(f"output {path}: numbered images are written as PNG; name it %04d.png")
    folder = path.parent
    if not folder.exists():
        files.check_output(folder, overwrite=False, error=MediaError, probe=probe)
        return
    matches = sequence_files(path)
    if matches and not overwrite:
        raise MediaError(
            f"{len(matches)} files of output {path} exist already ({matches[0].name} and on); "
            "choose another name or give --overwrite"
        )
    first = folder / file_name(path.name, FIRST)
    files.check_output(first, overwrite=True, error=MediaError, probe=probe)


class SequenceWriter:
    """Numbered PNG files being written, as a context manager.

    They are collected in a hidden folder and moved to their names at a clean exit, together;
    frames of an older, longer sequence of the same name are then removed (with `overwrite`).
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        size: tuple[int, int],
        bits: int = 8,
        metadata: Mapping[str, str] | None = None,
        overwrite: bool = False,
        before_rename: Callable[[Path], None] | None = None,
        alpha: bool = False,
    ) -> None:
        """`path` is a pattern like shot.%04d.png, `size` (width, height), `bits` 8 or 16; with
        `alpha` frames have a fourth channel.

        Frames of 8 bits are spread over 16 exactly (times 257). `before_rename` is
        called with the hidden folder before the files appear at their names. Raises MediaError if
        the files cannot be written.
        """
        self.path = Path(path)
        check_sequence(self.path, overwrite, probe=False)
        self._overwrite, self._before_rename = overwrite, before_rename
        self._shape, self._bits = (size[1], size[0], 4 if alpha else 3), bits
        self._text = dict(metadata or {}) if bits == 8 else {}
        self.frames = 0
        self.sound = "none"
        """The fate of the sound in words: copied, encoded again, or none."""
        self._stack = ExitStack()
        self._partial: Path | None = None

    def __enter__(self) -> Self:
        try:
            self._partial = self._stack.enter_context(
                files.gathered_folder(
                    self.path.parent,
                    replace=self._overwrite,
                    before_rename=self._before_rename,
                )
            )
        except OSError as error:
            raise self._unwritable(error) from error
        return self

    def write(self, frame: Image) -> None:
        """Add one frame: (height, width, 3) RGB, uint8 or uint16. MediaError if it cannot."""
        height, width, _ = self._shape
        if frame.shape != self._shape or frame.dtype not in (np.uint8, np.uint16):
            raise InternalError(
                f"a frame of {frame.shape} {frame.dtype} was given to images of {width}x{height}"
            )
        if self._partial is None:
            raise InternalError("a SequenceWriter was written to outside of its with block")
        name = file_name(self.path.name, FIRST + self.frames)
        try:
            (self._partial / name).write_bytes(png_bytes(self._deep(frame), text=self._text))
        except OSError as error:
            raise self._unwritable(error) from error
        self.frames += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        stack, self._stack, self._partial = self._stack, ExitStack(), None
        if kind is None and not self.frames:
            kind, error = MediaError, MediaError(f"{self.path}: no frame was given")
            stack.__exit__(kind, error, trace)
            raise error
        old = {file.name for file in sequence_files(self.path)}
        new = {file_name(self.path.name, FIRST + number) for number in range(self.frames)}
        try:
            stack.__exit__(kind, error, trace)
            if kind is None:
                for name in old - new:
                    (self.path.parent / name).unlink(missing_ok=True)
        except OSError as reason:
            raise self._unwritable(reason) from reason

    def _deep(self, frame: Image) -> Image:
        if self._bits == 16:
            return frame if frame.dtype == np.uint16 else frame.astype(np.uint16) * 257
        if frame.dtype == np.uint8:
            return frame
        return ((frame.astype(np.uint32) + 128) // 257).astype(np.uint8)

    def _unwritable(self, error: OSError) -> MediaError:
        return MediaError(f"{self.path} cannot be written: {reason_of(error)}")
