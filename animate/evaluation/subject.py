"""One clip while it is scored: its companions, what is known of it, and what has no figure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from animate.evaluation.alignment import Companion
from animate.evaluation.asked import Asked, Record
from animate.evaluation.pairs import Pair
from animate.evaluation.protocols import GROUPS
from animate.evaluation.scores import MEASURES, Score
from animate.media import FrameSelection, FrameSource
from animate.media.info import Image
from animate.request.values import Size
from pose.cuts import mark_cuts
from pose.sequence import PoseSequence


@dataclass(kw_only=True)
class Subject:
    """One clip while it is scored."""

    pair: Pair
    source: FrameSource
    selection: FrameSelection
    count: int
    """Frames that are scored."""
    record: Record | None = None
    asked: Asked = field(default_factory=Asked)
    truth: Companion | None = None
    control: PoseSequence | None = None
    estimated: PoseSequence | None = None
    """Poses of everybody on the clip, estimated again."""
    borders: tuple[int, ...] = ()
    scores: list[Score] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def size(self) -> Size:
        """The clip's own size."""
        return Size(*self.source.info.size)

    @property
    def panes(self) -> tuple[str, ...]:
        """Pictures that the report shows beside each other."""
        names = ["clip"]
        if self.truth is not None:
            names += ["truth"]
        if self.asked.driving is not None:
            names += ["driving"]
        return (*names, "difference") if self.truth is not None else tuple(names)

    def driving_frames(self) -> Iterator[Image]:
        """The driving video's pictures at the times of the clip's, while there are any."""
        if self.asked.driving is None:
            return iter(())
        return (f.image for f in self.asked.driving.read(self.asked.driving_selection))

    def frames(self) -> Iterator[Image]:
        """The clip's pictures, anew."""
        return (frame.image for frame in self.source.read(self.selection))


def frames_with_shots(clip: Subject) -> Iterator[tuple[Image, Image | None, bool]]:
    """(frame, true frame, a shot starts) of all frames.

    Shots are those of the control poses where these are known, else of the truth, else of the
    clip, where a window's border does not count as a cut.
    """
    truth = iter(()) if clip.truth is None else clip.truth.read()
    if clip.control is not None:
        cuts = set(clip.control.cuts)
        for index, frame in enumerate(clip.frames()):
            yield frame, next(truth, None), index in cuts
    elif clip.truth is not None:
        marked = mark_cuts(truth)
        for frame in clip.frames():
            picture, starts = next(marked, (None, False))
            yield frame, picture, starts
    else:
        for index, (frame, starts) in enumerate(mark_cuts(clip.frames())):
            yield frame, None, starts and index not in clip.borders


def missing_reason(measure: str, clip: Subject) -> str:
    """The reason why a measure that was wanted has no figure."""
    reasons = clip.asked.reasons
    if MEASURES[measure].against == "truth":
        if clip.truth is None:
            return "no truth was named"
        return "too few frames, or one video alone where the protocol takes one value of each"
    if measure in GROUPS["pose"]:
        return reasons.get("control") or "the parts asked for are not seen on the clip"
    if measure in GROUPS["identity"]:
        return (
            reasons.get("reference")
            or reasons.get("person")
            or reasons.get("face", "no face is seen on the clip")
        )
    if measure in ("background", "sharpness"):
        return (
            reasons.get("reference")
            or (reasons.get("control") if clip.estimated is None else None)
            or "nothing of the background is seen in both"
        )
    if measure in GROUPS["time"]:
        return reasons.get("control", "no driving video was named")
    return "too few frames"
