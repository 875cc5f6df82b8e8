"""Models on Stable Video Diffusion: image latents beside the noise, stepped by noise level."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from animate.errors import NotFiniteError, RequestError
from animate.generate.conditioning import Conditioning, encode_reference
from animate.generate.consistency import ConsistencyScheduler
from animate.generate.denoise import Networks
from animate.generate.engine import Engine
from animate.generate.network import ClipWork, networks_for
from animate.generate.schedules import make_scheduler
from animate.generate.settings import ClipSettings
from animate.models.components import Components
from animate.models.face_encoder import FaceEncoder
from animate.models.variants import ModelVariant
from temporal.noise import frame_noise
from temporal.offload import offloaded
from temporal.vae import DecodeOptions, decode_frames

REFERENCE_FRAME = 2**31
"""Number of the reference's noise: that of a frame which no clip reaches."""


class VideoDiffusion:
    """The `Family` of Stable Video Diffusion."""

    def encode(
        self, engine: Engine, settings: ClipSettings, picture: np.ndarray, face: np.ndarray | None
    ) -> Conditioning:
        """See `Family`; the face vector (I) is for variants with face tokens."""
        parts, variant = engine.components, engine.components.variant
        height, width = picture.shape[:2]
        conditioning = encode_reference(
            picture,
            image_encoder=parts.image_encoder,
            vae=parts.vae,
            feature_mean=variant.feature_mean,
            feature_std=variant.feature_std,
            micro_conditions=tuple(variant.micro_conditions),
            noise=frame_noise([REFERENCE_FRAME], (3, height, width), settings.seed),
            device=engine.device,
            placed=lambda network: offloaded(network, engine.device, engine.offload),
        )
        check_conditions(conditioning)
        if parts.face_encoder is not None and settings.identity_weight > 0:
            tokens = _face_tokens(engine, parts.face_encoder, conditioning.embedding, face)
            conditioning = conditioning.with_face(tokens)
        return conditioning

    def scheduler(self, variant: ModelVariant, settings: ClipSettings, device: torch.device) -> Any:
        """See `Family`."""
        if variant.distilled_levels is not None:
            _check_distilled(variant, settings)
            return ConsistencyScheduler(
                variant.scheduler, settings.steps, levels=variant.distilled_levels, device=device
            )
        return make_scheduler(
            variant.scheduler,
            settings.steps,
            solver=settings.solver,
            levels=settings.levels,
            device=device,
        )

    def networks(
        self, parts: Components, work: ClipWork, device: torch.device
    ) -> AbstractContextManager[Networks]:
        """See `Family`."""
        return networks_for(parts, work, device)

    def decode(
        self, vae: Any, latents_FChw: Tensor, options: DecodeOptions, *, first: int
    ) -> Iterator[Tensor]:
        """See `Family`; the decoder's temporal layers see the frames of a group."""
        return decode_frames(vae, latents_FChw, options, first=first)


def _check_distilled(variant: ModelVariant, settings: ClipSettings) -> None:
    """Raise RequestError for a solver or levels that a distilled UNet was not trained for."""
    for option, value, usual in (
        ("--solver", settings.solver, "euler"),
        ("--levels", settings.levels, "model"),
    ):
        if value != usual:
            raise RequestError(
                f"{option} {value} is not for {variant.name}, whose UNet is distilled to steps of "
                f"its own; leave {option} out"
            )


def check_conditions(conditioning: Conditioning) -> None:
    """Raise NotFiniteError naming the network that gave numbers that are not finite."""
    for network, values in (
        ("image encoder", conditioning.embedding),
        ("VAE", conditioning.latents),
    ):
        if not bool(torch.isfinite(values).all()):
            raise NotFiniteError("encode", "of the reference picture", network)


def _face_tokens(
    engine: Engine, encoder: FaceEncoder, embedding_11D: Tensor, face: np.ndarray | None
) -> Tensor:
    """(1,T,D) of a face vector (I); nobody's is zeros, as the published code has it."""
    values = np.zeros(encoder.config.face_width, np.float32) if face is None else face
    dtype = next(encoder.parameters()).dtype
    vector = torch.from_numpy(values)[None].to(engine.device, dtype)
    with offloaded(encoder, engine.device, engine.offload):
        tokens: Tensor = encoder(vector, embedding_11D.to(dtype))
    if not bool(torch.isfinite(tokens).all()):
        raise NotFiniteError("encode", "of the face", "face encoder")
    return tokens
