"""The motion of one clip: poses found or read, laid onto the reference's person, and drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from animate.clip.record import PosesRecord
from animate.driving.limb_warp import LimbWarp
from animate.driving.placement import Placement
from animate.driving.poses import (
    ClipPoses,
    clip_poses,
    driving_poses,
    nobody,
    reference_placement,
    reference_pose,
    selection_of,
)
from animate.driving.skeletons import (
    ControlFrames,
    DrawnSkeletons,
    LedSkeletons,
    Skeletons,
    is_rendered,
    take_rendered,
)
from animate.finish.chain import needs_reference_pose
from animate.media.info import Image
from animate.media.source import FrameSource
from animate.models.config import ImageLatents
from animate.progress import Progress
from animate.request.request import AnimationRequest
from animate.request.values import Size
from pose.draw import draw
from pose.errors import PoseError
from pose.estimators.base import Estimator
from pose.sequence import PoseSequence

RENDERED = "rendered skeletons, as they are"
_UNWARPED = (
    "this model is made for a reference that is brought to each frame's pose, which cannot be done "
    "here ({}); expect softer pictures"
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Motion:
    """Motion that a clip follows, on its canvas."""

    picture: Image
    """(H,W,3) uint8 RGB: the reference at the clip's size."""
    skeletons: Skeletons
    """One for each generated frame."""
    reference: Image | None
    """(H,W,3): the skeleton of the reference's person; None where nothing needs it."""
    leading: bool = False
    """True where the reference in its own pose is generated before the clip's first frame."""
    cuts: frozenset[int]
    """Numbers of generated frames that begin a new shot."""
    record: PosesRecord | str
    warnings: tuple[str, ...] = ()
    picture_of: Callable[[int], Image] | None = None
    """The reference brought to the pose of a frame; None: the reference as it is, for all."""

    @property
    def control(self) -> ControlFrames:
        """Control of every frame that is generated."""
        if not self.leading:
            return ControlFrames(self.skeletons)
        assert self.reference is not None, "the reference's skeleton leads"
        return ControlFrames(LedSkeletons(self.reference, self.skeletons))

    def remark(self, retarget: str) -> str:
        """A remark on how well driver and reference fit; empty where nobody was compared."""
        if isinstance(self.record, str) or self.record.mismatch is None:
            return ""
        return f"retarget {retarget}: mismatch {self.record.mismatch:.2f} of 1"


def find_motion(
    request: AnimationRequest,
    picture: Image,
    source: FrameSource,
    *,
    size: Size,
    style: str,
    image_latents: ImageLatents = "reference",
    leading_reference: bool = False,
    inputs: Mapping[str, str],
    estimator: Callable[[], Estimator],
    progress: Progress,
) -> Motion:
    """The motion of the driving video `source`, for the person of `picture`.

    size: of the clip
    style: of the skeletons, the one that the control network was trained on
    image_latents: of the model variant; "warped" needs the reference's person wherever it is seen
    leading_reference: of the model variant; its own pose leads the skeletons that are followed
    inputs: digests of the input files by the name of their setting
    estimator: opens the pose estimator that the request names
    Raises PoseError when nobody is seen, MediaError for damaged files.
    """
    warped = image_latents == "warped"
    wanted = leading_reference or (warped and not comes_rendered(request))
    reference = _reference(request, picture, inputs["reference"], estimator, wanted=wanted)
    placement = reference_placement(reference, size, request.fit)
    skeleton = None
    if leading_reference or needs_reference_pose(request):
        skeleton = _drawn(reference, placement, style)
    selection = selection_of(request)
    if comes_rendered(request):
        assert request.poses is not None
        return Motion(
            picture=placement.picture(picture),
            skeletons=take_rendered(request.poses, source, selection, placement, progress),
            reference=skeleton,
            leading=leading_reference,
            cuts=frozenset(),
            record=RENDERED,
            warnings=(_UNWARPED.format("the skeletons came rendered"),) if warped else (),
        )
    estimating = estimator() if request.poses is None else None
    driving = driving_poses(request, source, selection, estimating, progress, inputs["driving"])
    poses = clip_poses(driving, reference, placement, request)
    laid = placement.picture(picture)
    picture_of = _warped(laid, reference, placement, poses.sequence) if warped else None
    unwarped = warped and picture_of is None
    return Motion(
        picture=laid,
        skeletons=DrawnSkeletons(poses.sequence, placement.canvas, style),
        reference=skeleton,
        leading=leading_reference,
        cuts=frozenset(poses.sequence.cuts),
        record=_record(poses),
        warnings=(*poses.warnings, *([_UNWARPED.format("nobody is seen in it")] * unwarped)),
        picture_of=picture_of,
    )


def comes_rendered(request: AnimationRequest) -> bool:
    """True where the poses are pictures of skeletons already."""
    return request.poses is not None and is_rendered(request.poses)


def _record(poses: ClipPoses) -> PosesRecord:
    return PosesRecord(
        estimator=poses.sequence.estimator,
        mismatch=poses.mismatch,
        frames_without_person=poses.absent,
    )


def _reference(
    request: AnimationRequest,
    picture: Image,
    digest: str,
    estimator: Callable[[], Estimator],
    wanted: bool,
) -> PoseSequence:
    """The reference's person on its picture; nobody where that is not needed.

    wanted: take the person where there is one, needed or not
    """
    drawn = not comes_rendered(request)
    needed = (request.retarget != "none" and drawn) or needs_reference_pose(request)
    if not needed and not wanted:
        return nobody(picture)
    try:
        return reference_pose(picture, request, estimator(), digest)
    except PoseError:
        if needed:
            raise
        return nobody(picture)


def _warped(
    picture: Image, reference: PoseSequence, placement: Placement, poses: PoseSequence
) -> Callable[[int], Image] | None:
    """The picture, which lies on the clip's canvas, brought to each frame's pose."""
    if reference.people == 0:
        return None
    points = placement.points(reference.points[0, 0])
    return LimbWarp(picture, points, reference.scores[0, 0]).follow(poses)


def _drawn(reference: PoseSequence, placement: Placement, style: str) -> Image:
    """(H,W,3): the skeleton of the reference's person on the clip's canvas; black for nobody."""
    points = placement.points(reference.points[0])
    size = placement.canvas
    return draw(points, reference.scores[0], (size.width, size.height), size, style)
