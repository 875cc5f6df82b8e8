"""A clip beside its true or driving video, frame by frame, aligned by time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from animate.media import FrameSelection, FrameSource, open_video
from animate.media.info import Image
from animate.media.numbered import USUAL_FPS, is_numbered
from animate.request.values import Size


@dataclass(frozen=True, kw_only=True)
class Companion:
    """Another video, read at the times of the clip's frames."""

    source: FrameSource
    selection: FrameSelection
    """The part and rate at which its frames are those of the clip."""
    frames: int
    """Frames that it has for the clip."""
    notes: tuple[str, ...]
    """Differences of rate, length and size, in words."""

    @property
    def size(self) -> Size:
        """Size of its pictures."""
        return Size(self.source.info.width, self.source.info.height)

    def read(self) -> Iterator[Image]:
        """Its pictures (h,w,3), one for each frame of the clip while there are any."""
        return (frame.image for frame in self.source.read(self.selection))


def open_clip(path: Path, truth: Path | None = None) -> tuple[FrameSource, list[str]]:
    """The clip, and remarks on it. Raises MediaError.

    Numbered images that state no rate have that of a true video, or 25 frames/s.
    """
    source = open_video(path)
    if not (is_numbered(path) and source.warnings):
        return source, list(source.warnings)
    fps = USUAL_FPS if truth is None or is_numbered(truth) else open_video(truth).info.fps
    note = f"{path} states no frame rate: {rate_text(fps)} frames/s are taken"
    return open_video(path, stated_fps=fps), [note]


def frame_count(source: FrameSource, selection: FrameSelection) -> int:
    """Frames that a selection gives."""
    return len(source.sampling(selection).frames)


def beside(
    path: Path,
    clip: FrameSource,
    count: int,
    *,
    role: str,
    selection: FrameSelection | None = None,
) -> Companion:
    """Open a video beside a clip of `count` frames; `role` is its name in notes.

    Without a `selection` it is sampled by time at the clip's rate where its own differs, from its
    beginning. Numbered images without a rate have the clip's. Raises MediaError.
    """
    fps = clip.info.fps
    source = open_video(path, stated_fps=fps if is_numbered(path) else None)
    notes = list(source.warnings)
    if selection is None:
        selection = FrameSelection(fps=None if source.info.fps == fps else fps)
        if source.info.fps != fps:
            notes.append(
                f"the {role} has {rate_text(source.info.fps)} frames/s and the clip "
                f"{rate_text(fps)}: frames are paired by time"
            )
    frames = frame_count(source, selection)
    if frames != count:
        notes.append(
            f"the {role} has {frames} frames at the clip's rate and the clip {count}: the first "
            f"{min(frames, count)} are compared"
        )
    size, other = clip.info.size, source.info.size
    if size != other:
        notes.append(f"the {role} is {other[0]}x{other[1]} and the clip {size[0]}x{size[1]}")
    return Companion(source=source, selection=selection, frames=frames, notes=tuple(notes))


def rate_text(fps: Fraction) -> str:
    """Frames per second as people write it."""
    return f"{float(fps):.5g}"
