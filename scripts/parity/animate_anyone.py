"""Check AnimateAnyone as Moore Threads published it; tensors are (B,C,F,h,w) there.

Shapes: F frames, C H W a latent, T context tokens, D their width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from animate.generate.denoise import Call, Networks, Steps, denoise
from animate.generate.guidance import guide
from animate.models.injection import inject
from animate.models.reference_attention import (
    ReferenceBank,
    normalise_frames,
    published_name,
    reference_read,
    reference_written,
)
from scripts.parity.animators import ADDED, Animator, Computed
from scripts.parity.checks import PIPELINE_TOLERANCE
from scripts.parity.recipe import array, fill, scaled
from temporal.windows import Window, WindowPlan


class AnimateAnyone(Animator):
    """AnimateAnyone as Moore Threads published it; tensors are (B,C,F,h,w) there."""

    tolerance = PIPELINE_TOLERANCE
    inputs = frozenset(
        {
            "pose_guider.input", "reference.latents", "reference.context", "unet.sample",
            "unet.pose_features", "unet.timestep", "pipeline.reference", "pipeline.poses",
            "pipeline.initial_noise",
        }
    )  # fmt: skip

    def groups(self) -> Mapping[str, Callable[[], Computed]]:
        """See `Animator`."""
        return {
            "pose_guider.": self._pose_guider,
            "reference.": self._reference,
            "unet.": self._unet,
            "pipeline.": self._pipeline,
        }

    @cached_property
    def pose_guider(self) -> Any:
        from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding

        sizes = self.settings["pose_guider"]
        network = ControlNetConditioningEmbedding(
            sizes["conditioning_embedding_channels"], 3, tuple(sizes["block_out_channels"])
        )
        return fill(network, self.salt + "pose_guider").eval()

    @cached_property
    def reference_unet(self) -> Any:
        from diffusers import UNet2DConditionModel

        unet = UNet2DConditionModel.from_config(self.settings["reference_unet"])
        return fill(unet, self.salt + "reference_unet").eval()

    @cached_property
    def unet(self) -> Any:
        from diffusers import UNetMotionModel

        sizes = self.settings["denoising_unet"]
        motion = sizes["motion_module_kwargs"]
        unet: Any = UNetMotionModel(
            sample_size=sizes["sample_size"],
            in_channels=sizes["in_channels"],
            out_channels=sizes["out_channels"],
            block_out_channels=sizes["block_out_channels"],
            layers_per_block=sizes["layers_per_block"],
            cross_attention_dim=sizes["cross_attention_dim"],
            num_attention_heads=sizes["attention_head_dim"],
            norm_num_groups=sizes["norm_num_groups"],
            motion_max_seq_length=motion["temporal_position_encoding_max_len"],
            motion_num_attention_heads=motion["num_attention_heads"],
            use_motion_mid_block=sizes["motion_module_mid_block"],
        )
        for name, tensor in unet.state_dict().items():
            if not name.endswith("pos_embed.pe"):
                published = published_name(name)
                values = array(tensor.shape, published, self.salt + "denoising_unet")
                tensor.copy_(torch.from_numpy(scaled(values, published)))
        normalise_frames(unet)
        return unet.eval()

    @cached_property
    def vae(self) -> Any:
        from diffusers import AutoencoderKL

        return fill(AutoencoderKL.from_config(self.settings["vae"]), self.salt + "vae").eval()

    def _pose_guider(self) -> Computed:
        features = self._guided(self.tensors["pose_guider.input"])
        return {"pose_guider.output": features.transpose(0, 1)[None]}

    def _guided(self, poses_FHW3: Tensor) -> Tensor:
        features: Tensor = self.pose_guider(poses_FHW3.permute(0, 3, 1, 2).float() / 255)
        return features

    def _bank(self, latents: Tensor, context: Tensor) -> tuple[ReferenceBank, Tensor]:
        """Features that the reference's UNet hands over, and its last hidden state."""
        bank, last = ReferenceBank(), []
        handle = self.reference_unet.conv_norm_out.register_forward_pre_hook(
            lambda module, args: last.append(args[0])
        )
        with reference_written(self.reference_unet, bank):
            self.reference_unet(latents, 0, context)
        handle.remove()
        return bank, last[0]

    def _reference(self) -> Computed:
        bank, last = self._bank(
            self.tensors["reference.latents"], self.tensors["reference.context"]
        )
        features = {
            f"reference.bank.{name.removesuffix('.attn1.processor')}": value
            for name, value in bank.features.items()
        }
        return {"reference.output": last, **features}

    def _unet(self) -> Computed:
        context = self.tensors["reference.context"]
        bank, _ = self._bank(self.tensors["reference.latents"], context)
        bank.halves = (False, True)
        control = self.tensors["unet.pose_features"].transpose(1, 2).flatten(0, 1)

        def call(bank: ReferenceBank | None) -> Tensor:
            return self._both(
                self.tensors["unet.sample"], control, self.tensors["unet.timestep"], context, bank
            )

        return {
            "unet.output_no_reference": call(None),
            "unet.output": call(bank),
            "unet.output_half_bank": call(bank.rounded(torch.float16)),
        }

    def _both(
        self,
        sample_BCFHW: Tensor,
        control_NCHW: Tensor,
        timestep: Tensor,
        context_1TD: Tensor,
        bank: ReferenceBank | None,
    ) -> Tensor:
        """The UNet on both halves (2,C,F,H,W), the unconditional one first."""
        frames = sample_BCFHW.shape[2]
        context = torch.cat([torch.zeros_like(context_1TD), context_1TD])
        reading = nullcontext() if bank is None else reference_read(self.unet, bank)
        with inject(self.unet, ADDED) as port, reading, port.holding(control_NCHW):
            output: Tensor = self.unet(
                sample_BCFHW, timestep, context.repeat_interleave(frames, 0), return_dict=False
            )[0]
        return output

    def _pipeline(self) -> Computed:
        from diffusers import DDIMScheduler

        settings, tensors = self.settings, self.tensors
        reference = tensors["pipeline.reference"].numpy()
        embedding = self._embedding(reference)
        pixels = torch.from_numpy(reference).permute(2, 0, 1)[None].float() / 127.5 - 1
        latents = self.vae.encode(pixels).latent_dist.mean * self.vae.config.scaling_factor
        bank, _ = self._bank(latents, embedding[:, None])
        rounded = bank.rounded(torch.float16)
        rounded.halves = (False, True)
        control = self._guided(tensors["pipeline.poses"])
        scheduler = DDIMScheduler(**settings["scheduler_config"])
        scheduler.set_timesteps(settings["num_inference_steps"])
        first: list[Tensor] = []

        def predict(sample_WSCHW: Tensor, control: Tensor | None, call: Call) -> Tensor:
            assert control is not None
            both = sample_WSCHW.transpose(1, 2).expand(2, -1, -1, -1, -1)
            shown = control[0].repeat(2, 1, 1, 1)
            output = self._both(both, shown, call.timestep, embedding[:, None], rounded)
            blank, known = output.transpose(1, 2).chunk(2)
            return guide(blank, known, torch.full((sample_WSCHW.shape[1],), settings["guidance"]))

        result = denoise(
            tensors["pipeline.initial_noise"][0].transpose(0, 1),
            scheduler,
            Steps(
                plan=_wrapped(settings["windows"], settings),
                timesteps=scheduler.timesteps,
                scales=(torch.ones(1),) * settings["num_inference_steps"],
            ),
            Networks(predict=predict, control=lambda wanted, timestep: control[list(wanted)]),
            on_step=lambda step, latents: first.append(latents.clone()),
        )
        decoded = torch.cat(
            [self.vae.decode(one[None] / self.vae.config.scaling_factor).sample for one in result]
        )
        kept, mean = self.kept_frames(decoded)
        return {
            "pipeline.image_embedding": embedding,
            "pipeline.reference_latents": latents,
            "pipeline.timesteps": scheduler.timesteps,
            "pipeline.latents_step0": first[0].transpose(0, 1)[None],
            "pipeline.latents": result.transpose(0, 1)[None],
            "pipeline.frames": kept.transpose(0, 1)[None],
            "pipeline.frames_mean": mean,
        }

    def _embedding(self, reference: np.ndarray) -> Tensor:
        """(1,D): the published code resizes by Pillow without keeping the shape."""
        from PIL import Image
        from transformers import CLIPImageProcessor

        small = Image.fromarray(reference).resize((224, 224))
        pixels = CLIPImageProcessor()(small, return_tensors="pt").pixel_values
        embedding: Tensor = self.image_encoder(pixels).image_embeds
        return embedding


def _wrapped(windows: Sequence[Sequence[int]], settings: Mapping[str, Any]) -> WindowPlan:
    frames, length = settings["num_frames"], len(windows[0])
    return WindowPlan(
        frames=frames,
        window=length,
        overlap=settings["context_overlap"] if len(windows) > 1 else 0,
        steps=settings["num_inference_steps"],
        schedule="static",
        weights="flat",
        cycle=(tuple(Window(frames=tuple(w), weights=(1.0,) * len(w)) for w in windows),),
        notes=(),
    )
