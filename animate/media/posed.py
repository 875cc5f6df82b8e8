"""A pose file read as a video: its canvas, rate and length, and its skeletons as pictures."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

from animate.errors import MediaError
from animate.files import check_readable
from animate.media.even import EvenSource
from animate.media.info import Image
from pose.draw import draw
from pose.formats import import_poses
from pose.sequence import PoseSequence


class PoseSource(EvenSource):
    """A pose file, or a folder of them; see `animate.media.source.FrameSource`. Its poses are shown
    frame by frame."""

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
        if poses is None:
            if not Path(path).is_dir():
                check_readable(path, "pose file", MediaError)
            poses = import_poses(Path(path), fps=stated_fps)
        super().__init__(
            Path(path),
            size=poses.canvas,
            fps=poses.fps,
            count=poses.frames,
            kind=("poses", "poses"),
        )
        self.poses = poses

    def _picture(self, index: int) -> Image:
        poses = self.poses
        return draw(poses.points[index], poses.scores[index], poses.canvas, style="canonical")
