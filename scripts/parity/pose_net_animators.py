"""Check MimicMotion and StableAnimator, which has a face encoder besides.

Shapes: F frames, C H W a latent, T context tokens, D their width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from animate.generate.conditioning import Conditioning, encode_reference
from animate.generate.denoise import Networks, Steps, denoise
from animate.generate.network import GuidedUNet
from animate.generate.schedules import make_scheduler
from animate.models.config import FaceConfig, PoseNetConfig
from animate.models.face_encoder import FaceEncoder
from animate.models.identity_attention import IdentityAttentions, identity_attention
from animate.models.injection import inject
from animate.models.pose_net import PoseNet
from animate.models.variants import load_variant
from animate.request.values import Guidance
from scripts.parity.animator import ADDED, Animator, Computed
from scripts.parity.published_sampling import decode_published
from scripts.parity.recipe import fill
from temporal.published import published_plan

TOLERANCE = 2e-4
"""Most that latents and frames may differ: poses off by one frame move them by at most 4e-3."""


class PoseNetAnimator(Animator):
    """MimicMotion, and StableAnimator where the settings have a face encoder."""

    tolerance = TOLERANCE
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

    def groups(self) -> Mapping[str, Callable[[], Computed]]:
        """See `Animator`."""
        return {
            "pose_net.": self._pose_net,
            "face_encoder.": self._face_encoder,
            "attention.": self._attention,
            "unet.": self._unet,
            "pipeline.": self._pipeline,
        }

    def opened(self) -> AbstractContextManager[None]:
        """See `Animator`."""
        if self.identity is None:
            return nullcontext()
        return identity_attention(self.unet, self.identity)

    def noise_after_first_step(self, computed: Computed) -> float:
        """See `Animator`."""
        return max(1.0, float(computed["pipeline.sigmas"][1] ** 2 + 1) ** 0.5)

    @cached_property
    def pose_net(self) -> Any:
        width = self.settings["unet"]["block_out_channels"][0]
        return fill(PoseNet(PoseNetConfig(out_channels=width)), self.salt + "pose_net").eval()

    @cached_property
    def unet(self) -> Any:
        """The stock UNet; its face projections, if it has them, are in `identity`."""
        from diffusers import UNetSpatioTemporalConditionModel

        unet: Any = UNetSpatioTemporalConditionModel.from_config(self.settings["unet"])
        return fill(unet, self.salt + "unet").eval()

    @cached_property
    def identity(self) -> IdentityAttentions | None:
        """The face branch of the cross-attentions."""
        if "face_encoder" not in self.settings:
            return None
        identity = IdentityAttentions(self.unet, self.settings["face_encoder"]["num_tokens"])
        with identity_attention(self.unet, identity):
            fill(self.unet, self.salt + "unet")
        return identity

    @cached_property
    def face_encoder(self) -> Any:
        sizes = self.settings["face_encoder"]
        config = FaceConfig(
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
        with inject(self.unet, ADDED) as port, port.holding(control):
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
            conditioning = conditioning.with_face(tokens)
        features = self.pose_net(poses[None].float() / 255, 0.0)
        noise = tensors["pipeline.initial_noise"][0][[n % tile for n in range(frames)]]
        first: list[Tensor] = []
        plan = published_plan(
            "mimicmotion",
            frames,
            window=tile,
            overlap=settings["tile_overlap"],
            steps=settings["num_inference_steps"],
        )
        with inject(self.unet, ADDED) as port:
            latents = denoise(
                noise,
                scheduler,
                Steps.of(scheduler, plan, Guidance(*settings["guidance"]), along="clip"),
                Networks(
                    predict=GuidedUNet(self.unet, port, conditioning, together=False),
                    control=lambda wanted, timestep: features[list(wanted)],
                ),
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
