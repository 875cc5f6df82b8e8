"""Clips and what they are compared with: named one by one, or folders paired by name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from animate.errors import RequestError
from animate.files import IMAGE_SUFFIXES
from animate.media.suffixes import PHOTO_SUFFIXES, POSE_SUFFIXES, VIDEO_SUFFIXES

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One clip and what it is compared with."""

    clip: Path
    truth: Path | None = None
    reference: Path | None = None
    driving: Path | None = None
    notes: tuple[str, ...] = ()
    """Partners that a folder does not have."""


def pair_clips(
    clips: PathLike | Sequence[PathLike],
    *,
    truth: PathLike | None = None,
    reference: PathLike | None = None,
    driving: PathLike | None = None,
) -> tuple[Pair, ...]:
    """Pairs of all clips. A folder of several files gives each clip the one of its name.

    Raises RequestError where nothing is there, or a folder has a partner for no clip.
    """
    named = [clips] if isinstance(clips, (str, os.PathLike)) else list(clips)
    files = [clip for path in named for clip in _clips(Path(path))]
    if not files:
        raise RequestError("no clip was named; name a video, numbered images or a folder of clips")
    partners = {
        "truth": _partners(truth, VIDEO_SUFFIXES, files, "truth"),
        "reference": _partners(reference, PHOTO_SUFFIXES, files, "reference"),
        "driving": _partners(driving, (*VIDEO_SUFFIXES, *POSE_SUFFIXES), files, "driving"),
    }
    pairs = []
    for index, clip in enumerate(files):
        chosen = {role: paths[index] for role, paths in partners.items()}
        named_files = {"truth": truth, "reference": reference, "driving": driving}
        notes = tuple(
            f"{named_files[role]} has no {role} named {clip.stem}"
            for role, path in chosen.items()
            if path is None and named_files[role] is not None
        )
        pairs.append(Pair(clip=clip, notes=notes, **chosen))
    return tuple(pairs)


def _clips(path: Path) -> list[Path]:
    """A folder's clips, or the path itself."""
    members = _members(path, VIDEO_SUFFIXES)
    return [path] if members is None else [members[name] for name in sorted(members)]


def _partners(
    path: PathLike | None, suffixes: tuple[str, ...], clips: Sequence[Path], role: str
) -> list[Path | None]:
    """A partner for each clip: the same for all, or those of their names in a folder."""
    if path is None:
        return [None] * len(clips)
    members = _members(Path(path), suffixes)
    if members is None:
        return [Path(path)] * len(clips)
    partners = [members.get(clip.stem) for clip in clips]
    if not any(partners):
        names = ", ".join(sorted(members)[:4])
        raise RequestError(
            f"the folder {path} has no {role} with the name of a clip ({clips[0].stem}); it has "
            f"{names}"
        )
    return partners


def _members(path: Path, suffixes: tuple[str, ...]) -> dict[str, Path] | None:
    """Files and folders of images by their names; None for what is one thing itself."""
    if not path.is_dir():
        return None
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    files = [entry for entry in entries if entry.suffix.lower() in suffixes and entry.is_file()]
    folders = [entry for entry in entries if entry.is_dir() and _has_images(entry.iterdir())]
    if suffixes == PHOTO_SUFFIXES:  # a reference is one picture
        return {entry.stem: entry for entry in files}
    return {entry.stem: entry for entry in (*folders, *files)} if files or folders else None


def _has_images(entries: Iterable[Path]) -> bool:
    return any(entry.suffix.lower() in IMAGE_SUFFIXES for entry in entries)
