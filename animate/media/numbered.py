"""Numbered still images as a video: a folder of them, or names like frames_%04d.png."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import PIL.Image

from animate.errors import MediaError, reason_of
from animate.files import IMAGE_SUFFIXES, check_readable, is_sequence, sha256
from animate.media.even import EvenSource
from animate.media.image import read_image
from animate.media.info import Image
from animate.media.sequences import sequence_files

USUAL_FPS = Fraction(25)
"""Rate of images that state none, as common video tools take it."""
_LAST_NUMBER = re.compile(r"(.*?)(\d+)(\D*)")
_MOST_TEXT = 64
"""Characters of a stated rate that are looked at."""


def is_numbered(path: str | os.PathLike[str]) -> bool:
    """True where `path` means numbered images: a folder, or a pattern like shot.%04d.png."""
    return is_sequence(path) or (Path(path).is_dir() and not is_pose_folder(path))


def is_pose_folder(path: str | os.PathLike[str]) -> bool:
    """True for a folder of a pose program's frames: .json files, and no images."""
    if not Path(path).is_dir():
        return False
    suffixes = {file.suffix.lower() for file in Path(path).iterdir()}
    return ".json" in suffixes and not suffixes & {*IMAGE_SUFFIXES}


def image_files(path: str | os.PathLike[str]) -> tuple[Path, ...]:
    """The images that `path` means, by their numbers (9 before 10).

    Raises MediaError if there is none, or a number is missing between the first and the last.
    """
    pattern = Path(path)
    try:
        images = _in_folder(pattern) if pattern.is_dir() else sequence_files(pattern)
    except OSError as error:
        raise MediaError(f"{pattern} cannot be read: {reason_of(error)}") from error
    if not images:
        raise MediaError(
            f"{pattern} holds no images ({', '.join(IMAGE_SUFFIXES)}); name a folder of numbered "
            "images, or a pattern such as frames_%04d.png"
        )
    _check_gaps(images, pattern)
    return tuple(images)


def pose_files(path: str | os.PathLike[str]) -> list[Path]:
    """The files of a pose folder, by their names."""
    return sorted(Path(path).glob("*.json"))


def check_driving(path: str | os.PathLike[str]) -> None:
    """Raise MediaError if `path` is neither a readable file, numbered images nor a pose folder."""
    if is_numbered(path):
        for file in image_files(path):
            check_readable(file, "driving image", MediaError)
    elif is_pose_folder(path):
        for file in pose_files(path):
            check_readable(file, "pose file", MediaError)
    else:
        check_readable(path, "driving video", MediaError)


def source_digest(path: str | os.PathLike[str], digest_of: Callable[[Path], str] = sha256) -> str:
    """SHA-256 of a video file, or of the names and contents of numbered images or of the files in
    a pose folder.

    `digest_of` is what reads a file; one that remembers reads it once.
    """
    numbered = is_numbered(path)
    if not numbered and not is_pose_folder(path):
        return digest_of(Path(path))
    digest = hashlib.sha256()
    for file in image_files(path) if numbered else pose_files(path):
        digest.update(f"{file.name}\0{digest_of(file)}\n".encode())
    return digest.hexdigest()


class NumberedSource(EvenSource):
    """Numbered images read as a video; see `animate.media.source.FrameSource`."""

    def __init__(self, path: str | os.PathLike[str], fps: Fraction | None = None) -> None:
        """`fps` is their rate; without it, the one that clips written here state, or 25.

        Raises MediaError if there are no such images, or the first cannot be read.
        """
        self._files = image_files(path)
        height, width = read_image(self._files[0]).shape[:2]
        stated = fps or _stated_rate(self._files[0])
        super().__init__(
            Path(path),
            size=(width, height),
            fps=stated or USUAL_FPS,
            count=len(self._files),
            kind=("images", self._files[0].suffix.lower().lstrip(".")),
        )
        if stated is None:
            self.warnings = (
                f"{self.path}: images have no frame rate; {USUAL_FPS} frames/s are assumed, "
                "--fps says another",
            )

    def _picture(self, index: int) -> Image:
        image = read_image(self._files[index])
        if image.shape[1::-1] != self.info.size:
            raise MediaError(
                f"{self._files[index]} is {image.shape[1]}x{image.shape[0]}, the first "
                f"image {self.info.width}x{self.info.height}; bring all to one size"
            )
        return image


def _in_folder(folder: Path) -> list[Path]:
    files = (file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    return sorted((file for file in files if not file.name.startswith(".")), key=_natural)


def _natural(file: Path) -> tuple[list[tuple[int, str]], str]:
    pieces = re.split(r"(\d+)", file.name.lower())
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in pieces], file.name


def _check_gaps(files: list[Path], pattern: Path) -> None:
    """Raise MediaError where numbers of one name are missing or come twice."""
    parts = [match for file in files if (match := _LAST_NUMBER.fullmatch(file.stem))]
    if len(parts) < len(files) or len({match.group(1, 3) for match in parts}) > 1:
        return  # no numbers of one series: the order of their names is all there is
    numbers = [int(match[2]) for match in parts]
    for before, number in pairwise(numbers):
        if number > before + 1:
            raise MediaError(
                f"{pattern}: image {before} is followed by image {number}; those between are "
                "missing, put them there, or move the others to a folder of their own"
            )
        if number == before:
            raise MediaError(
                f"{pattern} has several images of number {number}; keep one series in the folder, "
                "or name one by a pattern such as frames_%04d.png"
            )


def _stated_rate(file: Path) -> Fraction | None:
    """The rate in the text of a PNG that was written here."""
    try:
        with PIL.Image.open(file, formats=("PNG",)) as image:
            text = image.info.get("fps")
        rate = Fraction(text) if isinstance(text, str) and len(text) <= _MOST_TEXT else Fraction(0)
    except (OSError, ValueError, ZeroDivisionError):
        return None
    return rate if 0 < rate <= 1000 else None
