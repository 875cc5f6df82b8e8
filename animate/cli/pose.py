"""`cnx pose`: estimate poses once, look at them, fit them to a picture, and convert them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from animate.cli.arguments import add_shown, make_parser, parse, shown
from animate.errors import MediaError, RequestError
from animate.files import check_output, check_readable
from animate.progress import Progress
from animate.request.request import Retarget
from animate.request.values import Size, parse_rate, parse_time

FORMATS = ("npz", "openpose", "openpose-coco18", "comfyui", "coco-wholebody")


def main(argv: list[str]) -> int:
    """Parse and run one of the four; returns the exit code."""
    parser = make_parser(
        "pose",
        "Extract poses from a video, look at them, fit them to a picture, convert them.",
        "cnx pose extract dance.mp4 -o dance.npz",
    )
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="extract|preview|retarget|convert"
    )
    run: dict[str, Callable[[argparse.Namespace, Progress], None]] = {
        "extract": _add_extract(actions),
        "preview": _add_preview(actions),
        "retarget": _add_retarget(actions),
        "convert": _add_convert(actions),
    }
    arguments = parse(parser, argv)
    progress = shown(arguments)
    run[arguments.action](arguments, progress)
    return 0


def _add_extract(actions: Any) -> Callable[[argparse.Namespace, Progress], None]:
    sub = _sub(actions, "extract", "estimate the poses of everybody in a video or picture")
    sub.add_argument(
        "video", type=Path, metavar="VIDEO", help="or a picture, or numbered images (f_%%04d.png)"
    )
    _add_output(sub, "pose file to write (.npz)")
    _add_selection(sub)
    _add_estimator(sub)
    return extract


def _add_preview(actions: Any) -> Callable[[argparse.Namespace, Progress], None]:
    sub = _sub(actions, "preview", "poses as a contact sheet (.png) or as a video")
    sub.add_argument("poses", type=Path, metavar="POSES")
    _add_output(sub, "sheet.png, or a video such as overlay.mp4")
    sub.add_argument("--video", type=Path, help="the video they are of, shown below the skeletons")
    return preview


def _add_retarget(actions: Any) -> Callable[[argparse.Namespace, Progress], None]:
    sub = _sub(actions, "retarget", "lay poses onto the person of a picture")
    sub.add_argument("poses", type=Path, metavar="POSES")
    _add_output(sub, "pose file to write (.npz); animate it with --retarget none")
    sub.add_argument("--reference", type=Path, required=True, metavar="IMAGE")
    sub.add_argument("--retarget", choices=get_args(Retarget), default="robust", help="mode")
    sub.add_argument("--person", default="main", help="main, left, right or a number")
    _add_estimator(sub)
    return retarget


def _add_convert(actions: Any) -> Callable[[argparse.Namespace, Progress], None]:
    sub = _sub(actions, "convert", "read or write OpenPose, ComfyUI and COCO-WholeBody files")
    sub.add_argument("poses", type=Path, metavar="POSES", help="file, or folder of OpenPose frames")
    _add_output(sub, "what to write")
    sub.add_argument("--to", choices=FORMATS, required=True, help="format to write")
    sub.add_argument("--canvas", type=_value(Size.parse), metavar="WxH", help="if not in the file")
    sub.add_argument("--fps", type=_value(parse_rate), metavar="RATE", help="if not in the file")
    return convert


def _sub(actions: Any, name: str, text: str) -> argparse.ArgumentParser:
    sub: argparse.ArgumentParser = actions.add_parser(
        name, help=text, description=text, allow_abbrev=False
    )
    sub.add_argument("--overwrite", action="store_true", help="replace an existing output")
    add_shown(sub)
    return sub


def _add_output(sub: argparse.ArgumentParser, text: str) -> None:
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help=text)


def _add_selection(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--stride", type=int, default=1, metavar="N", help="every N-th frame")
    sub.add_argument("--start", type=_value(parse_time), metavar="TIME", help="1.5, 0:01.5, 36f")
    sub.add_argument("--end", type=_value(parse_time), metavar="TIME", help="exclusive")
    sub.add_argument("--max-frames", type=int, metavar="N", help="frames at most")
    sub.add_argument("--fps", type=_value(parse_rate), metavar="RATE", help="resample to this rate")


def _add_estimator(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--estimator", default="blazepose", help="blazepose, dwpose, controlnet-aux")
    sub.add_argument("--estimator-folder", type=Path, metavar="FOLDER", help="with its files")
    sub.add_argument("--estimator-device", choices=("cpu", "cuda"), default="cpu")


def _value(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return parse(text)
        except RequestError as reason:
            raise argparse.ArgumentTypeError(str(reason)) from None

    return read


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
    _check(arguments, arguments.poses, arguments.video)
    from animate.driving import tools as pose_tools

    pose_tools.draw_preview(
        arguments.poses, arguments.output, arguments.video, progress, arguments.overwrite
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

    poses = import_poses(arguments.poses, canvas=arguments.canvas, fps=arguments.fps)
    pose_tools.convert_poses(poses, arguments.output, arguments.to)
    progress.note(
        f"{arguments.output}: {poses.frames} frames, {poses.people} people, as {arguments.to}"
    )


def _estimator(arguments: argparse.Namespace) -> Any:
    from animate.driving.estimators import estimator_options
    from pose.estimators import load_estimator

    folder, device = arguments.estimator_folder, arguments.estimator_device
    return load_estimator(
        arguments.estimator, **estimator_options(arguments.estimator, folder, device)
    )


def _check(arguments: argparse.Namespace, *inputs: Path | None) -> None:
    from animate.media import check_driving, is_numbered

    for path in inputs:
        if path is not None and is_numbered(path):
            check_driving(path)
        elif path is not None:
            check_readable(path, error=MediaError)
    check_output(arguments.output, overwrite=arguments.overwrite, error=MediaError)
