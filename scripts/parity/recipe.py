"""Weights and inputs that are a function of their names, so that vectors need to hold none.

Two networks whose state dicts agree in names and shapes get the same weights. numpy's legacy
generator is used because its stream is frozen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def array(shape: Sequence[int], name: str, salt: str = "") -> NDArray[np.float32]:
    """Standard normal float32 numbers of this shape; the seed is the CRC-32 of `salt:name`."""
    generator = np.random.RandomState(crc32(f"{salt}:{name}".encode()))
    return generator.standard_normal(tuple(shape)).astype(np.float32)


def fill(network: Network, salt: str = "") -> Network:
    """Set every floating-point tensor of the state dict from its own name; returns `network`.

    Single numbers get half a normal number; matrices and kernels a variance of one over the number
    of inputs; vectors called `weight` 1 + a tenth; every other vector a twentieth. Weights on the
    meta device are made, in their own precision, without being initialised first.
    """
    tensors = {}
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point() and not name.endswith("position_ids"):
                values = torch.from_numpy(scaled(array(tensor.shape, name, salt), name))
                if tensor.is_meta:
                    tensors[name] = values.to(tensor.dtype)
                else:
                    tensor.copy_(values)
    network.load_state_dict(tensors, strict=False, assign=True)
    return network


def scaled(values: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """Normal numbers in the deviation that the kind of tensor has; see `fill`."""
    # The square root is a numpy double, the other factors are Python floats: that decides in which
    # precision the product is rounded.
    if values.size == 1:
        scaled = 0.5 * values
    elif values.ndim >= 2:
        scaled = values / np.sqrt(math.prod(values.shape[1:]))
    elif name.endswith("weight"):
        scaled = 1.0 + 0.1 * values
    else:
        scaled = 0.05 * values
    # numpy turns a single number into a scalar without a shape.
    return np.asarray(scaled, dtype=np.float32).reshape(values.shape)


def sigmoid(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logistic function, element by element, in the input's precision."""
    tensor: Tensor = torch.from_numpy(values)
    return tensor.sigmoid().numpy()
