"""Models with a reference network: AnimateAnyone and its kin, on Stable Diffusion 1.5.

A second UNet sees the reference once; the denoising UNet, which has motion modules, attends to its
features in the conditional half. Frames are decoded one by one.

Shapes: W windows, S slots of a window, N rows of a call, C H W a latent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from animate.errors import NotFiniteError, RequestError
from animate.generate.conditioning import Conditioning, upcast
from animate.generate.denoise import Call, Networks
from animate.generate.engine import Engine
from animate.generate.feature_cache import cached_features
from animate.generate.guidance import guide
from animate.generate.kept_control import with_kept_control
from animate.generate.network import ClipWork, ControlEncoder, check_compilable
from animate.generate.settings import ClipSettings
from animate.models.components import Components
from animate.models.injection import ControlPort, inject, learned_weight, unconditional_weight
from animate.models.reference_attention import ReferenceBank, reference_read, reference_written
from animate.models.variants import ModelVariant
from temporal.memory import apply_plan
from temporal.offload import Offload, offloaded
from temporal.packing import packed_weights
from temporal.speed import compiled
from temporal.vae import DecodeOptions


class ReferenceNet:
    """The `Family` of models with a reference network."""

    def encode(
        self, engine: Engine, settings: ClipSettings, picture: np.ndarray, face: np.ndarray | None
    ) -> Conditioning:
        """See `Family`; the reference's features are those of its own UNet."""
        parts, variant, device = engine.components, engine.components.variant, engine.device

        def placed(network: Any) -> Any:
            return offloaded(network, device, engine.offload)

        with placed(parts.image_encoder):
            embedding = embed_whole(
                picture, parts.image_encoder, variant.feature_mean, variant.feature_std, device
            )
        with placed(parts.vae):
            latents = reference_latents(picture, parts.vae, device)
        for network, values in (("image encoder", embedding), ("VAE", latents)):
            if not bool(torch.isfinite(values).all()):
                raise NotFiniteError("encode", "of the reference picture", network)
        with placed(parts.reference_unet):
            bank = reference_features(parts.reference_unet, latents, embedding)
        if not all(bool(torch.isfinite(x).all()) for x in bank.features.values()):
            raise NotFiniteError("encode", "of the reference picture", "reference UNet")
        return Conditioning(
            embedding=embedding,
            latents=latents,
            micro=torch.zeros(1, 3, device=device),
            reference=bank.features,
        )

    def scheduler(self, variant: ModelVariant, settings: ClipSettings, device: torch.device) -> Any:
        """See `Family`: DDIM, the only solver that these models were published with."""
        from diffusers import DDIMScheduler

        for flag, value, usual in (
            ("solver", settings.solver, "euler"),
            ("levels", settings.levels, "model"),
        ):
            if value != usual:
                raise RequestError(
                    f"--{flag} {value} is not for {variant.name}, which is sampled by DDIM over "
                    "its own noise levels; leave it out"
                )
        scheduler: Any = DDIMScheduler.from_config(dict(variant.scheduler))
        scheduler.set_timesteps(settings.steps)
        scheduler.timesteps = scheduler.timesteps.to(device)
        return scheduler

    @contextmanager
    def networks(
        self, parts: Components, work: ClipWork, device: torch.device
    ) -> Iterator[Networks]:
        """See `Family`. Raises TemporalError for settings that exclude each other."""
        memory, settings, unet = work.memory, work.settings, parts.unet
        injection, control_weight = parts.variant.injection, work.settings.control_weight
        offload: Offload = "none" if memory is None or memory.offload == "none" else "model"
        conditioning = work.conditioning.to(device, unet.dtype)
        bank = ReferenceBank(conditioning.reference)
        with ExitStack() as stack:
            stack.enter_context(offloaded(parts.controlnext, device, offload))
            if memory is not None:
                stack.enter_context(apply_plan(unet, memory, device, constant=False))
            else:
                stack.enter_context(offloaded(unet, device))
            stack.enter_context(reference_read(unet, bank))
            if work.packed:
                stack.enter_context(packed_weights(unet))
            weight = learned_weight(injection, parts.controlnext, control_weight)
            port = stack.enter_context(inject(unet, injection, weight))
            if work.compiler is not None:  # last: compiled code does not see what is hooked later
                check_compilable(work)
                stack.enter_context(compiled(unet, backend=work.compiler))
            networks = Networks(
                predict=GuidedMotionUNet(
                    unet,
                    port,
                    bank,
                    conditioning,
                    unconditional_weight=unconditional_weight(
                        injection, parts.controlnext, control_weight
                    ),
                    together=memory is None or memory.halves_together,
                ),
                control=ControlEncoder(
                    controlnext=parts.controlnext, draw=work.control, device=device
                ),
                batch=1 if memory is None else memory.window_batch,
            )
            if settings.keep_features > 1:
                caching = cached_features(
                    unet, networks, work.steps.plan, every=settings.keep_features
                )
                networks = stack.enter_context(caching)
            if settings.keep_control > 1:
                networks = with_kept_control(networks, work.steps.plan, every=settings.keep_control)
            yield networks

    def decode(
        self, vae: Any, latents_FChw: Tensor, options: DecodeOptions, *, first: int
    ) -> Iterator[Tensor]:
        """See `Family`; each frame by itself, whatever the options."""
        return decode_single_frames(vae, latents_FChw[first:])


class GuidedMotionUNet:
    """A `Predict`: the motion UNet on both guidance halves, the conditional one with the reference,
    both with control."""

    def __init__(
        self,
        unet: Any,
        port: ControlPort,
        bank: ReferenceBank,
        conditioning: Conditioning,
        *,
        unconditional_weight: float | Tensor,
        together: bool = True,
    ) -> None:
        """
        unet: a `UNetMotionModel` within `inject` and `reference_read`
        port, bank: of these two
        conditioning: of the reference image, where the UNet is
        together: both halves in one call; in turn they need about half the memory
        """
        self.unet, self.port, self.bank, self.together = unet, port, bank, together
        self._weights = (unconditional_weight, port.weight)
        known = conditioning.embedding
        self._embeddings = (torch.zeros_like(known), known)

    def __call__(self, sample_WSCHW: Tensor, control: Tensor | None, call: Call) -> Tensor:
        halves = (1,) if call.scale is None else (0, 1)
        outputs: list[Tensor] = []
        for part in [halves] if self.together else [(half,) for half in halves]:
            outputs += self._call(sample_WSCHW, control, call, part).chunk(len(part))
        if call.scale is None:
            return outputs[0]
        blank, known = outputs
        return guide(blank.float(), known.float(), call.scale)

    def _call(
        self, sample_WSCHW: Tensor, control: Tensor | None, call: Call, halves: tuple[int, ...]
    ) -> Tensor:
        """(halves*W,S,C,H,W) of one call of the UNet."""
        windows, slots = sample_WSCHW.shape[:2]
        rows = [half for half in halves for _ in range(windows)]
        sample = sample_WSCHW.to(self.unet.dtype).repeat(len(halves), 1, 1, 1, 1).transpose(1, 2)
        context = torch.cat([self._embeddings[half] for half in rows])
        features = None
        if control is not None:
            flat = control.to(self.unet.dtype).flatten(0, 1)
            features = flat if windows == 1 else flat.repeat(len(halves), 1, 1, 1)
        with (
            self.port.holding(features, [self._weights[half] for half in rows]),
            self.bank.shown([half == 1 for half in rows]),
        ):
            output: Tensor = self.unet(
                sample,
                call.timestep,
                encoder_hidden_states=context.repeat_interleave(slots, 0),
                return_dict=False,
            )[0]
        return output.transpose(1, 2)


@torch.no_grad()
def reference_features(unet: Any, latents_1Chw: Tensor, embedding_11D: Tensor) -> ReferenceBank:
    """The features that the reference's UNet hands over, at timestep 0."""
    bank = ReferenceBank()
    with reference_written(unet, bank):
        unet(latents_1Chw.to(unet.dtype), 0, embedding_11D.to(unet.dtype))
    return bank


@torch.no_grad()
def reference_latents(picture: np.ndarray, vae: Any, device: torch.device | str = "cpu") -> Tensor:
    """(1,C,h,w) of a picture (H,W,3) uint8: the mean of the VAE's distribution, scaled."""
    pixels = torch.from_numpy(np.ascontiguousarray(picture)).to(device)
    pixels = pixels.permute(2, 0, 1)[None].float() / 127.5 - 1
    with upcast(vae):
        mean: Tensor = vae.encode(pixels.to(vae.dtype)).latent_dist.mean
    return mean * vae.config.scaling_factor


def decode_single_frames(vae: Any, latents_FChw: Tensor) -> Iterator[Tensor]:
    """Frames (1,3,H,W) in [-1,1], one after the other; NaN where one is not finite."""
    weight = next(vae.decoder.parameters())
    for latents in latents_FChw.split(1):
        scaled = (latents.to(weight.device) / vae.config.scaling_factor).to(weight.dtype)
        with torch.no_grad():
            frame = vae.decode(scaled).sample
        broken = ~torch.isfinite(frame).all()
        yield frame.clamp_(-1, 1).masked_fill_(broken, torch.nan)


@torch.no_grad()
def embed_whole(
    picture: np.ndarray,
    image_encoder: Any,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device | str = "cpu",
) -> Tensor:
    """Image embedding (1,1,D) of the whole picture: Pillow resizes it to a square, its shape lost,
    as published."""
    side = image_encoder.config.image_size
    small = np.asarray(Image.fromarray(picture).resize((side, side)))
    values = torch.tensor([list(mean), list(std)], device=device).view(2, 1, 3, 1, 1)
    pixels = torch.from_numpy(small.copy()).to(device).permute(2, 0, 1)[None].float() / 255
    dtype = next(image_encoder.parameters()).dtype
    normal = ((pixels - values[0]) / values[1]).to(dtype)
    embedding: Tensor = image_encoder(normal).image_embeds
    return embedding[:, None]
