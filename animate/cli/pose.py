"""`cnx pose`: estimate poses once, look at them, fit them to a picture, and convert them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from animate.cli.arguments import (
    Parser,
    TextReader,
    add_display,
    add_option,
    make_parser,
    parse,
    progress_of,
)
from animate.errors import MediaError
from animate.files import check_output, check_readable
from animate.progress import Progress
from animate.request.request import AnimationRequest
from animate.request.schema import settings_of
from animate.request.values import Size
from pose.kinds import DrawingStyle

SETTINGS = settings_of(AnimationRequest)
_SELECTION = ("stride", "start", "end", "max_frames", "fps")
_ESTIMATOR = ("estimator", "estimator_folder", "estimator_network", "estimator_device")
_POSES = "pose file (.npz, .json), or a folder of OpenPose frames"
FORMATS = ("npz", "openpose", "openpose-coco18", "comfyui", "coco-wholebody")


def parser() -> Parser:
    """The arguments of the command."""
    command = make_parser(
        "pose",
        "Extract poses from a video, look at them, fit them to a picture, convert them.",
        "cnx pose extract dance.mp4 -o dance.npz",
    )
    actions = command.add_subparsers(dest="action", required=True, metavar="|".join(ACTIONS))
    _add_extract(actions)
    _add_preview(actions)
    _add_retarget(actions)
    _add_convert(actions)
    _add_render(actions)
    return command


def main(argv: list[str]) -> int:
    """Parse and run one of the actions; returns the exit code."""
    arguments = parse(parser(), argv)
    ACTIONS[arguments.action](arguments, progress_of(arguments))
    return 0


def _add_extract(actions: Any) -> None:
    sub = _sub(actions, "extract", "estimate the poses of everybody in a video or picture")
    sub.add_argument(
        "video", type=Path, metavar="VIDEO", help="or a picture, or numbered images (f_%%04d.png)"
    )
    _add_output(sub, "pose file to write (.npz)")
    _add_settings(sub, *_SELECTION, *_ESTIMATOR)


def _add_preview(actions: Any) -> None:
    sub = _sub(actions, "preview", "poses as a contact sheet (.png) or as a video")
    sub.add_argument("poses", type=Path, metavar="POSES", help=_POSES)
    _add_output(sub, "sheet.png, or a video such as overlay.mp4")
    below = sub.add_mutually_exclusive_group()
    below.add_argument("--video", type=Path, help="the video they are of, below the skeletons")
    below.add_argument("--over", type=Path, metavar="IMAGE", help="a picture below the skeletons")


def _add_retarget(actions: Any) -> None:
    sub = _sub(actions, "retarget", "lay poses onto the person of a picture")
    sub.add_argument("poses", type=Path, metavar="POSES", help=_POSES)
    _add_output(sub, "pose file to write (.npz); animate it with --retarget none")
    sub.add_argument("--reference", type=Path, required=True, metavar="IMAGE", help="the picture")
    _add_settings(sub, "retarget", "person", *_ESTIMATOR)


def _add_convert(actions: Any) -> None:
    sub = _sub(actions, "convert", "read or write OpenPose, ComfyUI and COCO-WholeBody files")
    sub.add_argument("poses", type=Path, metavar="POSES", help=_POSES)
    _add_output(sub, "what to write")
    sub.add_argument("--to", choices=FORMATS, required=True, help="format to write")
    sub.add_argument(
        "--canvas",
        type=TextReader("--canvas", "size", Size.parse),
        metavar="WxH",
        help="width x height of the picture, if it is not in the file",
    )
    add_option(sub, SETTINGS["fps"], help="frame rate, if it is not in the file", default=None)


def _add_render(actions: Any) -> None:
    sub = _sub(actions, "render", "skeletons on black, for cnx run --poses or other programs")
    sub.add_argument("poses", type=Path, metavar="POSES", help=_POSES)
    _add_output(sub, "skeletons.mkv or %%04d.png, which hold them exactly, or another video")
    sub.add_argument(
        "--style",
        choices=get_args(DrawingStyle),
        default="canonical",
        help="as a control network was trained: small (tiny), published (svd), or canonical",
    )
    add_option(
        sub, SETTINGS["size"], help="width x height of the pictures; the poses' own", default=None
    )
    _add_settings(sub, "person")


def _add_settings(sub: argparse.ArgumentParser, *names: str) -> None:
    """Add settings of a clip, as `cnx run` has them."""
    for name in names:
        add_option(sub, SETTINGS[name], default=SETTINGS[name].default)


def _sub(actions: Any, name: str, text: str) -> argparse.ArgumentParser:
    sub: argparse.ArgumentParser = actions.add_parser(
        name, help=text, description=text, allow_abbrev=False
    )
    sub.add_argument("--overwrite", action="store_true", help="replace an existing output")
    add_display(sub)
    return sub


def _add_output(sub: argparse.ArgumentParser, text: str) -> None:
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help=text)


def extract(arguments: argparse.Namespace, progress: Progress) -> None:
    """Estimate and keep; says whom it found."""
    _check(arguments, arguments.video)
    from animate.driving import tools as pose_tools
    from pose.report import describe

    pose_tools.check_pose_name(arguments.output)
    selection = pose_tools.FrameSelection(
        stride=arguments.stride,
        start=arguments.start,
        end=arguments.end,
        max_frames=arguments.max_frames,
        fps=arguments.fps,
    )
    estimator = _estimator(arguments)
    poses = pose_tools.extract_file(arguments.video, selection, estimator, progress)
    pose_tools.write_poses(poses, arguments.output)
    for line in describe(poses):
        progress.note(line)


def preview(arguments: argparse.Namespace, progress: Progress) -> None:
    """Draw what the poses hold."""
    _check(arguments, arguments.poses, arguments.video, arguments.over)
    from animate.driving import tools as pose_tools

    pose_tools.draw_preview(
        arguments.poses,
        arguments.output,
        arguments.video,
        progress,
        arguments.overwrite,
        arguments.over,
    )


def retarget(arguments: argparse.Namespace, progress: Progress) -> None:
    """Fit and keep; says how well the two people match."""
    _check(arguments, arguments.poses, arguments.reference)
    from animate.driving import tools as pose_tools

    pose_tools.check_pose_name(arguments.output)
    fitted = pose_tools.retarget_file(
        arguments.poses,
        arguments.reference,
        _estimator(arguments),
        mode=arguments.retarget,
        person=arguments.person,
    )
    pose_tools.write_poses(fitted.sequence, arguments.output)
    progress.note(f"mismatch {fitted.mismatch:.2f} (0 is perfect, 1 nothing in common)")
    for warning in fitted.warnings:
        progress.warn(warning)


def convert(arguments: argparse.Namespace, progress: Progress) -> None:
    """Read one format, write another."""
    folder = arguments.to.startswith("openpose")
    if arguments.output.exists() and not arguments.overwrite:
        raise MediaError(f"{arguments.output} exists already; give --overwrite or another name")
    if not folder:
        check_output(arguments.output, overwrite=True, error=MediaError)
    from animate.driving import tools as pose_tools
    from pose.formats import import_poses
    from pose.report import counted

    poses = import_poses(arguments.poses, canvas=arguments.canvas, fps=arguments.fps)
    pose_tools.convert_poses(poses, arguments.output, arguments.to)
    progress.note(
        f"{arguments.output}: {counted(poses.frames, 'frame')}, "
        f"{counted(poses.people, 'person', 'people')}, as {arguments.to}"
    )


def render(arguments: argparse.Namespace, progress: Progress) -> None:
    """Draw the skeletons of one person."""
    from animate import media
    from animate.driving import tools as pose_tools

    _check_input(arguments.poses)
    media.check_output(arguments.output, arguments.overwrite)
    frames = pose_tools.render_poses(
        arguments.poses,
        arguments.output,
        style=arguments.style,
        size=arguments.size,
        person=arguments.person,
        progress=progress,
        overwrite=arguments.overwrite,
    )
    progress.note(f"{arguments.output}: {frames} skeletons, drawn {arguments.style}")


def _estimator(arguments: argparse.Namespace) -> Any:
    from animate.driving.estimators import estimator_options
    from pose.estimators import load_estimator

    folder, device = arguments.estimator_folder, arguments.estimator_device
    options = estimator_options(arguments.estimator, folder, device, arguments.estimator_network)
    return load_estimator(arguments.estimator, **options)


def _check(arguments: argparse.Namespace, *inputs: Path | None) -> None:
    for path in filter(None, inputs):
        _check_input(path)
    check_output(arguments.output, overwrite=arguments.overwrite, error=MediaError)


def _check_input(path: Path) -> None:
    """Raise MediaError for a file, numbered images or a folder of poses that cannot be read."""
    from animate.media import check_driving
    from animate.media.numbered import is_numbered, is_pose_folder

    if is_numbered(path) or is_pose_folder(path):
        check_driving(path)
    else:
        check_readable(path, error=MediaError)


ACTIONS: dict[str, Callable[[argparse.Namespace, Progress], None]] = {
    "extract": extract,
    "preview": preview,
    "retarget": retarget,
    "convert": convert,
    "render": render,
}
