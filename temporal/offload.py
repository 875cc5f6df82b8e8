"""Weights on the host until they are needed.

`model`: a whole network is moved to the device for as long as it is in use. `stream`: only the
blocks that run are on the device; each is copied just before it runs, on a GPU while the one
before it still computes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, get_args

import torch
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D, SpatioTemporalResBlock
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from temporal.errors import TemporalError
from temporal.kinds import Offload

UNITS_HELD = 3
"""Streamed units on a device at most: the one it works on, the next, and the one being fetched."""

_BLOCKS = (
    SpatioTemporalResBlock,
    TransformerSpatioTemporalModel,
    ResnetBlock2D,
    Transformer2DModel,
    AnimateDiffTransformer3D,
    Upsample2D,
    Downsample2D,
)


@contextmanager
def offloaded(
    network: nn.Module, device: torch.device | str, offload: Offload = "none"
) -> Iterator[None]:
    """Within it, a network can be called with tensors on a device.

    Args:
        network: `stream` is for a diffusers video UNet; the others are for any network.
        device: where it computes.
        offload: `none` moves the network there and leaves it, `model` moves it there and back (to
            the host, if it was there already), `stream` copies block by block and never holds all
            of it there.

    Raises:
        TemporalError: there is no such way.
    """
    if offload not in get_args(Offload):
        raise TemporalError(f"no offload {offload!r}; there are {', '.join(get_args(Offload))}")
    if offload == "stream":
        with _streamed(network, torch.device(device)):
            yield
        return
    before = next(network.parameters()).device
    home = torch.device("cpu") if before.type == torch.device(device).type else before
    try:
        network.to(device)
        yield
    finally:
        if offload == "model":
            network.to(home)


def send_home(networks: Iterable[nn.Module]) -> None:
    """Put networks on the host, where ways other than `none` expect those that are not in use.

    An earlier `none` has left them on the device, and a move there that ran out of memory a part.
    """
    for network in networks:
        network.to("cpu")


def streamed_units(network: nn.Module) -> list[nn.Module]:
    """The parts that are copied as one: blocks, and whatever stands beside them."""
    units: list[nn.Module] = []

    def collect(module: nn.Module) -> None:
        if isinstance(module, _BLOCKS) or next(module.children(), None) is None:
            if next(module.parameters(), None) is not None:
                units.append(module)
            return
        for child in module.children():
            collect(child)

    collect(network)
    return units


_SLAB = 2**28
"""Bytes of pinned memory that are asked for at once; torch rounds each piece up to a power of two,
so weights of their own would take up to twice their size."""


class PinnedSlabs:
    """Host memory from which a GPU copies while it computes, in slabs of a power of two.

    A tensor goes to the first slab with room; a slab is larger only for a tensor that is.
    """

    def __init__(self, allocate: Callable[[int], Tensor], slab: int = _SLAB) -> None:
        """`allocate` gives that many pinned bytes, uint8."""
        self._allocate, self._slab = allocate, slab
        self._slabs: list[tuple[Tensor, int]] = []

    @property
    def size(self) -> int:
        """Bytes of all slabs."""
        return sum(slab.numel() for slab, _ in self._slabs)

    def copy(self, tensor: Tensor) -> Tensor:
        """The tensor's numbers in a slab. Raises TemporalError where no more can be pinned."""
        size = tensor.numel() * tensor.element_size()
        piece = self._piece(size).view(tensor.dtype).view(tensor.shape)
        return piece.copy_(tensor)

    def _piece(self, size: int) -> Tensor:
        aligned = -(-size // 64) * 64
        for index, (slab, used) in enumerate(self._slabs):
            if used + aligned <= slab.numel():
                self._slabs[index] = slab, used + aligned
                return slab[used : used + size]
        slab = self._new_slab(max(self._slab, 1 << (aligned - 1).bit_length()))
        self._slabs.append((slab, aligned))
        return slab[:size]

    def _new_slab(self, size: int) -> Tensor:
        try:
            return self._allocate(size)
        except RuntimeError as reason:
            raise TemporalError(
                f"the host cannot pin {(self.size + size) / 2**30:.1f} GiB for weights that are "
                f"streamed ({str(reason).splitlines()[0]}); free memory on the host, or allow the "
                "device more, so that weights stay there"
            ) from reason


def _pinned(size: int) -> Tensor:
    return torch.empty(size, dtype=torch.uint8, pin_memory=True)


class _Unit:
    """One part's weights: at home on the host, for a while on the device."""

    def __init__(
        self, module: nn.Module, device: torch.device, slabs: PinnedSlabs | None = None
    ) -> None:
        """`slabs` is where their home is; None: where they are."""
        self.module, self.device = module, device
        self.homes: list[tuple[Any, Tensor]] = []
        for tensor in [*module.parameters(), *module.buffers()]:
            home = tensor.data
            if slabs is not None and not home.is_pinned():  # it may be from the last time
                home = slabs.copy(home)
            self.homes.append((tensor, home))
            tensor.data = home
        self.here = False

    def fetch(self) -> None:
        if not self.here:
            for tensor, home in self.homes:
                tensor.data = home.to(self.device, non_blocking=True, copy=True)
            self.here = True

    def drop(self) -> None:
        for tensor, home in self.homes:
            if self.here and self.device.type == "cuda":
                # It may have been made on the copying stream: not before this one is done with it.
                tensor.data.record_stream(torch.cuda.current_stream(self.device))
            tensor.data = home
        self.here = False


class _Stream:
    """Fetches units as they run; on a GPU the next one, too, once the order is known.

    The host queues work faster than a GPU does it, so it would have all units fetched before the
    first is dropped for good. It waits for the unit two back, so that there are never more than
    `UNITS_HELD` and the GPU still has the unit between to work on.
    """

    def __init__(self, units: list[_Unit], device: torch.device) -> None:
        self.units = units
        self.copies = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.after: dict[int, _Unit] = {}
        self.last: _Unit | None = None
        self.ends: deque[Any] = deque(maxlen=UNITS_HELD - 1)

    def begin(self, unit: _Unit) -> None:
        if self.copies is not None and unit.here:
            torch.cuda.current_stream(unit.device).wait_stream(self.copies)
        unit.fetch()
        if self.last is not None:
            self.after[id(self.last)] = unit
        self.last = unit
        upcoming = self.after.get(id(unit))
        if self.copies is not None and upcoming is not None and upcoming is not unit:
            if len(self.ends) == self.ends.maxlen:
                self.ends[0].synchronize()
            with torch.cuda.stream(self.copies):
                upcoming.fetch()

    def end(self, unit: _Unit) -> None:
        unit.drop()
        if self.copies is not None:
            self.ends.append(torch.cuda.current_stream(unit.device).record_event())


@contextmanager
def _streamed(network: nn.Module, device: torch.device) -> Iterator[None]:
    modules = streamed_units(network)
    inside = {id(tensor) for module in modules for tensor in module.parameters()}
    outside = [name for name, tensor in network.named_parameters() if id(tensor) not in inside]
    if outside:
        raise TemporalError(f"{outside[0]} belongs to no block, so blocks cannot be streamed")
    with ExitStack() as stack:
        slabs = PinnedSlabs(_pinned) if device.type == "cuda" else None
        units = [_Unit(module, device, slabs) for module in modules]
        stream = _Stream(units, device)
        for module, unit in zip(modules, units, strict=True):
            stack.callback(unit.drop)
            for hook in (
                module.register_forward_pre_hook(lambda *_, u=unit: stream.begin(u)),
                module.register_forward_hook(lambda *_, u=unit: stream.end(u), always_call=True),
            ):
                stack.callback(hook.remove)
        yield
