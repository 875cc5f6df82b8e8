"""A UNet that predicts what its image latents lack."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import yaml

from animate.errors import ModelError
from animate.models.added_latents import add_image_latents, begin_adding
from animate.models.components import load_components
from animate.models.variants import load_variant
from animate.training.objective import precondition
from tests.toy import toy_model, toy_networks, toy_variant

SIGMA = 80.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A toy model whose variant adds its image latents."""
    model = tmp_path_factory.mktemp("models") / "toy"
    toy_model(model)
    description = model / "variant.yaml"
    values = yaml.safe_load(description.read_text())
    description.write_text(yaml.safe_dump({**values, "adds_image_latents": True}))
    return model


def call(unet, sample, **kwargs):
    """The UNet's output for a sample (1,F,2C,h,w), everything else at rest."""
    width = unet.config.cross_attention_dim
    return unet(
        sample,
        torch.tensor([1.0]),
        encoder_hidden_states=torch.zeros(1, 1, width),
        added_time_ids=torch.zeros(1, 3),
        **kwargs,
    )


@pytest.fixture
def sample():
    channels = toy_networks()["unet"].config.in_channels
    return torch.randn(1, 3, channels, 8, 8, generator=torch.Generator().manual_seed(0))


def test_a_loaded_model_subtracts_its_scaled_image_latents_from_the_prediction(folder, sample):
    parts = load_components(load_variant(folder))
    plain = load_components(replace(load_variant(folder), adds_image_latents=False)).unet
    half = sample.shape[2] // 2
    expected = call(plain, sample).sample - parts.vae.config.scaling_factor * sample[:, :, half:]
    assert torch.equal(call(parts.unet, sample).sample, expected)
    assert torch.equal(call(parts.unet, sample, return_dict=False)[0], expected)


def test_a_network_that_begins_to_add_denoises_to_the_image_latents_themselves(sample):
    networks = toy_networks()
    unet, vae = networks["unet"], networks["vae"]
    begin_adding(unet, vae)
    channels = sample.shape[2] // 2
    image = sample[:, :, channels:]
    clean = vae.config.scaling_factor * image
    constants = precondition(torch.tensor([SIGMA]))
    noisy = clean + SIGMA * sample[:, :, :channels]
    scaled = torch.cat([constants.input * noisy, image], dim=2)
    with torch.no_grad():
        prediction = call(unet, scaled).sample
    denoised = noisy / (SIGMA**2 + 1) - prediction * SIGMA / (SIGMA**2 + 1) ** 0.5
    assert (denoised - clean).abs().max() < 0.1  # what the noise weighs there


def test_without_image_latents_nothing_is_added(sample):
    networks = toy_networks()
    blank = sample.clone()
    blank[:, :, blank.shape[2] // 2 :] = 0
    with torch.no_grad():
        before = call(networks["unet"], blank).sample
        add_image_latents(networks["unet"], networks["vae"])
        assert torch.equal(call(networks["unet"], blank).sample, before)


def test_a_scheduler_that_predicts_something_else_is_refused():
    scheduler = {**toy_variant().scheduler, "prediction_type": "epsilon"}
    with pytest.raises(ModelError, match=r"adds_image_latents needs .* v_prediction"):
        replace(toy_variant(), adds_image_latents=True, scheduler=scheduler)
