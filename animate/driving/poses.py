"""Poses for a clip: found or read, cleaned, and laid onto the reference's person."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from animate.driving.cache import cache_file, load_poses, save_poses
from animate.driving.placement import EDGE, Placement, person_box, place_picture
from animate.errors import MediaError
from animate.files import sha256
from animate.media import FrameSelection, FrameSource, source_digest
from animate.media.posed import PoseSource
from animate.progress import Progress
from animate.request.request import AnimationRequest, Fit
from animate.request.values import Fill, Size
from animate.request.wording import spans
from pose.clean import CleaningOptions, clean, fill_absence, without_lone_hands
from pose.errors import PoseError
from pose.estimators.base import Estimator
from pose.extract import extract
from pose.formats import import_poses
from pose.kinds import Absence
from pose.layout import POINTS, SEEN
from pose.people import choose_person
from pose.retarget import retarget
from pose.sequence import PoseSequence, check_source

_ABSENCE: dict[Absence, str] = {
    "fade": "the first pose is held until it is seen, short gaps are filled, and over longer ones "
    "poses fade out and in",
    "hold": "the first pose is held until it is seen, and each other until the next",
    "empty": "short gaps are filled, longer ones and those before the first pose are drawn empty",
}
"""Clauses of a warning: what becomes of frames without the person."""


@dataclass(frozen=True, kw_only=True)
class ClipPoses:
    """The poses that drive a clip, with remarks for its user.

    Attributes:
        sequence: one person's poses on the clip's canvas, a frame for each frame of the clip.
        mismatch: how badly driver and reference fit, from 0 to 1 (see `pose.retarget`);
            None where nobody was compared.
        absent: number of frames in which nobody was seen.
        warnings: remarks in words.
        driver: the same person's cleaned poses where the driving video shows them.
    """

    sequence: PoseSequence
    mismatch: float | None
    absent: int
    warnings: tuple[str, ...]
    driver: PoseSequence

    def record(self) -> dict[str, object]:
        """Values for the clip's record."""
        return {
            "estimator": self.sequence.estimator,
            "mismatch": self.mismatch,
            "frames_without_person": self.absent,
        }


def driving_poses(
    request: AnimationRequest,
    source: FrameSource,
    selection: FrameSelection,
    estimator: Estimator | None,
    progress: Progress,
    digest: str | None = None,
    *,
    stage: str = "poses",
) -> PoseSequence:
    """The poses of everybody in the selected frames: from the pose file, the cache or the video.

    `digest` is the driving video's (`source_digest`); it is read for that where none is given.
    `stage` is the name under which progress is told; the usual one is that of a clip's beginning.
    Raises PoseError when nobody is seen in any frame, or the pose file is of another video.
    """
    if isinstance(source, PoseSource):
        sampling = source.sampling(selection)
        return source.poses.select(sampling.frames, fps=sampling.fps)
    digest = digest or source_digest(request.driving)
    if request.poses is not None:
        filed = _read_poses(request.poses, source, digest, progress)
        return _matching(filed, source, selection, request.poses)
    assert estimator is not None, "an estimator is needed where no pose file is given"
    file = cache_file(request.runtime.cache, digest, estimator, selection)
    poses = load_poses(file, digest, progress)
    if poses is None:
        poses = extract_poses(source, selection, estimator, progress, digest, stage=stage)
        if file is not None and _is_another(request.driving, digest):  # kept under its digest
            raise MediaError(
                f"{request.driving} was changed while its poses were looked for; run again when it "
                "is complete"
            )
        save_poses(file, poses, progress)
    return poses


def _is_another(driving: Path, digest: str) -> bool:
    """True where a file, or numbered images, have another digest now; not where they are gone."""
    with suppress(OSError, MediaError):
        return source_digest(driving) != digest
    return False


def extract_poses(
    source: FrameSource,
    selection: FrameSelection,
    estimator: Estimator,
    progress: Progress,
    digest: str,
    *,
    stage: str = "poses of the video",
) -> PoseSequence:
    """Estimate the poses of everybody in the selected frames; pixels are dropped at once."""
    sampling = source.sampling(selection)
    times = [float(sampling.time(index)) for index in range(len(sampling.frames))]
    with progress.stage(stage, len(sampling.frames)) as counter:
        return extract(
            (frame.image for frame in source.read(selection)),
            estimator,
            fps=sampling.fps,
            times=times,
            source=digest,
            on_frame=lambda index: counter.advance(),
        )


def reference_pose(
    image: np.ndarray, request: AnimationRequest, estimator: Estimator, digest: str | None = None
) -> PoseSequence:
    """The main person of the still image, as a sequence of one frame.

    `digest` is the image file's; it is read for that where none is given. Raises PoseError naming
    the file when nobody is seen.
    """
    digest = digest or sha256(request.reference)
    poses = extract([image], estimator, fps=Fraction(1), source=digest)
    return person_of(poses, "main", request.reference)


def person_of(poses: PoseSequence, choice: str, path: Path) -> PoseSequence:
    """The poses of one person: `main`, `left`, `right` or a number.

    Raises PoseError naming the file when nobody is seen in any frame, or there is no such person.
    """
    if not poses.present.any():
        raise PoseError(
            f"no person was found in {path}; choose one in which a person is clearly seen"
        )
    return poses.person(choose_person(poses, choice))


def reference_placement(
    reference: PoseSequence, size: Size, fit: Fit, fill: Fill = EDGE
) -> Placement:
    """The reference picture's way onto the clip's canvas, around its person if that is known."""
    shape = Size(*reference.canvas)
    if reference.people == 0:
        return place_picture(shape, size, fit, fill=fill)
    box = person_box(reference.points[0, 0], reference.scores[0, 0], shape, SEEN)
    return place_picture(shape, size, fit, box, fill)


def nobody(image: np.ndarray) -> PoseSequence:
    """The poses of a picture (H,W,3) in which nobody was looked for: its shape alone."""
    height, width = image.shape[:2]
    return PoseSequence(
        points=np.zeros((1, 0, POINTS, 2), np.float32),
        scores=np.zeros((1, 0, POINTS), np.float32),
        canvas=(width, height),
        fps=Fraction(1),
        times=np.zeros(1),
    )


def clip_poses(
    driving: PoseSequence,
    reference: PoseSequence,
    placement: Placement,
    request: AnimationRequest,
) -> ClipPoses:
    """Choose the person, clean, retarget to the reference, and place on the clip's canvas.

    Raises PoseError when nobody is seen in any driving frame, or the person named is not there.
    """
    chosen = person_of(driving, request.person, request.driving)
    absent = int((~chosen.present[:, 0]).sum())
    warnings: list[str] = []
    if absent:
        warnings.append(
            f"no person in {absent} of {chosen.frames} driving frames "
            f"({spans(np.flatnonzero(~chosen.present[:, 0]))}); {_ABSENCE[request.absence]}"
        )
    if request.smooth:
        chosen = clean(chosen, CleaningOptions())
    fitted = retarget(without_lone_hands(chosen), reference, mode=request.retarget)
    compared = reference.people > 0
    return ClipPoses(
        sequence=_placed(fill_absence(fitted.sequence, request.absence), placement),
        mismatch=fitted.mismatch if compared else None,
        absent=absent,
        warnings=(*warnings, *(fitted.warnings if compared else ())),
        driver=chosen,
    )


def _placed(poses: PoseSequence, placement: Placement) -> PoseSequence:
    canvas = (placement.canvas.width, placement.canvas.height)
    return replace(poses, points=placement.points(poses.points), canvas=canvas)


def _read_poses(path: Path, source: FrameSource, digest: str, progress: Progress) -> PoseSequence:
    """A pose file, or one of another program, whose pictures were those of the driving video."""
    if path.suffix.lower() == ".npz":
        poses = PoseSequence.load(path)
    else:
        poses = import_poses(path, canvas=source.info.size, fps=source.info.fps)
    if poses.source:
        check_source(poses, digest, path)
    else:
        progress.warn(f"{path} does not say which video it is of; it is taken for this one's")
    return poses


def _matching(
    poses: PoseSequence, source: FrameSource, selection: FrameSelection, path: Path
) -> PoseSequence:
    """The frames of a pose file that a selection asks for, by their times.

    Raises PoseError when the file does not reach over the selection.
    """
    sampling = source.sampling(selection)
    moments = np.array([float(sampling.time(index)) for index in range(len(sampling.frames))])
    nearest = _nearest(poses.times, moments)
    # A frame is shown until the next one: the last may be asked for almost a frame late.
    tolerance = 1 / float(min(poses.fps, source.info.fps)) + 1e-6
    off = np.abs(poses.times[nearest] - moments) > tolerance
    if off.any():
        missing = float(moments[int(np.argmax(off))])
        raise PoseError(
            f"{path} has no pose for {missing:.3f} s of {source.info.path}: it holds "
            f"{poses.frames} frames from {poses.times[0]:.3f} to {poses.times[-1]:.3f} s; "
            "extract the poses again without --start, --end or --max-frames"
        )
    return poses.select([int(index) for index in nearest], fps=sampling.fps)


def frames_of_poses(source: FrameSource, poses: PoseSequence, path: Path) -> Iterator[np.ndarray]:
    """The picture of each frame of `poses`, by its time: a picture is held until the next.

    Raises PoseError when the video ends before the poses do.
    """
    image: np.ndarray | None = None
    pictures = source.read()
    coming = next(pictures, None)
    slack = 0.5 / float(source.info.fps)
    for time in poses.times:
        while coming is not None and float(coming.time) <= time + slack:
            image, coming = coming.image, next(pictures, None)
        if image is None or (coming is None and time > float(source.info.duration or time) + slack):
            raise PoseError(f"{path} goes on to {time:.3f} s, where {source.info.path} has ended")
        yield image


def _nearest(times: np.ndarray, moments: np.ndarray) -> np.ndarray:
    after = np.clip(np.searchsorted(times, moments), 1, max(1, len(times) - 1))
    before = after - 1
    if len(times) == 1:
        return np.zeros(len(moments), int)
    return np.where(moments - times[before] <= times[after] - moments, before, after)


def selection_of(request: AnimationRequest) -> FrameSelection:
    """The part of the driving video that a request uses."""
    return FrameSelection(
        stride=request.stride,
        start=request.start,
        end=request.end,
        max_frames=request.max_frames,
        fps=request.fps,
    )
