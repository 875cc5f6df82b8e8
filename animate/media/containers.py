"""Files opened by the video library: known formats, and no other file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from animate.errors import MediaError, reason_of
from animate.files import check_readable

DAMAGED = "it is damaged, cut off or not a video; export or copy it again"
_DEMUXERS = (
    *("mov", "matroska", "webm", "avi", "mpegts", "mpeg", "mpegvideo", "flv", "ogg", "asf", "mxf"),
    *("gif", "apng", "yuv4mpegpipe", "ivf", "nut", "rm", "dv", "gxf", "wtv", "mjpeg"),
    *("h264", "hevc", "vvc", "m4v", "av1", "obu", "h261", "h263", "vc1", "dirac", "cavsvideo"),
    "dnxhd",
    *("mp3", "wav", "flac", "aac", "aiff"),  # to say that there is only sound in them
)
"""Formats that hold pictures or sound themselves; playlists and lists of files are not opened."""
_OPEN_SECONDS = 60.0


@contextmanager
def av_errors(path: str | os.PathLike[str], doing: str, hint: str) -> Iterator[None]:
    """Raise MediaError "`path` `doing`: reason; `hint`" for an error of the video library."""
    try:
        yield
    except (av.error.FFmpegError, OSError) as error:
        raise MediaError(f"{path} {doing}: {reason_of(error)}; {hint}") from error


def local_url(path: str | os.PathLike[str]) -> str:
    """`path` so that the library takes it for a local file, whatever characters it has."""
    return "file:" + os.path.abspath(os.fspath(path))


def open_input(path: str | os.PathLike[str]) -> InputContainer:
    """The container at `path`; errors of the video library pass through.

    The format must be a known one before anything else is read: playlists would open what they
    name, pipes and addresses included. Words in other alphabets than UTF-8 do no harm.
    """
    return av.open(
        local_url(path),
        container_options={
            "protocol_whitelist": "file",
            "format_whitelist": ",".join(_DEMUXERS),
        },
        metadata_errors="replace",
        timeout=(_OPEN_SECONDS, None),
    )


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[InputContainer]:
    """The container at `path`, closed at the exit. Raises MediaError if it is not a video."""
    file = check_readable(path, "video", MediaError)
    try:
        with av_errors(file, "cannot be opened as a video", DAMAGED):
            container = _opened_known(file)
    except UnicodeError as error:
        raise MediaError(f"{file} cannot be opened as a video: {error}; {DAMAGED}") from error
    try:
        yield container
    finally:
        container.close()


def _opened_known(path: Path) -> InputContainer:
    try:
        return open_input(path)
    except av.error.ArgumentError as error:  # a format that is not on the list
        raise MediaError(
            f"{path} is no video; give a video file such as MP4, MKV, MOV or WebM"
        ) from error


def picture_streams(container: InputContainer, path: Path) -> tuple[VideoStream, ...]:
    """Streams of moving pictures that can be decoded, covers left out.

    Raises MediaError if there is none.
    """
    covers = av.stream.Disposition.attached_pic
    streams = tuple(
        stream
        for stream in container.streams.video
        if not stream.disposition & covers and stream.codec_context is not None
    )
    if not streams:
        sound = " (only sound)" if container.streams.audio else ""
        raise MediaError(f"{path} has no video stream{sound}; give a video file")
    return streams


def crop_exactly(stream: VideoStream) -> None:
    """Have the decoder crop pictures at any column, not only where memory is aligned."""
    stream.codec_context.flags |= av.codec.context.Flags.unaligned


def sound_stream(container: InputContainer) -> AudioStream | None:
    """The sound that players choose among those that can be decoded; None if there is none.

    One of which nothing was seen yet, as in a broadcast that begins without, comes last.
    """
    decodable = [stream for stream in container.streams.audio if stream.codec_context is not None]
    readable = [stream for stream in decodable if stream.codec_context.sample_rate] or decodable
    return max(readable, key=_merit, default=None)


def _merit(stream: AudioStream) -> tuple[bool, bool]:
    """Merits by which players choose a sound: the default, and that it is no commentary."""
    kinds = av.stream.Disposition
    aside = kinds.comment | kinds.visual_impaired | kinds.hearing_impaired | kinds.descriptions
    return bool(stream.disposition & kinds.default), not stream.disposition & aside
