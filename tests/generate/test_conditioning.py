"""What the UNet knows of the reference: against diffusers' own pipeline, and its own settings."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder
from diffusers.pipelines.stable_video_diffusion import pipeline_stable_video_diffusion as stock
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from animate.generate.conditioning import (
    encode_frames,
    encode_reference,
    resize_antialiased,
    upcast,
)
from tests.temporal.networks import randomise

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 32, 3), dtype=np.uint8)
NOISE = torch.randn(1, 3, 48, 32, generator=torch.Generator().manual_seed(1))
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@pytest.fixture(scope="module")
def vae() -> Any:
    return randomise(
        AutoencoderKLTemporalDecoder(
            down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
            block_out_channels=(32, 32),
            layers_per_block=1,
        )
    )


@pytest.fixture(scope="module")
def image_encoder() -> Any:
    config = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        projection_dim=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=28,
        patch_size=7,
    )
    return CLIPVisionModelWithProjection(config).eval()


def encode(vae, image_encoder, **changes):
    given = {
        "image_encoder": image_encoder,
        "vae": vae,
        "feature_mean": MEAN,
        "feature_std": STD,
        "micro_conditions": (6, 128, 0.02),
        "noise": NOISE,
    }
    return encode_reference(IMAGE, **{**given, **changes})


@pytest.mark.parametrize("size", [(48, 32), (224, 224), (301, 97), (1024, 576)])
def test_resizing_is_the_stock_pipeline_s(size):
    pixels = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    ours = resize_antialiased(pixels, (224, 224))
    theirs = stock._resize_with_antialiasing(pixels, (224, 224))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_networks_are_brought_in_one_after_the_other(vae, image_encoder):
    seen = []

    @contextlib.contextmanager
    def placed(network):
        seen.append(("in", type(network)))
        yield
        seen.append(("out", type(network)))

    encode(vae, image_encoder, placed=placed)
    networks = [type(image_encoder), type(vae)]
    assert seen == [(way, network) for network in networks for way in ("in", "out")]


def test_conditions_have_their_shapes_and_constants(vae, image_encoder):
    known = encode(vae, image_encoder)
    assert known.embedding.shape == (1, 1, 24)
    assert known.latents.shape == (1, 4, 24, 16)
    torch.testing.assert_close(known.micro, torch.tensor([[6.0, 128.0, 0.02]]))
    blank = known.unconditional()
    assert not blank.embedding.any()
    assert not blank.latents.any()
    assert torch.equal(blank.micro, known.micro)


def test_the_vae_sees_the_noised_image_and_the_encoder_the_clean_one(vae, image_encoder):
    known = encode(vae, image_encoder)
    pixels = torch.from_numpy(IMAGE).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        mode = vae.encode(pixels + 0.02 * NOISE).latent_dist.mode()
    torch.testing.assert_close(known.latents, mode)
    clean = encode(vae, image_encoder, micro_conditions=(6, 128, 0.0))
    assert torch.equal(clean.embedding, known.embedding)
    assert (clean.latents - known.latents).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["feature_mean", "feature_std"])
def test_the_encoder_s_normalisation_has_an_effect(vae, image_encoder, name):
    other = encode(vae, image_encoder, **{name: (0.6, 0.6, 0.6)})
    assert (other.embedding - encode(vae, image_encoder).embedding).abs().max() > 1e-3


def test_a_half_precision_vae_is_upcast_only_where_it_must(vae):
    half = AutoencoderKLTemporalDecoder.from_config(vae.config).half()
    with upcast(half):
        assert half.dtype == torch.float32
    assert half.dtype == torch.float16
    half.register_to_config(force_upcast=False)
    with upcast(half):
        assert half.dtype == torch.float16


def test_frames_are_encoded_as_references_are_each_alone(vae, image_encoder) -> None:
    pictures = [IMAGE, 255 - IMAGE, IMAGE[::-1]]
    counted: list[int] = []
    latents = encode_frames(
        lambda frame: pictures[frame], 3, vae=vae, noise=NOISE, augmentation=0.02,
        on_frame=lambda: counted.append(1),
    )  # fmt: skip
    assert latents.dtype == torch.float16
    assert len(counted) == 3
    for frame, picture in enumerate(pictures):
        alone = encode_reference(
            picture, image_encoder=image_encoder, vae=vae, feature_mean=MEAN, feature_std=STD,
            micro_conditions=(6, 128, 0.02), noise=NOISE,
        )  # fmt: skip
        assert torch.equal(latents[frame : frame + 1], alone.latents.half())
