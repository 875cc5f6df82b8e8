"""The motion of one clip: poses found or read, laid onto the reference's person, and drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from animate.clip.record import PosesRecord
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
from animate.driving.skeletons import DrawnSkeletons, Skeletons, is_rendered, take_rendered
from animate.finish.chain import needs_reference_pose
from animate.media.info import Image
from animate.media.source import FrameSource
from animate.progress import Progress
from animate.request.request import AnimationRequest
from animate.request.values import Size
from pose.draw import draw
from pose.estimators.base import Estimator
from pose.sequence import PoseSequence

RENDERED = "rendered skeletons, as they are"


@dataclass(frozen=True, kw_only=True, eq=False)
class Motion:
    """What a clip follows, on its canvas."""

    picture: Image
    """(H,W,3) uint8 RGB: the reference at the clip's size."""
    skeletons: Skeletons
    """One for each generated frame."""
    reference: Image | None
    """(H,W,3): the skeleton of the reference's person; None where finishing needs none."""
    cuts: frozenset[int]
    """Numbers of generated frames that begin a new shot."""
    record: PosesRecord | str
    warnings: tuple[str, ...] = ()

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
    inputs: Mapping[str, str],
    estimator: Callable[[], Estimator],
    progress: Progress,
) -> Motion:
    """The motion of the driving video `source`, for the person of `picture`.

    size: of the clip
    style: of the skeletons, the one that the control network was trained on
    inputs: digests of the input files by the name of their setting
    estimator: opens the pose estimator that the request names
    Raises PoseError when nobody is seen, MediaError for damaged files.
    """
    reference = _reference(request, picture, inputs["reference"], estimator)
    placement = reference_placement(reference, size, request.fit)
    skeleton = _reference_skeleton(request, reference, placement, style)
    selection = selection_of(request)
    if comes_rendered(request):
        assert request.poses is not None
        return Motion(
            picture=placement.picture(picture),
            skeletons=take_rendered(request.poses, source, selection, placement.canvas, progress),
            reference=skeleton,
            cuts=frozenset(),
            record=RENDERED,
        )
    estimating = estimator() if request.poses is None else None
    driving = driving_poses(request, source, selection, estimating, progress, inputs["driving"])
    poses = clip_poses(driving, reference, placement, request)
    return Motion(
        picture=placement.picture(picture),
        skeletons=DrawnSkeletons(poses.sequence, placement.canvas, style),
        reference=skeleton,
        cuts=frozenset(poses.sequence.cuts),
        record=_record(poses),
        warnings=poses.warnings,
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
    request: AnimationRequest, picture: Image, digest: str, estimator: Callable[[], Estimator]
) -> PoseSequence:
    """The reference's person on its picture; nobody where that is not needed."""
    fitted = request.retarget != "none" and not comes_rendered(request)
    if not fitted and not needs_reference_pose(request):
        return nobody(picture)
    return reference_pose(picture, request, estimator(), digest)


def _reference_skeleton(
    request: AnimationRequest, reference: PoseSequence, placement: Placement, style: str
) -> np.ndarray | None:
    if not needs_reference_pose(request):
        return None
    points = placement.points(reference.points[0])
    size = placement.canvas
    return draw(points, reference.scores[0], (size.width, size.height), size, style)
