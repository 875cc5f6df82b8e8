"""Where the video library's errors become this project's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import av
from av.container import InputContainer

from animate.errors import MediaError


@contextmanager
def av_errors(path: str | os.PathLike[str], doing: str, hint: str) -> Iterator[None]:
    """Raise MediaError "`path` `doing`: reason; `hint`" for an error of the video library."""
    try:
        yield
    except (av.error.FFmpegError, OSError) as error:
        raise MediaError(f"{path} {doing}: {reason_of(error)}; {hint}") from error


def reason_of(error: BaseException) -> str:
    """The library's words for an error, without its numbers and path."""
    return (getattr(error, "strerror", None) or str(error)).lower()


def open_input(path: str | os.PathLike[str]) -> InputContainer:
    """The container at `path`; errors of the video library pass through.

    Playlists may name other files and addresses: nothing but this one file is read. Words in
    other alphabets than UTF-8 do no harm.
    """
    return av.open(
        local_url(path), options={"protocol_whitelist": "file"}, metadata_errors="replace"
    )


def local_url(path: str | os.PathLike[str]) -> str:
    """`path` so that the library takes it for a local file, whatever characters it has."""
    return "file:" + os.path.abspath(os.fspath(path))
