"""From generated frames to files: colours, background, tempo, the clip and what lies beside it.

`Finish` is a chain of generators: a frame goes through and is written before the next is asked
for, so a long clip needs no more memory here than a short one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from animate import files
from animate.background import LockedBackground
from animate.colour import AnchoredColour
from animate.control import Skeletons
from animate.errors import MediaError, RequestError
from animate.figure import body_unit
from animate.interpolation import Tempo, interpolated, tempo_to
from animate.media import FrameSelection, FrameSource, check_output, open_writer, takes_sound
from animate.media.audio import AudioSource
from animate.media.info import Image
from animate.montage import ContactSheet, check_sheet_name, side_by_side
from animate.options import AnimationRequest
from animate.poses import selection_of
from animate.streams import Behind
from animate.values import Size
from animate.work.run import Work

_BODIES = 64
"""Frames that the body's size is measured on."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Finish:
    """Everything that happens to generated frames, as a request asks for it.

    Attributes:
        request: the settings.
        picture: (H,W,3) uint8, the reference at the clip's size.
        skeletons: of the generated frames.
        reference: (H,W,3) uint8, the skeleton of the reference's person on `picture`; needed for
            the background and the colours.
        cuts: numbers of generated frames that begin a new shot of the driving video.
        tempo: of the frames that are written, None where they are the generated ones.
        window: frames that are denoised together.
    """

    request: AnimationRequest
    picture: Image
    skeletons: Skeletons
    reference: Image | None
    cuts: frozenset[int]
    tempo: Tempo | None
    window: int

    @property
    def fps(self) -> Fraction:
        """Exact rate of what is written."""
        return self.tempo.fps if self.tempo else self.skeletons.fps

    @property
    def frames(self) -> int:
        """Number of frames that are written."""
        return self.tempo.count if self.tempo else len(self.skeletons)

    @property
    def size(self) -> Size:
        """(width, height) of the clip."""
        return Size(self.picture.shape[1], self.picture.shape[0])

    def __call__(self, generated: Iterable[Image]) -> Iterator[Image]:
        """The frames to write, from the generated ones in order, starting with the first."""
        frames = iter(generated)
        if self.request.anchor_colour or self.request.lock_background:
            frames = self._on_reference(frames)
        if self.tempo is not None:
            frames = interpolated(frames, self.tempo, self.cuts)
        return frames

    def skeleton(self, number: int) -> Image:
        """(H,W,3): the skeleton of written frame `number`, in between the one before it."""
        return self.skeletons.picture(self.tempo.place(number)[0] if self.tempo else number)

    def _on_reference(self, frames: Iterator[Image]) -> Iterator[Image]:
        assert self.reference is not None, "the reference's skeleton is needed here"
        count = len(self.skeletons)
        some = range(0, count, max(1, count // _BODIES))
        unit = body_unit([self.reference, *map(self.skeletons.picture, some)])
        if unit == 0:
            yield from frames
            return
        colour = AnchoredColour(self.picture, self.reference, unit, memory=self.window)
        background = LockedBackground(self.picture, self.reference, unit)
        for number, frame in enumerate(frames):
            skeleton = self.skeletons.picture(number)
            if self.request.anchor_colour:
                frame = colour(frame, skeleton)
            if self.request.lock_background:
                frame = background(frame, skeleton, cut=number in self.cuts)
            yield frame


def needs_reference_pose(request: AnimationRequest) -> bool:
    """Whether frames are compared with the reference, whose person must be known then."""
    return request.anchor_colour or request.lock_background


def find_tempo(request: AnimationRequest, source: FrameSource, frames: int) -> Tempo | None:
    """How `frames` generated ones are brought back to the driving video's rate; None if not asked.

    Raises RequestError where there is nothing to fill in.
    """
    if not request.interpolate:
        return None
    given = source.sampling(selection_of(request)).fps
    rate = source.info.fps
    if given >= rate:
        raise RequestError(
            f"interpolate fills in what a stride or a lower fps leaves out; at {float(given):g} "
            f"frames/s of {source.info.path}'s {float(rate):g} nothing is left out"
        )
    whole = FrameSelection(start=request.start, end=request.end)
    return tempo_to(rate, frames=frames, given=given, most=len(source.sampling(whole).frames))


def check_beside(request: AnimationRequest, overwrite: bool, size: Size | None = None) -> None:
    """Everything that can be wrong with the files beside the clip, before any work.

    Raises MediaError or RequestError.
    """
    names = {"output": request.output}
    if request.side_by_side is not None:
        wide = (3 * size.width, size.height) if size else None
        check_output(request.side_by_side, overwrite, size=wide)
        names["side by side"] = request.side_by_side
    if request.contact_sheet is not None:
        check_sheet_name(request.contact_sheet)
        files.check_output(
            request.contact_sheet, overwrite=overwrite, what="contact sheet", error=MediaError
        )
        names["contact sheet"] = request.contact_sheet
    places = {path.resolve() for path in names.values()}
    if len(places) < len(names):
        raise RequestError(f"{' and '.join(names)} name the same file; give each its own")


@contextmanager
def beside(
    finish: Finish, audio: AudioSource | None, overwrite: bool
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
                    size=(3 * finish.size.width, finish.size.height),
                    fps=finish.fps,
                    audio=audio if takes_sound(request.side_by_side) else None,
                    overwrite=overwrite,
                )
            )

            def put(number: int, frame: Image) -> None:
                writer.write(side_by_side(finish.picture, finish.skeleton(number), frame))

            takers.append(put)
        sheet = None
        if request.contact_sheet is not None:
            sheet = ContactSheet(finish.frames, finish.fps, finish.picture)
            takers.append(sheet.add)

        def take(number: int, frame: Image) -> None:
            for taker in takers:
                taker(number, frame)

        yield take
        if sheet is not None and request.contact_sheet is not None:
            sheet.write(request.contact_sheet)


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written.

    Attributes:
        frames, fps, seconds, size: of the clip, exact.
        sound: what was done with the driving video's sound, in words.
        frames_sha256: over the RGB bytes of all frames in order, before compression.
        beside: files beside the clip: side by side, contact sheet.
    """

    frames: int
    fps: Fraction
    seconds: float
    size: Size
    sound: str
    frames_sha256: str
    beside: tuple[Path, ...]


def write_clip(
    work: Work,
    finish: Finish,
    source: FrameSource,
    generated: Generator[Image, None, None],
    *,
    ahead: int,
    metadata: Mapping[str, str] | None = None,
) -> Written:
    """Write frames as they come, while later ones are made; the clip appears when all are there.

    At most `ahead` frames wait to be written. `metadata` goes into the container.
    """
    request = work.request
    audio = source.audio(selection_of(request)) if request.audio else None
    digest = hashlib.sha256()
    with (
        beside(finish, audio, work.replaces) as take_beside,
        open_writer(
            request.output,
            size=finish.size,
            fps=finish.fps,
            codec=request.codec,
            quality=request.quality,
            audio=audio if takes_sound(request.output) else None,
            metadata=metadata,
            overwrite=work.replaces,
        ) as writer,
    ):

        def take(frame: Image) -> None:
            take_beside(writer.frames, frame)
            writer.write(frame)
            digest.update(frame.tobytes())

        with closing(generated), Behind(take, depth=ahead, name="writer") as queue:
            for frame in finish(generated):
                queue.put(frame)
        work.close_soon()
    return Written(
        frames=writer.frames,
        fps=finish.fps,
        seconds=float(writer.frames / finish.fps),
        size=finish.size,
        sound=writer.sound,
        frames_sha256=digest.hexdigest(),
        beside=tuple(path for path in (request.side_by_side, request.contact_sheet) if path),
    )
