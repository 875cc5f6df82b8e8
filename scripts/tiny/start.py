"""The start of a run: new networks and an autoencoder of its own, or those of a model.

Both give the same: networks to train, an autoencoder that stays as it is, and the variant that an
export describes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from animate.errors import TrainingError
from animate.models.added_latents import add_image_latents, begin_adding
from animate.models.components import Components, load_components, make_scheduler
from animate.models.config import Component, Injection, MicroConditions
from animate.models.variants import COMPONENTS, ModelVariant, load_variant
from animate.progress import Progress
from animate.request.request import SamplingOptions
from animate.request.values import Guidance, Size
from animate.training.objective import scheduler_config
from scripts.bundled.decoder import trained_basis
from scripts.tiny.autoencoder import PatchBasis, read_basis
from scripts.tiny.autoencoder_trainer import train_autoencoder
from scripts.tiny.networks import FEATURE_MEAN, FEATURE_STD, WINDOW, make_networks
from scripts.tiny.recipe import TrainingConfig

SIZE_MULTIPLE = 16
"""4 pixels of a latent, halved twice by the UNet."""

# Levels between which the bundled model is sampled; see the model card for what was tried.
SIGMA_MIN, SIGMA_MAX = 0.7, 80.0

_COMPONENTS = {name: Component(weights=(f"{name}/model.safetensors",)) for name in COMPONENTS}


@dataclass(frozen=True, kw_only=True)
class Start:
    """Networks that a run trains, and those that stay as they are."""

    networks: nn.ModuleDict
    """`unet`, `controlnext` and `image_encoder`, float32, all of them to be trained."""
    vae: Any
    """The autoencoder, in evaluation mode."""
    encoder: PatchBasis
    """Its encoder as the one convolution that it is."""
    variant: ModelVariant
    """The variant that the run makes."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the weight files that it begins from."""

    def components(self) -> Components:
        """The networks as the product's own engine takes them; they are shared, not copied."""
        return Components(
            variant=self.variant,
            scheduler=make_scheduler(self.variant.scheduler),
            unet=self.networks["unet"],
            vae=self.vae,
            image_encoder=self.networks["image_encoder"],
            controlnext=self.networks["controlnext"],  # type: ignore[arg-type]
            digests={},
            reports=(),
        )


def open_start(config: TrainingConfig, progress: Progress | None = None) -> Start:
    """The recipe's start. Its autoencoder is trained first where that is the recipe's own.

    Raises `TrainingError` for a model that adds its image latents where the recipe does not.
    """
    if config.start_from is None:
        vae = train_autoencoder(config, progress)
        networks = make_networks(config)
        if config.adds_image_latents:
            add_image_latents(networks["unet"], vae)
        return Start(
            networks=networks,
            vae=vae,
            encoder=trained_basis(config.folder, config.autoencoder_digest()),
            variant=describe(config),
        )
    start = model_start(config.start_from)
    if start.variant.adds_image_latents and not config.adds_image_latents:
        raise TrainingError(
            f"{config.start_from} adds its image latents; a recipe that starts from it states "
            "adds_image_latents: true"
        )
    if config.adds_image_latents and not start.variant.adds_image_latents:
        begin_adding(start.networks["unet"], start.vae)
    return replace(start, variant=describe(config, start.variant))


def model_start(model: str) -> Start:
    """The networks of a variant or model folder: a start whose description is kept."""
    parts = load_components(load_variant(model))
    networks = nn.ModuleDict(
        {name: getattr(parts, name) for name in ("unet", "controlnext", "image_encoder")}
    )
    return Start(
        networks=networks.requires_grad_(True).train(),
        vae=parts.vae,
        encoder=read_basis(parts.vae),
        variant=replace(parts.variant, components=_COMPONENTS, sources={}, digests={}, folder=None),
        digests=parts.digests,
    )


def describe(config: TrainingConfig, base: ModelVariant | None = None) -> ModelVariant:
    """The variant that a recipe makes, from nothing or of the `base` that it starts from."""
    variant = described_anew(config) if base is None else base
    scheduler = dict(variant.scheduler)
    if config.sampling_sigma_min is not None:
        scheduler["sigma_min"] = config.sampling_sigma_min
    return replace(
        variant,
        scheduler=scheduler,
        name=config.name,
        summary=config.summary,
        image_latents=config.image_latents,
        adds_image_latents=config.adds_image_latents,
        sampling=replace(
            variant.sampling, steps=config.sampling_steps, overlap=config.sampling_overlap
        ),
        components=_COMPONENTS,
        sources={},
        digests={},
        folder=None,
    )


def described_anew(config: TrainingConfig) -> ModelVariant:
    """The variant of networks that are built by the recipe."""
    objective, networks, autoencoder = config.objective, config.networks, config.autoencoder
    assert networks is not None, "the recipe starts from a model"
    assert autoencoder is not None, "the recipe starts from a model"
    sizes = {
        tuple(clip_set.size): None for stage in reversed(config.stages) for clip_set in stage.sets
    }
    return ModelVariant(
        name=config.name,
        summary=config.summary,
        licence="Apache-2.0",
        sizes=tuple(Size(*size) for size in sizes if min(size) == max(map(min, sizes))),
        size_multiple=SIZE_MULTIPLE,
        sampling=SamplingOptions(
            steps=config.sampling_steps,
            window=WINDOW,
            overlap=config.sampling_overlap,
            guidance=Guidance(1.0, 1.0),
            schedule="static",
            fusing="triangular",
            decode_chunk=autoencoder.frames,  # what its temporal layers learned from
        ),
        micro_conditions=MicroConditions(
            fps=objective.fps,
            motion_bucket=objective.motion_bucket,
            noise_augmentation=objective.reference_noise,
        ),
        injection=Injection(hook_point="down", weight=networks.control_weight),
        controlnext=networks.controlnext,
        pose_style=config.pose_style,
        channels_per_group=networks.channels_per_group,
        feature_mean=FEATURE_MEAN,
        feature_std=FEATURE_STD,
        scheduler=scheduler_config(SIGMA_MIN, SIGMA_MAX),
        components=_COMPONENTS,
    )
