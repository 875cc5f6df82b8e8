"""onnxruntime sessions: which provider, how many threads, and the files' digests.

Threads were measured on two cores (onnxruntime 1.32, milliseconds a run, one thread / two):
pose detector 12.0/6.2, body landmarks 8.8/5.4, hand 8.2/4.0, hand region 3.0/2.3, face 5.0/3.9,
face detector 1.5/1.2; a frame with all of them 50/31. Two frames at a time on one thread each
take 25 ms a frame, so a session gets one thread and `pose.extract` keeps the cores busy with
frames. A session may be run from several threads at once; with one thread it computes on the
caller's own.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from pose.errors import PoseError
from pose.kinds import Device

_PROVIDERS: dict[str, str] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_THREADS = 1


def runtime() -> Any:
    """The onnxruntime module, its telemetry off unless the user decided.

    It reads the switch when it is imported: left on, it writes a device id and a database of
    events into the user's cache.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


class Network:
    """One ONNX network on one device, called with its single input.

    `provider` says which onnxruntime provider really runs it.
    """

    def __init__(self, path: Path, *, device: str = "cpu") -> None:
        """Open `path` on "cpu", "cuda" or "cuda:N"; PoseError where it is no network or the device
        is not there."""
        self.path = path
        ort = runtime()
        options = ort.SessionOptions()
        options.intra_op_num_threads = _THREADS
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # warnings about shapes that the exporter left open
        try:
            self._session = ort.InferenceSession(str(path), options, providers=[provider(device)])
        except PoseError:
            raise
        except Exception as error:  # onnxruntime's own errors share no base class
            raise PoseError(f"{path} cannot be opened as an ONNX network: {error}") from error
        self.provider: str = self._session.get_providers()[0]
        if self.provider != provider_name(device):
            # onnxruntime falls back to the CPU with no more than a log line.
            raise PoseError(
                f"{path.name} was to run on {device}, but onnxruntime chose {self.provider}; "
                "the driver, or CUDA or cuDNN of the version that it was built for, is missing "
                "(pip install 'onnxruntime-gpu[cuda,cudnn]' brings both); or ask for the cpu"
            )
        self._input: str = self._session.get_inputs()[0].name

    @property
    def input_shape(self) -> tuple[int | str, ...]:
        """The declared input shape; open sizes are names."""
        return tuple(self._session.get_inputs()[0].shape)

    @property
    def output_shapes(self) -> dict[str, tuple[int | str | None, ...]]:
        """The declared shape of each output by its name, in the network's order."""
        return {each.name: tuple(each.shape) for each in self._session.get_outputs()}

    def __call__(self, values: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Every output, in the network's order."""
        return list(self._session.run(None, {self._input: values}))


def provider(device: str) -> tuple[str, dict[str, str]]:
    """The onnxruntime provider of a device and its options; on CUDA with torch's libraries loaded,
    or those of NVIDIA's packages. Raises as `provider_name`."""
    name = provider_name(device)
    if name == _PROVIDERS["cpu"]:
        return name, {}
    ort = runtime()
    if hasattr(ort, "preload_dlls"):  # from onnxruntime 1.21 on
        ort.preload_dlls()
    return name, {"device_id": device.partition(":")[2] or "0"}


def provider_name(device: str) -> str:
    """The onnxruntime provider of `device`; PoseError where this installation has none."""
    kind, _, number = device.partition(":")
    if kind not in get_args(Device) or (number and not (kind == "cuda" and number.isdigit())):
        raise PoseError(f"unknown device {device!r} for pose networks; choose cpu or cuda")
    name = _PROVIDERS[kind]
    available = runtime().get_available_providers()
    if name not in available:
        raise PoseError(
            f"pose networks were to run on {device}, but this onnxruntime has only "
            f"{', '.join(available)}; both packages write the same folder, so replace the one: "
            "pip uninstall -y onnxruntime onnxruntime-gpu && pip install "
            "'onnxruntime-gpu[cuda,cudnn]'; or ask for the cpu"
        )
    return name


def file_digest(path: Path) -> str:
    """sha256 of a file in hexadecimal; PoseError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PoseError(f"the pose network {path} cannot be read: {error.strerror}") from error


def settings_digest(*parts: object) -> str:
    """A digest of `parts` (file digests, options), short enough to read."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
