"""Make pose/networks/*.onnx from a mediapipe wheel (development only; the result is committed).

    python -m venv convert && convert/bin/pip install ai-edge-litert tflite onnx onnxruntime
    convert/bin/pip download --no-deps mediapipe==0.10.21
    convert/bin/python scripts/convert_blazepose.py mediapipe-0.10.21-*.whl OUTPUT_FOLDER

Each TensorFlow Lite graph is rewritten operator by operator as ONNX (channels first inside,
weights stored in half precision and computed in single), run beside the original on the same
random picture, and refused where they differ by more than 0.1 % of the output's range.

With --compare pose/networks the result is also run beside the committed networks, and has to give
the same bits. (The files themselves need not be the same bytes: names inside are counted.)

Legend: the wheel's tensors are NHWC, those inside the ONNX graph NCHW, its inputs and outputs NHWC.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

# Path inside the wheel, and which of the graph's outputs are kept (not the body's coordinates in
# metres; its segmentation mask is a network of its own, since few frames want one).
NETWORKS: dict[str, tuple[str, tuple[int, ...]]] = {
    "pose_detection": ("pose_detection/pose_detection", (0, 1)),
    "pose_landmark_full": ("pose_landmark/pose_landmark_full", (0, 1, 3)),
    "person_mask": ("pose_landmark/pose_landmark_full", (2,)),
    "hand_recrop": ("holistic_landmark/hand_recrop", (0,)),
    "hand_landmark_full": ("hand_landmark/hand_landmark_full", (0, 1, 2, 3)),
    "face_detection_short_range": ("face_detection/face_detection_short_range", (0, 1)),
    "face_landmark": ("face_landmark/face_landmark", (0, 1)),
}
OPSET, IR_VERSION = 13, 8
_TOLERANCE = 1e-3
_SMALL = 16  # values; constants up to this many stay in single precision


class Conversion:
    """One TensorFlow Lite graph on its way to ONNX."""

    def __init__(self, path: Path) -> None:
        import tflite
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self.tflite = tflite
        # Default delegates fold the half-precision and sparse weights away: they would read as 0.
        self.interpreter = Interpreter(
            str(path),
            num_threads=1,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        self.interpreter.allocate_tensors()
        for detail in self.interpreter.get_input_details():
            self.interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], np.float32))
        self.interpreter.invoke()
        self.model = tflite.Model.GetRootAsModel(path.read_bytes(), 0)
        self.graph = self.model.Subgraphs(0)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.names: dict[int, str] = {}
        self.count = 0

    def convert(self, keep: Sequence[int]) -> onnx.ModelProto:
        """The model with the outputs `keep`, named out0 and so on by their place."""
        codes = {v: k for k, v in vars(self.tflite.BuiltinOperator).items() if isinstance(v, int)}
        source = int(self.graph.Inputs(0))
        self.names[source] = self.add("Transpose", ["input"], perm=[0, 3, 1, 2])
        for index in range(self.graph.OperatorsLength()):
            operator = self.graph.Operators(index)
            code = self.model.OperatorCodes(operator.OpcodeIndex())
            kind = codes[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
            if kind in ("DEQUANTIZE", "DENSIFY"):
                continue  # a weight: read from the interpreter where it is used
            rewrite: Callable[..., str] | None = getattr(self, f"op_{kind.lower()}", None)
            if rewrite is None:
                raise SystemExit(f"no rule for the operator {kind}")
            inputs = [int(tensor) for tensor in operator.InputsAsNumpy()]
            output = int(operator.Outputs(0))
            self.names[output] = rewrite(operator, inputs, output)
        return self.finished(source, keep)

    def finished(self, source: int, keep: Sequence[int]) -> onnx.ModelProto:
        outputs = []
        for place in keep:
            tensor, name = int(self.graph.Outputs(place)), f"out{place}"
            perm = {"perm": [0, 2, 3, 1]} if len(self.shape(tensor)) == 4 else {}
            kind = "Transpose" if perm else "Identity"
            self.nodes.append(helper.make_node(kind, [self.names[tensor]], [name], **perm))
            outputs.append(
                helper.make_tensor_value_info(name, TensorProto.FLOAT, self.shape(tensor))
            )
        shape = self.shape(source)
        graph = helper.make_graph(
            self.needed({f"out{place}" for place in keep}),
            "blazepose",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
            outputs,
        )
        used = {name for node in graph.node for name in node.input}
        graph.initializer.extend(each for each in self.constants if each.name in used)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
        )
        model.producer_name = "cnx-animate"
        onnx.checker.check_model(model)
        return model

    def needed(self, wanted: set[str]) -> list[onnx.NodeProto]:
        """The nodes, in order, that lead to the names `wanted`."""
        kept = []
        for node in reversed(self.nodes):
            if wanted & set(node.output):
                wanted |= set(node.input)
                kept.append(node)
        return kept[::-1]

    # Parts of a graph

    def shape(self, tensor: int) -> list[int]:
        dimensions = self.graph.Tensors(tensor).ShapeAsNumpy()
        return [] if isinstance(dimensions, int) else [int(size) for size in dimensions]

    def value(self, tensor: int) -> NDArray[Any]:
        return np.asarray(self.interpreter.get_tensor(tensor))

    def weight(self, tensor: int) -> NDArray[np.float32]:
        return np.asarray(self.value(tensor), np.float32)

    def options(self, operator: Any, name: str) -> Any:
        table, found = operator.BuiltinOptions(), getattr(self.tflite, name)()
        found.Init(table.Bytes, table.Pos)
        return found

    def new(self) -> str:
        self.count += 1
        return f"t{self.count}"

    def add(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        name = self.new()
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, values: Any) -> str:
        array, name = np.asarray(values), self.new()
        if array.dtype == np.float32 and array.size > _SMALL:
            self.constants.append(numpy_helper.from_array(array.astype(np.float16), name))
            return self.add("Cast", [name], to=TensorProto.FLOAT)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def integers(self, values: Any) -> str:
        return self.constant(np.asarray(values, np.int64).ravel())

    def tensor(self, index: int) -> str:
        """The name of a tensor; a constant one is added when first used."""
        if index not in self.names:
            array = self.weight(index)
            self.names[index] = self.constant(
                array.transpose(0, 3, 1, 2) if array.ndim == 4 else array
            )
        return self.names[index]

    def activated(self, name: str, code: int) -> str:
        kinds = self.tflite.ActivationFunctionType
        if code == kinds.NONE:
            return name
        if code == kinds.RELU:
            return self.add("Relu", [name])
        if code == kinds.RELU6:
            limits = [self.constant(np.float32(limit)) for limit in (0, 6)]
            return self.add("Clip", [name, *limits])
        raise SystemExit(f"no rule for the activation {code}")

    def padding(self, code: int, sizes: Sequence[tuple[int, int, int]]) -> list[int]:
        """ONNX pads of (length, extent of the kernel, stride) along height and width."""
        if code != self.tflite.Padding.SAME:
            return [0, 0, 0, 0]
        total = [max((-(-n // step) - 1) * step + extent - n, 0) for n, extent, step in sizes]
        return [each // 2 for each in total] + [each - each // 2 for each in total]

    # Operators, in the order of their names; each returns the name of its output

    def op_add(self, operator: Any, inputs: list[int], output: int) -> str:
        total = self.add("Add", [self.tensor(each) for each in inputs])
        code = self.options(operator, "AddOptions").FusedActivationFunction()
        return self.activated(total, code)

    def op_concatenation(self, operator: Any, inputs: list[int], output: int) -> str:
        rank = len(self.shape(output))
        axis = self.options(operator, "ConcatenationOptions").Axis() % rank
        axis = (0, 2, 3, 1)[axis] if rank == 4 else axis
        return self.add("Concat", [self.tensor(each) for each in inputs], axis=axis)

    def op_conv_2d(self, operator: Any, inputs: list[int], output: int) -> str:
        kernel = self.weight(inputs[1]).transpose(0, 3, 1, 2)
        return self.convolution(self.options(operator, "Conv2DOptions"), inputs, kernel, 1)

    def op_depthwise_conv_2d(self, operator: Any, inputs: list[int], output: int) -> str:
        kernel = self.weight(inputs[1]).transpose(3, 0, 1, 2)
        options = self.options(operator, "DepthwiseConv2DOptions")
        return self.convolution(options, inputs, kernel, self.shape(inputs[0])[3])

    def convolution(
        self, options: Any, inputs: list[int], kernel: NDArray[np.float32], groups: int
    ) -> str:
        height, width = self.shape(inputs[0])[1:3]
        strides = [options.StrideH(), options.StrideW()]
        dilations = [options.DilationHFactor(), options.DilationWFactor()]
        extents = [(k - 1) * d + 1 for k, d in zip(kernel.shape[2:], dilations, strict=True)]
        sources = [self.tensor(inputs[0]), self.constant(kernel)]
        if len(inputs) > 2 and inputs[2] >= 0:
            sources.append(self.constant(self.weight(inputs[2])))
        sizes = list(zip((height, width), extents, strides, strict=True))
        result = self.add(
            "Conv",
            sources,
            kernel_shape=list(kernel.shape[2:]),
            strides=strides,
            dilations=dilations,
            group=groups,
            pads=self.padding(options.Padding(), sizes),
        )
        return self.activated(result, options.FusedActivationFunction())

    def op_depth_to_space(self, operator: Any, inputs: list[int], output: int) -> str:
        block = self.options(operator, "DepthToSpaceOptions").BlockSize()
        return self.add("DepthToSpace", [self.tensor(inputs[0])], blocksize=block, mode="DCR")

    def op_fully_connected(self, operator: Any, inputs: list[int], output: int) -> str:
        matrix = self.weight(inputs[1])
        shape = self.integers([-1, matrix.shape[1]])
        flat = self.add("Reshape", [self.tensor(inputs[0]), shape])
        sources = [flat, self.constant(matrix)]
        if len(inputs) > 2 and inputs[2] >= 0:
            sources.append(self.constant(self.weight(inputs[2])))
        result = self.add("Gemm", sources, transB=1)
        options = self.options(operator, "FullyConnectedOptions")
        return self.activated(result, options.FusedActivationFunction())

    def op_logistic(self, operator: Any, inputs: list[int], output: int) -> str:
        return self.add("Sigmoid", [self.tensor(inputs[0])])

    def op_max_pool_2d(self, operator: Any, inputs: list[int], output: int) -> str:
        options = self.options(operator, "Pool2DOptions")
        kernel = [options.FilterHeight(), options.FilterWidth()]
        strides = [options.StrideH(), options.StrideW()]
        sizes = list(zip(self.shape(inputs[0])[1:3], kernel, strides, strict=True))
        return self.add(
            "MaxPool",
            [self.tensor(inputs[0])],
            kernel_shape=kernel,
            strides=strides,
            pads=self.padding(options.Padding(), sizes),
        )

    def op_mean(self, operator: Any, inputs: list[int], output: int) -> str:
        places = {0: 0, 1: 2, 2: 3, 3: 1}
        axes = [places[int(axis)] for axis in self.value(inputs[1]).ravel()]
        keep = int(self.options(operator, "ReducerOptions").KeepDims())
        return self.add("ReduceMean", [self.tensor(inputs[0])], axes=axes, keepdims=keep)

    def op_pad(self, operator: Any, inputs: list[int], output: int) -> str:
        pairs = self.value(inputs[1])
        pairs = pairs[[0, 3, 1, 2]] if len(pairs) == 4 else pairs
        pads = self.integers(np.concatenate([pairs[:, 0], pairs[:, 1]]))
        return self.add("Pad", [self.tensor(inputs[0]), pads])

    def op_prelu(self, operator: Any, inputs: list[int], output: int) -> str:
        slope = self.constant(self.weight(inputs[1]).reshape(-1, 1, 1))
        return self.add("PRelu", [self.tensor(inputs[0]), slope])

    def op_relu(self, operator: Any, inputs: list[int], output: int) -> str:
        return self.add("Relu", [self.tensor(inputs[0])])

    def op_reshape(self, operator: Any, inputs: list[int], output: int) -> str:
        source, shape = self.tensor(inputs[0]), self.shape(output)
        if len(self.shape(inputs[0])) == 4:
            source = self.add("Transpose", [source], perm=[0, 2, 3, 1])
        result = self.add("Reshape", [source, self.integers(shape)])
        return self.add("Transpose", [result], perm=[0, 3, 1, 2]) if len(shape) == 4 else result

    def op_resize_bilinear(self, operator: Any, inputs: list[int], output: int) -> str:
        options = self.options(operator, "ResizeBilinearOptions")
        mode = "half_pixel" if options.HalfPixelCenters() else "asymmetric"
        mode = "align_corners" if options.AlignCorners() else mode
        batch, _, _, channels = self.shape(inputs[0])
        sizes = self.integers([batch, channels, *self.shape(output)[1:3]])
        return self.add(
            "Resize",
            [self.tensor(inputs[0]), "", "", sizes],
            mode="linear",
            coordinate_transformation_mode=mode,
        )

    def op_strided_slice(self, operator: Any, inputs: list[int], output: int) -> str:
        options, shape = self.options(operator, "StridedSliceOptions"), self.shape(inputs[0])
        begin, end, step = (self.value(each).astype(np.int64).ravel() for each in inputs[1:4])
        whole = np.arange(len(shape))
        begin = np.where(options.BeginMask() >> whole & 1, 0, begin)
        end = np.where(options.EndMask() >> whole & 1, shape, end)
        axes = [0, 2, 3, 1] if len(shape) == 4 else whole
        limits = [self.integers(each) for each in (begin, end, axes, step)]
        return self.add("Slice", [self.tensor(inputs[0]), *limits])


def difference(original: Path, model: onnx.ModelProto, keep: Sequence[int]) -> float:
    """The largest difference of the outputs on one random picture, as a part of their range."""
    from pose.estimators.sessions import runtime

    onnxruntime = runtime()
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(original), num_threads=1)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]
    picture = np.random.RandomState(0).rand(*source["shape"]).astype(np.float32)
    interpreter.set_tensor(source["index"], picture)
    interpreter.invoke()
    details = interpreter.get_output_details()
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    worst = 0.0
    for place, ours in zip(keep, session.run(None, {"input": picture}), strict=True):
        theirs = interpreter.get_tensor(details[place]["index"]).reshape(ours.shape)
        span = max(float(np.abs(theirs).max()), 1.0)
        worst = max(worst, float(np.abs(ours - theirs).max()) / span)
    return worst


def same_bits(model: onnx.ModelProto, committed: Path) -> bool:
    """True if both give the same bits for one random picture."""
    from pose.estimators.sessions import runtime

    onnxruntime = runtime()

    outputs = []
    for source in (model.SerializeToString(), str(committed)):
        session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
        shape = session.get_inputs()[0].shape
        picture = np.random.RandomState(1).rand(*shape).astype(np.float32)
        outputs.append(session.run(None, {"input": picture}))
    return len(outputs[0]) == len(outputs[1]) and all(map(np.array_equal, *outputs))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Convert the embedded pose networks to ONNX.")
    parser.add_argument("wheel", type=Path, help="mediapipe 0.10.21, as pip downloads it")
    parser.add_argument("output", type=Path, help="folder for the seven .onnx files")
    parser.add_argument("--compare", type=Path, help="folder with the committed networks")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    differing = 0
    with zipfile.ZipFile(options.wheel) as wheel, tempfile.TemporaryDirectory() as folder:
        for name, (inside, keep) in NETWORKS.items():
            path = Path(wheel.extract(f"mediapipe/modules/{inside}.tflite", folder))
            model = Conversion(path).convert(keep)
            apart = difference(path, model, keep)
            print(f"{name}: {model.ByteSize():,} bytes, differs by {apart:.1e} of the range")
            if apart > _TOLERANCE:
                print(f"{name} is not the same network; nothing was written", file=sys.stderr)
                return 1
            if options.compare is not None:
                same = same_bits(model, options.compare / f"{name}.onnx")
                print(f"  {'the same bits as' if same else 'OTHER VALUES THAN'} the committed one")
                differing += not same
            (options.output / f"{name}.onnx").write_bytes(
                model.SerializeToString(deterministic=True)
            )
    return 1 if differing else 0


if __name__ == "__main__":
    raise SystemExit(main())
