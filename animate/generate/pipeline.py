"""From a picture and control frames to the frames of a clip: the algorithm, without any file.

Follow `generate`: encode the reference, draw the noise, denoise in overlapping windows, decode.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from animate.driving.skeletons import ControlFrames
from animate.generate.clip_state import ClipState
from animate.generate.conditioning import (
    Conditioning,
    FramePictures,
    encode_frames,
    encode_reference,
)
from animate.generate.denoise import Predict, denoise
from animate.generate.feature_cache import cached_features
from animate.generate.guidance import step_scales
from animate.generate.keeper import Keeper, KeepsNothing
from animate.generate.network import ControlEncoder, GuidedUNet
from animate.generate.schedules import call_sigmas, make_scheduler
from animate.generate.settings import ClipSettings, plan_clip
from animate.generate.workers.protocol import ClipWork, WindowExecutor
from animate.models.components import Components
from animate.models.injection import inject, learned_weight, unconditional_weight
from animate.progress import Progress, Stage
from temporal.constant_attention import constant_cross_attention
from temporal.errors import TemporalError
from temporal.kinds import Offload
from temporal.memory import apply_plan, smaller
from temporal.memory_plan import MemoryPlan
from temporal.noise import frame_noise
from temporal.offload import offloaded, send_home
from temporal.speed import (
    cached_chunks,
    channels_last,
    compiled,
    freed_memory_kept,
    tuned_for_cpu,
)
from temporal.vae import DecodeOptions, decode_frames
from temporal.windows import WindowPlan

# The reference's noise is that of a frame which no clip reaches.
_REFERENCE_FRAME = 2**31
# How often a plan is made smaller after memory has run out.
_RETRIES = 2


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Loaded networks and where they run.

    Attributes:
        components: the variant's networks, anywhere: a stage brings to the device what it uses.
        device: where they compute.
        plan: how to keep within an amount of memory; None runs everything whole.
        executor: who computes the windows of a step; None: this process, on `device`.
        compiler: backend of `torch.compile` for the UNet; None runs it as it is.
    """

    components: Components
    device: torch.device
    plan: MemoryPlan | None = None
    executor: WindowExecutor | None = None
    compiler: str | None = None

    @property
    def offload(self) -> Offload:
        """What happens to a network after the stage that uses it."""
        return "none" if self.plan is None or self.plan.offload == "none" else "model"

    @property
    def latent_scale(self) -> int:
        """Pixels of a side that one latent position stands for."""
        return 2 ** (len(self.components.vae.config.block_out_channels) - 1)


@torch.no_grad()
def generate(
    engine: Engine,
    settings: ClipSettings,
    picture: np.ndarray,
    control: ControlFrames,
    progress: Progress,
    keeper: Keeper | None = None,
    picture_of: FramePictures | None = None,
) -> Generator[np.ndarray, None, None]:
    """Frames (H,W,3) uint8 RGB of the clip, as they are decoded.

    `picture` (H,W,3) uint8 RGB has the clip's size. What `keeper` has of an earlier run is not
    done again; it changes nothing else. Memory holds the clip's latents twice, on the host, what
    the solver remembers of them, and one window. `picture_of` gives each frame its own picture in
    place of the reference's, for variants whose image latents are warped; their latents are held
    on the host in half precision.
    """
    keeper = keeper or KeepsNothing()
    _send_home(engine)
    conditioning = encode(engine, settings, picture, progress)
    if picture_of is not None:
        latents = encode_warped(engine, settings, picture_of, len(control), progress)
        conditioning = replace(conditioning, frame_latents=latents)
    engine, latents = sample_within_memory(
        engine, settings, conditioning, control, progress, keeper
    )
    yield from decode(engine, settings, latents, progress, keeper)


def encode(
    engine: Engine, settings: ClipSettings, picture: np.ndarray, progress: Progress
) -> Conditioning:
    """What the UNet is told of the reference."""
    parts, variant = engine.components, engine.components.variant
    height, width = picture.shape[:2]
    with progress.stage("encode", 1) as stage:
        conditioning = encode_reference(
            picture,
            image_encoder=parts.image_encoder,
            vae=parts.vae,
            feature_mean=variant.feature_mean,
            feature_std=variant.feature_std,
            micro_conditions=tuple(variant.micro_conditions),
            noise=frame_noise([_REFERENCE_FRAME], (3, height, width), settings.seed),
            device=engine.device,
            placed=lambda network: offloaded(network, engine.device, engine.offload),
        )
        stage.advance()
    return conditioning


def encode_warped(
    engine: Engine,
    settings: ClipSettings,
    picture_of: FramePictures,
    frames: int,
    progress: Progress,
) -> Tensor:
    """Image latents (F,C,h,w) of the picture that each frame has, as `Conditioning` holds them."""
    vae, variant = engine.components.vae, engine.components.variant
    shape = (3, settings.size.height, settings.size.width)
    with (
        progress.stage("warp", frames) as stage,
        offloaded(vae, engine.device, engine.offload),
    ):
        return encode_frames(
            picture_of,
            frames,
            vae=vae,
            noise=frame_noise([_REFERENCE_FRAME], shape, settings.seed),
            augmentation=variant.micro_conditions.noise_augmentation,
            device=engine.device,
            on_frame=stage.advance,
        )


def sample_within_memory(
    engine: Engine,
    settings: ClipSettings,
    conditioning: Conditioning,
    control: ControlFrames,
    progress: Progress,
    keeper: Keeper,
) -> tuple[Engine, Tensor]:
    """`sample`, made smaller once or twice if the device's memory runs out, which is said."""
    for _ in range(_RETRIES):
        try:
            return engine, sample(engine, settings, conditioning, control, progress, keeper)
        except torch.OutOfMemoryError:
            pass  # what was computed is let go of with the error, so before anything is tried again
        engine = _smaller(engine, "denoise", progress)
        _send_home(engine)
    return engine, sample(engine, settings, conditioning, control, progress, keeper)


def _send_home(engine: Engine) -> None:
    """Clear the device of networks where a plan counts only those in use: an earlier clip, or try,
    with more room has left its own there."""
    if engine.offload != "none":
        send_home(engine.components.networks())
        if engine.device.type == "cuda":
            torch.cuda.empty_cache()


def _smaller(engine: Engine, stage: Any, progress: Progress) -> Engine:
    """The engine with the next smaller plan. Raises TemporalError when there is none."""
    if engine.plan is None:
        raise TemporalError(
            f"the device's memory ran out to {stage}; give --memory with what may be used, a "
            "smaller --size or a shorter --window"
        ) from None
    plan = smaller(engine.plan, stage)
    progress.warn(
        f"memory ran out to {stage}; trying again with a plan of {plan.peaks[stage] / 2**30:.1f} "
        f"GiB instead of {engine.plan.peaks[stage] / 2**30:.1f}"
    )
    if engine.device.type == "cuda":
        torch.cuda.empty_cache()
    return replace(engine, plan=plan)


def sample(
    engine: Engine,
    settings: ClipSettings,
    conditioning: Conditioning,
    control: ControlFrames,
    progress: Progress,
    keeper: Keeper,
) -> Tensor:
    """Clean latents (F,C,h,w) of the clip, float32, on the host."""
    parts, device = engine.components, engine.device
    scheduler = make_scheduler(
        parts.variant.scheduler,
        settings.steps,
        solver=settings.solver,
        levels=settings.levels,
        device=device,
    )
    plan = plan_clip(settings, frames=len(control), steps=len(scheduler.timesteps))
    for note in plan.notes:
        progress.note(note)
    work = ClipWork(
        settings=settings,
        plan=plan,
        conditioning=conditioning,
        control=control,
        timesteps=scheduler.timesteps,
        scales=step_scales(
            settings.guidance,
            plan.window,
            call_sigmas(scheduler),
            interval=settings.guidance_interval,
            device=device,
        ),
        memory=engine.plan,
        compiler=engine.compiler,
    )
    start = keeper.state(scheduler)
    if start is None:
        start = ClipState.begin(draw_noise(engine, settings, len(control)), scheduler)
    elif engine.executor is not None:
        start.restart_step()  # workers take whole steps
    done = windows_done(plan, start)
    if done:
        progress.note(f"going on from step {start.step} of {plan.steps}, window {start.window}")
    if start.step == plan.steps:
        return start.latents
    with (
        progress.stage("denoise", plan.calls) as stage,
        computed(engine, work, stage.advance) as networks,
    ):
        stage.advance(done)
        resumable = getattr(networks["predict"], "resumable", None)

        def offer(state: ClipState) -> None:
            if resumable is None or resumable(state):
                keeper.offer_state(state, scheduler)

        return denoise(
            start,
            scheduler=scheduler,
            plan=plan,
            scales=work.scales,
            device=device,
            on_state=offer,
            **networks,
        )


def windows_done(plan: WindowPlan, state: ClipState) -> int:
    """Windows that went through the network before this state."""
    return sum(len(plan.at(step)) for step in range(state.step)) + state.window


@contextmanager
def computed(
    engine: Engine, work: ClipWork, on_window: Callable[[int], None]
) -> Iterator[dict[str, Any]]:
    """What `denoise` calls: the networks here, or workers that share each step's windows."""
    if engine.executor is not None:
        if work.settings.keep_features > 1:
            raise TemporalError(
                f"--keep-features {work.settings.keep_features} needs each window's own history, "
                "which workers do not keep; leave out --keep-features or --workers"
            )
        parts = engine.components
        with engine.executor.open(parts, work, on_window) as predict:
            most = max(len(windows) for windows in work.plan.cycle)
            yield {"predict": predict, "control": None, "batch": most}
        return
    with prepared(engine, work.settings, work.plan, work.conditioning) as predict:
        controlnext = engine.components.controlnext
        encoder = ControlEncoder(controlnext=controlnext, draw=work.control, device=engine.device)
        yield {
            "predict": predict,
            "control": encoder,
            "on_window": on_window,
            "batch": 1 if engine.plan is None else engine.plan.window_batch,
        }


@contextmanager
def prepared(
    engine: Engine, settings: ClipSettings, plan: WindowPlan, conditioning: Conditioning
) -> Iterator[Predict]:
    """The networks on the device, every shortcut on, control going in; undone at the end."""
    parts, device = engine.components, engine.device
    injection = parts.variant.injection
    with ExitStack() as stack:
        stack.enter_context(offloaded(parts.controlnext, device, engine.offload))
        if engine.plan is None:
            stack.enter_context(offloaded(parts.unet, device))
            stack.enter_context(constant_cross_attention(parts.unet))
        else:
            stack.enter_context(apply_plan(parts.unet, engine.plan, device))
        if device.type == "cpu":
            pixels = conditioning.latents[0, 0].numel()
            pieces = cached_chunks(parts.unet, window=plan.window, pixels=pixels)
            cut = engine.plan is not None and engine.plan.chunks is not None
            tuned = tuned_for_cpu(parts.unet, None if cut else pieces, parts.controlnext)
            stack.enter_context(tuned)
        weight = learned_weight(injection, parts.controlnext, settings.control_weight)
        port = stack.enter_context(inject(parts.unet, injection, weight))
        if engine.compiler is not None:  # last: compiled code does not see what is hooked later
            _check_compilable(engine, settings)
            stack.enter_context(compiled(parts.unet, backend=engine.compiler))
        predict: Predict = GuidedUNet(
            unet=parts.unet,
            port=port,
            conditioning=conditioning,
            unconditional_weight=unconditional_weight(
                injection, parts.controlnext, settings.control_weight
            ),
            together=engine.plan is None or engine.plan.halves_together,
        )
        if settings.keep_features > 1:
            keeping = cached_features(parts.unet, predict, plan, every=settings.keep_features)
            predict = stack.enter_context(keeping)
        yield predict


def _check_compilable(engine: Engine, settings: ClipSettings) -> None:
    """Raises TemporalError for what takes the UNet apart while it runs."""
    if settings.keep_features > 1:
        raise TemporalError("--compile does not go with --keep-features; leave out one of them")
    if engine.plan is not None and engine.plan.offload == "stream":
        raise TemporalError(
            "--compile does not go with weights that are streamed block by block; leave it out, or "
            "allow more --memory"
        )


def draw_noise(engine: Engine, settings: ClipSettings, frames: int) -> Tensor:
    """Standard normal noise (F,C,h,w) of the clip, on the host, where its latents stay."""
    scale = engine.latent_scale
    channels = engine.components.vae.config.latent_channels
    shape = (channels, settings.size.height // scale, settings.size.width // scale)
    cycle: dict[str, int] = {}
    if settings.noise != "independent":
        cycle["period"] = settings.window
    if settings.noise == "shuffled-block":
        cycle["stride"] = settings.window - settings.overlap
    return frame_noise(frames, shape, settings.seed, settings.noise, **cycle)


def decode(
    engine: Engine, settings: ClipSettings, latents: Tensor, progress: Progress, keeper: Keeper
) -> Iterator[np.ndarray]:
    """Frames (H,W,3) uint8 RGB, a group at a time; smaller groups if memory runs out."""
    vae, done, count = engine.components.vae, 0, len(latents)
    latents = _filled(latents, settings.decode_chunk)
    with (
        progress.stage("decode", count) as stage,
        offloaded(vae, engine.device, engine.offload),
        freed_memory_kept(),
        channels_last(vae) if engine.device.type == "cpu" else nullcontext(),
    ):
        for pictures in keeper.frames():
            yield from _counted(pictures, stage)
            done += len(pictures)
        for attempt in range(_RETRIES + 1):
            whole = DecodeOptions(group=settings.decode_chunk)
            options = engine.plan.decode if engine.plan else whole
            try:
                for group in decode_frames(vae, latents, options, first=done):
                    pictures = _pictures(group)[: count - done]
                    if not len(pictures):
                        break
                    keeper.offer_frames(pictures)
                    done += len(pictures)
                    yield from _counted(pictures, stage)
                return
            except torch.OutOfMemoryError:
                if attempt == _RETRIES:
                    raise
            engine = _smaller(engine, "decode", progress)


def _filled(latents_FChw: Tensor, frames: int) -> Tensor:
    """A clip of fewer frames than are decoded together stands still at its end until it has them:
    alone, a frame is tinted by a decoder that learned from several."""
    missing = frames - len(latents_FChw)
    if missing <= 0:
        return latents_FChw
    return torch.cat([latents_FChw, latents_FChw[-1:].expand(missing, -1, -1, -1)])


def _counted(pictures: np.ndarray, stage: Stage) -> Iterator[np.ndarray]:
    for picture in pictures:
        yield picture
        stage.advance()


def _pictures(group_F3HW: Tensor) -> np.ndarray:
    """(F,H,W,3) uint8 of frames in [-1,1]."""
    levels = ((group_F3HW.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
