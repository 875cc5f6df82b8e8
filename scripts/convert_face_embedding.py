"""Make animate/evaluation/networks/face_embedding.onnx (development only; the result is committed).

    npm pack @vladmandic/face-api@1.7.15 && tar xzf vladmandic-face-api-1.7.15.tgz
    python scripts/convert_face_embedding.py package/model OUTPUT.onnx

The source is the face recognition network of dlib (a residual network of 29 layers, 128 values a
face) in the layout of TensorFlow.js: 8-bit weights with a scale and a minimum. They stay 8-bit in
the ONNX file; the scale layers behind each convolution are folded into its weights and bias.

The network takes (N,150,150,3) uint8 RGB faces and returns (N,128) float32.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

MEAN_RGB = (122.782, 117.001, 104.298)
"""Published constant: the mean colour of the training faces."""
BLOCKS = (
    *("conv32_1", "conv32_2", "conv32_3"),
    *("conv64_down", "conv64_1", "conv64_2", "conv64_3"),
    *("conv128_down", "conv128_1", "conv128_2"),
    *("conv256_down", "conv256_1", "conv256_2", "conv256_down_out"),
)
OPSET, IR_VERSION = 13, 8


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """One tensor of a TensorFlow.js folder."""

    shape: tuple[int, ...]
    data: bytes
    scale: float | None
    """Size of a level; None for single precision."""
    least: float
    """Value of level 0."""

    def levels(self) -> NDArray[np.uint8]:
        """The levels of an 8-bit tensor."""
        return np.frombuffer(self.data, np.uint8).reshape(self.shape)


class Tensors:
    """The tensors of a TensorFlow.js folder, by name."""

    def __init__(self, folder: Path) -> None:
        manifest = json.loads((folder / "face_recognition_model-weights_manifest.json").read_text())
        data = (folder / "face_recognition_model.bin").read_bytes()
        self._tensors: dict[str, StoredTensor] = {}
        offset = 0
        for entry in manifest[0]["weights"]:
            quantised = entry.get("quantization", {})
            length = int(np.prod(entry["shape"])) * (1 if quantised else 4)
            self._tensors[entry["name"]] = StoredTensor(
                shape=tuple(entry["shape"]),
                data=data[offset : offset + length],
                scale=quantised.get("scale"),
                least=quantised.get("min", 0.0),
            )
            offset += length
        assert offset == len(data), f"{len(data) - offset} bytes are left over"

    def levels(self, name: str) -> tuple[NDArray[np.uint8], float, int] | None:
        """(levels, scale, zero point) of an 8-bit tensor; None of one in single precision."""
        tensor = self._tensors[name]
        if tensor.scale is None:
            return None
        return tensor.levels(), tensor.scale, round(-tensor.least / tensor.scale)

    def values(self, name: str) -> NDArray[np.float32]:
        """The tensor in single precision."""
        tensor = self._tensors[name]
        if tensor.scale is None:
            return np.frombuffer(tensor.data, "<f4").reshape(tensor.shape)
        levels = tensor.levels() * np.float32(tensor.scale) + np.float32(tensor.least)
        return levels.astype(np.float32)


class Graph:
    """An ONNX graph that grows node by node."""

    def __init__(self, tensors: Tensors) -> None:
        self.tensors = tensors
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, values: NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        output = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def convolution(self, picture: str, layer: str, *, down: bool = False) -> str:
        """A convolution with the scale layer behind it folded in."""
        factor = self.tensors.values(f"{layer}/scale/weights")
        shift = self.tensors.values(f"{layer}/scale/biases")
        bias = self.tensors.values(f"{layer}/conv/bias") * factor + shift
        weights = self._filters(layer, factor)
        padding = {} if down else {"pads": [1, 1, 1, 1]}
        stride = 2 if down else 1
        return self.node(
            "Conv",
            picture,
            weights,
            self.constant(f"{layer}.bias", bias),
            strides=[stride, stride],
            **padding,
        )

    def _filters(self, layer: str, factor: NDArray[np.float32]) -> str:
        quantised = self.tensors.levels(f"{layer}/conv/filters")
        if quantised is None:  # height, width, input, output -> output, input, height, width
            values = (self.tensors.values(f"{layer}/conv/filters") * factor).transpose(3, 2, 0, 1)
            return self.constant(f"{layer}.filters", values)
        levels, scale, zero = quantised
        return self.node(
            "DequantizeLinear",
            self.constant(f"{layer}.filters", levels.transpose(3, 2, 0, 1)),
            self.constant(f"{layer}.scale", (factor * np.float32(scale)).astype(np.float32)),
            self.constant(f"{layer}.zero", np.full(len(factor), zero, np.uint8)),
            axis=0,
        )

    def block(self, picture: str, name: str, channels: tuple[int, int], side: int) -> str:
        """A residual block; one that halves the picture repeats it by means of 2x2 pixels."""
        down = channels[0] != channels[1] or name.endswith("out")
        inner = self.node("Relu", self.convolution(picture, f"{name}/conv1", down=down))
        inner = self.convolution(inner, f"{name}/conv2")
        if down:
            picture = self.node("AveragePool", picture, kernel_shape=[2, 2], strides=[2, 2])
            inside, pooled = (side - 3) // 2 + 1, side // 2
            inner = self._padded(inner, name + ".inner", 0, pooled - inside)
            picture = self._padded(picture, name + ".outer", channels[1] - channels[0], 0)
        return self.node("Relu", self.node("Add", picture, inner))

    def _padded(self, picture: str, name: str, channels: int, pixels: int) -> str:
        if not channels and not pixels:
            return picture
        pads = np.array([0, 0, 0, 0, 0, channels, pixels, pixels], np.int64)
        return self.node("Pad", picture, self.constant(f"{name}.pads", pads))


def convert(folder: Path) -> onnx.ModelProto:
    """The network of a TensorFlow.js folder as ONNX."""
    graph = Graph(Tensors(folder))
    picture = graph.node("Cast", "faces", to=TensorProto.FLOAT)
    picture = graph.node("Sub", picture, graph.constant("mean", np.array(MEAN_RGB, np.float32)))
    picture = graph.node("Div", picture, graph.constant("levels", np.array(255, np.float32)))
    picture = graph.node("Transpose", picture, perm=[0, 3, 1, 2])
    picture = graph.node("Relu", graph.convolution(picture, "conv32_down", down=True))
    picture = graph.node("MaxPool", picture, kernel_shape=[3, 3], strides=[2, 2])
    channels, side = 32, ((150 - 7) // 2 + 1 - 3) // 2 + 1
    for name in BLOCKS:
        width = int(name.removeprefix("conv").split("_")[0])
        picture = graph.block(picture, name, (channels, width), side)
        if "down" in name:
            side //= 2
        channels = width
    picture = graph.node("ReduceMean", picture, axes=[2, 3], keepdims=0)
    last = graph.constant("fc", graph.tensors.values("fc").astype(np.float32))
    graph.nodes.append(helper.make_node("MatMul", [picture, last], ["embeddings"]))
    body = helper.make_graph(
        graph.nodes,
        "face_embedding",
        [helper.make_tensor_value_info("faces", TensorProto.UINT8, ["N", 150, 150, 3])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["N", 128])],
        graph.constants,
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    folder, output = map(Path, sys.argv[1:])
    onnx.save(convert(folder), str(output))
    print(f"{output}: {output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
