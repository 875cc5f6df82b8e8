"""Parameter counts of the published models with ControlNet and with ControlNeXt.

Counted from networks on the meta device, so no memory is used and no weight is needed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from scripts.paper.figures import Count, Counts
from scripts.paper.published_networks import (
    BASES,
    NETWORKS,
    make_base,
    make_controlnet,
    make_controlnext,
)

PUBLISHED: dict[str, dict[str, tuple[int, int]]] = {
    "SD1.5": {"ControlNet": (1220, 361), "ControlNeXt": (865, 30)},
    "SDXL": {"ControlNet": (3818, 1251), "ControlNeXt": (2573, 108)},
    "SVD": {
        "ControlNet": (2206, 682),
        "ControlNeXt-S": (1530, 55),
        "ControlNeXt-F": (1530, 1530),
    },
}
"""The paper's table: (total, learnable) in millions."""
PUBLISHED_BASE = {"SD1.5": 859, "SDXL": 2567, "SVD": 1524}
"""The paper's sizes of the bases alone, in millions."""

TRAINED: dict[str, Callable[[str], bool]] = {
    # train_controlnext.py of SD1.5, and the -S that the paper describes for SVD
    "SD1.5": lambda name: "to_out" in name,
    "SVD": lambda name: "to_out" in name,
    # the example command of SDXL: only the cross-attention's
    "SDXL": lambda name: "attn2" in name and "to_out" in name,
}
"""Which of the base's parameters are learned with ControlNeXt."""


def size(network: nn.Module) -> int:
    """Parameters of a network."""
    return sum(parameter.numel() for parameter in network.parameters())


def measure() -> Counts:
    """Counts of every base and method."""
    counts: list[Count] = []
    with torch.device("meta"):
        for base in BASES:
            counts += _counts(base)
        networks = {name: size(make_controlnext(name)) for name in NETWORKS}
    return Counts(counts=tuple(counts), control_networks=networks, published_bases=PUBLISHED_BASE)


def _counts(base: str) -> list[Count]:
    unet = make_base(base)
    base_size, copied = size(unet), size(make_controlnet(base, unet))
    outputs = sum(p.numel() for name, p in unet.named_parameters() if TRAINED[base](name))
    published = PUBLISHED[base]
    rows = [
        Count(
            base=base, method="base", network="", total=base_size, learned=base_size, published=None
        ),
        Count(
            base=base,
            method="ControlNet",
            network="",
            total=base_size + copied,
            learned=copied,
            published=published["ControlNet"],
        ),
    ]
    for generation in NETWORKS:
        control = size(make_controlnext(generation))
        ways = {"ControlNeXt-S": outputs, "ControlNeXt-F": base_size}
        for method, of_base in ways.items() if base == "SVD" else [("ControlNeXt", outputs)]:
            rows.append(
                Count(
                    base=base,
                    method=method,
                    network=generation,
                    total=base_size + control,
                    learned=of_base + control,
                    published=published[method],
                )
            )
    return rows
