"""Poses that were estimated before: a folder of pose files, by what decides them.

A file's name is a digest of the video's bytes, the estimator (networks and settings) and the frames
selected, so a hit is right or is not there. The folder can be removed at any time. It stays below a
limit: what was not used for longest goes first.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path

from animate.files import write_bytes
from animate.media import FrameSelection
from animate.progress import Progress
from animate.request.setting import NONE
from pose.errors import PoseError
from pose.estimators.base import Estimator
from pose.extract import EXTRACTION
from pose.sequence import PoseSequence

LIMIT = 1024**3
"""Bytes of all pose files of a cache together; a minute of one person takes about 2 MB."""
PACES = "paces.json"
"""Name of the file beside them that keeps the paces of clips (`animate.clip.paces`)."""
_NAME = re.compile(r"[0-9a-f]{32}\.npz")
_COLOURS = re.compile(r"[0-9a-f]{32}\.json")
"""Names of files that keep the colours of a model's previews (`animate.clip.preview`)."""


def cache_file(
    folder: Path | None, digest: str, estimator: Estimator, selection: FrameSelection
) -> Path | None:
    """The file that keeps these poses; None where nothing is to be kept.

    `folder` None is the user's own cache; `digest` is the video's SHA-256.
    """
    if folder == NONE:
        return None
    key = f"{digest}|{EXTRACTION}|{estimator.name}|{estimator.digest}|{selection!r}"
    name = hashlib.sha256(key.encode()).hexdigest()[:32]
    return (folder or users_cache()) / f"{name}.npz"


def users_cache() -> Path:
    """`$XDG_CACHE_HOME/cnx-animate/poses`, by default below `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "cnx-animate" / "poses"


def load_poses(file: Path | None, digest: str, progress: Progress) -> PoseSequence | None:
    """The poses in the cache, if they are there and whole."""
    if file is None or not file.is_file():
        return None
    try:
        poses = PoseSequence.load(file, source=digest)
    except PoseError as reason:
        progress.warn(f"the cached poses are not used: {reason}")
        return None
    with suppress(OSError):
        os.utime(file)  # used just now
    progress.note(f"poses: taken from {file}")
    return poses


def save_poses(file: Path | None, poses: PoseSequence, progress: Progress) -> None:
    """Put poses into the cache; a folder that cannot be written is no reason to stop."""
    if file is None:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(file, poses.to_bytes(), follow=False)
    except OSError as reason:
        progress.warn(f"the poses are not kept for the next time: {reason}")
        return
    with suppress(OSError):  # others' files, or another process has removed them just now
        for old in over_limit(file.parent, LIMIT):
            old.unlink(missing_ok=True)


def cached_files(folder: Path) -> list[Path]:
    """The pose files of a cache, the one used last first; no other file, and no link."""
    if not folder.is_dir():
        return []
    files = [
        file
        for file in folder.iterdir()
        if _NAME.fullmatch(file.name) and file.is_file() and not file.is_symlink()
    ]
    return sorted(files, key=lambda file: (-file.stat().st_mtime, file.name))


def kept_files(folder: Path | None) -> list[Path]:
    """Every file that runs keep for later ones in a cache; None is the user's own."""
    places = [folder] if folder else [users_cache(), colours_folder(None)]
    return [
        file
        for place in places
        for file in (sorted(place.iterdir()) if place.is_dir() else ())
        if (file.name == PACES or _NAME.fullmatch(file.name) or _COLOURS.fullmatch(file.name))
        and file.is_file()
        and not file.is_symlink()
    ]


def colours_folder(folder: Path | None) -> Path:
    """The folder that keeps colours of previews, in a cache or in the user's own."""
    return folder or users_cache().with_name("colours")


def over_limit(folder: Path, limit: int) -> list[Path]:
    """Pose files that must go so that the others take at most `limit` bytes; never the newest."""
    total, old = 0, []
    for number, file in enumerate(cached_files(folder)):
        total += file.stat().st_size
        if total > limit and number:
            old.append(file)
    return old
