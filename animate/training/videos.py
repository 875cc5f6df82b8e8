"""A folder of videos to train on: what in it can be used, with poses that this toolkit estimated.

Poses are estimated once and kept (`animate.driving.cache`), and cleaned as they are for a clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from animate.driving.cache import cache_file, load_poses, save_poses
from animate.driving.estimators import estimator_options
from animate.driving.poses import extract_poses
from animate.errors import AnimateError, MediaError, TrainingError
from animate.files import sha256
from animate.media import FrameSelection, FrameSource, open_video
from animate.media.suffixes import VIDEO_SUFFIXES
from animate.progress import Progress
from animate.request.wording import listed
from animate.training.finetune_config import VideoRecipe
from pose.clean import CleaningOptions, clean
from pose.errors import PoseError
from pose.estimators import load_estimator
from pose.estimators.base import Estimator
from pose.people import choose_person
from pose.sequence import PoseSequence


@dataclass(frozen=True, kw_only=True)
class Video:
    """A video that can be trained on."""

    name: str
    """Its path below the folder."""
    source: FrameSource
    """Reads its frames; decord where it can, for its random access."""
    regular: bool
    """True when frames are evenly spaced, so that any of them can be read on its own."""
    poses: PoseSequence
    """One person's, a frame for each frame of the video, cleaned."""
    starts: NDArray[np.int64]
    """Frames at which a clip can begin: within one shot, the person seen in enough of it."""
    digest: str
    """SHA-256 of the file."""


def usable_videos(recipe: VideoRecipe, frames: int, progress: Progress) -> list[Video]:
    """Every video in the folder that clips of so many frames can be cut from, by name.

    What is skipped is said, each with its reason. Raises `TrainingError` when the folder is not
    there or nothing in it can be used.
    """
    folder = Path(recipe.folder)
    if not folder.is_dir():
        raise TrainingError(f"the folder of videos {folder} does not exist; check data.videos")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    if not files:
        raise TrainingError(
            f"{folder} holds no videos ({', '.join(VIDEO_SUFFIXES)}); put some into it, or name "
            "another folder under data.videos.folder"
        )
    estimator_folder = None if recipe.estimator_folder is None else Path(recipe.estimator_folder)
    options = estimator_options(recipe.estimator, estimator_folder, "cpu")
    estimator = load_estimator(recipe.estimator, **options)
    videos, skipped = [], []
    for file in files:
        name = str(file.relative_to(folder))
        try:
            videos.append(open_for_training(file, name, recipe, frames, estimator, progress))
        except (AnimateError, PoseError) as reason:
            skipped.append(f"{name}: {reason}")
            progress.warn(f"skipped {skipped[-1]}")
    if not videos:
        reasons = listed(skipped, 10, "\n  ")
        raise TrainingError(
            f"none of the {len(files)} videos in {folder} can be used:\n  {reasons}"
        )
    progress.note(
        f"{len(videos)} videos to train on, {sum(len(v.starts) for v in videos)} places to begin a "
        f"clip; {len(skipped)} skipped"
    )
    return videos


def open_for_training(
    file: Path, name: str, recipe: VideoRecipe, frames: int, estimator: Estimator,
    progress: Progress,
) -> Video:  # fmt: skip
    """A video with its poses. Raises an error that says why it cannot be used."""
    digest = sha256(file)
    poses = _poses(file, digest, recipe, estimator, progress)
    if not poses.present.any():
        raise TrainingError("nobody is seen in it")
    poses = clean(poses.person(choose_person(poses, "main")), CleaningOptions())
    span = (frames - 1) * recipe.stride + 1
    starts = clip_starts(poses, frames, recipe)
    if not len(starts):
        raise TrainingError(
            f"no shot of it shows a person for the {span} frames that a clip spans (it has "
            f"{poses.frames}, the person is seen in {int(poses.present[:, 0].sum())})"
        )
    source, note = _random_access(file)
    regular = source.sampling(FrameSelection()).frames == tuple(range(source.info.frames or 0))
    if not regular:
        note += "; " * bool(note) + "its frame rate varies: read from its beginning for each clip"
    if note:
        progress.note(f"{name}: {note}")
    return Video(
        name=name, source=source, regular=regular, poses=poses, starts=starts, digest=digest
    )


def _poses(
    file: Path, digest: str, recipe: VideoRecipe, estimator: Estimator, progress: Progress
) -> PoseSequence:
    selection = FrameSelection()
    cache_folder = None if recipe.cache is None else Path(recipe.cache)
    cached = cache_file(cache_folder, digest, estimator, selection)
    poses = load_poses(cached, digest, progress)
    if poses is None:
        progress.note(f"poses of {file.name}")
        poses = extract_poses(open_video(file), selection, estimator, progress, digest)
        save_poses(cached, poses, progress)
    return poses


def _random_access(file: Path) -> tuple[FrameSource, str]:
    """The video behind decord, or behind PyAV with the reason that decord gives."""
    try:
        source = open_video(file, "decord")
        next(iter(source.read(FrameSelection(max_frames=1))))  # opens it for real
        return source, ""
    except MediaError as reason:
        return open_video(file), f"read with PyAV ({reason})"


def clip_starts(poses: PoseSequence, frames: int, recipe: VideoRecipe) -> NDArray[np.int64]:
    """Frames at which a clip can begin; one of a single frame needs another frame for its
    reference."""
    seen = poses.present[:, 0]
    span = (frames - 1) * recipe.stride + 1
    starts: list[int] = []
    for first, stop in poses.shots:
        if int(seen[first:stop].sum()) < 2:
            continue
        for start in range(first, stop - span + 1):
            window = seen[start : start + span : recipe.stride]
            if window.mean() >= recipe.seen and _references(poses, start, span).size:
                starts.append(start)
    return np.array(starts, np.int64)


def _references(poses: PoseSequence, start: int, span: int) -> NDArray[np.int64]:
    """Frames of the clip's shot that show the person and are none of the clip's, or, where the clip
    is all of the shot, any frame that shows the person."""
    first, stop = next(shot for shot in poses.shots if shot[0] <= start < shot[1])
    seen = np.flatnonzero(poses.present[first:stop, 0]) + first
    outside = seen[(seen < start) | (seen >= start + span)]
    return outside if outside.size else seen


def reference_frames(poses: PoseSequence, start: int, span: int, gap: int) -> NDArray[np.int64]:
    """Frames that can be the clip's reference: at least `gap` away, or the farthest that there are.

    What is far from the clip shows another pose; what is near would be copied.
    """
    choices = _references(poses, start, span)
    away = np.maximum(start - choices, choices - (start + span - 1))
    far = choices[away >= gap]
    return far if far.size else choices[away == away.max()]


def read_frames(video: Video, numbers: Sequence[int]) -> list[NDArray[np.uint8]]:
    """Pictures (H,W,3) RGB of the frames that poses number so: evenly spaced, rising."""
    stride = numbers[1] - numbers[0] if len(numbers) > 1 else 1
    if video.regular:
        part = FrameSelection(start=numbers[0], stride=stride, max_frames=len(numbers))
        return [frame.image for frame in video.source.read(part)]
    # Sampled by time as the poses were; starting elsewhere could round to another frame.
    frames = video.source.read(FrameSelection(max_frames=numbers[-1] + 1))
    chosen = set(numbers)
    return [frame.image for number, frame in enumerate(frames) if number in chosen]


def digest_of_videos(videos: Sequence[Video]) -> list[str]:
    """Digests that decide the clips: those of the files and of the poses in them."""
    return [f"{video.name} {video.digest} {video.poses.digest}" for video in videos]
