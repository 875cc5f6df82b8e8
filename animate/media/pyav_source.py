"""Read videos with PyAV: streaming, and exact by time stamp."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from animate.errors import MediaError
from animate.media.audio import AudioSource, joined_sound
from animate.media.containers import opened, sound_stream
from animate.media.decoding import StreamDecoder
from animate.media.info import Frame, Image, VideoInfo
from animate.media.pictures import PictureMaker, Shape, deinterlaced, shape_of
from animate.media.scan import Scan, scan
from animate.media.selection import FrameSelection, Sampling, sample
from animate.media.structure import is_fragmented


class PyAVSource:
    """A video read by PyAV; see `animate.media.source.FrameSource`."""

    def __init__(self, path: str | os.PathLike[str], stated_fps: Fraction | None = None) -> None:
        """`stated_fps` is the rate of a stream that has none of its own.

        Raises MediaError if `path` is missing, damaged or not a video.
        """
        self.path = Path(path)
        self.decoded = self._damaged = 0
        with opened(path) as container:
            self._scan, stream, picture = scan(container, self.path, stated_fps)
            self._shape = shape_of(picture, stream.sample_aspect_ratio, self.path)
            sound = sound_stream(container)
            self._sound = None if sound is None else sound.index
            self.info = _info(container, stream, self._shape, self._scan, self.path)
            self._fragmented = is_fragmented(stream)
            unread_alpha = stream.metadata.get("alpha_mode") == "1"
            mute = sound is None and len(container.streams.audio) > 0
            unsure = sound is not None and not sound.codec_context.sample_rate
        self.warnings: tuple[str, ...] = _warnings(self._scan, self.info, stated_fps is not None)
        if self._sound is not None and (self._scan.joints or unsure):
            mute = self._check_sound()
        if unread_alpha:
            self._note(
                f"{self.path} is transparent in a way that is not read (beside its VP8 or VP9 "
                "pictures); the colours beneath are shown, as by most players"
            )
        if mute:
            self._note(
                f"{self.path} has sound that no decoder is there for; the clip will be silent"
            )

    def sampling(self, selection: FrameSelection) -> Sampling:
        """See `FrameSource.sampling`."""
        check_reach(selection, self._scan, self.path)
        return sample(selection, self._scan.timeline, str(self.path))

    def read(self, selection: FrameSelection | None = None) -> Iterator[Frame]:
        """See `FrameSource.read`."""
        return self._read(self.sampling(selection or FrameSelection()))

    def audio(self, selection: FrameSelection | None = None) -> AudioSource | None:
        """See `FrameSource.audio`."""
        if self._sound is None:
            return None
        sampling = self.sampling(selection or FrameSelection())
        return AudioSource(
            path=self.path,
            track=self._sound,
            start=self.info.start + sampling.start,
            duration=sampling.duration,
            joints=self._scan.joints,
        )

    @property
    def complete(self) -> bool:
        """True if the file was not cut off."""
        return self._scan.complete

    @property
    def plain(self) -> bool:
        """True if there is but one stream of pictures besides covers, and stamps rise through."""
        return not self._scan.joints and self._scan.streams == 1

    @property
    def fragmented(self) -> bool:
        """True for MP4 that was written in fragments, as by streaming services."""
        return self._fragmented

    def _check_sound(self) -> bool:
        """True where none of the sound can be read; it is said where some cannot."""
        with_sound, heard = joined_sound(
            AudioSource(path=self.path, track=self._sound, joints=self._scan.joints)
        )
        if heard == 0:
            self._sound, self.info = None, replace(self.info, has_audio=False)
            return True
        if heard < with_sound:
            self._note(
                f"{self.path}: the sound of {with_sound - heard} of its joined files is of another "
                "kind than that of the first and cannot be read; it is silent there"
            )
        return False

    def _read(self, sampling: Sampling) -> Iterator[Frame]:
        frames = self._with_pictures(sampling.frames)
        pictures = self._pictures(frames[0], frames[-1], set(frames))
        with closing(pictures):
            for number, index, image in held(frames, pictures, self._note_lost):
                yield Frame(image=image, time=sampling.time(number), index=index)
        if self._damaged:
            self._note_damaged(self._damaged)

    def _with_pictures(self, frames: tuple[int, ...]) -> tuple[int, ...]:
        """The frame whose picture each of `frames` shows: an empty one repeats that before it."""
        slots = np.array(self._scan.slots)
        if len(slots) in (0, self._scan.timeline.frames):
            return frames
        nearest = np.searchsorted(slots, np.array(frames), side="right") - 1
        return tuple(int(slot) for slot in slots[nearest])

    def _pictures(
        self, first: int, last: int, wanted: set[int]
    ) -> Generator[tuple[int, Image], None, None]:
        """(index, picture) of those of the frames `first` to `last` that are in `wanted`."""
        make = PictureMaker(self._shape)
        passed = latest = -1
        for index, frame in self._frames(first, last):
            passed = max(passed, index)
            if index in wanted and index > latest:
                latest = index
                yield index, _converted(make, frame, self.path)
                if make.resized:
                    self._note(
                        f"{self.path}: the picture changes its size inside; it is letterboxed there"
                    )
        if passed < last or latest < 0:
            raise MediaError(
                f"{self.path} cannot be decoded after frame {max(passed, 0)} of "
                f"{self._scan.timeline.frames}; export or copy it again, or stop before with an "
                "end or fewer frames"
            )

    def _frames(self, first: int, last: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decoded frames from `first` (or a little before) to `last`, with their numbers."""
        if first and self._scan.timed and not self._scan.joints:
            # What is woven of fields needs the frame before as well.
            numbered = self._numbered(first - self._shape.interlaced)
            try:
                head = next(numbered, None)
            except av.error.FFmpegError:  # a file that cannot be sought in
                head = None
            if head is not None and head[0] <= first:
                yield from _until(last, _chained(head, numbered))
                return
            numbered.close()  # the seek overshot: an unreliable index; go from the beginning
        yield from _until(last, self._numbered(0))

    def _numbered(self, first: int) -> Generator[tuple[int, av.VideoFrame], None, None]:
        ticks, slots = self._scan.timeline.ticks, self._scan.slots
        start = int(ticks[first]) if first else None
        decoder = StreamDecoder(
            path=self.path, stream=self._scan.stream, joints=self._scan.joints, start=start
        )
        with closing(decoder.frames()) as decoded:
            frames = deinterlaced(decoded) if self._shape.interlaced else decoded
            for count, frame in enumerate(frames):
                self.decoded += 1
                self._damaged = decoder.damaged
                if not self._scan.timed:
                    yield (slots[min(count, len(slots) - 1)] if slots else count), frame
                elif frame.pts is not None:
                    index = int(np.searchsorted(ticks, frame.pts))
                    if index < len(ticks) and ticks[index] == frame.pts:
                        yield index, frame

    def _note_lost(self, lost: int) -> None:
        self._note(
            f"{self.path}: {lost} damaged frame{'s' if lost > 1 else ''} could not be decoded; "
            "a neighbouring picture stands in"
        )

    def _note_damaged(self, damaged: int) -> None:
        self._note(
            f"{self.path}: {damaged} damaged frame{'s' if damaged > 1 else ''} could be decoded "
            "only in part, and those that build on them show it; export or copy it again"
        )

    def _note(self, warning: str) -> None:
        if warning not in self.warnings:
            self.warnings += (warning,)


def check_reach(selection: FrameSelection, scanned: Scan, path: Path) -> None:
    """Raise MediaError if `selection` needs frames that a cut-off file has lost."""
    if scanned.complete:
        return
    timeline = scanned.timeline
    end = selection.end
    ends_before = (isinstance(end, int) and end <= timeline.frames) or (
        end is not None and not isinstance(end, int) and end <= timeline.end
    )
    if ends_before:
        return
    if selection.max_frames is not None:
        reach = sample(selection, timeline, str(path))
        if len(reach.frames) == selection.max_frames:
            return
    promise = f"its header promises {scanned.promised}, but " if scanned.promised else ""
    raise MediaError(
        f"{path} is cut off: {promise}only {timeline.frames} "
        f"frames ({float(timeline.end):.3f} s) are there; copy it again, or stop before the break "
        f"with an end of {timeline.frames}f"
    )


def held(
    frames: tuple[int, ...],
    pictures: Iterable[tuple[int, Image]],
    note_lost: Callable[[int], None],
) -> Iterator[tuple[int, int, Image]]:
    """(output number, source frame, picture) for each of `frames`, which never fall.

    Where a wanted picture is missing among `pictures` the one before stands in (at the very
    beginning, the one after), and `note_lost(count)` is called at the end.
    """
    arriving = iter(pictures)
    coming = next(arriving, None)
    current: Image | None = None
    lost: set[int] = set()
    for number, wanted in enumerate(frames):
        while coming is not None and coming[0] < wanted:
            current = coming[1]
            coming = next(arriving, None)
        if coming is not None and (coming[0] == wanted or current is None):
            image = coming[1]
        else:
            assert current is not None
            image = current
        if coming is None or coming[0] != wanted:
            lost.add(wanted)
        yield number, wanted, image
    if lost:
        note_lost(len(lost))


def _converted(make: PictureMaker, frame: av.VideoFrame, path: Path) -> Image:
    try:
        return make(frame)
    except (av.error.FFmpegError, ValueError) as error:
        raise MediaError(
            f"{path}: pixel format {frame.format.name} cannot be made into RGB ({error}); "
            "convert it to H.264"
        ) from error


def _until(
    last: int, numbered: Iterator[tuple[int, av.VideoFrame]]
) -> Iterator[tuple[int, av.VideoFrame]]:
    for index, frame in numbered:
        yield index, frame
        if index >= last:
            return


def _chained(
    head: tuple[int, av.VideoFrame], tail: Iterator[tuple[int, av.VideoFrame]]
) -> Iterator[tuple[int, av.VideoFrame]]:
    yield head
    yield from tail


def _info(
    container: InputContainer, stream: VideoStream, shape: Shape, scanned: Scan, path: Path
) -> VideoInfo:
    width, height = shape.upright
    timeline = scanned.timeline
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        fps=timeline.fps,
        frames=timeline.frames,
        duration=timeline.end,
        has_audio=sound_stream(container) is not None,
        rotation=shape.rotation,
        mirrored=shape.mirrored,
        pixel_aspect=shape.pixel_aspect,
        variable_rate=not timeline.regular,
        interlaced=shape.interlaced,
        transfer=shape.transfer,
        container=container.format.name,
        codec=stream.codec_context.name,
        pixel_format=stream.pix_fmt or "",
        start=scanned.start,
    )


def _warnings(scanned: Scan, info: VideoInfo, stated: bool) -> tuple[str, ...]:
    notes = []
    timeline = scanned.timeline
    if not scanned.complete:
        notes.append(f"{info.path} is cut off after {timeline.frames} frames")
    elif scanned.promised:
        notes.append(
            f"{info.path}: its header says {scanned.promised}, its frames end at "
            f"{float(timeline.end):.3f} s"
        )
    if scanned.chosen_among > 1:
        notes.append(
            f"{info.path} holds {scanned.chosen_among} streams of pictures; number "
            f"{scanned.number} is taken ({info.width}x{info.height}, {timeline.frames} frames)"
        )
    if scanned.unread:
        notes.append(
            f"{info.path} is {scanned.unread + 1} files in one, of which the first alone is read; "
            "join them with a video editor instead"
        )
    if scanned.joints:
        notes.append(
            f"{info.path} is {len(scanned.joints) + 1} files in one, whose time stamps start "
            "again; they are put one behind the other"
        )
    if not scanned.timed and not scanned.slots and not stated:
        notes.append(
            f"{info.path} has no time stamps; {float(info.fps):g} frames/s are taken, "
            "--fps says another"
        )
    if info.variable_rate:
        longest = int(np.diff(timeline.ticks).max(initial=0))
        seconds = float(longest * timeline.time_base)
        notes.append(
            f"{info.path} has a variable frame rate (a frame lasts up to {seconds:.3f} s); "
            f"it is sampled by time at {float(info.fps):g} frames/s"
        )
    if info.transfer != "sdr":
        notes.append(f"{info.path} is HDR ({info.transfer}); it is tone-mapped to ordinary range")
    return tuple(notes)
