"""Plans by which a clip fits into memory: `temporal.memory` for a variant and its settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from animate.device import computing_dtype, device_memory
from animate.errors import RequestError
from animate.generate.precision import model_dtype
from animate.generate.settings import ClipSettings, plan_clip
from animate.generate.workers.ranks import started_by_torchrun
from animate.models.components import OWN_NETWORKS, Components, build_network, build_own
from animate.models.identity_attention import IdentityAttentions
from animate.models.store import read_json
from animate.models.variants import COMPONENTS, ModelVariant, shipped_config
from animate.request.request import RuntimeOptions
from temporal.estimate import reference_numbers
from temporal.memory import plan_memory
from temporal.memory_plan import MemoryPlan, MemoryRequest
from temporal.precision import computing_type

CONTEXT = 512 * 2**20
"""Bytes of a GPU that CUDA's own context and the libraries' kernels take, beside what torch
allocates. Assumed: between 300 and 600 MiB on the cards that people write about."""
WORKSPACE = 256 * 2**20
"""Bytes for workspaces of cuBLAS and cuDNN. Assumed; torch takes another algorithm where one's
workspace finds no room."""
# Latents, fused prediction, and what a solver remembers; always on the host.
_CLIP_COPIES = {"euler": 2, "heun": 4, "dpmpp-2m": 4, "unipc": 5}


def wants_plan(runtime: RuntimeOptions) -> bool:
    """True where a setting needs a plan: an amount of memory, offloading or 8-bit weights."""
    return runtime.memory is not None or runtime.offload is not None or runtime.precision == "int8"


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
    """The plan by which `frames` frames are made within `budget` bytes, or the request's, or the
    device's.

    Without `components` the networks' sizes come from the variant's files, or for published
    variants that are not here from the stock architecture. Raises TemporalError when nothing fits,
    RequestError for a precision that is not the loaded networks'.
    """
    check_precision(runtime, components)
    unet, vae = _network(components, variant, "unet"), _network(components, variant, "vae")
    automatic: Any = (
        str(model_dtype(variant, "auto", device)).removeprefix("torch.")
        if components is None
        else loaded_precision(components)
    )
    scale = 2 ** (len(vae[0]["block_out_channels"]) - 1)
    area = settings.size.width * settings.size.height // scale**2
    computing = automatic if runtime.precision in ("auto", "int8") else runtime.precision
    control = _network(components, variant, "controlnext")[1] * computing_type(computing).itemsize
    copies = 0 if device.type == "cuda" else _CLIP_COPIES[settings.solver]
    if copies and variant.distilled_levels is not None:
        copies += 1  # the noise that is added after a step
    latents = frames * vae[0]["latent_channels"] * area * 4 * copies
    encoders = ("image_encoder", *(name for name in variant.networks if name not in COMPONENTS))
    motion, reference = "motion_max_seq_length" in unet[0], 0
    if motion:
        latent_size = (settings.size.width // scale, settings.size.height // scale)
        numbers = reference_numbers(unet[0], size=latent_size)
        reference = numbers * computing_type(computing).itemsize
    packed = packed_copies(runtime, unet[1])
    asked = runtime.memory if budget is None else budget
    allowed, beside = _allowed(device, asked, components)
    return plan_memory(
        MemoryRequest(
            unet_config=unet[0],
            vae_config=vae[0],
            unet_weights=unet[1],
            vae_weights=vae[1],
            encoder_weights=sum(_network(components, variant, name)[1] for name in encoders),
            motion=motion,
            context_tokens=1 if variant.face is None else 1 + variant.face.tokens,
            size=settings.size,
            window=min(settings.window, frames),
            # On a CPU more windows at once only leave its caches.
            windows=windows_of_a_step(settings, frames) if device.type == "cuda" else 1,
            guided=settings.guidance != (1.0, 1.0),
            decode_group=settings.decode_chunk,
            budget=allowed,
            resident=latents + control + beside + reference + packed,
            kept=kept_features(settings, unet[0], frames=frames, area=area)
            + kept_control(settings, variant, frames=frames, area=area),
            precision=runtime.precision,
            automatic=automatic,
            offload=runtime.offload,
            on_host=device.type == "cpu",
        )
    )


def check_precision(runtime: RuntimeOptions, components: Components | None) -> None:
    """Raises RequestError for a precision other than that of networks that are loaded already.

    8-bit weights are made of any.
    """
    if components is None or runtime.precision in ("auto", "int8"):
        return
    loaded = loaded_precision(components)
    if runtime.precision != loaded:
        raise RequestError(
            f"precision {runtime.precision} cannot be had of networks that are loaded in {loaded}; "
            f"leave it out, or load them with Animator.from_pretrained(..., "
            f'precision="{runtime.precision}")'
        )


def loaded_precision(components: Components) -> Any:
    """The type that loaded networks compute in, also where their weights are 8-bit."""
    return str(computing_dtype(components.unet)).removeprefix("torch.")


def packed_copies(runtime: RuntimeOptions, weights: int) -> int:
    """Bytes of weights that lie packed beside the others: packed ones take their place, but where
    workers hold weights in memory that another process gave them."""
    shared = runtime.workers is not None or started_by_torchrun()
    return 4 * weights if runtime.pack_weights and shared else 0


def kept_features(
    settings: ClipSettings, unet_config: Mapping[str, Any], *, frames: int, area: int
) -> int:
    """Numbers that `--keep-features` keeps on the device (`sampling.shortcuts`): what goes into the
    UNet's last block, of every window and guidance half."""
    if settings.keep_features < 2:
        return 0
    plan = plan_clip(settings, frames=frames, steps=settings.steps)
    halves = 1 if settings.guidance == (1.0, 1.0) else 2
    if halves == 2 and settings.guidance_interval is not None:
        halves = 3  # those of the steps outside it are others
    channels = unet_config["block_out_channels"][:2][-1]
    return len(plan.at(0)) * halves * plan.window * channels * area


def kept_control(settings: ClipSettings, variant: ModelVariant, *, frames: int, area: int) -> int:
    """Numbers that `--keep-control` keeps on the device: a map for every frame, at most as fine as
    the latents."""
    if settings.keep_control < 2:
        return 0
    return frames * variant.control_network.out_channels * area


def windows_of_a_step(settings: ClipSettings, frames: int) -> int:
    """Windows that could go through the UNet together: the fewest that a step of a clip has."""
    plan = plan_clip(settings, frames=frames, steps=settings.steps)
    return min(len(plan.at(step)) for step in range(settings.steps))


def _allowed(
    device: torch.device, asked: int | None, components: Components | None
) -> tuple[int, int]:
    """Bytes that may be used, and those of them that are neither weights nor a network's work.

    What is asked for is the memory of a card: CUDA's context is part of it. What is free on a card
    leaves it out already; and loaded networks can have no more than that.
    """
    if device.type != "cuda":
        return (_usable(device, components) if asked is None else asked), 0
    if asked is None:
        return device_memory(device), WORKSPACE
    if components is not None and torch.cuda.is_available():
        asked = min(asked, device_memory(device) + CONTEXT)
    return asked, CONTEXT + WORKSPACE


def _usable(device: torch.device, components: Components | None) -> int:
    """The device's memory, with what loaded networks take of the host that computes."""
    held = 0
    if device.type == "cpu" and components is not None:
        weights = (w for network in components.networks() for w in network.parameters())
        held = sum(w.numel() * w.element_size() for w in weights)
    return device_memory(device) + held


def _network(components: Components | None, variant: ModelVariant, name: str) -> tuple[Any, int]:
    """Configuration and number of parameters of a network, a UNet's with its processors."""
    if components is None:
        return _described(variant, name)
    network = getattr(components, name)
    own = [components.identity] if name == "unet" and components.identity is not None else []
    return network.config, parameters(network, *own)


def parameters(*networks: torch.nn.Module) -> int:
    """Number of parameters of networks."""
    return sum(weight.numel() for network in networks for weight in network.parameters())


def _described(variant: ModelVariant, name: str) -> tuple[Any, int]:
    with torch.device("meta"):
        network = _built(variant, name)
        own = []
        if name == "unet" and variant.face is not None:
            own = [IdentityAttentions(network, variant.face.tokens)]
    return network.config, parameters(network, *own)


def _built(variant: ModelVariant, name: str) -> Any:
    if name in OWN_NETWORKS:
        return build_own(name, variant)
    described = variant.components[name].config
    located = variant.file(described).locate() if described else None
    config = read_json(shipped_config(name, variant.family) if located is None else located)
    sizes = {k: v for k, v in config.items() if not k.startswith("_")}
    return build_network(name, sizes, variant.family)
