"""Write a run's averaged networks as a model folder that `cnx still --model FOLDER` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from animate.errors import TrainingError
from animate.files import atomic_folder, sha256, write_text
from animate.models.stills import STILL_FILE, Checkpoint, StillDesign
from animate.request.schema import plain
from animate.request.values import Size
from animate.training.checkpoints import load_checkpoint
from animate.training.loop import STATE
from scripts.tiny_still.autoencoder import STATE as AUTOENCODER
from scripts.tiny_still.networks import (
    make_autoencoder,
    make_networks,
    make_scheduler,
    make_tokenizer,
)
from scripts.tiny_still.recipe import StillRecipe

CONTROL = "controlnext/model.safetensors"


def averaged(recipe: StillRecipe) -> nn.ModuleDict:
    """The networks of a run with the moving average of its checkpoint.

    Raises `TrainingError` when the run has no checkpoint yet.
    """
    state = load_checkpoint(recipe.folder / STATE, recipe.digest())
    if state is None:
        raise TrainingError(f"{recipe.folder} holds no checkpoint yet; train first")
    tokenizer = make_tokenizer(recipe.folder / "tokenizer", recipe.networks.text_length)
    networks = make_networks(recipe, tokenizer)
    networks.load_state_dict(state["networks"])
    with torch.no_grad():
        for parameter, average in zip(networks.parameters(), state["average"], strict=True):
            parameter.copy_(average)
    return networks.eval().requires_grad_(False)


def trained_autoencoder(recipe: StillRecipe) -> Any:
    """The autoencoder of a run. Raises `TrainingError` when it is not trained yet."""
    state = load_checkpoint(recipe.folder / AUTOENCODER, recipe.autoencoder_digest())
    if state is None:
        raise TrainingError(f"{recipe.folder} holds no autoencoder yet; train first")
    vae = make_autoencoder(recipe)
    vae.load_state_dict(state["vae"])
    return vae.eval().requires_grad_(False)


def design_of(recipe: StillRecipe) -> StillDesign:
    """The description of the model that a recipe makes."""
    return StillDesign(
        name=recipe.name,
        summary=recipe.summary,
        family="sd15",
        sizes=(Size(*recipe.size),),
        steps=20,
        guidance=4.0,
        scheduler="UniPCMultistepScheduler",
        unet_weights="absolute",
        injection=recipe.networks.injection,
        controlnext=recipe.networks.controlnext,
        pose_style=recipe.pictures.pose_style,
        licence="Apache-2.0",
        checkpoints={"pose": Checkpoint(controlnext=CONTROL)},
    )


def export(recipe: StillRecipe, folder: Path, *, overwrite: bool = False) -> None:
    """Write the model folder (float16) of a run in diffusers' layout, with `still.yaml`."""
    networks, vae = averaged(recipe), trained_autoencoder(recipe)
    design = design_of(recipe)
    pipe = design.assemble(
        unet=networks["unet"].half(),
        vae=vae.half(),
        text_encoder=networks["text_encoder"].half(),
        tokenizer=make_tokenizer(recipe.folder / "tokenizer", recipe.networks.text_length),
        scheduler=make_scheduler(),
    )
    with atomic_folder(folder, overwrite=overwrite) as partial:
        pipe.save_pretrained(partial, safe_serialization=True)
        (partial / CONTROL).parent.mkdir()
        control = {
            name: value.half() for name, value in networks["controlnext"].state_dict().items()
        }
        save_file(control, partial / CONTROL)
        values = {name: value for name, value in plain(design).items() if name != "folder"}
        values["digests"] = {CONTROL: sha256(partial / CONTROL)}
        text = yaml.safe_dump(values, sort_keys=False, width=100, allow_unicode=True)
        write_text(partial / STILL_FILE, text)
