"""The bundled model does what its card says, on characters that it never saw."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from animate.generate.clip_state import KeepsNothing
from animate.generate.decoding import decode
from animate.generate.pipeline import Engine
from animate.generate.settings import settle
from animate.models.components import load_components
from animate.models.variants import bundled_folder, load_variant
from animate.progress import Quiet
from animate.request.request import AnimationRequest
from animate.request.values import Size
from scripts.bundled.recipe import read_recipe
from scripts.tiny import evaluation
from scripts.tiny.recipe import TrainingConfig
from scripts.tiny.start import describe


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(components=load_components(load_variant("tiny")), device=torch.device("cpu"))


def test_it_is_small() -> None:
    files = [file for file in bundled_folder().rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 40e6


def test_it_is_what_the_recipes_describe() -> None:
    first = describe(read_recipe(TrainingConfig, "scripts/tiny/tiny.yaml"))
    described = describe(read_recipe(TrainingConfig, "scripts/tiny/warped.yaml"), first).to_dict()
    shipped = load_variant("tiny").to_dict()
    for name in set(described) - {"components", "digests", "peak_memory"}:
        assert shipped[name] == described[name], name


def test_it_follows_the_pose_and_keeps_the_colours(engine: Engine) -> None:
    takes = evaluation.held_out(3, 8, [Size(96, 96)])
    made = [evaluation.animate_take(engine, take) for take in takes]
    pairs = list(zip(made, takes, strict=True))
    generated = evaluation.mean_scores([evaluation.score(clip, take) for clip, take in pairs])
    standing = evaluation.mean_scores(
        [evaluation.score(evaluation.repeated(take), take) for take in takes]
    )
    assert generated.psnr > standing.psnr + 0.5
    assert generated.iou > standing.iou + 0.05
    # The figure's mean colour is nearest to that of its own character.
    colours = np.array([clip[take.masks > 200].mean(0) for clip, take in pairs])
    truths = np.array([take.frames[take.masks > 200].mean(0) for take in takes])
    distance = np.linalg.norm(colours[:, None] - truths[None], axis=-1)
    assert (distance.argmin(1) == np.arange(len(takes))).all()


def test_the_autoencoder_does_not_flicker(engine: Engine) -> None:
    for take in evaluation.held_out(2, 10, [Size(96, 96)]):
        decoded = evaluation.through_autoencoder(engine, take.frames)
        tint = (decoded.astype(float) - take.frames).mean((1, 2))  # (10,3), of 256 levels
        assert np.abs(tint.mean(0)).max() < 4
        assert tint.std(0).max() < 2.5


@torch.no_grad()
def test_a_single_frame_is_not_tinted(engine: Engine) -> None:
    vae, variant = engine.components.vae, engine.components.variant
    [take] = evaluation.held_out(1, 1, [Size(96, 96)])
    pixels = torch.from_numpy(take.frames).permute(0, 3, 1, 2).float() / 127.5 - 1
    latents = vae.encode(pixels).latent_dist.mode() * vae.config.scaling_factor
    request = AnimationRequest(
        reference=Path("me.png"), driving=Path("dance.mp4"), output=Path("clip.mp4")
    )
    settings = settle(request, variant, Size(96, 96))
    frames = list(decode(engine, settings, latents, Quiet(), KeepsNothing()))
    assert len(frames) == 1
    assert np.abs((frames[0].astype(float) - take.frames[0]).mean((0, 1))).max() < 4


def test_the_card_states_the_figures_that_were_measured() -> None:
    card = (bundled_folder() / "README.md").read_text(encoding="utf-8")
    assert re.search(r"scripts\.tiny\.evaluate", card)
    assert re.search(r"generated.*\d\d\.\d", card)
