"""DWPose: a YOLOX person detector, then a whole-body network for each person, from ONNX files.

In place of DWPose's own whole-body network any other of its kind serves that a file holds: RTMPose
and RTMW for 133 points, of any input size. Shapes and the outputs' names are the file's.

The files are not part of this project. They were trained on COCO-WholeBody, whose annotations are
for non-commercial use; whoever fetches them has to be told.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np

from pose.errors import PoseError
from pose.estimators.base import Frame, Points, Scores, as_rgb, nobody
from pose.estimators.dwpose_processing import (
    PoseShape,
    decoded_points,
    detected_boxes,
    detector_input,
    pose_inputs,
    to_layout,
    whole_frame,
)
from pose.estimators.sessions import Network, file_digest, settings_digest
from pose.layout import BODY, SEEN


@dataclass(frozen=True, kw_only=True)
class NetworkPin:
    """A file that is exactly known."""

    name: str
    size: int
    """In bytes."""
    sha256: str
    """In hexadecimal."""


REPOSITORY: Final = "yzd-v/DWPose"
REVISION: Final = "1a7144101628d69ee7a3768d1ee3a094070dc388"
DETECTOR: Final = NetworkPin(
    name="yolox_l.onnx",
    size=216_746_733,
    sha256="7860ae79de6c89a3c1eb72ae9a2756c0ccfbe04b7791bb5880afabd97855a411",
)
POSE: Final = NetworkPin(
    name="dw-ll_ucoco_384.onnx",
    size=134_399_116,
    sha256="724f4ff2439ed61afb86fb8a1951ec39c6220682803b4a8bd4f598cd913b1843",
)
LICENCE_NOTE: Final = (
    "DWPose's code is under the Apache License 2.0, but its networks were trained on "
    "COCO-WholeBody, whose annotations are for non-commercial use"
)

# Where no person is detected the published code looks at the whole frame. What it then finds is a
# person if this many body joints are seen; else it is noise over the background.
_JOINTS_OF_A_PERSON = 3
_WHOLE_BODY = 133


@dataclass(frozen=True, kw_only=True)
class DWPoseOptions:
    """Which files, and where they run."""

    folder: Path | None = None
    """Folder that holds both files under their published names."""
    detector: Path | None = None
    """The detector's file, instead of the folder's."""
    pose: Path | None = None
    """The whole-body network's file, instead of the folder's."""
    network: Path | None = None
    """A whole-body network of another size or training; it is never held against the pin."""
    device: str = "cpu"
    """"cpu"; or "cuda" or "cuda:N", for which onnxruntime-gpu has to be installed."""
    verify: bool = True
    """True if the files have to be the published ones; without, any with the same inputs and
    outputs will do. Their digests are recorded either way."""


class DWPose:
    """The published estimator as a `pose.estimators.base.ParallelEstimator`.

    Points are as published: a joint may lie outside of the frame with a score above 0.
    """

    name = "dwpose"
    stretch = 1

    def __init__(self, options: DWPoseOptions) -> None:
        """Open both networks.

        Raises PoseError where a file is missing, is not the published one, or the device is not
        there.
        """
        detector = _path(options.detector, options.folder, DETECTOR, "detector")
        other = options.network
        pose = _path(other or options.pose, options.folder, POSE, "pose")
        self.digest = settings_digest(
            _digest(detector, DETECTOR, options.verify),
            _digest(pose, POSE, options.verify and other is None),
            options.device.partition(":")[0],
        )
        self._detector = Network(detector, device=options.device)
        self._pose = Network(pose, device=options.device)
        self.provider = self._pose.provider
        self._shape, self._axes = simcc_shape(self._pose)

    def __call__(self, frame: Frame, /) -> tuple[Points, Scores]:
        """See `Estimator`. The surest person comes first."""
        picture = as_rgb(frame)
        network_input, scale = detector_input(picture)
        boxes = detected_boxes(self._detector(network_input)[0], scale)
        guessed = len(boxes) == 0
        if guessed:
            boxes = whole_frame(picture)
        outputs = [self._pose(each[None]) for each in pose_inputs(picture, boxes, self._shape)]
        simcc_x, simcc_y = (
            np.concatenate([output[axis] for output in outputs]) for axis in self._axes
        )
        points, scores = to_layout(*decoded_points(simcc_x, simcc_y, boxes, self._shape))
        if guessed and (scores[0, BODY] >= SEEN).sum() < _JOINTS_OF_A_PERSON:
            return nobody()
        return points.astype(np.float32), np.clip(scores, 0, 1).astype(np.float32)

    def reset(self) -> None:
        """See `Estimator`; frames do not depend on each other."""

    def fork(self) -> Self:
        """See `ParallelEstimator`; the networks are shared."""
        return copy.copy(self)


def simcc_shape(network: Network) -> tuple[PoseShape, tuple[int, int]]:
    """Shapes of a whole-body SimCC network, and the positions of its x and y among the outputs.

    Outputs are told by the names that mmdeploy gives, `simcc_x` and `simcc_y`, or else by the one
    pair of lengths that is a multiple of width and height. Raises PoseError where the file holds
    another kind of network.
    """
    wanted = network.input_shape[2:]
    shapes = network.output_shapes
    names = list(shapes)
    lengths = [shape[-1] if len(shape) == 3 else None for shape in shapes.values()]
    points = {shape[1] for shape in shapes.values() if len(shape) == 3}
    sized = [side for side in wanted if isinstance(side, int)]
    if len(sized) == 2 and points == {_WHOLE_BODY}:
        height, width = sized
        if {"simcc_x", "simcc_y"} <= shapes.keys():
            orders = [(names.index("simcc_x"), names.index("simcc_y"))]
        else:
            orders = [(0, 1), (1, 0)] if len(names) == 2 else []
        for x, y in orders:
            across, down = lengths[x], lengths[y]
            if (
                isinstance(across, int)
                and isinstance(down, int)
                and across * height == down * width
            ):
                return PoseShape(width=width, height=height, bins=across / width), (x, y)
    found = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
    raise PoseError(
        f"{network.path} is no whole-body SimCC network: it takes {list(network.input_shape)} and "
        f"gives {found}; needed are {_WHOLE_BODY} points over bins of both axes, such as RTMW's "
        f"simcc_x [N, {_WHOLE_BODY}, 576] and simcc_y [N, {_WHOLE_BODY}, 768]"
    )


def _path(file: Path | None, folder: Path | None, pin: NetworkPin, option: str) -> Path:
    if file is not None:
        path = Path(file)
    elif folder is not None:
        path = Path(folder) / pin.name
    else:
        raise PoseError(
            f"DWPose needs its networks: give a folder with {DETECTOR.name} and {POSE.name}, or "
            f"the file itself as {option}; they are published as {REPOSITORY} ({LICENCE_NOTE})"
        )
    if not path.is_file():
        raise PoseError(
            f"DWPose's network {path} does not exist; fetch {pin.name} of {REPOSITORY} there, or "
            f"give its file as {option}"
        )
    return path


def _digest(path: Path, pin: NetworkPin, verify: bool) -> str:
    """The file's digest; PoseError where it has to be `pin` and is not."""
    if verify and path.stat().st_size != pin.size:
        raise PoseError(
            f"{path} is not the published {pin.name}: it has {path.stat().st_size:,} bytes "
            f"instead of {pin.size:,}; fetch it again"
        )
    digest = file_digest(path)
    if verify and digest != pin.sha256:
        raise PoseError(
            f"{path} is not the published {pin.name}: its sha256 is {digest} instead of "
            f"{pin.sha256}; fetch it again"
        )
    return digest
