"""A CUDA card that is not there: torch's tensors have a device, a shape and a type, and no numbers.

Under FakeTensorMode every operation of a clip runs with device `cuda:N`. An operation on tensors of
two devices raises there; one on two floating types, which a card refuses, is looked for here; and
whatever makes the host wait for the card (a value that is read, a copy to the host) is counted.
"""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

_ONE_TYPE = {
    "convolution", "addmm", "mm", "bmm", "baddbmm", "linear", "native_group_norm",
    "native_layer_norm", "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention", "_scaled_dot_product_efficient_attention",
    "scaled_dot_product_attention", "_scaled_dot_product_attention_math", "cat",
}  # fmt: skip
"""Operations that a card does on tensors of one floating type only."""


class Watch(TorchDispatchMode):
    """Refuses mixed types, and counts what makes the host wait for the card."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.types: Counter[torch.dtype] = Counter()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None):
        kwargs = kwargs or {}
        name = operation.overloadpacket.__name__
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        if name in ("_local_scalar_dense", "is_nonzero"):
            self._look(tensors[0].device, name)
            return True if tensors[0].dtype == torch.bool else 1
        for tensor in tensors:
            if isinstance(tensor, FakeTensor):
                tensor.constant = None
        if name in _ONE_TYPE:
            kinds = {x.dtype for x in tensors if x.is_floating_point()}
            assert len(kinds) <= 1, f"{name} of {kinds} on {tensors[0].device}"
            if name == "convolution" and tensors[0].is_cuda:
                self.types.update(kinds)
        result = operation(*args, **kwargs)
        if name in ("_to_copy", "copy_"):
            source, target = (
                (tensors[0], result) if name == "_to_copy" else (tensors[1], tensors[0])
            )
            if source.is_cuda and not target.is_cuda:
                self._look(source.device, "copy to the host")
        return result

    def _look(self, device: torch.device, what: str) -> None:
        if device.type == "cuda":
            self.waits[f"{what} in {_own_function()}"] += 1


def _own_function() -> str:
    """Name of the innermost function of this project's packages."""
    frame: Any = sys._getframe()
    while frame is not None:
        if "/animate/" in frame.f_code.co_filename or "/temporal/" in frame.f_code.co_filename:
            return str(frame.f_code.co_name)
        frame = frame.f_back
    return "a test"


class _Event:
    def synchronize(self) -> None:
        """Nothing is queued."""


class _Stream:
    def __init__(self, *_: Any, **__: Any) -> None:
        """Any device."""

    def wait_stream(self, other: Any) -> None:
        """Nothing is queued."""

    def record_event(self) -> _Event:
        return _Event()


def _moved(tensor: FakeTensor, value: torch.Tensor) -> None:
    """`tensor.data = value`, which torch refuses between devices it has no code for."""
    assert (tensor.shape, tensor.dtype) == (value.shape, value.dtype)
    tensor.fake_device = value.device


def _indexed(tensor: torch.Tensor, key: Any) -> torch.Tensor:
    """Indexing of a tensor on the card, whose own code sets the current device first."""
    keys = list(key) if isinstance(key, tuple) else [key]
    if any(item is Ellipsis for item in keys):
        at = next(index for index, item in enumerate(keys) if item is Ellipsis)
        used = sum(item is not None and item is not Ellipsis for item in keys)
        keys[at : at + 1] = [slice(None)] * (tensor.ndim - used)
    dim = 0
    for item in keys:
        if item is None:
            tensor, dim = tensor.unsqueeze(dim), dim + 1
        elif isinstance(item, int):
            tensor = tensor.select(dim, item)
        elif isinstance(item, slice):
            if item != slice(None):
                tensor = torch.ops.aten.slice.Tensor(
                    tensor, dim, item.start, item.stop, item.step or 1
                )
            dim += 1
        else:
            index = torch.as_tensor(item)
            assert index.device.type == "cpu", "an index that lies on the card makes the host wait"
            tensor, dim = tensor.index_select(dim, index.to(tensor.device)), dim + 1
    return tensor


def _apply(module: nn.Module, change: Callable[[Any], Any], recurse: bool = True) -> nn.Module:
    """`nn.Module._apply`, which swaps tensors that must have no other owner."""
    for child in module.children():
        _apply(child, change)
    for name, parameter in module._parameters.items():
        if parameter is not None:
            module._parameters[name] = nn.Parameter(change(parameter), requires_grad=False)
    for name, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[name] = change(buffer)
    return module


def _contiguous(
    tensor: torch.Tensor, memory_format: torch.memory_format = torch.contiguous_format
) -> torch.Tensor:
    if tensor.is_contiguous(memory_format=memory_format):
        return tensor
    return torch.ops.aten.clone(tensor, memory_format=memory_format)


def _made_on_the_host(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """`torch.tensor`, whose own code makes a tensor on the card before any mode sees it."""

    def tensor(*values: Any, device: Any = None, **options: Any) -> torch.Tensor:
        here = make(*values, **options)
        if device is None or torch.device(device).type == "cpu":
            return here
        if isinstance(here, FakeTensor):
            here.constant = None
        return here.to(device)

    return tensor


@contextlib.contextmanager
def pretended_card(
    *, memory: int = 24 << 30, capability: tuple[int, int] = (8, 6), cards: int = 2
) -> Iterator[FakeTensorMode]:
    """Within it torch has that many cards; make and call networks within the mode it yields."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "is_available": lambda: True,
            "device_count": lambda: cards,
            "current_device": lambda: 0,
            "get_device_capability": lambda *_: capability,
            "get_device_name": lambda *_: "a pretended card",
            "mem_get_info": lambda *_: (memory, memory),
            "memory_reserved": lambda *_: 0,
            "max_memory_allocated": lambda *_: 0,
            "empty_cache": lambda: None,
            "Stream": _Stream,
            "current_stream": _Stream,
            "stream": lambda _: contextlib.nullcontext(),
        }.items():
            patch.setattr(torch.cuda, name, value)
        get, put = torch.Tensor.__getitem__, torch.Tensor.__setitem__
        data = torch._C.TensorBase.data

        def getitem(tensor: torch.Tensor, key: Any) -> torch.Tensor:
            return _indexed(tensor, key) if tensor.is_cuda else get(tensor, key)

        def setitem(tensor: torch.Tensor, key: Any, value: Any) -> None:
            if not tensor.is_cuda:
                put(tensor, key, value)
            elif isinstance(value, torch.Tensor):
                torch.ops.aten.copy_(_indexed(tensor, key), value)
            else:
                _indexed(tensor, key).fill_(value)

        patch.setattr(FakeTensor, "__getitem__", getitem)
        patch.setattr(FakeTensor, "__setitem__", setitem)
        patch.setattr(FakeTensor, "data", property(data.__get__, _moved), raising=False)
        patch.setattr(FakeTensor, "is_pinned", lambda _: False, raising=False)
        patch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
        patch.setattr(torch.Tensor, "record_stream", lambda *_: None)
        patch.setattr(FakeTensor, "contiguous", _contiguous, raising=False)
        patch.setattr(torch, "tensor", _made_on_the_host(torch.tensor))
        patch.setattr(nn.Module, "_apply", _apply)
        yield FakeTensorMode(allow_non_fake_inputs=True)


def real(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, run outside every mode: on numbers that are there."""

    def run(*args: Any, **options: Any) -> Any:
        with _disable_current_modes():
            return function(*args, **options)

    return run


def schedulers_without_numbers(make: Callable[..., Any]) -> Callable[..., Any]:
    """`make_scheduler` whose schedulers have real noise levels and timesteps on the card."""

    def make_one(config: Any, steps: int, *, device: Any, **options: Any) -> Any:
        scheduler = real(make)(config, steps, device="cpu", **options)
        scheduler.timesteps = torch.empty(len(scheduler.timesteps), device=device)
        scheduler.step = lambda output, _, sample: SimpleNamespace(prev_sample=sample - output)
        scheduler.scale_model_input = lambda sample, _: sample * 0.5
        return scheduler

    return make_one
