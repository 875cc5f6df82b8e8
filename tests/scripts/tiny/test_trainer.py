"""The training loop on a toy: it resumes to the bit, stops at NaN, and exports what runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from animate.errors import TrainingError
from animate.generate.pipeline import Engine
from animate.models.components import load_components
from animate.models.config import ControlNeXtConfig
from animate.models.variants import load_variant
from animate.progress import Quiet
from animate.request.schema import plain
from animate.training.curves import read_lines
from animate.training.speed import fast_on_cpu
from scripts.bundled.recipe import read_recipe
from scripts.tiny import evaluation
from scripts.tiny.characters import render_clip
from scripts.tiny.export import averaged, export
from scripts.tiny.networks import make_networks
from scripts.tiny.recipe import (
    AutoencoderRecipe,
    NetworkRecipe,
    SetRecipe,
    Stage,
    TrainingConfig,
)
from scripts.tiny.start import open_start
from scripts.tiny.train import main as command
from scripts.tiny.trainer import Trainer, train

SETS = (SetRecipe(size=(32, 48), clips=3),)


def recipe(folder: Path) -> TrainingConfig:
    """Seconds of training, every part of it real."""
    control = ControlNeXtConfig(
        stem_channels=(8, 8), stem_padding=1, block_channels=(8, 16), block_groups=(2, 2),
        mid_groups=2, out_channels=32, time_channels=16, time_embed_dim=16,
    )  # fmt: skip
    return TrainingConfig(
        name="toy",
        summary="for tests",
        folder=folder,
        image_latents="reference",
        autoencoder=AutoencoderRecipe(
            latents=4, sets=SETS, basis_images=8, cycles=(2,), batch=1, crop=32
        ),
        networks=NetworkRecipe(
            channels=(32, 32, 32), heads=2, context=16, time_width=8, encoder_size=32,
            encoder_width=16, encoder_layers=1, controlnext=control,
        ),
        stages=(
            Stage(sets=SETS, steps=2, batch=2, frames=1, rate=1e-3, final_rate=1e-3),
            Stage(sets=SETS, steps=2, batch=1, frames=3, rate=1e-3, final_rate=1e-4),
        ),
        warm_up=2,
        checkpoint_every=1,
    )  # fmt: skip


def warped_recipe(model: Path, folder: Path) -> TrainingConfig:
    """From a model's weights, with warped image latents: single frames, then windows."""
    stage = Stage(sets=SETS, steps=2, batch=2, frames=1, rate=1e-3, final_rate=1e-4, sigma=80.0)
    return TrainingConfig(
        name="toy-warped",
        summary="for tests",
        folder=folder,
        image_latents="warped",
        adds_image_latents=True,
        start_from=str(model),
        stages=(stage, replace(stage, batch=1, frames=3)),
        warm_up=2,
        checkpoint_every=1,
        validate_every=2,
        validate_clips=1,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainingConfig:
    """A run that went through in one piece."""
    config = recipe(tmp_path_factory.mktemp("runs") / "whole")
    train(config)
    return config


def test_a_run_that_was_stopped_continues_to_the_bit(trained: TrainingConfig) -> None:
    # Beside the first run: it shares the rendered clips.
    config = replace(trained, folder=trained.folder.parent / "stopped")
    for stop in (1, 3, 4):
        _train_until(config, stop)
    first, second = (
        torch.load(place.folder / "networks.pt", weights_only=True) for place in (trained, config)
    )
    assert second["step"] == 4
    for name, value in first["networks"].items():
        assert torch.equal(value, second["networks"][name]), name
    for one, other in zip(first["average"], second["average"], strict=True):
        assert torch.equal(one, other)


def _train_until(config: TrainingConfig, step: int) -> None:
    """Run the recipe and be killed after a step."""

    class Killed(Exception):
        pass

    class Killing(Trainer):
        def save(self) -> None:
            super().save()
            if self.step == step:
                raise Killed

    with pytest.raises(Killed):
        Killing(config, open_start(config)).run(Quiet())


def test_the_shared_loop_computes_what_a_plain_one_does(trained: TrainingConfig) -> None:
    """To the bit: one optimiser, its clipping and the average, written down once more."""
    config = replace(trained, folder=trained.folder.parent / "plain")
    own = Trainer(config, open_start(trained))
    optimiser = torch.optim.AdamW(
        own.parameters, betas=(0.9, 0.99), weight_decay=config.weight_decay, fused=True
    )
    average = [parameter.detach().clone() for parameter in own.parameters]
    with own.session():
        for step in range(config.steps):
            own.step = step
            optimiser.param_groups[0]["lr"] = own.rate()
            rng = np.random.default_rng([config.seed, 20, step])
            loss = own.losses(own.batch(rng, 0), rng).mean()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(own.parameters, config.clip_norm)
            optimiser.step()
            keep = min(config.ema, (2 + step) / (11 + step))
            torch._foreach_lerp_(average, [p.detach() for p in own.parameters], 1 - keep)
    state = torch.load(trained.folder / "networks.pt", weights_only=True)
    for name, value in own.networks.state_dict().items():
        assert torch.equal(value, state["networks"][name]), name
    assert all(torch.equal(a, b) for a, b in zip(average, state["average"], strict=True))


def test_another_recipe_does_not_take_up_the_checkpoint(trained: TrainingConfig) -> None:
    with pytest.raises(TrainingError, match="another recipe"):
        Trainer(replace(trained, ema=0.5), open_start(trained))


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(trained: TrainingConfig) -> None:
    config = replace(trained, folder=trained.folder.parent / "broken")
    config.folder.mkdir()
    start = open_start(trained)
    broken = replace(start.encoder, mean=start.encoder.mean * torch.nan)
    trainer = Trainer(config, replace(start, encoder=broken))
    with pytest.raises(TrainingError, match="step 0 is nan"):
        trainer.run(Quiet())


def test_the_average_lags_behind_the_weights(trained: TrainingConfig) -> None:
    state = torch.load(trained.folder / "networks.pt", weights_only=True)
    means = averaged(trained).networks.state_dict()
    name = "unet.conv_in.weight"
    start = make_networks(trained).state_dict()[name]
    moved = (state["networks"][name] - start).norm()
    assert 0 < (means[name] - start).norm() < moved


def test_the_exported_folder_animates(trained: TrainingConfig, tmp_path: Path) -> None:
    variant = export(trained, tmp_path / "model")
    assert variant.sizes == ((32, 48),)
    loaded = load_variant(str(tmp_path / "model"))
    engine = Engine(components=load_components(loaded), device=torch.device("cpu"))
    expected = averaged(trained).networks["unet"].conv_in.weight
    torch.testing.assert_close(
        engine.components.unet.conv_in.weight, expected.half().float(), rtol=0, atol=0
    )
    take = render_clip(evaluation.HELD_OUT, 10, (32, 48))
    clip = evaluation.animate_take(engine, take, steps=2)
    assert clip.shape == take.frames.shape
    assert clip.dtype == np.uint8
    scores = evaluation.score(clip, take)
    assert 3 < scores.psnr < 40
    assert evaluation.score(take.frames, take).iou == 1


def test_training_starts_from_a_model_folder(trained: TrainingConfig, tmp_path: Path) -> None:
    export(trained, tmp_path / "model")
    config = warped_recipe(tmp_path / "model", tmp_path / "next")
    weights = Trainer(config, open_start(config)).networks["unet"].conv_in.weight
    expected = averaged(trained).networks["unet"].conv_in.weight.half().float()
    torch.testing.assert_close(weights, expected, rtol=0, atol=0)


def test_a_warped_run_starts_from_a_model_resumes_to_the_bit_and_animates(
    trained: TrainingConfig, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    export(trained, model)
    whole = warped_recipe(model, tmp_path / "whole")
    train(whole)
    stopped = replace(whole, folder=tmp_path / "stopped")
    for stop in (1, 4):
        _train_until(stopped, stop)
    first, second = (
        torch.load(config.folder / "networks.pt", weights_only=True) for config in (whole, stopped)
    )
    for name, value in first["networks"].items():
        assert torch.equal(value, second["networks"][name]), name
    rows = read_lines(whole.folder / "validation.jsonl")
    assert [(row["step"], row["window"]) for row in rows] == [(2, 1), (4, 3)]
    variant = export(whole, tmp_path / "warped")
    assert (variant.image_latents, variant.adds_image_latents) == ("warped", True)
    assert variant.sizes == ((32, 48),)
    loaded = load_components(load_variant(str(tmp_path / "warped")))
    base = load_components(load_variant(str(model)))
    assert torch.equal(loaded.vae.decoder.conv_in.weight, base.vae.decoder.conv_in.weight)
    take = render_clip(evaluation.HELD_OUT, 10, (32, 48))
    clip = evaluation.animate_take(Engine(components=loaded, device=torch.device("cpu")), take)
    assert clip.shape == take.frames.shape


def test_runs_of_other_kinds_are_refused(trained: TrainingConfig, tmp_path: Path) -> None:
    model = tmp_path / "model"
    export(trained, model)
    config = warped_recipe(model, tmp_path / "run")
    Trainer(config, open_start(config)).save()
    with pytest.raises(TrainingError, match="another recipe"):
        averaged(replace(config, image_latents="reference"))
    export(replace(trained, seed=trained.seed), tmp_path / "same")
    assert averaged(replace(config, start_from=str(tmp_path / "same"))).variant.name == "toy-warped"
    with pytest.raises(TrainingError, match="another recipe"):  # other weights under it
        averaged(replace(config, start_from="tiny"))
    with pytest.raises(TrainingError, match="either start_from, or autoencoder and networks"):
        replace(trained, start_from=str(model))


def test_a_model_that_adds_its_image_latents_is_not_trained_on_without(
    trained: TrainingConfig, tmp_path: Path
) -> None:
    export(trained, tmp_path / "model")
    config = warped_recipe(tmp_path / "model", tmp_path / "run")
    Trainer(config, open_start(config)).save()
    export(config, tmp_path / "adding")
    again = warped_recipe(tmp_path / "adding", tmp_path / "again")
    assert open_start(again).variant.adds_image_latents
    with pytest.raises(TrainingError, match="adds its image latents; a recipe that starts from"):
        open_start(replace(again, adds_image_latents=False))


def test_a_recipe_of_the_old_kind_is_refused_by_name(tmp_path: Path) -> None:
    text = Path("scripts/tiny/tiny.yaml").read_text().replace("image_latents: reference\n", "")
    path = tmp_path / "old.yaml"
    path.write_text(text)
    with pytest.raises(TrainingError, match=r"old\.yaml.*image_latents"):
        read_recipe(TrainingConfig, path)


def test_the_fast_ways_give_the_same_numbers(trained: TrainingConfig) -> None:
    unet = make_networks(trained)["unet"]
    sample = torch.randn(2, 3, 8, 12, 8)
    call = {
        "timestep": torch.tensor([0.3, -0.1]),
        "encoder_hidden_states": torch.randn(2, 1, 16),
        "added_time_ids": torch.tensor([[6.0, 127.0, 0.02]]).repeat(2, 1),
    }
    with torch.no_grad():
        stock = unet(sample, **call).sample
        with fast_on_cpu(unet):
            torch.testing.assert_close(unet(sample, **call).sample, stock, atol=2e-5, rtol=1e-4)
        assert torch.equal(unet(sample, **call).sample, stock)


@pytest.mark.parametrize("name", ["tiny", "warped"])
def test_the_shipped_recipes_are_read(name: str) -> None:
    config = read_recipe(TrainingConfig, f"scripts/tiny/{name}.yaml")
    assert config.steps == sum(stage.steps for stage in config.stages)
    assert min(min(one.size) for one in config.stages[-1].sets) >= 96


def test_unknown_names_and_impossible_values_name_the_file(tmp_path: Path) -> None:
    text = Path("scripts/tiny/tiny.yaml").read_text()
    place = tmp_path / "recipe.yaml"
    place.write_text(text + "\nsede: 1\n")
    with pytest.raises(TrainingError, match=r"recipe\.yaml.*sede.*did you mean 'seed'"):
        read_recipe(TrainingConfig, place)
    place.write_text(text + "\nema: 1.5\n")
    with pytest.raises(TrainingError, match="ema"):
        read_recipe(TrainingConfig, place)


def test_the_command_exports_what_was_learned_and_names_mistakes(
    trained: TrainingConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**plain(trained), "folder": str(trained.folder)}))
    model = tmp_path / "model"
    assert command([str(path), "--export-only", "--export", str(model), "--quiet"]) == 0
    written = load_components(load_variant(str(model))).unet.conv_in.weight
    assert torch.equal(written, averaged(trained).networks["unet"].conv_in.weight.half().float())
    assert command([str(path), "--export-only", "--export", str(model), "--quiet"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert command([str(tmp_path / "no.yaml")]) == 2
    assert "no.yaml" in capsys.readouterr().err
