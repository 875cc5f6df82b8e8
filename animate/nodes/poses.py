"""Nodes for poses: estimate, load, trim, clean, retarget, draw, and hand on as POSE_KEYPOINT."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

import folder_paths
from comfy_api.v0_0_2 import io

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

Poses = io.Custom("CNX_POSES")
Keypoints = io.Custom("POSE_KEYPOINT")
CATEGORY = "cnx-animate"
POSE_SUFFIXES = (".npz", ".json")


def input_rate(default: float = 25.0) -> Any:
    """The input for the rate of pictures."""
    return io.Float.Input("frame_rate", default=default, min=0.01, max=1000.0, step=0.001)


class EstimatePoses(io.ComfyNode):
    """Poses of a video or of a batch of images."""

    @classmethod
    def define_schema(cls) -> Any:
        """See ComfyUI's `io.ComfyNode`."""
        return io.Schema(
            node_id="CnxEstimatePoses",
            display_name="Estimate Poses (cnx)",
            category=CATEGORY,
            description="Whole-body poses of everybody in a video or a batch of images.",
            inputs=[
                io.Video.Input("video", optional=True),
                io.Image.Input("images", optional=True),
                input_rate(),
                io.Combo.Input("estimator", options=list(get_args(EstimatorName))),
            ],
            outputs=[
                Poses.Output(display_name="poses"),
                io.Audio.Output(display_name="audio"),
                io.Float.Output(display_name="frame_rate"),
            ],
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
        return io.Schema(
            node_id="CnxLoadPoses",
            display_name="Load Poses (cnx)",
            category=CATEGORY,
            description="Poses of a file in the input folder: .npz of cnx pose extract, or .json.",
            inputs=[io.Combo.Input("file", options=sorted(names)), input_rate()],
            outputs=[Poses.Output(display_name="poses")],
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
        return io.Schema(
            node_id="CnxTrimPoses",
            display_name="Trim Poses (cnx)",
            category=CATEGORY,
            description="Some frames of poses; a stride divides the frame rate.",
            inputs=[
                Poses.Input("poses"),
                io.Int.Input("start", default=0, min=0, max=1_000_000),
                io.Int.Input("frames", default=0, min=0, max=1_000_000, tooltip="0: all"),
                io.Int.Input("stride", default=1, min=1, max=1000),
            ],
            outputs=[
                Poses.Output(display_name="poses"),
                io.Float.Output(display_name="frame_rate"),
            ],
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
        return io.Schema(
            node_id="CnxCleanPoses",
            display_name="Clean Poses (cnx)",
            category=CATEGORY,
            description="Left and right repaired, short gaps bridged, points smoothed.",
            inputs=[
                Poses.Input("poses"),
                io.Float.Input("gap", default=0.35, min=0.0, max=10.0, step=0.01),
                io.Float.Input("smoothing", default=0.055, min=0.0, max=2.0, step=0.005),
                io.Boolean.Input("flips", default=True),
            ],
            outputs=[Poses.Output(display_name="poses")],
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
        return io.Schema(
            node_id="CnxRetargetPoses",
            display_name="Retarget Poses (cnx)",
            category=CATEGORY,
            description="One person's poses, in the place and proportions of a picture's person.",
            inputs=[
                Poses.Input("poses"),
                io.Image.Input("image"),
                io.Combo.Input("mode", options=list(get_args(RetargetMode)), default="robust"),
                io.String.Input("person", default="main", tooltip="main, left, right or a number"),
            ],
            outputs=[Poses.Output(display_name="poses")],
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
        return io.Schema(
            node_id="CnxDrawPoses",
            display_name="Draw Poses (cnx)",
            category=CATEGORY,
            description="Skeletons of poses on black: control frames.",
            inputs=[
                Poses.Input("poses"),
                io.Int.Input("width", default=0, min=0, max=8192, tooltip="0: the poses' own"),
                io.Int.Input("height", default=0, min=0, max=8192, tooltip="0: the poses' own"),
                io.Combo.Input("style", options=list(STYLES), default="published"),
            ],
            outputs=[io.Image.Output(display_name="images")],
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
        return io.Schema(
            node_id="CnxPosesToKeypoints",
            display_name="Poses to POSE_KEYPOINT (cnx)",
            category=CATEGORY,
            inputs=[Poses.Input("poses")],
            outputs=[Keypoints.Output(display_name="keypoints")],
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
        return io.Schema(
            node_id="CnxKeypointsToPoses",
            display_name="POSE_KEYPOINT to Poses (cnx)",
            category=CATEGORY,
            inputs=[Keypoints.Input("keypoints"), input_rate()],
            outputs=[Poses.Output(display_name="poses")],
        )

    @classmethod
    def execute(cls, keypoints: Any, frame_rate: float) -> Any:
        """See ComfyUI's `io.ComfyNode`."""
        return io.NodeOutput(poses_of(keypoints, rate_of(frame_rate)))
