"""Put adapters (LoRA) into a UNet for as long as a clip takes.

They are added to the weights themselves and taken out again exactly, so everything that wraps,
chunks, moves or quantises the network sees a plain network. ControlNeXt is never touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from animate.errors import ModelError
from animate.models.adapter_files import Adapter, adapter_file, read_adapter
from animate.models.weight_files import fault_of
from animate.request.values import Lora
from animate.request.wording import listed
from temporal.precision import float_weight


@dataclass(frozen=True, kw_only=True)
class Weighed:
    """An adapter and how strongly it is added."""

    adapter: Adapter
    weight: float

    def record(self) -> dict[str, object]:
        """The adapter as the sidecar and the request's digest state it."""
        return {
            "file": str(self.adapter.path),
            "sha256": self.adapter.sha256,
            "weight": self.weight,
            "layers": len(self.adapter.layers),
        }


def open_adapters(unet: nn.Module, loras: Sequence[Lora]) -> tuple[Weighed, ...]:
    """Read the adapters that a request names, and see that they fit the UNet.

    Raises `ModelError` naming the first layers that the UNet does not have or that have other
    sizes; names are never dropped.
    """
    layers = _adaptable(unet)
    opened = []
    for lora in loras:
        adapter = read_adapter(lora.path, layers)
        _check(adapter, layers)
        opened.append(Weighed(adapter=adapter, weight=lora.weight))
    return tuple(opened)


def check_adapters(loras: Sequence[Lora]) -> None:
    """Raises `ModelError` when a file is not there, before anything is loaded."""
    for lora in loras:
        adapter_file(Path(lora.path))


@contextmanager
def merged(unet: nn.Module, adapters: Sequence[Weighed]) -> Iterator[None]:
    """Within it the UNet's weights have the adapters added; afterwards they are what they were, bit
    for bit (their memory is needed twice for these layers), also when they were made 8-bit inside.

    Raises `ModelError` for weights that are 8-bit already, since their former values are gone, and
    for sums that are no numbers for weights.
    """
    layers = _adaptable(unet)
    names = sorted({name for weighed in adapters for name in weighed.adapter.layers})
    originals: dict[str, Tensor] = {}
    try:
        for name in names:
            weight = layers[name].weight
            if not weight.is_floating_point():
                raise ModelError(
                    "the UNet's weights are 8-bit already, so adapters cannot be added; load the "
                    "model again for this clip"
                )
            merged_weight = _sum(weight.data, name, adapters)
            originals[name] = weight.data
            weight.data = merged_weight
        yield
    finally:
        for name, value in originals.items():
            float_weight(layers[name], value)


def _sum(weight: Tensor, name: str, adapters: Sequence[Weighed]) -> Tensor:
    total = weight.float()
    for weighed in adapters:
        layer = weighed.adapter.layers.get(name)
        if layer is not None and weighed.weight != 0:
            total = total + weighed.weight * layer.product().to(weight.device)
            if fault := fault_of(total):
                raise ModelError(
                    f"adapter {weighed.adapter.path} at the weight {weighed.weight:g}: the model's "
                    f"{name} then {fault}; choose a smaller weight or another adapter"
                )
    return total.to(weight.dtype)


Kernel = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
"""Layers that an adapter may change."""


def _adaptable(unet: nn.Module) -> dict[str, Kernel]:
    """Layers with a kernel, by name."""
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return {name: module for name, module in unet.named_modules() if isinstance(module, kinds)}


def _check(adapter: Adapter, layers: Mapping[str, Kernel]) -> None:
    wrong = []
    for name, layer in adapter.layers.items():
        if name not in layers:
            wrong.append(f"{name} is no layer of the model's UNet")
            continue
        have = tuple(layers[name].weight.shape)
        gives = (layer.up.shape[0], *layer.down.shape[1:])
        if have != gives:
            wrong.append(f"{name} is for {_shape(gives)} where the UNet has {_shape(have)}")
    if wrong:
        raise ModelError(
            f"adapter {adapter.path} was made for another architecture: "
            f"{listed(wrong, separator='; ')}; choose the model that it was trained on, or leave "
            "--lora out"
        )


def _shape(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))
