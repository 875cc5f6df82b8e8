"""Small ONNX networks with the inputs and outputs of DWPose's, and a library like controlnet-aux.

The networks look at their input: a picture with something white in it shows two people whose
places and joints are known; another one shows nobody.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# Boxes in pixels of the 640 input: (left, top, right, bottom).
PEOPLE = ((96.0, 64.0, 288.0, 576.0), (352.0, 96.0, 544.0, 608.0))
WHITE = 200.0


def write_networks(folder: Path) -> tuple[Path, Path]:
    """The detector's and the pose network's files."""
    detector, pose = folder / "detector.onnx", folder / "pose.onnx"
    _write(detector, ("images", [1, 3, 640, 640]), {"output": _detections()}, WHITE)
    x, y = joint_bins()
    # The pose network sees the picture normalised; (200 - 116) / 57 and above is white.
    _write(pose, ("input", ["b", 3, 384, 288]), {"simcc_x": x, "simcc_y": y}, 1.6)
    return detector, pose


def write_simcc(
    path: Path, width: int, height: int, bins: int, names: tuple[str, str], points: int = 133
) -> Path:
    """A whole-body network of another size: each point's bins in the middle of its input."""
    outputs = {}
    for name, side in zip(names, (width, height), strict=True):
        values = np.zeros((1, points, side * bins), np.float32)
        values[..., side * bins // 2] = 0.8
        outputs[name] = values
    outputs = dict(sorted(outputs.items()))
    _write(path, ("input", ["b", 3, height, width]), outputs, 1.6)
    return path


def joint_bins() -> tuple[np.ndarray, np.ndarray]:
    """The pose network's outputs (1,133,576) and (1,133,768): one bin of each point is 0.9."""
    random = np.random.RandomState(5)
    x, y = np.zeros((1, 133, 576), np.float32), np.zeros((1, 133, 768), np.float32)
    for point in range(133):
        x[0, point, random.randint(150, 420)] = 0.9
        y[0, point, random.randint(60, 700)] = 0.95
    return x, y


def _detections() -> np.ndarray:
    """(1,8400,85) raw output: the two people, the first twice, a bicycle, and a doubtful person."""
    raw = np.zeros((1, 8400, 85), np.float32)
    shifted = tuple(v + 6 for v in PEOPLE[0])
    boxes = (*PEOPLE, shifted, (400, 20, 500, 120), (10, 10, 60, 60))
    for (left, top, right, bottom), kind, score in zip(
        boxes, (0, 0, 0, 1, 0), (0.9, 0.8, 0.85, 0.9, 0.25), strict=True
    ):
        column, row = int((left + right) / 64), int((top + bottom) / 64)
        cell = 8000 + row * 20 + column
        while raw[0, cell, 4]:  # two boxes of one cell: any other cell may state the second
            cell, column = cell + 1, column + 1
        raw[0, cell, :2] = (left + right) / 64 - column, (top + bottom) / 64 - row
        raw[0, cell, 2:4] = np.log(((right - left) / 32, (bottom - top) / 32))
        raw[0, cell, 4], raw[0, cell, 5 + kind] = 1, score
    return raw


def _write(
    path: Path, source: tuple[str, list], outputs: dict[str, np.ndarray], white: float
) -> None:
    """A network that gives `outputs` where its input's maximum is above `white`, else zeros."""
    name, shape = source
    nodes = [
        helper.make_node("ReduceMax", [name], ["most"], keepdims=0),
        helper.make_node("Greater", ["most", "white"], ["seen"]),
        helper.make_node("Cast", ["seen"], ["factor"], to=TensorProto.FLOAT),
    ]
    constants = [numpy_helper.from_array(np.float32(white), "white")]
    infos = []
    for key, values in outputs.items():
        constants.append(numpy_helper.from_array(values, f"{key}_values"))
        nodes.append(helper.make_node("Mul", [f"{key}_values", "factor"], [key]))
        infos.append(helper.make_tensor_value_info(key, TensorProto.FLOAT, list(values.shape)))
    graph = helper.make_graph(
        nodes,
        "stand_in",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
        infos,
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def controlnet_aux_modules() -> dict[str, ModuleType]:
    """Modules that answer to the names of controlnet-aux and its stack."""
    modules = {
        name: ModuleType(name)
        for name in ("controlnet_aux", "controlnet_aux.dwpose", "mmcv", "mmdet", "mmpose")
    }
    for name, module in modules.items():
        module.__spec__ = importlib_spec(name)
    modules["controlnet_aux.dwpose"].DWposeDetector = DWposeDetector  # type: ignore[attr-defined]
    return modules


def importlib_spec(name: str):
    from importlib.machinery import ModuleSpec

    return ModuleSpec(name, loader=None)


class DWposeDetector:
    """As the library's: `pose_estimation` takes a BGR frame and gives 134 points and scores."""

    def __init__(self, *, det_ckpt: str, pose_ckpt: str, device: str) -> None:
        if device == "broken":
            raise RuntimeError("no such device")
        self.loaded = (det_ckpt, pose_ckpt, device)

    def pose_estimation(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        white = float(frame.max() > WHITE)
        blue = frame[..., 0].mean()
        points = np.random.RandomState(3).uniform(0, min(frame.shape[:2]), (2, 134, 2))
        points[0, 0, 0] = blue  # whoever mixes up the colours gets another place
        return points, np.full((2, 134), 0.9 * white)
