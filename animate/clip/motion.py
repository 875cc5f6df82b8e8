"""The motion of one clip: poses found or read, laid onto the reference's person, and drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from animate.clip.record import PosesRecord
from animate.driving.limb_warp import LimbWarp
from animate.driving.placement import Placement, person_box, place_picture
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
    PlacedSkeletons,
    RenderedSkeletons,
    Skeletons,
    is_rendered,
    rendered_pictures,
)
from animate.finish.chain import Finish, find_tempo, needs_reference_pose
from animate.finish.enlarge import Enlargement
from animate.finish.face import ReferenceFace
from animate.finish.in_shot import PersonInShot, person_in_shot
from animate.generate.settings import ClipSettings, cautions
from animate.media.info import Image
from animate.media.posed import PoseSource
from animate.media.source import FrameSource
from animate.models.variants import ModelVariant
from animate.progress import Progress
from animate.request.request import AnimationRequest
from animate.request.values import Size
from pose.draw import draw
from pose.errors import PoseError
from pose.estimators.base import Estimator
from pose.layout import SEEN
from pose.sequence import PoseSequence

RENDERED = "rendered skeletons, as they are"
_UNWARPED = (
    "this model is made for a reference that is brought to each frame's pose, which cannot be done "
    "here ({}); expect blurred pictures, in which the reference's own pose shines through"
)


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipInputs:
    """Inputs of a clip that are read already, or open."""

    picture: Image
    """(H,W,3) uint8 RGB: the reference."""
    source: FrameSource
    """Driving video."""
    digests: Mapping[str, str]
    """SHA-256 by the name of the setting, of "reference" and "driving"."""
    skeletons: Iterable[Image] | None = None
    """Rendered skeletons (H,W,3) uint8 RGB, one for each frame of `source`; None: poses are
    drawn."""

    def of(self, request: AnimationRequest) -> ClipInputs:
        """The same with the rendered skeletons that a request names, if it does."""
        if not comes_rendered(request):
            return self
        assert request.poses is not None
        return replace(self, skeletons=rendered_pictures(request.poses))


@dataclass(frozen=True, kw_only=True, eq=False)
class ShotMotion:
    """Poses of the animated person, and of the driving one that it follows, frame by frame."""

    followed: PoseSequence
    """On the clip's canvas."""
    driver: PoseSequence
    """On the driving video's."""
    reference: PoseSequence
    """The pose of the reference's person on the clip's canvas, one frame; nobody where that is not
    needed."""

    def placed(self, further: Placement) -> ShotMotion:
        """The same with a larger canvas for the clip."""
        return replace(
            self,
            followed=_on_canvas(self.followed, further),
            reference=_on_canvas(self.reference, further),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Motion:
    """Motion that a clip follows, on its canvas."""

    picture: Image
    """(H,W,3) uint8 RGB: the reference at the clip's size."""
    skeletons: Skeletons
    """One for each generated frame, every part in full."""
    followed: Skeletons
    """The same as the control network sees them."""
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
    placement: Placement
    """Way of the reference's picture to the clip's size."""
    shot: ShotMotion | None = None
    """The same motion where the driving shot shows it; None where skeletons came rendered."""

    @property
    def control(self) -> ControlFrames:
        """Control of every frame that is generated."""
        if not self.leading:
            return ControlFrames(self.followed)
        assert self.reference is not None, "the reference's skeleton leads"
        return ControlFrames(LedSkeletons(self.reference, self.followed))

    def placed(self, original: Image, further: Placement) -> Motion:
        """The same motion on a larger canvas, with the reference taken from its `original`."""
        placement = self.placement.enlarged(further)
        return replace(
            self,
            picture=placement.picture(original),
            skeletons=PlacedSkeletons(self.skeletons, further),
            reference=None if self.reference is None else further.picture(self.reference),
            picture_of=None,
            placement=placement,
            shot=None if self.shot is None else self.shot.placed(further),
        )

    def remark(self, retarget: str) -> str:
        """A remark on how well driver and reference fit; empty where nobody was compared."""
        if isinstance(self.record, str) or self.record.mismatch is None:
            return ""
        return f"retarget {retarget}: mismatch {self.record.mismatch:.2f} of 1"


def clip_motion(
    request: AnimationRequest,
    inputs: ClipInputs,
    variant: ModelVariant,
    settings: ClipSettings,
    estimator: Callable[[], Estimator],
    progress: Progress,
) -> Motion:
    """The motion of a clip, with remarks on it for the user. Raises as `find_motion`."""
    motion = find_motion(request, inputs, variant, settings.size, estimator, progress)
    if remark := motion.remark(request.retarget):
        progress.note(remark)
    for warning in (*inputs.source.warnings, *motion.warnings, *cautions(settings, variant)):
        progress.warn(warning)
    return motion


def clip_finish(
    request: AnimationRequest,
    settings: ClipSettings,
    motion: Motion,
    inputs: ClipInputs,
    enlargement: Enlargement | None,
    progress: Progress,
) -> Finish:
    """Everything that happens to the generated frames of a clip."""
    source = inputs.source
    if enlargement is not None:
        motion = motion.placed(inputs.picture, enlargement.placement)
    return Finish(
        request=request,
        picture=motion.picture,
        skeletons=motion.skeletons,
        reference=motion.reference,
        cuts=motion.cuts,
        tempo=find_tempo(request, source, len(motion.skeletons)),
        window=settings.window,
        in_shot=_in_shot(request, motion, source, progress),
        face=_face(request, motion),
        enlargement=enlargement,
    )


def _face(request: AnimationRequest, motion: Motion) -> ReferenceFace | None:
    """The reference's face for the frames, where that is asked for and it is seen."""
    shot = motion.shot
    if not request.keep_face or shot is None or shot.reference.people == 0:
        return None
    return ReferenceFace(motion.picture, shot.reference, shot.followed)


def _on_canvas(poses: PoseSequence, placement: Placement) -> PoseSequence:
    canvas = (placement.canvas.width, placement.canvas.height)
    return replace(poses, points=placement.points(poses.points), canvas=canvas)


def _in_shot(
    request: AnimationRequest, motion: Motion, source: FrameSource, progress: Progress
) -> PersonInShot | None:
    """The driving shot made ready for the animated person, where that is asked for."""
    if not request.place_in_driving or motion.shot is None:
        return None
    size = motion.placement.canvas
    shot_size, driver = Size(*source.info.size), motion.shot.driver
    points = driver.points * (np.array(shot_size) / np.array(driver.canvas))
    box = person_box(points.reshape(-1, 2), driver.scores.reshape(-1), shot_size, SEEN)
    placement = place_picture(shot_size, size, "crop", box)
    canvas = (size.width, size.height)
    placed = replace(driver, points=placement.points(points), canvas=canvas)
    return person_in_shot(
        lambda: (placement.picture(frame.image) for frame in source.read(selection_of(request))),
        DrawnSkeletons(placed, size, "published"),
        followed=motion.shot.followed,
        driver=placed,
        cuts=motion.cuts,
        progress=progress,
    )


def find_motion(
    request: AnimationRequest,
    inputs: ClipInputs,
    variant: ModelVariant,
    size: Size,
    estimator: Callable[[], Estimator],
    progress: Progress,
) -> Motion:
    """The motion of the driving video for the person of the reference.

    variant: decides the style of skeletons; where it warps the reference, or the reference leads,
        the reference's person is needed wherever it is seen
    size: of the clip
    estimator: opens the pose estimator that the request names
    Raises PoseError when nobody is seen, MediaError for damaged files.
    """
    inputs = inputs.of(request)
    picture, source, rendered = inputs.picture, inputs.source, inputs.skeletons
    leading, style = variant.leading_reference, variant.pose_style
    warped = variant.image_latents == "warped"
    wherever_seen = leading or (warped and rendered is None)
    reference = _reference(request, inputs, estimator, wherever_seen=wherever_seen)
    placement = reference_placement(reference, size, request.fit, request.fill)
    skeleton = None
    if leading or needs_reference_pose(request):
        skeleton = _drawn(reference, placement, style)
    selection = selection_of(request)
    if rendered is not None:
        name = str(request.poses or request.driving)
        with progress.stage("skeletons", None):
            skeletons = RenderedSkeletons(rendered, source, selection, placement, name)
        return Motion(
            picture=placement.picture(picture),
            skeletons=skeletons,
            followed=skeletons,
            reference=skeleton,
            placement=placement,
            leading=leading,
            cuts=frozenset(),
            record=RENDERED,
            warnings=(_UNWARPED.format("the skeletons came rendered"),) if warped else (),
        )
    estimates = request.poses is None and not isinstance(source, PoseSource)
    driving = driving_poses(
        request,
        source,
        selection,
        estimator() if estimates else None,
        progress,
        inputs.digests["driving"],
    )
    poses = clip_poses(driving, reference, placement, request)
    laid = placement.picture(picture)
    picture_of = _warped(laid, reference, placement, poses.sequence) if warped else None
    unwarped = warped and picture_of is None
    return Motion(
        picture=laid,
        skeletons=DrawnSkeletons(poses.sequence, placement.canvas, style),
        followed=DrawnSkeletons(poses.sequence, placement.canvas, style, request.strength),
        reference=skeleton,
        placement=placement,
        leading=leading,
        cuts=frozenset(poses.sequence.cuts),
        record=_record(poses),
        warnings=(*poses.warnings, *([_UNWARPED.format("nobody is seen in it")] * unwarped)),
        picture_of=picture_of,
        shot=ShotMotion(
            followed=poses.sequence,
            driver=poses.driver,
            reference=_on_canvas(reference, placement),
        ),
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
    inputs: ClipInputs,
    estimator: Callable[[], Estimator],
    wherever_seen: bool,
) -> PoseSequence:
    """The reference's person on its picture; nobody where that is not needed.

    wherever_seen: take the person where there is one, needed or not
    """
    drawn = inputs.skeletons is None
    needed = (request.retarget != "none" and drawn) or needs_reference_pose(request)
    if not needed and not wherever_seen:
        return nobody(inputs.picture)
    try:
        digest = inputs.digests["reference"]
        return reference_pose(inputs.picture, request, estimator(), digest)
    except PoseError:
        if needed:
            raise
        return nobody(inputs.picture)


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
