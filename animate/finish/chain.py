"""Generated frames to the frames that are written: size, colours, background, tempo.

`Finish` is a chain of generators: a frame goes through before the next is asked for, so a long clip
needs no more memory here than a short one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from animate.driving.poses import selection_of
from animate.driving.skeletons import Skeletons
from animate.errors import RequestError
from animate.finish.background import LockedBackground
from animate.finish.body import body_unit
from animate.finish.colour import AnchoredColour
from animate.finish.enlarge import Enlargement
from animate.finish.face import ReferenceFace
from animate.finish.in_shot import PersonInShot
from animate.finish.interpolation import Tempo, interpolated, tempo_to
from animate.finish.matte import Matte
from animate.media import FrameSelection, FrameSource
from animate.media.info import Image
from animate.request.request import AnimationRequest
from animate.request.values import Size

_BODIES = 64
"""Frames that the body's size is measured on."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Finish:
    """Everything that happens to generated frames, as a request asks for it."""

    request: AnimationRequest
    picture: Image
    """(H,W,3) uint8, the reference at the size that is written."""
    skeletons: Skeletons
    """One for each generated frame, at the size that is written."""
    reference: Image | None
    """(H,W,3) uint8, the skeleton of the reference's person on `picture`; needed for the background
    and the colours."""
    cuts: frozenset[int]
    """Numbers of generated frames that begin a new shot of the driving video."""
    tempo: Tempo | None
    """Tempo of the frames that are written; None where they are the generated ones."""
    window: int
    """Frames that are denoised together."""
    in_shot: PersonInShot | None = None
    """Lays the person over the driving shot; None where the frames stay as generated."""
    face: ReferenceFace | None = None
    """Lays the reference's face over frames; None where they keep their own."""
    enlargement: Enlargement | None = None
    """The way of generated frames to the size that is written; None where that is their own."""

    @property
    def fps(self) -> Fraction:
        """Exact rate of what is written."""
        return self.tempo.fps if self.tempo else self.skeletons.fps

    @property
    def frames(self) -> int:
        """Number of frames that are written."""
        return self.tempo.count if self.tempo else len(self.skeletons)

    @property
    def size(self) -> Size:
        """(width, height) of the clip."""
        return Size(self.picture.shape[1], self.picture.shape[0])

    @property
    def selection(self) -> FrameSelection:
        """The frames of the driving video that the written ones follow, one for each."""
        if self.tempo is None:
            return selection_of(self.request)
        return FrameSelection(start=self.request.start, end=self.request.end)

    def __call__(self, generated: Iterable[Image]) -> Iterator[Image]:
        """The frames to write, from the generated ones in order, starting with the first.

        (H,W,3), or (H,W,4) with the person's mask where that is written.
        """
        frames = self.enlargement(generated) if self.enlargement else iter(generated)
        if needs_reference_pose(self.request):
            frames = self._on_reference(frames)
        if self.in_shot is not None:
            frames = self._in_driving(frames, self.in_shot)
        if self.tempo is not None:
            enlarged = self.enlargement.factor if self.enlargement else 1.0
            frames = interpolated(frames, self.tempo, self.cuts, enlarged=enlarged)
        return frames

    def skeleton(self, number: int) -> Image:
        """(H,W,3): the skeleton of written frame `number`, in between the one before it."""
        return self.skeletons.picture(self.tempo.position(number)[0] if self.tempo else number)

    def _on_reference(self, frames: Iterator[Image]) -> Iterator[Image]:
        assert self.reference is not None, "the reference's skeleton is needed here"
        count = len(self.skeletons)
        sampled = range(0, count, max(1, count // _BODIES))
        unit = body_unit([self.reference, *map(self.skeletons.picture, sampled)])
        masked = needs_mask(self.request) or self.in_shot is not None
        if unit == 0 and not masked and self.face is None:
            yield from frames
            return
        matte = Matte(self.picture, self.reference, unit)
        colour = AnchoredColour(self.picture, self.reference, unit, memory=self.window)
        background = LockedBackground(self.picture, self.reference, unit)
        for number, frame in enumerate(frames):
            skeleton = self.skeletons.picture(number)
            cut = number in self.cuts
            mask = matte(frame, skeleton, cut=cut) if masked else None
            if self.request.anchor_colour and unit > 0:
                frame = colour(frame, skeleton)
            if self.request.lock_background and unit > 0:
                frame = background(frame, skeleton, cut=cut)
            if self.face is not None:
                frame = self.face(number, frame)
            yield frame if mask is None else np.dstack([frame, mask])

    def _in_driving(self, frames: Iterator[Image], in_shot: PersonInShot) -> Iterator[Image]:
        masked = needs_mask(self.request)
        for frame in in_shot(frames):
            yield frame if masked else np.ascontiguousarray(frame[..., :3])


def needs_mask(request: AnimationRequest) -> bool:
    """True if the person's mask is written, beside the clip or as its transparency."""
    return request.alpha or request.mask_output is not None


def needs_reference_pose(request: AnimationRequest) -> bool:
    """True if frames are compared with the reference, whose person must be known then."""
    return (
        request.anchor_colour
        or request.lock_background
        or request.place_in_driving
        or request.keep_face
        or needs_mask(request)
    )


def find_tempo(request: AnimationRequest, source: FrameSource, frames: int) -> Tempo | None:
    """The tempo that brings `frames` generated ones back to the driving video's rate, if asked for.

    Raises RequestError where there is nothing to fill in.
    """
    if not request.interpolate:
        return None
    taken = source.sampling(selection_of(request)).fps
    rate = source.info.fps
    if taken >= rate:
        raise RequestError(
            f"--interpolate fills in what a stride or a lower fps leaves out; at {float(taken):g} "
            f"frames/s of {source.info.path}'s {float(rate):g} nothing is left out"
        )
    everything = FrameSelection(start=request.start, end=request.end)
    return tempo_to(rate, frames=frames, rate=taken, most=len(source.sampling(everything).frames))
