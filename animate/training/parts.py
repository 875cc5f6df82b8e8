"""Which weights a fine-tuning changes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from animate.errors import TrainingError
from animate.training.finetune_config import Kind, LoraRecipe

OUTPUT = ".to_out."
"""In the names of the attention's output projections, spatial and temporal, self and cross."""
ADAPTER = "trained"
"""peft's name of the adapters that are trained."""


def choose_trained(
    networks: nn.ModuleDict, kind: Kind, lora: LoraRecipe | None = None, seed: int = 0
) -> dict[str, nn.Parameter]:
    """The parameters to train by name; all others no longer take gradients.

    "selective" is the paper's -S: the control network and the UNet's attention output projections,
    at full size 53 million of 1,528 million. "full" is its -F: control network and UNet. "lora":
    adapters, which are put into the UNet here and begin from the seed.
    """
    networks.requires_grad_(False)
    if kind == "lora":
        assert lora is not None, "adapters need their sizes"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return add_adapters(networks["unet"], lora)
    chosen = {
        name: parameter
        for name, parameter in networks.named_parameters()
        if name.startswith("controlnext.")
        or (name.startswith("unet.") and (kind == "full" or OUTPUT in name))
    }
    for parameter in chosen.values():
        parameter.requires_grad_(True)
    return chosen


def add_adapters(unet: Any, lora: LoraRecipe) -> dict[str, nn.Parameter]:
    """Put peft's adapters into a UNet and return their parameters.

    Raises `TrainingError` where peft is not installed, or no layer has such a name.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise TrainingError("train: lora needs peft; pip install 'cnx-animate[train]'") from None
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=list(lora.targets))
    try:
        inject_adapter_in_model(config, unet, adapter_name=ADAPTER)
    except ValueError as reason:
        raise TrainingError(
            f"lora.targets {', '.join(lora.targets)} fit no layer of the UNet: {reason}"
        ) from reason
    return {f"unet.{n}": p for n, p in unet.named_parameters() if p.requires_grad}
