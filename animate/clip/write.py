"""Write the clip and the files beside it, as frames come."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from animate.clip.behind import Behind
from animate.clip.provenance import ShortCopy, sign_clip
from animate.clip.record import ClipFile, Credentials, OutputRecord, sidecar_path
from animate.clip.shareable import Shareable
from animate.clip.work import Work
from animate.driving.poses import selection_of
from animate.files import sha256
from animate.finish.chain import Finish
from animate.finish.montage import ContactSheet, driving_panels, mask_picture, side_by_side
from animate.media import FrameSource, open_writer, takes_sound
from animate.media.audio import AudioSource
from animate.media.info import Image
from animate.request.request import Panel
from animate.request.values import Size

RECORD_BYTES = 64 << 10
"""Room that a record takes at most, with its warnings and adapters."""


@contextmanager
def beside(
    finish: Finish, source: FrameSource, audio: AudioSource | None, overwrite: bool
) -> Iterator[Callable[[int, Image], None]]:
    """A function that takes written frames by number for the files beside the clip.

    They appear at a clean exit and not at all on an exception. Raises MediaError if one cannot be
    written.
    """
    request, takers = finish.request, []
    with ExitStack() as stack:
        if request.side_by_side is not None:
            writer = stack.enter_context(
                open_writer(
                    request.side_by_side,
                    size=(len(request.panels) * finish.size.width, finish.size.height),
                    fps=finish.fps,
                    audio=audio if takes_sound(request.side_by_side) else None,
                    overwrite=overwrite,
                )
            )

            driving = driving_panels(source, finish.selection, finish.size)

            def write_panels(number: int, frame: Image) -> None:
                pictures: dict[Panel, Callable[[], Image]] = {
                    "driving": lambda: next(driving),
                    "reference": lambda: finish.picture,
                    "pose": lambda: finish.skeleton(number),
                    "result": lambda: frame[..., :3],
                }
                writer.write(side_by_side([pictures[panel]() for panel in request.panels]))

            takers.append(write_panels)
        if request.mask_output is not None:
            masks = stack.enter_context(
                open_writer(
                    request.mask_output, size=finish.size, fps=finish.fps, overwrite=overwrite
                )
            )
            takers.append(lambda number, frame: masks.write(mask_picture(frame)))
        sheet = None
        if request.contact_sheet is not None:
            sheet = contact = ContactSheet(finish.frames, finish.fps, finish.picture)
            takers.append(lambda number, frame: contact.add(number, frame[..., :3]))

        def take(number: int, frame: Image) -> None:
            for taker in takers:
                taker(number, frame)

        yield take
        if sheet is not None and request.contact_sheet is not None:
            sheet.write(request.contact_sheet)


@dataclass(frozen=True, kw_only=True)
class Written:
    """A clip that was written."""

    frames: int
    fps: Fraction
    """Exact rate."""
    size: Size
    sound: str
    """Treatment of the driving video's sound, in words."""
    frames_sha256: str
    """Digest of the RGB bytes of all frames in order, before compression."""
    beside: tuple[Path, ...]
    """Files beside the clip: side by side, contact sheet."""
    file: ClipFile
    credentials: Credentials | None

    def record(self, paths: Shareable) -> OutputRecord:
        """The same for the clip's record."""
        return OutputRecord(
            frames=self.frames,
            fps=str(self.fps),
            seconds=float(self.frames / self.fps),
            size=str(self.size),
            sound=self.sound,
            frames_sha256=self.frames_sha256,
            beside=tuple(str(paths.path(path)) for path in self.beside),
        )


def write_clip(
    work: Work,
    finish: Finish,
    source: FrameSource,
    generated: Generator[Image, None, None],
    *,
    ahead: int,
    copy: ShortCopy,
) -> Written:
    """Write frames as they come, while later ones are made; the clip appears when all are there,
    signed where that is asked for, and known to the work folder by its digest.

    At most `ahead` frames wait to be written. `copy` goes into the container.
    """
    request = work.request
    audio = source.audio(selection_of(request)) if request.audio else None
    digest = hashlib.sha256()
    seal = Seal(work, copy)
    with (
        beside(finish, source, audio, work.replaces) as take_beside,
        open_writer(
            request.output,
            size=finish.size,
            fps=finish.fps,
            codec=request.codec,
            quality=request.quality,
            audio=audio if takes_sound(request.output) else None,
            metadata=copy.metadata(),
            overwrite=work.replaces,
            before_rename=seal,
            alpha=request.alpha,
        ) as writer,
    ):

        def take(frame: Image) -> None:
            colours = np.ascontiguousarray(frame[..., :3])
            take_beside(writer.frames, frame)
            writer.write(frame if request.alpha else colours)
            digest.update(colours.tobytes())

        with closing(generated), Behind(take, depth=ahead, name="writer") as queue:
            for frame in finish(generated):
                queue.put(frame)
    assert seal.file is not None
    return Written(
        frames=writer.frames,
        fps=finish.fps,
        size=finish.size,
        sound=writer.sound,
        frames_sha256=digest.hexdigest(),
        beside=tuple(request.besides().values()),
        file=seal.file,
        credentials=seal.credentials,
    )


class Seal:
    """The last touch to a finished clip before it appears: signed, hashed, noted in its work."""

    def __init__(self, work: Work, copy: ShortCopy) -> None:
        self.file: ClipFile | None = None
        self.credentials: Credentials | None = None
        self._work, self._copy = work, copy

    def __call__(self, partial: Path) -> None:
        """Seal the partial file, or the folder of numbered images."""
        request = self._work.request
        if request.runtime.sign is not None:
            sign, output = request.runtime.sign, request.output
            self.credentials = sign_clip(partial, sign, self._copy, name=output.name)
        paths = sorted(partial.iterdir()) if partial.is_dir() else [partial]
        names = [path.name if partial.is_dir() else request.output.name for path in paths]
        digests = {name: sha256(path) for name, path in zip(names, paths, strict=True)}
        size = sum(path.stat().st_size for path in paths)
        self.file = ClipFile.of(request.output, digests, size)
        self._work.close_soon(digests)
        find_room(sidecar_path(request.output).parent)  # last: nothing else is made before it


def find_room(folder: Path) -> None:
    """Make sure of room for the record in a folder before the clip appears, which would be without
    one otherwise. Raises OSError."""
    with TemporaryFile(dir=folder) as file:  # without a name: no kill leaves it
        file.write(bytes(RECORD_BYTES))
        file.flush()
        os.fsync(file.fileno())
