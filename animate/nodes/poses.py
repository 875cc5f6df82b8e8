"""Nodes for poses: estimate, load, trim, clean, retarget, draw, and hand on as POSE_KEYPOINT."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

import folder_paths
from comfy_api.v0_0_2 import io

from animate.media.suffixes import POSE_SUFFIXES
from animate.nodes.schema import (
    Keypoints,
    Poses,
    choice_input,
    node_schema,
    open_input,
    poses_output,
    rate_input,
    rate_output,
)
from animate.nodes.values import (
    frames_of,
    image_of,
    keypoints_of,
    one_of,
    poses_of,
    rate_of,
    single_frame,
)
from animate.pipeline.poses import clean_poses, draw_poses, estimate_poses, retarget_poses
from pose.draw import STYLES
from pose.formats import import_poses
from pose.kinds import EstimatorName, RetargetMode


class EstimatePoses(io.ComfyNode):
    """Poses of a video or of a batch of images."""

    @classmethod
    def define_schema(cls) -> Any:
        """See ComfyUI's `io.ComfyNode`."""
        return node_schema(
            "EstimatePoses",
            "Estimate Poses",
            [
                io.Video.Input("video", optional=True),
                io.Image.Input("images", optional=True),
                rate_input(),
                choice_input("estimator", get_args(EstimatorName)),
            ],
            [poses_output(), io.Audio.Output(display_name="audio"), rate_output()],
            "Whole-body poses of everybody in a video or a batch of images.",
        )

    @classmethod
    def execute(
        cls, frame_rate: float, estimator: EstimatorName, video: Any = None, images: Any = None
    ) -> Any:
        """See ComfyUI's `io.ComfyNode`."""
        one_of(video, images, ("video", "images"))
        audio, rate = None, rate_of(frame_rate)
        if video is not None:
            parts = video.get_components()
            images, audio, rate = parts.images, parts.audio, Fraction(parts.frame_rate)
        poses = estimate_poses(frames_of(images, "images"), fps=rate, estimator=estimator)
        return io.NodeOutput(poses, audio, float(rate))


class LoadPoses(io.ComfyNode):
    """Poses of a file in ComfyUI's input folder."""

    @classmethod
    def define_schema(cls) -> Any:
        """See ComfyUI's `io.ComfyNode`."""
        folder = Path(folder_paths.get_input_directory())
        names = [file.name for file in folder.iterdir() if file.suffix.lower() in POSE_SUFFIXES]
        return node_schema(
            "LoadPoses",
            "Load Poses",
            [choice_input("file", sorted(names)), rate_input(tooltip="of a file without one")],
            [poses_output()],
            "Poses of a file in the input folder: .npz of cnx pose extract, or .json.",
        )

    @classmethod
    def execute(cls, file: str, frame_rate: float) -> Any:
        """See ComfyUI's `io.ComfyNode`."""
        path = folder_paths.get_annotated_filepath(file)
        return io.NodeOutput(import_poses(path, fps=rate_of(frame_rate)))

    @classmethod
    def fingerprint_inputs(cls, file: str, frame_rate: float) -> Any:
        """Run again when the file has changed."""
        return Path(folder_paths.get_annotated_filepath(file)).stat().st_mtime_ns


class TrimPoses(io.ComfyNode):
    """A part of poses."""

    @classmethod
    def define_schema(cls) -> Any:
        """See ComfyUI's `io.ComfyNode`."""
        return node_schema(
            "TrimPoses",
            "Trim Poses",
            [
                Poses.Input("poses"),
                io.Int.Input("start", default=0, min=0, max=1_000_000),
                open_input("frames", "all", most=1_000_000),
                io.Int.Input("stride", default=1, min=1, max=1000),
            ],
            [poses_output(), rate_output()],
            "Some frames of poses; a stride divides the frame rate.",
        )

    @classmethod
    def execute(cls, poses: Any, start: int, frames: int, stride: int) -> Any:
        """See ComfyUI's `io.ComfyNode`."""
        stop = start + frames * stride if frames else None
        chosen = poses.select(slice(start, stop, stride), fps=poses.fps / stride)
        return io.NodeOutput(chosen, float(chosen.fps))


class CleanPoses(io.ComfyNode):
    """Poses without flips, short gaps and jitter."""

    @classmethod
    def define_schema(cls) -> Any:
        """See ComfyUI's `io.ComfyNode`."""
        return node_schema(
            "CleanPoses",
            "Clean Poses",
            [
                Poses.Input("poses"),
                io.Float.Input("gap", default=0.35, min=0.0, max=10.0, step=0.01),
                io.Float.Input("smoothing", default=0.055, min=0.0, max=2.0, step=0.005),
                io.Boolean.Input("flips", default=True),
            ],
            [poses_output()],
            "Left and right repaired, short gaps bridged, points smoothed.",
        )

    @classmethod
    def execute(cls, poses: Any, gap: float, smoothing: float, flips: bool) -> Any:
        """See ComfyUI's `io.ComfyNode`."""
        return io.NodeOutput(clean_poses(poses, gap=gap, smoothing=smoothing, flips=flips))


class RetargetPoses(io.ComfyNode):
    """Poses of one person laid onto the person of a picture."""

    @classmethod
    def define_schema(cls) -> Any:
        """See ComfyUI's `io.ComfyNode`."""
        return node_schema(
            "RetargetPoses",
            "Retarget Poses",
            [
                Poses.Input("poses"),
                io.Image.Input("image"),
                choice_input("mode", get_args(RetargetMode), "robust"),
                io.String.Input("person", default="main", tooltip="main, left, right or a number"),
            ],
            [poses_output()],
            "One person's poses, in the position and proportions of a picture's person.",
        )

    @classmethod
    def execute(cls, poses: Any, image: Any, mode: RetargetMode, person: str) -> Any:
        """See ComfyUI's `io.ComfyNode`."""
        reference = estimate_poses([single_frame(image, "image")])
        return io.NodeOutput(retarget_poses(poses, reference, mode=mode, person=person))


class DrawPoses(io.ComfyNode):
    """Control frames."""

    @classmethod
    def define_schema(cls) -> Any:
        """See ComfyUI's `io.ComfyNode`."""
        return node_schema(
            "DrawPoses",
            "Draw Poses",
            [
                Poses.Input("poses"),
                open_input("width", "the poses' own"),
                open_input("height", "the poses' own"),
                choice_input("style", [*STYLES], "published"),
            ],
            [io.Image.Output(display_name="images")],
            "Skeletons of poses on black: control frames.",
        )

    @classmethod
    def execute(cls, poses: Any, width: int, height: int, style: str) -> Any:
        """See ComfyUI's `io.ComfyNode`."""
        size = (width or poses.canvas[0], height or poses.canvas[1])
        return io.NodeOutput(image_of(draw_poses(poses, size=size, style=style)))


class PosesToKeypoints(io.ComfyNode):
    """Poses as other packs know them."""

    @classmethod
    def define_schema(cls) -> Any:
        """See ComfyUI's `io.ComfyNode`."""
        return node_schema(
            "PosesToKeypoints",
            "Poses to POSE_KEYPOINT",
            [Poses.Input("poses")],
            [Keypoints.Output(display_name="keypoints")],
        )

    @classmethod
    def execute(cls, poses: Any) -> Any:
        """See ComfyUI's `io.ComfyNode`."""
        return io.NodeOutput(keypoints_of(poses))


class KeypointsToPoses(io.ComfyNode):
    """Poses of another pack's node."""

    @classmethod
    def define_schema(cls) -> Any:
        """See ComfyUI's `io.ComfyNode`."""
        return node_schema(
            "KeypointsToPoses",
            "POSE_KEYPOINT to Poses",
            [Keypoints.Input("keypoints"), rate_input()],
            [poses_output()],
        )

    @classmethod
    def execute(cls, keypoints: Any, frame_rate: float) -> Any:
        """See ComfyUI's `io.ComfyNode`."""
        return io.NodeOutput(poses_of(keypoints, rate_of(frame_rate)))
