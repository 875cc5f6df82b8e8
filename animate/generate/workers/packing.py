"""Networks and clips as something that travels: bytes, and arrays beside them.

Tensors leave the pickle as plain arrays, so that an object store can hold each of them once for
all workers of a machine, and a worker's network can lie right in that memory without a copy.
"""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from animate.driving.skeletons import ControlFrames, DrawnSkeletons
from animate.errors import InternalError
from animate.generate.network import ClipWork
from animate.models.components import Components


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Anything picklable, its tensors apart."""

    pickled: bytes
    """Everything but the tensors."""
    arrays: tuple[np.ndarray, ...]
    """Bytes of each tensor, (n,) uint8."""
    kinds: tuple[tuple[str, tuple[int, ...], bool], ...]
    """Torch type of each tensor by name, its shape, and True for a parameter."""

    @property
    def size(self) -> int:
        """Bytes in all."""
        return len(self.pickled) + sum(array.nbytes for array in self.arrays)


def pack(value: Any) -> Packed:
    """`value` for another process. Tensors on a device come to the host."""
    stream = io.BytesIO()
    pickler = _Pickler(stream, protocol=5)
    pickler.dump(value)
    tensors = pickler.tensors
    return Packed(
        pickled=stream.getvalue(),
        arrays=tuple(_bytes(tensor) for tensor in tensors),
        kinds=tuple(
            (str(t.dtype).removeprefix("torch."), tuple(t.shape), isinstance(t, nn.Parameter))
            for t in tensors
        ),
    )


def unpack(packed: Packed) -> Any:
    """The packed value. Its tensors lie in the arrays: they must not be changed in place."""
    tensors = [
        _tensor(array, *kind) for array, kind in zip(packed.arrays, packed.kinds, strict=True)
    ]
    return _Unpickler(io.BytesIO(packed.pickled), tensors).load()


class _Pickler(pickle.Pickler):
    def __init__(self, stream: io.BytesIO, protocol: int) -> None:
        super().__init__(stream, protocol)
        self.tensors: list[Tensor] = []
        self._numbers: dict[int, int] = {}

    def persistent_id(self, value: Any) -> int | None:
        """A tensor's number; tensors that are the same one stay so."""
        if not isinstance(value, Tensor):
            return None
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self.tensors)
            self.tensors.append(value)
        return self._numbers[id(value)]


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, tensors: Sequence[Tensor]) -> None:
        super().__init__(stream)
        self._tensors = tensors

    def persistent_load(self, number: Any) -> Tensor:
        return self._tensors[number]


def _bytes(tensor: Tensor) -> np.ndarray:
    if type(tensor) not in (Tensor, nn.Parameter) or tensor.layout != torch.strided:
        raise InternalError(f"a {type(tensor).__name__} cannot travel to a worker")
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()


def _tensor(array: np.ndarray, kind: str, shape: tuple[int, ...], parameter: bool) -> Tensor:
    dtype = getattr(torch, kind)
    if not array.size:
        tensor = torch.empty(shape, dtype=dtype)
    else:
        with warnings.catch_warnings():
            # An object store's memory cannot be written to, and inference does not.
            warnings.simplefilter("ignore", UserWarning)
            tensor = torch.from_numpy(array).view(dtype).view(shape)
    return nn.Parameter(tensor, requires_grad=False) if parameter else tensor


def networks_of(parts: Components) -> Components:
    """The part of a model that a worker needs: the UNet, its processors and the control network."""
    return replace(
        parts,
        vae=None,
        image_encoder=None,
        scheduler=None,
        reference_unet=None,
        face_encoder=None,
        reports=(),
    )


def portable(work: ClipWork) -> ClipWork:
    """The same work without anything that is tied to this process."""
    skeletons = work.control.skeletons
    if isinstance(skeletons, DrawnSkeletons):  # keypoints, a few KiB a frame
        return work
    pictures = [skeletons.picture(frame) for frame in range(len(skeletons))]
    return replace(work, control=ControlFrames(PackedSkeletons(skeletons.fps, pictures)))


class PackedSkeletons:
    """Rendered skeletons, compressed without loss: they are mostly black."""

    def __init__(self, fps: Fraction, pictures: Sequence[np.ndarray]) -> None:
        """`pictures` are (H,W,3) uint8 RGB."""
        self.fps = fps
        self._files = [cv2.imencode(".png", picture)[1].tobytes() for picture in pictures]

    def __len__(self) -> int:
        return len(self._files)

    def picture(self, frame: int) -> np.ndarray:
        """See `Skeletons`."""
        file = np.frombuffer(self._files[frame], np.uint8)
        picture = cv2.imdecode(file, cv2.IMREAD_COLOR)  # colours stay in the order they came in
        assert picture is not None
        return np.asarray(picture)
