"""The small text-to-image model: its words, its people, and a run of two steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from animate.models.config import ControlNeXtConfig, Injection
from animate.progress import Quiet
from animate.request.values import Lora
from animate.stills.pipeline import StillPipeline
from scripts.tiny_still.data import People
from scripts.tiny_still.evaluate import held_out, score
from scripts.tiny_still.export import export
from scripts.tiny_still.networks import make_tokenizer
from scripts.tiny_still.people import HELD_OUT, all_words, phrase, words_of
from scripts.tiny_still.recipe import Autoencoder, Networks, Pictures, StillRecipe, Style
from scripts.tiny_still.style import ink, train_style
from scripts.tiny_still.trainer import train


def recipe(folder: Path) -> StillRecipe:
    """Seconds of training, every part of it real."""
    control = ControlNeXtConfig(
        stem_channels=(8, 8), stem_padding=1, block_channels=(8, 16), block_groups=(2, 2),
        mid_groups=2, out_channels=32, time_channels=16, time_embed_dim=16,
    )  # fmt: skip
    return StillRecipe(
        name="toy",
        summary="for tests",
        folder=folder,
        pictures=Pictures(size=(32, 48), people=3, poses=1),
        autoencoder=Autoencoder(latents=4, basis_pictures=4, steps=1, batch=1),
        networks=Networks(
            channels=(32, 32, 32), heads=2, text_width=16, text_layers=1, controlnext=control,
            injection=Injection(hook_point="down", weight=1.0, pool="before"),
        ),
        style=Style(people=3, steps=1, rank=2, rate=0.5),
        steps=2,
        batch=4,
        warm_up=1,
        checkpoint_every=1,
        precision="float32",
    )  # fmt: skip


def test_every_word_of_the_captions_is_one_token(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path, 32)
    assert all(len(tokenizer(word).input_ids) == 3 for word in all_words())
    unknown = tokenizer("zebra").input_ids
    assert len(unknown) > 3
    assert tokenizer.unk_token_id not in unknown[1:-1]
    known = set(all_words())
    for seed in range(200):
        caption = words_of(seed).caption().replace(",", " ,")
        assert set(caption.split()) <= known, caption
        assert len(tokenizer(phrase(words_of(seed), np.random.default_rng(seed))).input_ids) <= 32


def test_true_pictures_have_what_their_captions_name() -> None:
    scenes = held_out(24, (64, 96))
    assert scenes[0].words == replace(words_of(HELD_OUT), wall=scenes[0].words.wall,
                                      scenery="gradient")  # fmt: skip
    truth = score([scene.pictures[0] for scene in scenes], scenes)
    assert truth.iou > 0.85
    assert truth.shirt > 0.6
    assert truth.wall > 0.7
    turned = score([scene.pictures[0] for scene in scenes[1:] + scenes[:1]], scenes)
    assert turned.iou < truth.iou - 0.2
    assert turned.shirt < truth.shirt - 0.3
    styled = score([ink(scene.pictures[0]) for scene in scenes], scenes)
    assert styled.chroma < truth.chroma / 2


def test_a_run_resumes_to_the_bit_and_exports_what_cnx_still_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scripts.tiny_still.trainer import Trainer

    whole, parts = recipe(tmp_path / "a"), recipe(tmp_path / "b")
    train(whole)

    def stop(trainer: Trainer) -> float:
        if trainer.step == 1:
            raise KeyboardInterrupt
        return step(trainer)

    step = Trainer.train_step
    monkeypatch.setattr(Trainer, "train_step", stop)
    with pytest.raises(KeyboardInterrupt):
        train(parts)
    monkeypatch.setattr(Trainer, "train_step", step)
    train(parts)
    for run in (whole, parts):
        export(run, run.folder / "model")
    files = [run.folder / "model" / "unet" / "diffusion_pytorch_model.safetensors"
             for run in (whole, parts)]  # fmt: skip
    assert files[0].read_bytes() == files[1].read_bytes()

    pipeline = StillPipeline.from_pretrained(str(tmp_path / "a" / "model"), device="cpu")
    control = np.zeros((48, 32, 3), np.uint8)
    control[10:40, 14:18] = 255
    call = {"prompt": "a person in a red dress", "steps": 2}
    free = np.asarray(pipeline(**call))  # type: ignore[arg-type]
    held = np.asarray(pipeline(control=control, **call))  # type: ignore[arg-type]
    assert free.shape == (48, 32, 3)
    assert (free != held).any()

    lora = train_style(whole, People(whole, Quiet()), tmp_path / "ink.safetensors", Quiet())
    pipeline.load_lora((Lora(lora, 1.0),))
    assert (np.asarray(pipeline(**call)) != free).any()  # type: ignore[arg-type]
