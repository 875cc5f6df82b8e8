"""How a clip fits into memory: `temporal.memory`'s planner for a model variant and its settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch

from animate.models.components import Components
from animate.models.variants import ModelVariant
from animate.options import Precision, RuntimeOptions
from animate.settings import ClipSettings, plan_clip
from temporal.memory import MemoryPlan, MemoryRequest, plan_memory

# Latents, fused prediction, and what a solver remembers; always on the host.
_CLIP_COPIES = {"euler": 2, "heun": 4, "dpmpp-2m": 4, "unipc": 5}


def wants_plan(runtime: RuntimeOptions) -> bool:
    """Whether anything was asked for that only a plan can give."""
    return bool(runtime.memory or runtime.offload or runtime.precision == "int8")


def plan_clip_memory(
    variant: ModelVariant,
    settings: ClipSettings,
    runtime: RuntimeOptions,
    *,
    frames: int,
    device: torch.device,
    budget: int | None = None,
    components: Components | None = None,
) -> MemoryPlan:
    """How to make `frames` frames within `budget` bytes (or the request's, or the device's).

    Without `components` the networks' sizes come from the variant's files, or for published
    variants that are not here from the stock architecture. Raises TemporalError when nothing fits.
    """
    unet, vae = _network(components, variant, "unet"), _network(components, variant, "vae")
    scale = 2 ** (len(vae[0]["block_out_channels"]) - 1)
    area = settings.size.width * settings.size.height // scale**2
    copies = 0 if device.type == "cuda" else _CLIP_COPIES[settings.solver]
    latents = frames * vae[0]["latent_channels"] * area * 4 * copies
    return plan_memory(
        MemoryRequest(
            unet_config=unet[0],
            vae_config=vae[0],
            unet_weights=unet[1],
            vae_weights=vae[1],
            size=settings.size,
            window=min(settings.window, frames),
            # On a CPU more windows at once only leave its caches.
            windows=windows_of_a_step(settings, frames) if device.type == "cuda" else 1,
            guided=settings.guidance != (1.0, 1.0),
            decode_group=settings.decode_chunk,
            budget=budget or runtime.memory or device_memory(device),
            resident=latents + _control_bytes(components),
            precision=runtime.precision,
            automatic=automatic_precision(device),
            offload=runtime.offload,
        )
    )


def windows_of_a_step(settings: ClipSettings, frames: int) -> int:
    """Windows that could go through the UNet together: the fewest that a step of a clip has."""
    plan = plan_clip(settings, frames=frames, steps=settings.steps)
    return min(len(plan.at(step)) for step in range(settings.steps))


def automatic_precision(device: torch.device) -> Any:
    """What `--precision auto` computes in: float16 on a GPU, float32 elsewhere."""
    chosen: Precision = "float16" if device.type == "cuda" else "float32"
    return chosen


def device_memory(device: torch.device) -> int:
    """Bytes that may be used of a device: of a GPU what is free, and what torch holds of it, since
    that is all ours: networks of the clip before, and memory kept for reuse. Of the host what is
    available."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free + torch.cuda.memory_reserved(device)
    with open("/proc/meminfo") as file:
        lines = dict(line.split(":") for line in file)
    return int(lines["MemAvailable"].split()[0]) * 1024


def _control_bytes(components: Components | None) -> int:
    if components is None:
        return 0
    return sum(p.numel() * p.element_size() for p in components.controlnext.parameters())


def _network(
    components: Components | None, variant: ModelVariant, name: str
) -> tuple[Mapping[str, Any], int]:
    """Configuration and number of parameters of the `unet` or the `vae`."""
    if components is not None:
        network = getattr(components, name)
        return network.config, sum(p.numel() for p in network.parameters())
    return _described(variant, name)


def _described(variant: ModelVariant, name: str) -> tuple[Mapping[str, Any], int]:
    from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel

    located = variant.file(variant.components[name].config).locate()
    config: dict[str, Any] = {}
    if located is not None:
        config = json.loads(located.read_text())
    elif name == "vae":  # the published autoencoder; the class's own defaults are a toy's
        config = {"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2}
        config["down_block_types"] = ["DownEncoderBlock2D"] * 4
    kind = UNetSpatioTemporalConditionModel if name == "unet" else AutoencoderKLTemporalDecoder
    with torch.device("meta"):
        network = kind.from_config({k: v for k, v in config.items() if not k.startswith("_")})
    return network.config, sum(p.numel() for p in network.parameters())
