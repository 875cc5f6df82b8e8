"""Check AnimateAnyone as Moore Threads published it; tensors are (B,C,F,h,w) there.

Shapes: F frames, C H W a latent, T context tokens, D their width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from animate.generate.conditioning import Conditioning
from animate.generate.denoise import Networks, Steps, denoise
from animate.generate.reference_net import (
    GuidedMotionUNet,
    decode_single_frames,
    embed_whole,
    reference_features,
    reference_latents,
)
from animate.models.components import build_network
from animate.models.injection import inject
from animate.models.pose_guider import PoseGuider, PoseGuiderConfig
from animate.models.reference_attention import (
    ReferenceBank,
    published_name,
    reference_read,
    reference_written,
)
from animate.models.variants import load_variant
from animate.request.values import Guidance
from scripts.parity.animator import ADDED, Animator, Computed
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
        sizes = self.settings["pose_guider"]
        config = PoseGuiderConfig(
            channels=tuple(sizes["block_out_channels"]),
            out_channels=sizes["conditioning_embedding_channels"],
        )
        return fill(PoseGuider(config), self.salt + "pose_guider").eval()

    @cached_property
    def reference_unet(self) -> Any:
        """The reference's UNet, which ends with its last hidden state."""
        unet = build_network("reference_unet", self.settings["reference_unet"], "reference-net")
        return fill(unet, self.salt + "reference_unet").eval()

    @cached_property
    def unet(self) -> Any:
        """The denoising UNet, its weights by the published names."""
        sizes = self.settings["denoising_unet"]
        motion = sizes["motion_module_kwargs"]
        same = (
            "sample_size", "in_channels", "out_channels", "block_out_channels",
            "layers_per_block", "cross_attention_dim", "norm_num_groups",
        )  # fmt: skip
        kinds = {
            name: [kind.replace("3D", "Motion") for kind in sizes[name]]
            for name in ("down_block_types", "up_block_types")
        }
        config = {
            **{name: sizes[name] for name in same},
            **kinds,
            "temporal_transformer_layers_per_block": motion.get("num_transformer_block", 1),
            "num_attention_heads": sizes["attention_head_dim"],
            "motion_max_seq_length": motion["temporal_position_encoding_max_len"],
            "motion_num_attention_heads": motion["num_attention_heads"],
            "use_motion_mid_block": sizes["motion_module_mid_block"],
        }
        unet = build_network("unet", config, "reference-net")
        for name, tensor in unet.state_dict().items():
            if not name.endswith("pos_embed.pe"):
                published = published_name(name)
                values = array(tensor.shape, published, self.salt + "denoising_unet")
                tensor.copy_(torch.from_numpy(scaled(values, published)))
        return unet.eval()

    @cached_property
    def vae(self) -> Any:
        from diffusers import AutoencoderKL

        return fill(AutoencoderKL.from_config(self.settings["vae"]), self.salt + "vae").eval()

    def _pose_guider(self) -> Computed:
        features = self._guided(self.tensors["pose_guider.input"])
        return {"pose_guider.output": features.transpose(0, 1)[None]}

    def _guided(self, poses_FHW3: Tensor) -> Tensor:
        frames = poses_FHW3.permute(0, 3, 1, 2)[None].float() / 255
        features: Tensor = self.pose_guider(frames, 0.0)
        return features

    def _reference(self) -> Computed:
        latents, context = (self.tensors[f"reference.{name}"] for name in ("latents", "context"))
        bank = ReferenceBank()
        with reference_written(self.reference_unet, bank):
            last = self.reference_unet(latents, 0, context).sample
        features = {
            f"reference.bank.{name.removesuffix('.attn1.processor')}": value
            for name, value in bank.features.items()
        }
        return {"reference.output": last, **features}

    def _unet(self) -> Computed:
        context = self.tensors["reference.context"]
        latents = self.tensors["reference.latents"]
        bank = reference_features(self.reference_unet, latents, context)
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
        with ExitStack() as stack:
            port = stack.enter_context(inject(self.unet, ADDED))
            stack.enter_context(port.holding(control_NCHW))
            if bank is not None:
                stack.enter_context(reference_read(self.unet, bank))
                stack.enter_context(bank.shown((False, True)))
            output: Tensor = self.unet(
                sample_BCFHW, timestep, context.repeat_interleave(frames, 0), return_dict=False
            )[0]
        return output

    def _pipeline(self) -> Computed:
        from diffusers import DDIMScheduler

        settings, tensors = self.settings, self.tensors
        picture = tensors["pipeline.reference"].numpy()
        normalised = load_variant("animate-anyone")  # the base's image processor
        embedding = embed_whole(
            picture, self.image_encoder, normalised.feature_mean, normalised.feature_std
        )
        latents = reference_latents(picture, self.vae)
        bank = reference_features(self.reference_unet, latents, embedding).rounded(torch.float16)
        control = self._guided(tensors["pipeline.poses"])
        scheduler = DDIMScheduler(**settings["scheduler_config"])
        scheduler.set_timesteps(settings["num_inference_steps"])
        guidance = Guidance(settings["guidance"], settings["guidance"])
        conditioning = Conditioning(
            embedding=embedding, latents=latents, micro=torch.zeros(1, 3), reference=bank.features
        )
        first: list[Tensor] = []
        with inject(self.unet, ADDED) as port, reference_read(self.unet, bank):
            predict = GuidedMotionUNet(
                self.unet, port, bank, conditioning, unconditional_weight=port.weight
            )
            result = denoise(
                tensors["pipeline.initial_noise"][0].transpose(0, 1),
                scheduler,
                Steps.of(scheduler, _wrapped(settings["windows"], settings), guidance),
                Networks(predict=predict, control=lambda wanted, timestep: control[list(wanted)]),
                on_step=lambda step, latents: first.append(latents.clone()),
            )
        decoded = torch.cat(list(decode_single_frames(self.vae, result)))
        kept, mean = self.kept_frames(decoded)
        return {
            "pipeline.image_embedding": embedding[:, 0],
            "pipeline.reference_latents": latents,
            "pipeline.timesteps": scheduler.timesteps,
            "pipeline.latents_step0": first[0].transpose(0, 1)[None],
            "pipeline.latents": result.transpose(0, 1)[None],
            "pipeline.frames": kept.transpose(0, 1)[None],
            "pipeline.frames_mean": mean,
        }


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
