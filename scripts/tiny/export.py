"""Write a run's averaged networks as a model folder that `cnx run --model FOLDER` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from animate.errors import TrainingError
from animate.models.components import save_model
from animate.models.config import Component, Injection, MicroConditions
from animate.models.variants import COMPONENTS, ModelVariant
from animate.request.request import SamplingOptions
from animate.request.values import Guidance, Size
from animate.training.checkpoints import load_checkpoint
from animate.training.objective import scheduler_config
from scripts.tiny.autoencoder_trainer import train_autoencoder
from scripts.tiny.networks import FEATURE_MEAN, FEATURE_STD, WINDOW, make_networks
from scripts.tiny.recipe import TrainingConfig
from scripts.tiny.trainer import STATE

SIZE_MULTIPLE = 16
"""4 pixels of a latent, halved twice by the UNet."""

# Levels between which the bundled model is sampled; see the model card for what was tried.
SIGMA_MIN, SIGMA_MAX = 0.7, 80.0


def describe(config: TrainingConfig) -> ModelVariant:
    """The variant that a recipe makes; its components are named when it is written."""
    objective = config.objective
    sizes = {tuple(one.size): None for stage in reversed(config.stages) for one in stage.sets}
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
            decode_chunk=config.autoencoder.frames,  # what its temporal layers learned from
        ),
        micro_conditions=MicroConditions(
            fps=objective.fps,
            motion_bucket=objective.motion_bucket,
            noise_augmentation=objective.reference_noise,
        ),
        injection=Injection(hook_point="down", weight=config.networks.control_weight),
        controlnext=config.networks.controlnext,
        pose_style=config.pose_style,
        channels_per_group=config.networks.channels_per_group,
        feature_mean=FEATURE_MEAN,
        feature_std=FEATURE_STD,
        scheduler=scheduler_config(SIGMA_MIN, SIGMA_MAX),
        components={name: Component(weights=(f"{name}/model.safetensors",)) for name in COMPONENTS},
    )


def averaged_networks(config: TrainingConfig) -> nn.ModuleDict:
    """The networks with the moving average of the run's checkpoint.

    Raises `TrainingError` when the run has no checkpoint yet.
    """
    state = load_checkpoint(config.folder / STATE, config.digest())
    if state is None:
        raise TrainingError(f"{config.folder} holds no checkpoint yet; train first")
    networks = make_networks(config)
    networks.load_state_dict(state["networks"])
    with torch.no_grad():
        for own, average in zip(networks.parameters(), state["average"], strict=True):
            own.copy_(average)
    return networks


def export(config: TrainingConfig, folder: Path, *, overwrite: bool = False) -> ModelVariant:
    """Write the model folder (float16) of a run, and return its variant."""
    networks: dict[str, Any] = dict(averaged_networks(config))
    networks["vae"] = train_autoencoder(config)
    return save_model(folder, describe(config), networks, overwrite=overwrite)
