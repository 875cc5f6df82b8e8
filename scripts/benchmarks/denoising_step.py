"""Time of a denoising step at full size, as the pipeline takes it and as the published loop does.

Stable Video Diffusion's UNet and ControlNeXt's second network with random weights, 8 frames of
320x192 with guidance, on a CPU. The published loop: stock modules, the control network on both
guidance halves, one of which is then multiplied by zero, one Euler step. Ours: `denoise` within
what `prepared` sets up. Setting up, which is done once for a clip, is not timed, nor is drawing for
the published loop, which draws once; ours draws and computes the constant cross-attention in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from animate.driving.skeletons import ControlFrames
from animate.generate.conditioning import Conditioning
from animate.generate.denoise import Call, Networks, Steps, denoise
from animate.generate.network import ClipWork, networks_for
from animate.generate.schedules import make_scheduler
from animate.generate.settings import plan_clip, settle
from animate.models.components import Components
from animate.models.injection import cross_normalise
from animate.models.variants import load_variant
from animate.request.request import AnimationRequest, SamplingOptions
from animate.request.values import Size
from scripts.benchmarks._clips import skeletons
from scripts.benchmarks._networks import filled, make_unet
from scripts.benchmarks.control_overhead import make_control, make_toy_unet
from scripts.benchmarks.rows import Row, both_clocks
from scripts.tiny.characters import render_clip

FRAMES, SIZE = 8, Size(320, 192)
ROUNDS = 9
_PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def run(toy: bool = False) -> list[Row]:
    """The rows; with `toy`, of a network and a clip that a test can run."""
    if toy:
        return measure(2, Size(128, 64), 1, make_toy_unet)
    return measure(FRAMES, SIZE, ROUNDS)


@torch.no_grad()
def measure(frames: int, size: Size, rounds: int, make: Callable[[], Any] = make_unet) -> list[Row]:
    """The pipeline's step in both precisions against the published loop's in float32."""
    scenes = {name: make_scene(frames, size, dtype, make) for name, dtype in _PRECISIONS.items()}
    loop = PublishedLoop(scenes["float32"])
    steps = {name: PipelineStep(scene) for name, scene in scenes.items()}
    calls: dict[str, Callable[[], None]] = {"loop": loop.step}
    calls.update({name: step.step for name, step in steps.items()})
    seconds = both_clocks(
        calls, repeats=rounds, within={name: step.prepared for name, step in steps.items()}
    )
    largest = float(loop.guided.abs().max())
    rows = []
    for name, step in steps.items():
        difference = float((step.guided - loop.guided).abs().max()) / largest
        note = f"differs by {difference:.1e} of the published loop's largest prediction"
        rows.append(seconds[name].against(seconds["loop"], f"denoising step, {name}", note))
    return rows


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A clip of one window and one step, and the networks to make it.

    noise: (F,C,h,w)
    conditioning: of no real picture
    """

    parts: Components
    noise: Tensor
    conditioning: Conditioning
    control: ControlFrames
    size: Size

    def scheduler(self) -> Any:
        """A new one of one step."""
        return make_scheduler(self.parts.variant.scheduler, 1)


def make_scene(frames: int, size: Size, dtype: torch.dtype, make: Callable[[], Any]) -> Scene:
    """The scene of one window, its networks in a type."""
    variant = load_variant("svd-v2")
    unet = filled(make, dtype)
    take = render_clip(0, frames, (size.width, size.height))
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    latent = (unet.config.out_channels, size.height // 8, size.width // 8)
    return Scene(
        parts=Components(
            variant=variant,
            unet=unet,
            vae=None,
            image_encoder=None,
            controlnext=filled(make_control, dtype),
            scheduler=None,
            digests={},
            reports=(),
        ),
        noise=draw(frames, *latent),
        conditioning=Conditioning(
            embedding=draw(1, 1, unet.config.cross_attention_dim),
            latents=draw(1, *latent),
            micro=torch.tensor([list(variant.micro_conditions)]),
        ),
        control=skeletons(take.points, take.scores, size, variant.pose_style),
        size=size,
    )


class PublishedLoop:
    """A step of the published pipeline's loop, of stock modules and nothing else."""

    guided: Tensor
    """The last step's guided prediction (F,C,h,w)."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        frames = len(scene.noise)
        known = scene.conditioning
        self._image = torch.cat([torch.zeros_like(known.latents), known.latents])
        self._image = self._image[:, None].repeat(1, frames, 1, 1, 1)
        self._embedding = torch.cat([torch.zeros_like(known.embedding), known.embedding])
        self._micro = known.micro.repeat(2, 1)
        drawn = scene.control(range(frames))
        self._drawn = drawn[None].repeat(2, 1, 1, 1, 1)
        guidance = scene.parts.variant.defaults.guidance
        self._scale = torch.linspace(*guidance, frames)[:, None, None, None]

    def step(self) -> None:
        """Everything that the loop does at a timestep."""
        parts, scheduler = self._scene.parts, self._scene.scheduler()
        timestep, frames = scheduler.timesteps[0], len(self._scene.noise)
        latents = self._scene.noise[None] * scheduler.init_noise_sigma
        sample = scheduler.scale_model_input(torch.cat([latents] * 2), timestep)
        features = parts.controlnext(self._drawn, timestep)
        weights = torch.tensor([0.0, parts.variant.injection.weight]).repeat_interleave(frames)

        def add(block: Any, inputs: Any, output: tuple[Tensor, Any]) -> tuple[Tensor, Any]:
            hidden, skips = output
            return hidden + cross_normalise(features, hidden) * weights[:, None, None, None], skips

        hook = parts.unet.down_blocks[0].register_forward_hook(add)
        try:
            both = parts.unet(
                torch.cat([sample, self._image], dim=2),
                timestep,
                encoder_hidden_states=self._embedding,
                added_time_ids=self._micro,
                return_dict=False,
            )[0]
        finally:
            hook.remove()
        blank, known = both.chunk(2)
        guided = blank + self._scale * (known - blank)
        scheduler.step(guided, timestep, latents)
        self.guided = guided[0]


class PipelineStep:
    """A step as `animate.generate.pipeline` takes it, within `prepared`."""

    guided: Tensor
    """The last step's guided prediction (F,C,h,w)."""

    def __init__(self, scene: Scene, *, packed: bool = False) -> None:
        self._scene = scene
        frames = len(scene.noise)
        request = AnimationRequest(
            reference=Path("picture.png"),
            driving=Path("video.mp4"),
            output=Path("clip.mp4"),
            size=scene.size,
            sampling=SamplingOptions(steps=1, window=frames, overlap=0),
        )
        settings = settle(request, scene.parts.variant, scene.size)
        plan = plan_clip(settings, frames=frames, steps=1)
        self._work = ClipWork(
            settings=settings,
            steps=Steps.of(scene.scheduler(), plan, settings.guidance),
            conditioning=scene.conditioning,
            control=scene.control,
            packed=packed,
        )
        self._networks: Networks

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """Set up the networks, once for a clip."""
        with networks_for(self._scene.parts, self._work, torch.device("cpu")) as networks:
            self._networks = networks
            yield

    def step(self) -> None:
        """Take one step by the loop."""
        networks = replace(self._networks, predict=self._recorded)
        noise = self._scene.noise.clone()
        denoise(noise, self._scene.scheduler(), self._work.steps, networks)

    def _recorded(self, sample_WSCHW: Tensor, control: Tensor | None, call: Call) -> Tensor:
        guided = self._networks.predict(sample_WSCHW, control, call)
        self.guided = guided[0]
        return guided
