"""From a picture and control frames to the frames of a clip: the algorithm, without any file.

Follow `generate`: `sample` encodes the reference, draws the noise and denoises it in overlapping
windows, `decode` makes frames of the latents.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from animate.driving.skeletons import ControlFrames
from animate.errors import NotFiniteError
from animate.generate.clip_state import ClipState, Keeper, KeepsNothing
from animate.generate.conditioning import (
    Conditioning,
    FramePictures,
    encode_frames,
    encode_reference,
)
from animate.generate.denoise import Networks, Steps, denoise
from animate.generate.network import ClipWork, networks_for
from animate.generate.schedules import make_scheduler
from animate.generate.settings import ClipSettings, plan_clip
from animate.generate.workers.protocol import WindowExecutor
from animate.models.components import Components
from animate.progress import Progress, Stage
from temporal.errors import TemporalError
from temporal.kinds import Offload
from temporal.memory import BoundedStage, smaller
from temporal.memory_plan import MemoryPlan
from temporal.noise import frame_noise
from temporal.offload import offloaded, send_home
from temporal.speed import channels_last, freed_memory_kept
from temporal.vae import DecodeOptions, decode_frames
from temporal.windows import WindowPlan

# The reference's noise is that of a frame which no clip reaches.
_REFERENCE_FRAME = 2**31
# How often a plan is made smaller after memory has run out.
_RETRIES = 2


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Loaded networks and the device that computes."""

    components: Components
    """The variant's networks, anywhere: a stage brings to the device what it uses."""
    device: torch.device
    plan: MemoryPlan | None = None
    """Pieces and offloading that keep within an amount of memory; None runs everything whole."""
    executor: WindowExecutor | None = None
    """Workers that compute the windows of a step; None: this process, on `device`."""
    compiler: str | None = None
    """Backend of `torch.compile` for the UNet; None runs it as it is."""

    @property
    def offload(self) -> Offload:
        """Treatment of a network after the stage that uses it."""
        return "none" if self.plan is None or self.plan.offload == "none" else "model"

    @property
    def latent_scale(self) -> int:
        """Pixels of a side that one latent position stands for."""
        return 2 ** (len(self.components.vae.config.block_out_channels) - 1)


def generate(
    engine: Engine,
    settings: ClipSettings,
    picture: np.ndarray,
    control: ControlFrames,
    progress: Progress,
    keeper: Keeper | None = None,
    picture_of: FramePictures | None = None,
) -> Generator[np.ndarray, None, None]:
    """Frames (H,W,3) uint8 RGB of the clip, as they are decoded; its latents are made at once.

    `picture` (H,W,3) uint8 RGB has the clip's size. What `keeper` has of an earlier run is not
    done again; it changes nothing else. Memory holds the clip's latents twice, on the host, what
    the solver remembers of them, and one window. `picture_of` gives each frame its own picture in
    place of the reference's, for variants whose image latents are warped; their latents are held
    on the host in half precision.

    Raises NotFiniteError where a network gives numbers that are not finite, TemporalError where
    the device's memory is too small.
    """
    latents = sample(engine, settings, picture, control, progress, keeper, picture_of)
    return decode(engine, settings, latents, progress, keeper)


@torch.no_grad()
def sample(
    engine: Engine,
    settings: ClipSettings,
    picture: np.ndarray,
    control: ControlFrames,
    progress: Progress,
    keeper: Keeper | None = None,
    picture_of: FramePictures | None = None,
) -> Tensor:
    """Clean latents (F,C,h,w) of the clip, float32, on the host.

    Made anew in smaller pieces once or twice if the device's memory runs out, with a warning.
    """
    keeper = keeper or KeepsNothing()
    clear_device(engine)
    conditioning = encode(engine, settings, picture, progress)
    if picture_of is not None:
        latents = encode_warped(engine, settings, picture_of, len(control), progress)
        conditioning = replace(conditioning, frame_latents=latents)
    retries = _RETRIES
    while True:
        scheduler = make_scheduler(
            engine.components.variant.scheduler,
            settings.steps,
            solver=settings.solver,
            levels=settings.levels,
            device=engine.device,
        )
        work = plan_work(engine, settings, conditioning, control, scheduler)
        start = first_state(engine, work, scheduler, keeper, progress)
        if start.step == work.steps.plan.steps:
            return start.latents
        try:
            with networks_of(engine, work, start, progress) as networks:
                return denoise(
                    start,
                    scheduler,
                    work.steps,
                    networks,
                    device=engine.device,
                    on_state=partial(keeper.offer_state, scheduler=scheduler),
                )
        except torch.OutOfMemoryError:
            if not retries:
                raise
        # What was computed is let go of with the error, so before anything is tried again.
        retries -= 1
        engine = _smaller(engine, "denoise", progress)
        clear_device(engine)


def encode(
    engine: Engine, settings: ClipSettings, picture: np.ndarray, progress: Progress
) -> Conditioning:
    """Conditions of the UNet from the reference picture. Raises NotFiniteError."""
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
        for network, values in (
            ("image encoder", conditioning.embedding),
            ("VAE", conditioning.latents),
        ):
            if not bool(torch.isfinite(values).all()):
                raise NotFiniteError("encode", "of the reference picture", network)
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


def clear_device(engine: Engine) -> None:
    """Clear the device of networks where a plan counts only those in use: an earlier clip, or try,
    with more room has left its own there."""
    if engine.offload != "none":
        send_home(engine.components.networks())
        if engine.device.type == "cuda":
            torch.cuda.empty_cache()


def _smaller(engine: Engine, stage: BoundedStage, progress: Progress) -> Engine:
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


def plan_work(
    engine: Engine,
    settings: ClipSettings,
    conditioning: Conditioning,
    control: ControlFrames,
    scheduler: Any,
) -> ClipWork:
    """The clip's work: its windows, timesteps and guidance, and all that networks need of it."""
    plan = plan_clip(settings, frames=len(control), steps=len(scheduler.timesteps))
    return ClipWork(
        settings=settings,
        steps=Steps.of(
            scheduler,
            plan,
            settings.guidance,
            settings.guidance_interval,
            along=engine.components.variant.guidance_along,
        ),
        conditioning=conditioning,
        control=control,
        memory=engine.plan,
        compiler=engine.compiler,
    )


def first_state(
    engine: Engine, work: ClipWork, scheduler: Any, keeper: Keeper, progress: Progress
) -> ClipState:
    """The state to begin with: an earlier run's, or noise. The scheduler is brought there."""
    plan = work.steps.plan
    for note in plan.notes:
        progress.note(note)
    state = keeper.state(scheduler)
    if state is None:
        return ClipState.begin(draw_noise(engine, work.settings, plan.frames), scheduler)
    if engine.executor is not None:
        state.restart_step()  # workers take whole steps
    if windows_done(plan, state):
        progress.note(f"going on from step {state.step} of {plan.steps}, window {state.window}")
    return state


def windows_done(plan: WindowPlan, state: ClipState) -> int:
    """Windows that went through the network before this state."""
    return sum(len(plan.at(step)) for step in range(state.step)) + state.window


@contextmanager
def networks_of(
    engine: Engine, work: ClipWork, start: ClipState, progress: Progress
) -> Iterator[Networks]:
    """The networks here, or workers that share each step's windows, with their progress shown.

    Raises TemporalError for features that are kept, which workers cannot do.
    """
    plan = work.steps.plan
    with progress.stage("denoise", plan.calls) as stage:
        stage.advance(windows_done(plan, start))
        if engine.executor is None:
            with networks_for(engine.components, work, engine.device) as networks:
                yield replace(networks, on_window=stage.advance)
            return
        if work.settings.keep_features > 1:
            raise TemporalError(
                f"--keep-features {work.settings.keep_features} needs each window's own history, "
                "which workers do not keep; leave out --keep-features or --workers"
            )
        with engine.executor.open(engine.components, work, stage.advance) as predict:
            yield Networks(predict=predict, batch=max(len(windows) for windows in plan.cycle))


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


@torch.no_grad()
def decode(
    engine: Engine,
    settings: ClipSettings,
    latents: Tensor,
    progress: Progress,
    keeper: Keeper | None = None,
    *,
    leading: int = 0,
) -> Generator[np.ndarray, None, None]:
    """Frames (H,W,3) uint8 RGB, a group at a time; smaller groups if memory runs out.

    leading: frames that come before the clip's first, which are decoded and left out
    Raises NotFiniteError for frames that are not finite; those before them were given.
    """
    keeper = keeper or KeepsNothing()
    vae, done, count = engine.components.vae, 0, len(latents)
    latents = _filled(latents, settings.decode_chunk)
    with (
        progress.stage("decode", count) as stage,
        offloaded(vae, engine.device, engine.offload),
        freed_memory_kept(),
        channels_last(vae) if engine.device.type == "cpu" else nullcontext(),
    ):
        for pictures in keeper.frames():
            yield from _counted(pictures, stage, leading - done)
            done += len(pictures)
        for attempt in range(_RETRIES + 1):
            stock = DecodeOptions(group=settings.decode_chunk)
            options = engine.plan.decode if engine.plan else stock
            try:
                for group in decode_frames(vae, latents, options, first=done):
                    pictures = _pictures(group, done)[: count - done]
                    if not len(pictures):
                        break
                    keeper.offer_frames(pictures)
                    skipped = leading - done
                    done += len(pictures)
                    yield from _counted(pictures, stage, skipped)
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


def _counted(pictures: np.ndarray, stage: Stage, skipped: int) -> Iterator[np.ndarray]:
    """The pictures but the first `skipped`, with the progress of all of them."""
    for number, picture in enumerate(pictures):
        if number >= skipped:
            yield picture
        stage.advance()


def _pictures(group_F3HW: Tensor, first: int) -> np.ndarray:
    """(F,H,W,3) uint8 of frames in [-1,1]; `first` is the number of the first one.

    Raises NotFiniteError for frames that are not finite.
    """
    finite = torch.isfinite(group_F3HW).all()
    levels = ((group_F3HW.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    pictures = levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    if not bool(finite):  # read after the pictures: the device was waited for already
        raise NotFiniteError("decode", f"frames {first} to {first + len(pictures) - 1}", "VAE")
    return pictures
