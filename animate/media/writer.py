"""Write clips: exact in time, tagged in colour, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import av
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import (
    ColorPrimaries,
    ColorRange,
    Colorspace,
    ColorTrc,
    Interpolation,
    VideoReformatter,
)
from av.video.stream import VideoStream

from animate.errors import InternalError, MediaError, RequestError, reason_of
from animate.files import atomic, check_output
from animate.media.audio import AudioSource, Track, open_track
from animate.media.codecs import FORMATS, VideoCodec, default_codec, find_codec
from animate.media.comments import write_comment
from animate.media.containers import local_url
from animate.media.info import Image
from animate.media.selection import FASTEST, SLOWEST
from animate.media.urgency import usual_urgency

SILENT = ("gif", "webp")
_SCALER = int(
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
    | Interpolation.FULL_CHR_H_INP
)
"""Colours are averaged over all pixels they stand for, by the same arithmetic on every machine."""
_BT709 = 1
_MOST_REORDERED = 64
"""Frames, well above what any encoder here keeps back, by which a frame may be coded early."""


class FrameSink(Protocol):
    """Something that takes the frames of a clip; a context manager that commits when it exits."""

    frames: int
    """Frames written so far."""
    sound: str
    """The fate of the sound in words: copied, encoded again, or none."""

    def write(self, frame: Image) -> None:
        """Add one frame, (height, width, 3) RGB, uint8 or uint16."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class ClipWriter:
    """A video file being written, as a context manager.

    Everything goes to a partial file beside `path`, which becomes `path` at a clean exit and is
    removed on any exception. Frame n is shown at exactly n / `fps` seconds wherever the container
    can say so (Matroska and WebM round to milliseconds, GIF to hundredths). The same frames give
    the same bytes.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        size: tuple[int, int],
        fps: Fraction,
        codec: str | None = None,
        quality: int | None = None,
        audio: AudioSource | None = None,
        metadata: Mapping[str, str] | None = None,
        overwrite: bool = False,
        before_rename: Callable[[Path], None] | None = None,
        alpha: bool = False,
    ) -> None:
        """Check that the clip can be written, before any work.

        Args:
            path: its suffix picks the container.
            size: (width, height) in pixels.
            fps: frames per second, exact.
            codec: a name of `codecs.CODECS`; None takes the container's usual one.
            quality: on the codec's own scale (CRF: lower is better); None takes its default.
            audio: sound to put beside the pictures.
            metadata: "title" and "comment" are kept by all video containers, "comment" by GIF and
                WebP too.
            overwrite: whether an existing file may be replaced.
            alpha: frames have a fourth channel, their opacity.
            before_rename: called with the finished file before it appears at its name.

        Raises MediaError for a path that cannot be written or a size that the codec cannot have,
        RequestError for a codec, quality or rate that cannot be.
        """
        self.path = check_output(path, overwrite=overwrite, error=MediaError, probe=False)
        self._overwrite, self._before_rename = overwrite, before_rename
        self._format = format_of(self.path)
        self.codec: VideoCodec = find_codec(
            default_codec(self._format, alpha=alpha) if codec is None else codec, self._format
        )
        self._options = self.codec.encoder_options(quality, size)
        check_clip_size(size, self.codec, self.path)
        self._size, self._alpha = size, alpha
        self.fps = _check_rate(fps)
        if audio is not None and self._format in SILENT:
            raise RequestError(f"{self.path}: {self._format} has no sound; write a video instead")
        self._audio = audio
        self._metadata = dict(metadata or {})
        self.frames = 0
        self.sound = "none"
        """The fate of the sound in words: copied, encoded again, or none."""
        self._stack = ExitStack()
        self._track: Track | None = None
        self._encode: Callable[[av.VideoFrame | None], None] | None = None

    def __enter__(self) -> Self:
        with self._errors(), ExitStack() as stack:
            partial = stack.enter_context(
                atomic(self.path, replace=self._overwrite, before_rename=self._complete)
            )
            container = av.open(
                local_url(partial),
                "w",
                format=self._format,
                container_options=_container_options(self._format, self.fps),
            )
            stack.callback(container.close)
            container.metadata.update(self._metadata)
            stream = self._add_pictures(container)
            if self._audio is not None:
                self._track = open_track(self._audio, container, 1 / self.fps)
                stack.callback(self._track.close)
                self.sound = self._track.summary
            with _quiet_encoders(), usual_urgency():
                container.start_encoding()
            self._encode = _encoder(container, stream, self.codec, self._size)
            self._stack = stack.pop_all()
        return self

    def write(self, frame: Image) -> None:
        """Add one frame: (height, width, 3) RGB, uint8, or uint16 for codecs of more bits.

        Raises MediaError if the disk is full or the encoder fails.
        """
        width, height = self._size
        if frame.shape != (height, width, 4 if self._alpha else 3) or frame.dtype not in (
            np.uint8,
            np.uint16,
        ):
            raise InternalError(
                f"a frame of {frame.shape} {frame.dtype} was given to a clip of {width}x{height}"
            )
        if self._encode is None:
            raise InternalError("a ClipWriter was written to outside of its with block")
        picture = self._borrowed(np.ascontiguousarray(frame))
        with self._errors():
            if self._track is not None:
                self._track.advance(self.frames / self.fps)
            picture.pts, picture.time_base, picture.duration = self.frames, 1 / self.fps, 1
            self._encode(picture)
        self.frames += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        stack, self._stack = self._stack, ExitStack()
        encode, self._encode = self._encode, None
        with self._errors():
            if kind is not None:
                stack.__exit__(kind, error, trace)
                return
            with stack:
                self._finish(encode)

    def _complete(self, partial: Path) -> None:
        """The last touches to the finished file before it appears at its name."""
        if self._format in SILENT and "comment" in self._metadata:
            write_comment(partial, self._format, self._metadata["comment"])
        if self._before_rename is not None:
            self._before_rename(partial)

    def _borrowed(self, frame: Image) -> av.VideoFrame:
        """The frame as the library's, without a copy where it is converted before `write` ends."""
        if self._alpha:
            return av.VideoFrame.from_ndarray(frame, format="rgba")
        if frame.dtype == np.uint16:
            return av.VideoFrame.from_ndarray(frame, format="rgb48le")
        if self.codec.name == "gif":  # its filters look at the frame later
            return av.VideoFrame.from_ndarray(frame, format="rgb24")
        return av.VideoFrame.from_numpy_buffer(frame, format="rgb24")

    def _finish(self, encode: Callable[[av.VideoFrame | None], None] | None) -> None:
        if not self.frames or encode is None:
            raise MediaError(f"{self.path}: no frame was given, so nothing was written")
        encode(None)
        if self._track is not None:
            self._track.finish(self.frames / self.fps)

    def _add_pictures(self, container: OutputContainer) -> VideoStream:
        options = dict(self._options)
        if self._format == "avi":  # it has no time stamps that tell frames stored out of order
            options["bf"] = "0"
        stream = container.add_stream(self.codec.encoder, rate=self.fps, options=options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = self._size
        stream.pix_fmt = self.codec.pixel_format
        stream.codec_context.time_base = 1 / self.fps
        if self.codec.pixel_format.startswith(("yuv", "nv12")):
            stream.color_range = ColorRange.MPEG
            stream.colorspace = _BT709
            stream.color_primaries = ColorPrimaries.BT709
            stream.color_trc = ColorTrc.BT709
        if self.codec.tag and self._format in ("mp4", "mov"):
            stream.codec_context.codec_tag = self.codec.tag
        return stream

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (av.error.FFmpegError, OSError) as error:
            raise MediaError(f"{self.path} cannot be written: {reason_of(error)}") from error


@contextmanager
def _quiet_encoders() -> Iterator[None]:
    """Keep SVT-AV1 from writing its settings to the terminal.

    It has no other switch than this variable, which it reads when an encoder is opened.
    """
    before = os.environ.get("SVT_LOG")
    os.environ["SVT_LOG"] = before or "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["SVT_LOG"]


def format_of(path: Path) -> str:
    """The container format that the suffix of `path` names; raises MediaError if it names none."""
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        raise MediaError(
            f"output {path} has no known suffix; use one of {', '.join(FORMATS)} or %04d.png"
        )
    return form


def check_clip_size(size: tuple[int, int], codec: VideoCodec, path: Path) -> None:
    """Raise MediaError if `codec` cannot have pictures of `size` (width, height)."""
    width, height = size
    if width < 1 or height < 1:
        raise MediaError(f"output {path} cannot have a size of {width}x{height}")
    if (codec.even_width and width % 2) or (codec.even_height and height % 2):
        raise MediaError(
            f"codec {codec.name} takes even sizes only, not {width}x{height}; choose "
            f"{width - width % 2}x{height - height % 2}, codec ffv1, or a PNG sequence"
        )


def _check_rate(fps: Fraction) -> Fraction:
    rate = Fraction(fps)
    if not SLOWEST <= rate <= FASTEST:
        limits = f"{SLOWEST} to {FASTEST}"
        raise RequestError(f"a clip cannot have {fps} frames per second; use {limits}")
    if max(rate.numerator, rate.denominator) > 1_000_000:
        rate = rate.limit_denominator(1001)
    return rate


def _container_options(form: str, fps: Fraction) -> dict[str, str]:
    options = {"fflags": "+bitexact"}  # no random identifiers: same frames, same bytes
    if form in ("mp4", "mov"):
        options["movflags"] = "+faststart"
        # The film's own clock must hit the end of the last frame, as the track's does.
        options["movie_timescale"] = str(fps.numerator * max(1, 1000 // fps.numerator))
    if form in SILENT:
        options["loop"] = "0"
    return options


def _encoder(
    container: OutputContainer, stream: VideoStream, codec: VideoCodec, size: tuple[int, int]
) -> Callable[[av.VideoFrame | None], None]:
    """A function that encodes and muxes one RGB frame, or flushes on None."""
    palette = _palette_graph(size) if codec.name == "gif" else None
    reformatter = VideoReformatter()  # keeps its tables from frame to frame

    def mux(packets: list[av.Packet]) -> None:
        for packet in packets:
            _mend_order(packet)
            container.mux(packet)

    def encode(picture: av.VideoFrame | None) -> None:
        if picture is None:
            mux(stream.encode(None))
        elif palette is not None:
            palette.push(picture)
            mux(stream.encode(_stamped(palette.pull(), picture)))
        else:
            mux(stream.encode(_stamped(_converted(picture, codec, reformatter), picture)))

    return encode


def _mend_order(packet: av.Packet) -> None:
    """Give a packet of a one- or two-frame H.265 clip its decoding time.

    x265 leaves it undefined when it is flushed before its third frame; such frames are in order.
    """
    if packet.pts is not None and (
        packet.dts is None or not packet.pts - _MOST_REORDERED <= packet.dts <= packet.pts
    ):
        packet.dts = packet.pts


def _converted(
    picture: av.VideoFrame, codec: VideoCodec, reformatter: VideoReformatter
) -> av.VideoFrame:
    if not codec.pixel_format.startswith(("yuv", "nv12")):
        return reformatter.reformat(picture, format=codec.pixel_format, threads=1)
    converted = reformatter.reformat(
        picture,
        format=codec.pixel_format,
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation=_SCALER,
        threads=1,  # the encoder uses the other cores meanwhile
    )
    converted.color_primaries = ColorPrimaries.BT709
    converted.color_trc = ColorTrc.BT709
    return converted


def _stamped(frame: object, like: av.VideoFrame) -> av.VideoFrame:
    assert isinstance(frame, av.VideoFrame)
    frame.pts, frame.time_base, frame.duration = like.pts, like.time_base, like.duration
    return frame


def _palette_graph(size: tuple[int, int]) -> av.filter.Graph:
    """RGB frames to 256 colours, chosen anew for each frame."""
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=size[0], height=size[1], format=av.VideoFormat("rgb24"), time_base=Fraction(1, 1000)
    )
    split = graph.add("split")
    make = graph.add("palettegen", "stats_mode=single:reserve_transparent=0")
    use = graph.add("paletteuse", "new=1:dither=sierra2_4a")
    sink = graph.add("buffersink")
    source.link_to(split)
    split.link_to(use, 0, 0)
    split.link_to(make, 1, 0)
    make.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    return graph
