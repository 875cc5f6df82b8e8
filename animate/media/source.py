"""Open a video behind one protocol, whichever library reads it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from animate.errors import MediaError, RequestError
from animate.files import check_readable
from animate.media.animated import AnimatedSource, is_animated_webp
from animate.media.info import Frame, VideoInfo
from animate.media.numbered import NumberedSource, is_numbered, is_pose_folder
from animate.media.posed import PoseSource
from animate.media.selection import FrameSelection, Sampling
from animate.media.suffixes import POSE_SUFFIXES

if TYPE_CHECKING:
    from animate.media.audio import AudioSource

BACKENDS = ("pyav", "decord")


class FrameSource(Protocol):
    """A video that can be read any number of times; it holds no file open in between.

    Every implementation passes the contract suite in tests/media/test_sources.py.
    """

    info: VideoInfo
    warnings: tuple[str, ...]
    """Remarks for the user on the file, a clause each; they grow while frames are read."""
    decoded: int
    """Frames decoded so far, those that were not wanted included."""

    def sampling(self, selection: FrameSelection) -> Sampling:
        """The exact frames of `selection`, without decoding; `len(.frames)` is their number.

        Raises MediaError if nothing is selected, or if it needs frames behind a break.
        """

    def read(self, selection: FrameSelection | None = None) -> Iterator[Frame]:
        """The selected frames (all by default) in order, as they are decoded.

        Raises MediaError like `sampling`, at once, and while reading if the file is damaged.
        """

    def audio(self, selection: FrameSelection | None = None) -> AudioSource | None:
        """The sound that belongs to the selected frames, or None if there is none."""


def open_video(
    path: str | os.PathLike[str], backend: str = "pyav", *, stated_fps: Fraction | None = None
) -> FrameSource:
    """The video at `path`, looked through once (see `animate.media.scan`) but not decoded.

    A folder or a name like frames_%04d.png means numbered images; a pose file, or a folder of
    OpenPose's, is read as a video of its skeletons. `stated_fps` is the rate of images, and of
    poses and raw streams that state none; other videos have a rate of their own. "pyav" reads
    every video; "decord" is quick at scattered frames and refuses what it gets wrong.
    Raises MediaError if the file is missing, damaged or no video, or if decord is asked for and
    not installed or not able to read the file rightly.
    """
    if backend not in BACKENDS:
        raise RequestError(f"unknown video backend {backend!r}; choose {' or '.join(BACKENDS)}")
    if is_numbered(path):
        return NumberedSource(path, stated_fps)
    if Path(path).suffix.lower() in POSE_SUFFIXES or is_pose_folder(path):
        return PoseSource(path, stated_fps)
    if is_animated_webp(check_readable(path, "video", MediaError)):
        if backend == "decord":
            raise MediaError(f'{path}: decord cannot decode WebP; use the "pyav" backend for it')
        return AnimatedSource(path)
    if backend == "pyav":
        from animate.media.pyav_source import PyAVSource

        return PyAVSource(path, stated_fps)
    from animate.media.decord_source import DecordSource

    return DecordSource(path)
