"""A pose file read as a video: its canvas, rate and length, and its skeletons as pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from animate.errors import MediaError
from animate.files import check_readable
from animate.media.audio import AudioSource
from animate.media.info import Frame, VideoInfo
from animate.media.selection import FrameSelection, Sampling, sample
from animate.media.timeline import Timeline
from pose.draw import draw
from pose.formats import import_poses
from pose.sequence import PoseSequence

POSE_SUFFIXES = (".npz", ".json")


class PoseSource:
    """A pose file; see `animate.media.source.FrameSource`. Its poses are shown frame by frame."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        stated_fps: Fraction | None = None,
        *,
        poses: PoseSequence | None = None,
    ) -> None:
        """
        stated_fps: rate of a file that does not hold one
        poses: of the file, which is not read then

        Raises MediaError for a file that is missing, PoseError for one that is no pose file, or
        does not say how large its pictures were.
        """
        self.path = Path(path)
        if poses is None:
            poses = import_poses(check_readable(path, "pose file", MediaError), fps=stated_fps)
        self.poses = poses
        self.decoded = 0
        self.warnings: tuple[str, ...] = ()
        fps, count = self.poses.fps, self.poses.frames
        self._timeline = Timeline(
            ticks=np.arange(count, dtype=np.int64),
            time_base=1 / fps,
            fps=fps,
            regular=True,
            end=count / fps,
        )
        width, height = self.poses.canvas
        self.info = VideoInfo(
            path=self.path,
            width=width,
            height=height,
            fps=fps,
            frames=count,
            duration=count / fps,
            has_audio=False,
            container="poses",
            codec="poses",
        )

    def sampling(self, selection: FrameSelection) -> Sampling:
        """See `FrameSource.sampling`."""
        return sample(selection, self._timeline, str(self.path))

    def read(self, selection: FrameSelection | None = None) -> Iterator[Frame]:
        """See `FrameSource.read`."""
        return self._read(self.sampling(selection or FrameSelection()))

    def audio(self, selection: FrameSelection | None = None) -> AudioSource | None:
        """None: poses have no sound."""
        return None

    def _read(self, sampling: Sampling) -> Iterator[Frame]:
        poses = self.poses
        for number, index in enumerate(sampling.frames):
            self.decoded += 1
            image = draw(poses.points[index], poses.scores[index], poses.canvas, style="canonical")
            yield Frame(image=image, time=sampling.time(number), index=index)
