"""Small ONNX networks in the layouts of a face detector and a face recogniser.

The detector sees a face of 24 x 24 pixels wherever a cell of 8 pixels is white: its score is the
mean of the cell's colours, brought through a step. The recogniser's vector is random sums of the
picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIDE, CROP, WIDTH = 64, 16, 8
"""Sides of the detector's and the recogniser's input, and the vector's width."""
DETECTOR, RECOGNISER = "detector.onnx", "recogniser.onnx"

Points = Sequence[tuple[float, float]]
FRONT: Points = ((-4, -4), (4, -4), (0, 0), (-3, 4), (3, 4))
PROFILE: Points = ((-4, -4), (-3, -4), (-8, 0), (-5, 4), (-4, 4))
"""Eyes, nose and corners of the mouth from a face's middle, in pixels."""


def write_face_networks(folder: Path, seed: int = 0, points: Points = FRONT) -> Path:
    """Write both into a folder, which is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    write_detector(folder / DETECTOR, points)
    write_recogniser(folder / RECOGNISER, seed)
    return folder


def write_detector(path: Path, points: Points = FRONT) -> None:
    """Nine outputs: scores, boxes and points at strides 8, 16 and 32, two anchors a cell."""
    nodes, constants = [], []
    outputs: dict[str, tuple[int, int]] = {}
    for stride in (8, 16, 32):
        rows = (SIDE // stride) ** 2
        # 1 where the mean of a cell is above 0.9 (white is 1 after normalising), for stride 8 only.
        kernel = np.zeros((2, 3, stride, stride), np.float32)
        if stride == 8:
            kernel[0] = 1 / (3 * stride**2)
        constants += [
            numpy_helper.from_array(kernel, f"kernel{stride}"),
            numpy_helper.from_array(np.array([-45.0, -50.0], np.float32), f"bias{stride}"),
            numpy_helper.from_array(np.array(50.0, np.float32), f"gain{stride}"),
            numpy_helper.from_array(np.array([rows * 2, 1], np.int64), f"flat{stride}"),
            numpy_helper.from_array(
                np.full((rows * 2, 4), 12 / stride, np.float32), f"box{stride}"
            ),
            numpy_helper.from_array(
                np.tile(np.float32(points).reshape(-1) / stride, (rows * 2, 1)),
                f"points{stride}",
            ),
        ]
        nodes += [
            helper.make_node(
                "Conv", ["input", f"kernel{stride}"], [f"mean{stride}"], strides=[stride, stride]
            ),
            helper.make_node("Mul", [f"mean{stride}", f"gain{stride}"], [f"scaled{stride}"]),
            helper.make_node(
                "Transpose", [f"scaled{stride}"], [f"last{stride}"], perm=[0, 2, 3, 1]
            ),
            helper.make_node("Add", [f"last{stride}", f"bias{stride}"], [f"moved{stride}"]),
            helper.make_node("Sigmoid", [f"moved{stride}"], [f"sure{stride}"]),
            helper.make_node("Reshape", [f"sure{stride}", f"flat{stride}"], [f"score_{stride}"]),
            helper.make_node("Identity", [f"box{stride}"], [f"bbox_{stride}"]),
            helper.make_node("Identity", [f"points{stride}"], [f"kps_{stride}"]),
        ]
        outputs |= {
            f"score_{stride}": (rows * 2, 1),
            f"bbox_{stride}": (rows * 2, 4),
            f"kps_{stride}": (rows * 2, 10),
        }
    ordered = [f"{kind}_{stride}" for kind in ("score", "bbox", "kps") for stride in (8, 16, 32)]
    _save(path, nodes, constants, (1, 3, SIDE, SIDE), {name: outputs[name] for name in ordered})


def write_recogniser(path: Path, seed: int = 0, width: int = WIDTH) -> None:
    """(1,width) of a picture (1,3,CROP,CROP)."""
    values = np.random.default_rng(seed).normal(size=(3 * CROP * CROP, width)) / CROP
    constants = [numpy_helper.from_array(values.astype(np.float32), "weights")]
    nodes = [
        helper.make_node("Flatten", ["input"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["vector"]),
    ]
    _save(path, nodes, constants, (1, 3, CROP, CROP), {"vector": (1, width)})


def picture_with_faces(*corners: tuple[int, int], side: int = SIDE) -> NDArray[np.uint8]:
    """(side,side,3): dark, with a white cell of 8 pixels at each corner (x, y)."""
    image = np.full((side, side, 3), 40, np.uint8)
    cv2.circle(image, (side // 2, side // 2), side // 3, (90, 30, 120), 3)
    for x, y in corners:
        image[y : y + 8, x : x + 8] = 255
    return image


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    constants: list[onnx.TensorProto],
    shape: tuple[int, ...],
    outputs: dict[str, tuple[int, int]],
) -> None:
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
