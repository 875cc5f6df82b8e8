"""Check the networks and the published sampling against vectors of the SVD kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from animate.errors import user_mistakes
from animate.generate.schedules import make_scheduler
from animate.models.components import build_control_network, build_network, without_memory
from animate.models.injection import inject, learned_weight, unconditional_weight
from animate.models.variants import ModelVariant, load_variant
from animate.request.values import Guidance
from scripts.parity.checks import (
    NETWORK_TOLERANCE,
    PIPELINE_TOLERANCE,
    Check,
    compare,
    failed,
    skipped,
)
from scripts.parity.published_sampling import PublishedRun, run_published
from scripts.parity.recipe import fill

VARIANTS = {"v1": "svd-v1", "v2": "svd-v2"}
INPUTS = {
    "controlnext": ("input", "timestep"),
    "unet": ("sample", "context", "added_time_ids", "pose", "timestep"),
    "pipeline": ("reference", "poses", "image_noise", "initial_noise"),
}
OUTPUTS = {
    "controlnext": ("output",),
    "unet": ("output", "output_no_control"),
    "pipeline": ("timesteps", "sigmas", "latents", "frames"),
}


@torch.no_grad()
def check_svd(tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> list[Check]:
    """Every tensor of an SVD vectors file, checked or with the reason why it was not."""
    networks = _Networks(settings)
    checks: list[Check] = []
    for group, check in (
        ("controlnext", _check_controlnext),
        ("unet", _check_unet),
        ("pipeline", _check_pipeline),
    ):
        vectors = {
            name.removeprefix(f"{group}."): tensor
            for name, tensor in tensors.items()
            if name.startswith(f"{group}.")
        }
        expected = [name for name in OUTPUTS[group] if name in vectors]
        absent = [name for name in INPUTS[group] if name not in vectors]
        if absent and expected:
            why = f"the file lacks {', '.join(f'{group}.{name}' for name in absent)}"
            checks += [skipped(f"{group}.{name}", why) for name in expected]
        elif expected:
            checks += _run_group(group, check, vectors, networks)
        unknown = sorted(set(vectors) - set(INPUTS[group]) - set(OUTPUTS[group]))
        checks += [skipped(f"{group}.{name}", "no meaning known") for name in unknown]
    return checks


def _run_group(
    group: str,
    check: Callable[[Mapping[str, Tensor], _Networks], list[Check]],
    vectors: Mapping[str, Tensor],
    networks: _Networks,
) -> list[Check]:
    """The checks of one group; what this project refuses to run counts as a difference."""
    try:
        return check(vectors, networks)
    except user_mistakes() as reason:
        return [failed(f"{group}.*", str(reason))]


@dataclass(frozen=True)
class _Networks:
    """The settings' networks, built and filled when first used."""

    settings: Mapping[str, Any]

    @property
    def salt(self) -> str:
        return str(self.settings.get("salt", ""))

    @cached_property
    def variant(self) -> ModelVariant:
        return load_variant(VARIANTS[self.settings["model"]])

    @cached_property
    def controlnext(self) -> Any:
        network = without_memory(lambda: build_control_network(self.variant.control_network))
        return fill(network, self.salt + "controlnext").eval()

    @cached_property
    def unet(self) -> Any:
        return self._stock("unet", "unet")

    @cached_property
    def vae(self) -> Any:
        return self._stock("vae", "vae")

    @cached_property
    def image_encoder(self) -> Any:
        return self._stock("image_encoder", "clip")

    def _stock(self, name: str, setting: str) -> Any:
        network = without_memory(lambda: build_network(name, self.settings[setting]))
        return fill(network, self.salt + setting).eval()


def _check_controlnext(vectors: Mapping[str, Tensor], networks: _Networks) -> list[Check]:
    actual = networks.controlnext(vectors["input"], vectors["timestep"])
    return [compare("controlnext.output", actual, vectors["output"], NETWORK_TOLERANCE)]


def _check_unet(vectors: Mapping[str, Tensor], networks: _Networks) -> list[Check]:
    injection = networks.variant.injection
    weight = learned_weight(injection, networks.controlnext)
    checks = []
    with inject(networks.unet, injection, weight) as port:
        for name in OUTPUTS["unet"]:
            if name in vectors:
                control = None
                if name == "output":
                    control = networks.controlnext(vectors["pose"], vectors["timestep"])
                with port.holding(control):
                    actual = networks.unet(
                        vectors["sample"],
                        vectors["timestep"],
                        encoder_hidden_states=vectors["context"],
                        added_time_ids=vectors["added_time_ids"],
                        return_dict=False,
                    )[0]
                checks.append(compare(f"unet.{name}", actual, vectors[name], NETWORK_TOLERANCE))
    return checks


def _check_pipeline(vectors: Mapping[str, Tensor], networks: _Networks) -> list[Check]:
    settings = networks.settings
    scheduler = make_scheduler(settings["scheduler"], settings["num_inference_steps"])
    checks = [
        compare(f"pipeline.{name}", getattr(scheduler, name), vectors[name], NETWORK_TOLERANCE)
        for name in ("timesteps", "sigmas")
        if name in vectors
    ]
    if "latents" in vectors or "frames" in vectors:
        latents, frames = _run(vectors, networks)
        checks += [
            compare(f"pipeline.{name}", actual, vectors[name], PIPELINE_TOLERANCE)
            for name, actual in (("latents", latents), ("frames", frames))
            if name in vectors
        ]
    return checks


def _run(vectors: Mapping[str, Tensor], networks: _Networks) -> tuple[Tensor, Tensor]:
    settings, variant = networks.settings, networks.variant
    first, last = settings["guidance"]
    run = PublishedRun(
        mode=f"controlnext-{settings['model']}",  # type: ignore[arg-type]
        steps=settings["num_inference_steps"],
        window=settings["frames_per_batch"],
        overlap=settings["overlap"],
        # The published code guides only where the last scale reaches 1.
        guidance=Guidance(first, last) if last >= 1 else Guidance(1, 1),
        decode_chunk=settings["decode_chunk_size"],
        injection=variant.injection,
        weight=learned_weight(variant.injection, networks.controlnext),
        unconditional_weight=unconditional_weight(variant.injection, networks.controlnext),
        feature_mean=variant.feature_mean,
        feature_std=variant.feature_std,
        micro_conditions=tuple(variant.micro_conditions),
    )
    return run_published(
        run,
        unet=networks.unet,
        vae=networks.vae,
        image_encoder=networks.image_encoder,
        controlnext=networks.controlnext,
        scheduler_config=dict(settings["scheduler"]),
        reference=vectors["reference"].numpy(),
        poses=vectors["poses"].numpy(),
        image_noise=vectors["image_noise"],
        initial_noise=vectors["initial_noise"],
    )
