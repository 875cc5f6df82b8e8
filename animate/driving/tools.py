"""The work of `cnx pose`: pose files from videos and pictures, previews, fitting to a picture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import repeat
from pathlib import Path

from animate.driving.poses import extract_poses, frames_of_poses, person_of
from animate.errors import MediaError, reason_of
from animate.files import gathered_folder, sha256, write_bytes
from animate.media import (
    FrameSelection,
    is_numbered,
    open_video,
    open_writer,
    read_image,
    source_digest,
    write_png,
)
from animate.media.animated import is_animated
from animate.media.info import Image
from animate.media.suffixes import PHOTO_SUFFIXES
from animate.progress import Progress
from animate.request.values import Size
from pose.clean import clean
from pose.draw import draw
from pose.errors import PoseError
from pose.estimators.base import Estimator
from pose.extract import extract
from pose.formats import FRAME_FORMATS, encode_file, encode_frames, import_poses
from pose.formats.rendered import same_proportions
from pose.preview import overlay_frames, sheet
from pose.retarget import Retargeted, retarget
from pose.sequence import PoseSequence, check_source


def extract_file(
    path: Path, selection: FrameSelection, estimator: Estimator, progress: Progress
) -> PoseSequence:
    """The poses of everybody in a video, numbered images, or a still image as one frame.

    Raises MediaError when the file cannot be read.
    """
    still = path.suffix.lower() in PHOTO_SUFFIXES and not is_animated(path)
    if still and not is_numbered(path):
        return extract([read_image(path)], estimator, fps=Fraction(1), source=sha256(path))
    source = open_video(path, stated_fps=selection.fps)
    for warning in source.warnings:
        progress.warn(warning)
    return extract_poses(source, selection, estimator, progress, source_digest(path))


def check_pose_name(path: Path) -> None:
    """Raises PoseError for a name that is none of a pose file; before the work is done."""
    if path.suffix.lower() != ".npz":
        raise PoseError(f"{path}: a pose file's name ends in .npz; cnx pose convert writes others")


def write_poses(poses: PoseSequence, path: Path) -> None:
    """Put a pose file at `path`, atomically. Raises MediaError when it cannot be written."""
    with _written(path):
        write_bytes(path, poses.to_bytes())


def convert_poses(poses: PoseSequence, output: Path, format: str) -> None:
    """Write poses for another program: a file, or a folder with a file for each frame.

    Frames that an older, longer conversion left in the folder are removed. Raises MediaError when
    the files cannot be written.
    """
    if format not in FRAME_FORMATS:
        with _written(output):
            write_bytes(output, encode_file(poses, format))
        return
    with _written(output):
        names = set()
        with gathered_folder(output) as folder:
            for name, data in encode_frames(poses, format):
                (folder / name).write_bytes(data)
                names.add(name)
        for stale in output.glob("pose_*_keypoints.json"):
            if stale.name not in names:
                stale.unlink()


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MediaError(f"{path} cannot be written: {reason_of(error)}") from error


def render_poses(
    poses_file: Path,
    output: Path,
    *,
    style: str,
    size: Size | None,
    person: str,
    progress: Progress,
    overwrite: bool,
) -> int:
    """Write one person's skeletons on black, as a control network sees them; the number of frames.

    `size` is that of the pictures, the poses' canvas if not given. A .mkv and numbered images hold
    them exactly. Raises PoseError or MediaError when a file cannot be used.
    """
    poses = person_of(import_poses(poses_file), person, poses_file)
    width, height = size or poses.canvas
    codec = "ffv1" if output.suffix.lower() == ".mkv" else None
    with (
        progress.stage("drawing", poses.frames) as stage,
        open_writer(
            output, size=(width, height), fps=poses.fps, codec=codec, overwrite=overwrite
        ) as writer,
    ):
        for points, scores in zip(poses.points, poses.scores, strict=True):
            writer.write(draw(points, scores, poses.canvas, (width, height), style))
            stage.advance()
    return poses.frames


def draw_preview(
    poses_file: Path,
    output: Path,
    video: Path | None,
    progress: Progress,
    overwrite: bool,
    over: Path | None = None,
) -> None:
    """A contact sheet if `output` ends in .png, a video of every frame otherwise.

    The skeletons lie over the frames of `video`, or over the picture `over`, such as the reference
    that they were fitted to. Raises PoseError or MediaError when a file cannot be used, the video
    is another one, or the picture has another shape than the poses' canvas.
    """
    poses = _poses_over(poses_file, video)
    pictures: Iterator[Image] | None = None
    if video:
        pictures = frames_of_poses(open_video(video, stated_fps=poses.fps), poses, poses_file)
    elif over:
        pictures = repeat(_of_canvas(read_image(over), poses, over), poses.frames)
    if output.suffix.lower() == ".png":
        with progress.stage("preview", None):
            write_png(output, sheet(pictures, poses))
        return
    frames = overlay_frames(pictures, poses)
    first = next(frames, None)
    if first is None:
        raise PoseError(f"{poses_file} holds no frame to show")
    with (
        progress.stage("preview", poses.frames) as stage,
        open_writer(output, size=_size(first), fps=poses.fps, overwrite=overwrite) as writer,
    ):
        writer.write(first)
        stage.advance()
        for frame in frames:
            writer.write(frame)
            stage.advance()


def _poses_over(poses_file: Path, video: Path | None) -> PoseSequence:
    """Poses of any format. Raises PoseError where they say that they are of another video."""
    if video is None:
        return import_poses(poses_file)
    source = open_video(video)
    poses = import_poses(poses_file, canvas=source.info.size, fps=source.info.fps)
    if poses.source or poses_file.suffix.lower() == ".npz":
        check_source(poses, source_digest(video), poses_file)
    return poses


def _of_canvas(picture: Image, poses: PoseSequence, path: Path) -> Image:
    if not same_proportions(_size(picture), poses.canvas):
        width, height = poses.canvas
        raise PoseError(
            f"{path} has another shape than the poses' canvas of {width}x{height}; lay the poses "
            "onto it first: cnx pose retarget"
        )
    return picture


def _size(picture: Image) -> tuple[int, int]:
    return picture.shape[1], picture.shape[0]


def retarget_file(
    poses_file: Path, image: Path, estimator: Estimator, *, mode: str, person: str
) -> Retargeted:
    """Poses cleaned and laid onto the main person of a picture.

    Raises PoseError when nobody is seen in either.
    """
    driving = person_of(import_poses(poses_file), person, poses_file)
    picture = read_image(image)
    reference = extract([picture], estimator, fps=Fraction(1), source=sha256(image))
    if mode != "none":
        reference = person_of(reference, "main", image)
    return retarget(clean(driving), reference, mode=mode)
