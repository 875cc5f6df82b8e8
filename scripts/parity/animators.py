"""Check MimicMotion, StableAnimator and AnimateAnyone against vectors of their published code.

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

from animate.generate.conditioning import Conditioning, encode_reference
from animate.generate.denoise import Call, Networks, Steps, denoise
from animate.generate.guidance import guide
from animate.generate.schedules import make_scheduler
from animate.models.config import Injection, PoseNetConfig
from animate.models.face_encoder import FaceEncoder, FaceEncoderConfig
from animate.models.identity_attention import set_identity_attention
from animate.models.injection import inject
from animate.models.pose_net import PoseNet
from animate.models.reference_attention import (
    ReferenceBank,
    normalise_frames,
    published_name,
    reference_read,
    reference_written,
)
from animate.models.variants import load_variant
from animate.request.values import Guidance
from scripts.parity.checks import NETWORK_TOLERANCE, PIPELINE_TOLERANCE, Check, compare, skipped
from scripts.parity.published_sampling import decode_published
from scripts.parity.recipe import array, fill, scaled
from temporal.published import published_plan
from temporal.windows import Window, WindowPlan

ANIMATOR_TOLERANCE = 2e-4
"""Of latents and frames of MimicMotion and StableAnimator: poses off by one frame move them by no
more than 4e-3."""
FIRST_STEP_TOLERANCE = PIPELINE_TOLERANCE
"""Of their latents after the first step, which reach 280: there float32 itself ends at 3e-5."""
_ADDED = Injection(hook_point="stem", normalise=False, pool="none", weight=1.0)
Computed = dict[str, Tensor]


@torch.no_grad()
def check_animator(tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> list[Check]:
    """Every tensor of an animator's vectors file, checked or with the reason why it was not."""
    kind: Any = _AnimateAnyone if "reference_unet" in settings else _PoseNetAnimator
    networks = kind(tensors, settings)
    computed: Computed = {}
    for compute in networks.groups():
        computed |= compute()
    checks = []
    for name in sorted(tensors):
        if name in computed:
            run = name.startswith(("pipeline.latents", "pipeline.frames"))
            limit = networks.tolerance if run else NETWORK_TOLERANCE
            if name == "pipeline.latents_step0":
                limit = FIRST_STEP_TOLERANCE
            checks.append(compare(name, computed[name], tensors[name], limit))
        elif name not in networks.inputs:
            checks.append(skipped(name, "no meaning known"))
    return checks


class _Animator:
    """Networks of a file's settings, built and filled when first used."""

    tolerance: float
    inputs: frozenset[str]

    def __init__(self, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> None:
        self.tensors, self.settings = tensors, settings
        self.salt = str(settings.get("salt", ""))

    def has(self, prefix: str) -> bool:
        return any(name.startswith(prefix) for name in self.tensors)

    @cached_property
    def image_encoder(self) -> Any:
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        config = CLIPVisionConfig(**self.settings["clip"])
        return fill(CLIPVisionModelWithProjection(config), self.salt + "clip").eval()

    def kept_frames(self, frames_F3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Frames in [0,1] that the file has, and the mean of every one (1,F)."""
        levels = (frames_F3HW / 2 + 0.5).clamp(0, 1)
        return levels[list(self.settings["frames_kept"])], levels.mean((1, 2, 3))[None]


class _PoseNetAnimator(_Animator):
    """MimicMotion, and StableAnimator where the settings have a face encoder."""

    tolerance = ANIMATOR_TOLERANCE
    inputs = frozenset(
        {
            "pose_net.input", "unet.sample", "unet.context", "unet.added_time_ids",
            "unet.timestep", "unet.pose", "unet.pose_latents", "face_encoder.id_embeds",
            "face_encoder.clip_embeds", "face_encoder.output_shortcut_0.5",
            "attention.hidden_states", "attention.context", "pipeline.reference",
            "pipeline.poses", "pipeline.image_noise", "pipeline.initial_noise",
            "pipeline.id_embedding",
        }
    )  # fmt: skip

    def groups(self) -> list[Callable[[], Computed]]:
        return [
            compute
            for prefix, compute in (
                ("pose_net.", self._pose_net),
                ("face_encoder.", self._face_encoder),
                ("attention.", self._attention),
                ("unet.", self._unet),
                ("pipeline.", self._pipeline),
            )
            if self.has(prefix)
        ]

    @cached_property
    def pose_net(self) -> Any:
        width = self.settings["unet"]["block_out_channels"][0]
        return fill(PoseNet(PoseNetConfig(out_channels=width)), self.salt + "pose_net").eval()

    @cached_property
    def unet(self) -> Any:
        from diffusers import UNetSpatioTemporalConditionModel

        unet: Any = UNetSpatioTemporalConditionModel.from_config(self.settings["unet"])
        if "face_encoder" in self.settings:
            set_identity_attention(unet, self.settings["face_encoder"]["num_tokens"])
        return fill(unet, self.salt + "unet").eval()

    @cached_property
    def face_encoder(self) -> Any:
        sizes = self.settings["face_encoder"]
        config = FaceEncoderConfig(
            face_width=sizes["id_embeddings_dim"],
            image_width=sizes["clip_embeddings_dim"],
            context_width=sizes["cross_attention_dim"],
            tokens=sizes["num_tokens"],
        )
        return fill(FaceEncoder(config), self.salt + "face_encoder").eval()

    @cached_property
    def vae(self) -> Any:
        from diffusers import AutoencoderKLTemporalDecoder

        vae: Any = AutoencoderKLTemporalDecoder.from_config(self.settings["vae"])
        return fill(vae, self.salt + "vae").eval()

    def _pose_net(self) -> Computed:
        frames = (self.tensors["pose_net.input"] + 1) / 2  # the network takes [0,1]
        return {"pose_net.output": self.pose_net(frames[None], 0.0)}

    def _face_encoder(self) -> Computed:
        face, image = (self.tensors[f"face_encoder.{n}"] for n in ("id_embeds", "clip_embeds"))
        return {"face_encoder.output": self.face_encoder(face, image)}

    def _attention(self) -> Computed:
        attention = self.unet.get_submodule(self.settings["attention_layer"])
        inputs = (self.tensors[f"attention.{name}"] for name in ("hidden_states", "context"))
        return {"attention.output": attention(*inputs)}

    def _unet(self) -> Computed:
        context = self.tensors["unet.context"]
        image_alone = torch.cat([context[:, :1], torch.zeros_like(context[:, 1:])], 1)
        pose = self.pose_net(self.tensors["unet.pose"][None].float() / 255, 0.0)
        computed = {
            "unet.output": self._call(pose, context),
            "unet.output_no_pose": self._call(None, context),
            "unet.output_zero_id_tokens": self._call(pose, image_alone),
        }
        if "unet.pose_latents" in self.tensors:
            given = self.tensors["unet.pose_latents"]
            computed["unet.output_given_pose_latents"] = self._call(given, context)
        return computed

    def _call(self, control: Tensor | None, context: Tensor) -> Tensor:
        with inject(self.unet, _ADDED) as port:
            port.control = control
            output: Tensor = self.unet(
                self.tensors["unet.sample"],
                self.tensors["unet.timestep"],
                context,
                self.tensors["unet.added_time_ids"],
                return_dict=False,
            )[0]
        return output

    def _pipeline(self) -> Computed:
        settings, tensors = self.settings, self.tensors
        scheduler = make_scheduler(settings["scheduler"], settings["num_inference_steps"])
        poses = tensors["pipeline.poses"].permute(0, 3, 1, 2)
        frames, tile = len(poses), settings["tile_size"]
        conditioning = self._conditioning()
        computed = {
            "pipeline.timesteps": scheduler.timesteps,
            "pipeline.sigmas": scheduler.sigmas,
            "pipeline.image_embedding": conditioning.embedding,
        }
        if "face_encoder" in settings:
            face = tensors["pipeline.id_embedding"][None]
            tokens = self.face_encoder(face, conditioning.embedding)
            computed["pipeline.id_tokens"] = tokens
            conditioning = Conditioning(
                embedding=torch.cat([conditioning.embedding, tokens], 1),
                latents=conditioning.latents,
                micro=conditioning.micro,
            )
        features = self.pose_net(poses[None].float() / 255, 0.0)
        low, high = settings["guidance"]
        guided = _GuidedByFrame(self.unet, conditioning, torch.linspace(low, high, frames))
        noise = tensors["pipeline.initial_noise"][0][[n % tile for n in range(frames)]]
        first: list[Tensor] = []
        plan = published_plan(
            "mimicmotion",
            frames,
            window=tile,
            overlap=settings["tile_overlap"],
            steps=settings["num_inference_steps"],
        )
        latents = denoise(
            noise,
            scheduler,
            Steps.of(scheduler, plan, Guidance(low, high)),
            Networks(predict=guided, control=lambda wanted, timestep: features[list(wanted)]),
            on_step=lambda step, latents: first.append(latents.clone()),
        )
        decoded = decode_published(latents, self.vae, settings["decode_chunk_size"])[0]
        kept, mean = self.kept_frames(decoded.transpose(0, 1))
        return {
            **computed,
            "pipeline.latents_step0": first[0][None],
            "pipeline.latents": latents[None],
            "pipeline.frames": kept[None],
            "pipeline.frames_mean": mean,
        }

    def _conditioning(self) -> Conditioning:
        normalised = load_variant("svd-v2")  # the base's image processor
        micro = (
            self.settings["fps"] - 1,
            self.settings["motion_bucket_id"],
            self.settings["noise_aug_strength"],
        )
        return encode_reference(
            self.tensors["pipeline.reference"].numpy(),
            image_encoder=self.image_encoder,
            vae=self.vae,
            feature_mean=normalised.feature_mean,
            feature_std=normalised.feature_std,
            micro_conditions=micro,
            noise=self.tensors["pipeline.image_noise"],
        )


class _GuidedByFrame:
    """A `Predict` whose guidance scale belongs to the clip's frame, with control on one half."""

    def __init__(self, unet: Any, conditioning: Conditioning, scales_F: Tensor) -> None:
        self.unet, self.scales = unet, scales_F
        self.halves = (conditioning.unconditional(), conditioning)

    def __call__(self, sample_WSCHW: Tensor, control: Tensor | None, call: Call) -> Tensor:
        (window,) = call.windows
        blank, known = (
            self._half(half, sample_WSCHW, shown, call)
            for half, shown in zip(self.halves, (None, control), strict=True)
        )
        return guide(blank, known, self.scales[list(window.frames)])

    def _half(
        self, half: Conditioning, sample_WSCHW: Tensor, control: Tensor | None, call: Call
    ) -> Tensor:
        image = half.latents[:, None].expand(-1, sample_WSCHW.shape[1], -1, -1, -1)
        with inject(self.unet, _ADDED) as port:
            port.control = None if control is None else control[0]
            output: Tensor = self.unet(
                torch.cat([sample_WSCHW, image], 2),
                call.timestep,
                half.embedding,
                half.micro,
                return_dict=False,
            )[0]
        return output


class _AnimateAnyone(_Animator):
    """AnimateAnyone as Moore Threads published it; tensors are (B,C,F,h,w) there."""

    tolerance = PIPELINE_TOLERANCE
    inputs = frozenset(
        {
            "pose_guider.input", "reference.latents", "reference.context", "unet.sample",
            "unet.pose_features", "unet.timestep", "pipeline.reference", "pipeline.poses",
            "pipeline.initial_noise",
        }
    )  # fmt: skip

    def groups(self) -> list[Callable[[], Computed]]:
        return [
            compute
            for prefix, compute in (
                ("pose_guider.", self._pose_guider),
                ("reference.", self._reference),
                ("unet.", self._unet),
                ("pipeline.", self._pipeline),
            )
            if self.has(prefix)
        ]

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
        with inject(self.unet, _ADDED) as port, reading:
            port.control = control_NCHW
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
