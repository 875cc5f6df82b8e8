"""Write a run's averaged networks as a model folder that `cnx run --model FOLDER` takes."""

from __future__ import annotations

from pathlib import Path

from animate.models.components import save_model
from animate.models.variants import ModelVariant
from scripts.bundled.loop import put_average
from scripts.tiny.recipe import TrainingConfig
from scripts.tiny.start import Start, open_start


def averaged(config: TrainingConfig) -> Start:
    """The start of a run, its networks with the moving average of the run's checkpoint.

    Raises `TrainingError` when the run has no checkpoint yet.
    """
    start = open_start(config)
    put_average(start.networks, config.folder, config.digest(start.digests))
    return start


def export(config: TrainingConfig, folder: Path, *, overwrite: bool = False) -> ModelVariant:
    """Write the model folder (float16) of a run, and return its variant."""
    start = averaged(config)
    networks = {**dict(start.networks), "vae": start.vae}
    return save_model(folder, start.variant, networks, overwrite=overwrite)
