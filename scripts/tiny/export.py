"""Write a run's averaged networks as a model folder that `cnx run --model FOLDER` takes."""

from __future__ import annotations

from pathlib import Path

import torch

from animate.errors import TrainingError
from animate.models.components import save_model
from animate.models.variants import ModelVariant
from animate.training.checkpoints import load_checkpoint
from animate.training.loop import STATE
from scripts.tiny.recipe import TrainingConfig
from scripts.tiny.start import Start, open_start


def averaged(config: TrainingConfig) -> Start:
    """The start of a run, its networks with the moving average of the run's checkpoint.

    Raises `TrainingError` when the run has no checkpoint yet.
    """
    start = open_start(config)
    state = load_checkpoint(config.folder / STATE, config.digest(start.digests))
    if state is None:
        raise TrainingError(f"{config.folder} holds no checkpoint yet; train first")
    networks = start.networks
    networks.load_state_dict(state["networks"])
    with torch.no_grad():
        for parameter, average in zip(networks.parameters(), state["average"], strict=True):
            parameter.copy_(average)
    return start


def export(config: TrainingConfig, folder: Path, *, overwrite: bool = False) -> ModelVariant:
    """Write the model folder (float16) of a run, and return its variant."""
    start = averaged(config)
    networks = {**dict(start.networks), "vae": start.vae}
    return save_model(folder, start.variant, networks, overwrite=overwrite)
