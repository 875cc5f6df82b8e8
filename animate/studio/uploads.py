"""Files that come from a browser: bounded, looked at, and put into the project whole or not."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from animate.errors import MediaError, RequestError
from animate.files import atomic
from animate.media import open_video, read_image
from animate.studio.project import PHOTO_SUFFIXES, POSES_SUFFIX, VIDEO_SUFFIXES, Project
from pose.sequence import PoseSequence

_SPARE_BYTES = 256 << 20
"""Room on the disk that an upload leaves."""


class TooLargeError(RequestError):
    """An upload beyond what is allowed, or what the disk has room for."""


async def take_upload(
    project: Project, name: str, announced: int, most: int, chunks: AsyncIterator[bytes]
) -> Path:
    """Put an upload into the project under a free name, and return its path.

    announced: bytes that the browser says will come
    most: bytes that may come

    Raises TooLargeError, OutsideError for a name, MediaError for a file that cannot be used, and
    OSError where the disk fails; nothing stays then.
    """
    path = project.free_path(name)
    suffix = path.suffix.lower()
    if suffix not in (*PHOTO_SUFFIXES, *VIDEO_SUFFIXES, POSES_SUFFIX):
        raise MediaError(
            f"{name} is neither a photo, a video nor a pose file by its ending; "
            f"photos end in {', '.join(PHOTO_SUFFIXES[:4])}, "
            f"videos in {', '.join(VIDEO_SUFFIXES[:4])}"
        )
    room = shutil.disk_usage(project.root).free - _SPARE_BYTES
    _check_size(name, announced, most, room)
    with atomic(path, follow=False, replace=False) as partial:
        count = 0
        with open(partial, "wb") as file:
            async for chunk in chunks:
                count += len(chunk)
                _check_size(name, count, most, room)
                file.write(chunk)
        if count < announced:
            raise MediaError(
                f"{name} was cut off, {announced - count} bytes are missing; try again"
            )
        await run_in_threadpool(_check_content, partial, suffix, name)
    return path


def _check_size(name: str, size: int, most: int, room: int) -> None:
    if size > most:
        raise TooLargeError(f"{name} is larger than {most >> 20} MiB; see cnx studio --max-upload")
    if size > room:
        raise TooLargeError(f"the disk has no room for {name}; free some, and send it again")


def _check_content(path: Path, suffix: str, name: str) -> None:
    """Raise MediaError for a file that is not what its ending says."""
    try:
        if suffix in PHOTO_SUFFIXES:
            read_image(path)
        elif suffix in VIDEO_SUFFIXES:
            open_video(path)
        else:
            PoseSequence.load(path)
    except Exception as reason:
        text = str(reason).replace(str(path), name)
        raise MediaError(text if name in text else f"{name}: {text}") from reason
