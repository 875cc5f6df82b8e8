"""Write a run's averaged networks as a model folder that `cnx still --model FOLDER` takes."""

from __future__ import annotations

from pathlib import Path

import yaml
from safetensors.torch import save_file
from torch import nn

from animate.files import atomic_folder, sha256, write_text
from animate.models.stills import STILL_FILE, Checkpoint, StillDesign
from animate.request.schema import plain
from animate.request.values import Size
from scripts.bundled.decoder import trained_autoencoder
from scripts.bundled.loop import put_average
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
    tokenizer = make_tokenizer(recipe.folder / "tokenizer", recipe.networks.text_length)
    networks = make_networks(recipe, tokenizer)
    put_average(networks, recipe.folder, recipe.digest())
    return networks.eval().requires_grad_(False)


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
    networks = averaged(recipe)
    vae = trained_autoencoder(recipe.folder, recipe.autoencoder_digest(), make_autoencoder(recipe))
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
