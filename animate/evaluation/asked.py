"""The request behind a clip: control poses, reference and windows' borders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from animate.clip.fingerprint import FileDigests
from animate.clip.record import ClipRecord, find_record
from animate.driving.placement import Placement
from animate.driving.poses import (
    clip_poses,
    driving_poses,
    nobody,
    reference_placement,
    reference_pose,
    selection_of,
)
from animate.driving.skeletons import is_rendered
from animate.errors import MediaError, RequestError
from animate.media import FrameSelection, FrameSource, open_video, read_image
from animate.media.info import Image
from animate.media.numbered import is_numbered, is_pose_folder
from animate.media.suffixes import POSE_SUFFIXES
from animate.progress import Progress
from animate.request.request import AnimationRequest
from animate.request.values import Size
from pose.errors import PoseError
from pose.estimators.base import Estimator
from pose.formats import import_poses
from pose.sequence import PoseSequence
from temporal.published import PUBLISHED, published_plan
from temporal.windows import WindowPlan, plan_windows


@dataclass(frozen=True, kw_only=True)
class Record:
    """The part of a clip's record that scoring needs."""

    request: AnimationRequest
    settings: Mapping[str, object]
    """Values that the clip was really made with."""
    folder: Path
    """Folder of the clip, to which its paths may be relative."""
    leading: int
    """Frames that were generated before the clip's first one."""
    inputs: Mapping[str, str]
    """SHA-256 of the inputs by the names of their settings."""
    digests: FileDigests = field(default_factory=FileDigests)

    def path(self, name: str) -> Path | None:
        """An input of the request that is still there; None where it is not, or is another file.

        Of an input that shares no folder with the clip the record holds the name alone, which
        another file beside the clip may have, or the clip itself.
        """
        path: Path | None = getattr(self.request, name)
        if path is None:
            return None
        # Records of earlier versions hold paths as they were given, wherever that was.
        return next((p for p in (path, self.folder / path) if self._is_it(name, p)), None)

    def _is_it(self, name: str, path: Path) -> bool:
        try:
            digest = self.digests.of_driving(path) if name == "driving" else self.digests.of(path)
        except (OSError, MediaError):
            return False
        return self.inputs.get(name, digest) == digest

    def borders(self, frames: int) -> tuple[int, ...]:
        """Frames of the whole clip of `frames` at which a window begins, or the one before has
        ended.

        Raises RequestError where the windows are not known, or lie elsewhere at each step.
        """
        if self.request.interpolate:
            raise RequestError("frames were filled in between those of the windows")
        try:
            steps, window, overlap = (
                int(str(self.settings[name])) for name in ("steps", "window", "overlap")
            )
            schedule = str(self.settings["schedule"])
        except (KeyError, ValueError):
            raise RequestError("the record does not say how its windows lie") from None
        return window_borders(
            frames, window, overlap, schedule=schedule, steps=steps, leading=self.leading
        )


def window_borders(
    frames: int,
    window: int,
    overlap: int,
    *,
    schedule: str = "static",
    steps: int = 1,
    leading: int = 0,
) -> tuple[int, ...]:
    """Frames at which a window of the plan begins, or the one before has ended.

    leading: frames before the first, which windows hold, too
    Raises RequestError where there is one window alone, or windows lie elsewhere at each step.
    """
    frames += leading
    if schedule in PUBLISHED:
        plan = published_plan(schedule, frames, window=window, overlap=overlap, steps=steps)
    else:
        known: Any = schedule
        plan = plan_windows(frames, window=window, overlap=overlap, steps=steps, schedule=known)
    grids = {tuple(w.contributes for w in plan.at(step)) for step in range(steps)}
    if len(grids) > 1:
        raise RequestError("the windows lie elsewhere at each step, so no border stays in place")
    borders = tuple(frame - leading for frame in step_borders(plan, 0) if frame > leading)
    if not borders:
        raise RequestError("the clip was made in one window, which has no border")
    return borders


def step_borders(plan: WindowPlan, step: int) -> tuple[int, ...]:
    """Frames that other windows of a step contribute to than to the frame before."""
    windows: list[set[int]] = [set() for _ in range(plan.frames)]
    for number, window in enumerate(plan.at(step)):
        for frame in window.contributes:
            windows[frame].add(number)
    return tuple(f for f in range(1, plan.frames) if windows[f] != windows[f - 1])


def read_record(clip: Path) -> Record | None:
    """The record beside a clip; None where there is none.

    Raises MediaError for a damaged one, or one of another clip.
    """
    # A folder's record is that of the numbered images in it.
    path = find_record(clip / "%04d.png" if clip.is_dir() else clip)
    if path is None:
        return None
    record = ClipRecord.read(path)
    files = clip / record.clip.name if clip.is_dir() and record.clip is not None else clip
    if not record.fits(files):
        raise MediaError(f"the record {path} is of another clip; its windows are not known")
    try:
        request = record.request_in(path.parent)
    except (RequestError, TypeError) as reason:
        raise MediaError(f"the record {path} cannot be used: {reason}") from reason
    return Record(
        request=request,
        settings=record.settings,
        folder=clip.parent,
        leading=int(record.leading),
        inputs=record.inputs,
    )


@dataclass(kw_only=True)
class Asked:
    """The request behind a clip, as poses and pictures."""

    control: PoseSequence | None = None
    """One person's poses on the clip's canvas; times count from the clip's first frame."""
    original: Image | None = None
    """The reference as it is."""
    original_pose: PoseSequence | None = None
    """The person of `original`."""
    picture: Image | None = None
    """The reference on the clip's canvas."""
    picture_pose: PoseSequence | None = None
    """The person of `picture`."""
    driving: FrameSource | None = None
    driving_selection: FrameSelection | None = None
    """Its frames at the times of the clip's."""
    selection_duration: float | None = None
    """Seconds of the driving video that were asked for."""
    selection_start: float = 0.0
    """Seconds into the driving video at which they begin."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Reason why something above is missing, by its name."""
    notes: list[str] = field(default_factory=list)


def ask(
    clip: FrameSource,
    record: Record | None,
    reference: Path | None,
    driving: Path | None,
    estimator: Estimator | None,
    progress: Progress,
) -> Asked:
    """Work out what was asked for. Without an estimator no pose is looked for.

    What the options do not name is taken from the record, where its files are still there.
    Raises MediaError for a file named by an option that cannot be read.
    """
    asked = Asked()
    is_named = driving is not None
    if record is not None:
        reference = reference or record.path("reference")
        driving = driving or record.path("driving")
    size = Size(*clip.info.size)
    request = _request(clip, record, reference, driving)
    placement = _take_reference(asked, request, reference, size, estimator)
    if driving is None:
        asked.reasons["control"] = (
            "no driving video or poses were named"
            if record is None
            else f"{record.request.driving.name}, which the clip follows, is not here; name it by "
            "--driving"
        )
        return asked
    try:
        # A pose file that the clip was made from is read as it was then: its part and its rate.
        filed = driving.suffix.lower() in POSE_SUFFIXES and not is_numbered(driving)
        if is_named and (filed or is_pose_folder(driving)):
            _take_pose_file(asked, request, driving, placement, size, clip)
        else:
            _take_driving(asked, request, driving, placement, size, estimator, progress)
    except PoseError as reason:
        asked.reasons["control"] = str(reason)
    return asked


def _request(
    clip: FrameSource, record: Record | None, reference: Path | None, driving: Path | None
) -> AnimationRequest:
    """The record's request, or one that follows the driving video at the clip's rate."""
    none = Path("none")
    reference, driving = reference or none, driving or none
    if record is None:
        size = Size(*clip.info.size)
        return AnimationRequest(
            reference=reference, driving=driving, output=none, size=size, fps=clip.info.fps
        )
    poses = record.path("poses")
    return replace(record.request, reference=reference, driving=driving, output=none, poses=poses)


def _take_reference(
    asked: Asked,
    request: AnimationRequest,
    reference: Path | None,
    size: Size,
    estimator: Estimator | None,
) -> Placement | None:
    if reference is None:
        asked.reasons["reference"] = "no reference image was named"
        return None
    asked.original = read_image(reference)
    asked.original_pose = nobody(asked.original)
    if estimator is not None:
        try:
            asked.original_pose = reference_pose(asked.original, request, estimator)
        except PoseError as reason:
            asked.reasons["person"] = str(reason)
    placement = reference_placement(asked.original_pose, size, request.fit, request.fill)
    asked.picture = placement.picture(asked.original)
    pose, canvas = asked.original_pose, (size.width, size.height)
    asked.picture_pose = replace(pose, points=placement.points(pose.points), canvas=canvas)
    return placement


def _take_driving(
    asked: Asked,
    request: AnimationRequest,
    driving: Path,
    placement: Placement | None,
    size: Size,
    estimator: Estimator | None,
    progress: Progress,
) -> None:
    source = open_video(driving, stated_fps=request.fps)
    asked.notes += source.warnings
    asked.driving = source
    if request.fps == source.info.fps:
        request = replace(request, fps=None)
    selection = selection_of(request)
    sampling = source.sampling(selection)
    asked.driving_selection = selection
    asked.selection_duration = float(sampling.duration)
    asked.selection_start = float(sampling.start)
    if estimator is None:
        asked.reasons["control"] = "the protocol measures no pose"
        return
    if request.poses is not None and is_rendered(request.poses):
        asked.reasons["control"] = "the clip follows rendered skeletons, whose points are unknown"
        return
    poses = driving_poses(
        request, source, selection, estimator, progress, stage="poses of the video"
    )
    _take_control(asked, request, poses, placement, size)


def _take_pose_file(
    asked: Asked,
    request: AnimationRequest,
    path: Path,
    placement: Placement | None,
    size: Size,
    clip: FrameSource,
) -> None:
    if path.suffix.lower() == ".npz":
        poses = PoseSequence.load(path)
    else:
        poses = import_poses(path, canvas=clip.info.size, fps=clip.info.fps)
    if poses.canvas == tuple(size):
        asked.notes.append(f"{path} has the clip's size: its poses are taken as they lie")
        asked.control = _from_zero(poses.person(0) if poses.people else poses)
        return
    _take_control(asked, request, poses, placement, size)


def _take_control(
    asked: Asked,
    request: AnimationRequest,
    poses: PoseSequence,
    placement: Placement | None,
    size: Size,
) -> None:
    """Lay the driving poses onto the clip's canvas, as the product does it."""
    pose = asked.original_pose
    if placement is None or pose is None or not pose.present.any():
        width, height = poses.canvas
        pose = nobody(np.zeros((height, width, 3), np.uint8))
        placement = reference_placement(pose, size, request.fit)
        request = replace(request, retarget="none")
        asked.notes.append("without a reference's person the driving poses are taken as they lie")
    asked.control = _from_zero(clip_poses(poses, pose, placement, request).sequence)


def _from_zero(poses: PoseSequence) -> PoseSequence:
    return replace(poses, times=poses.times - poses.times[0])
