"""The last stage resumes to the bit, moves what it says, and exports what animates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from animate.errors import TrainingError
from animate.generate.pipeline import Engine
from animate.models.components import load_components
from animate.models.variants import load_variant
from animate.progress import Quiet
from scripts.bundled.recipe import read_recipe
from scripts.tiny import evaluation
from scripts.tiny.characters import render_clip
from scripts.tiny.critic import slope_error
from scripts.tiny.recipe import SetRecipe, SharpeningConfig
from scripts.tiny.sharpen import Sharpener
from scripts.tiny.start import model_start


def recipe(folder: Path) -> SharpeningConfig:
    """Seconds of the stage, from the bundled model."""
    return SharpeningConfig(
        start_from="tiny", folder=folder, steps=2, batch=1, frames=3, critic_width=8,
        sets=(SetRecipe(size=(32, 48), clips=2),), warm_up=1, checkpoint_every=1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def sharpened(tmp_path_factory: pytest.TempPathFactory) -> Sharpener:
    """A stage that went through in one piece."""
    config = recipe(tmp_path_factory.mktemp("runs") / "whole")
    config.folder.mkdir()
    sharpener = Sharpener(config, model_start(config.start_from))
    sharpener.run(Quiet())
    return sharpener


def test_a_stage_that_was_stopped_continues_to_the_bit(sharpened: Sharpener) -> None:
    config = replace(sharpened.config, folder=sharpened.config.folder.parent / "stopped")
    config.folder.mkdir()
    first = Sharpener(config, model_start(config.start_from))
    with first.session():
        first.train_step()
    first.save()
    second = Sharpener(config, model_start(config.start_from))
    assert second.step == 1
    second.run(Quiet())
    for name, value, other in zip(
        sharpened.names, sharpened.parameters, second.parameters, strict=True
    ):
        assert torch.equal(value, other), name
    for name, value in sharpened.critic.state_dict().items():
        assert torch.equal(value, second.critic.state_dict()[name]), name


def test_unet_and_decoder_learn_and_nothing_else(sharpened: Sharpener) -> None:
    before = model_start("tiny")
    networks = {**dict(before.networks), "vae": before.vae}
    moved = {
        f"{network}.{name}".split(".")[0] + ("." + name.split(".")[0] if network == "vae" else "")
        for network, module in networks.items()
        for name, value in module.named_parameters()
        if not torch.equal(value, sharpened.networks[network].get_parameter(name))
    }
    assert moved == {"unet", "vae.decoder"}


def test_the_exported_folder_animates(sharpened: Sharpener, tmp_path: Path) -> None:
    sharpened.export(tmp_path / "model", overwrite=False)
    variant = load_variant(str(tmp_path / "model"))
    assert variant.sampling == load_variant("tiny").sampling
    engine = Engine(components=load_components(variant), device=torch.device("cpu"))
    take = render_clip(evaluation.HELD_OUT, 3, (32, 48))
    clip = evaluation.animate_take(engine, take)
    assert clip.shape == take.frames.shape
    assert clip.dtype == np.uint8


def test_blurred_edges_cost_more_than_a_tint() -> None:
    edge = torch.zeros(1, 3, 16, 16)
    edge[..., 8:] = 1
    blurred = torch.nn.functional.avg_pool2d(edge, 5, 1, 2, count_include_pad=False)
    even = torch.ones(1, 1, 16, 16)
    tint = torch.full_like(edge, float((blurred - edge).abs().mean()))
    assert slope_error(blurred - edge, even) > 0.05
    assert slope_error(tint, even) == 0


def test_frames_that_are_not_decoded_together_are_refused(tmp_path: Path) -> None:
    config = replace(recipe(tmp_path / "run"), frames=4)
    config.folder.mkdir()
    with pytest.raises(TrainingError, match="frames 4 is not a multiple of 3"):
        Sharpener(config, model_start("tiny"))


def test_the_recipe_in_the_tree_is_read() -> None:
    assert read_recipe(SharpeningConfig, "scripts/tiny/sharpen.yaml").frames % 3 == 0
