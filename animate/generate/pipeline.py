"""From a picture and control frames to the frames of a clip: the algorithm, without any file.

Follow `generate`: `sample` encodes the reference, draws the noise and denoises it in overlapping
windows, `decode` makes frames of the latents.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from animate.driving.skeletons import ControlFrames
from animate.generate.clip_state import ClipState, Keeper, KeepsNothing
from animate.generate.conditioning import (
    Conditioning,
    FramePictures,
    encode_frames,
)
from animate.generate.consistency import step_seed
from animate.generate.decoding import decode
from animate.generate.denoise import Networks, Steps, denoise
from animate.generate.engine import Engine, attempts
from animate.generate.families import family_of
from animate.generate.network import ClipWork
from animate.generate.preview import LivePreview, PreviewMaker
from animate.generate.settings import ClipSettings, plan_clip, unshareable
from animate.generate.video_diffusion import REFERENCE_FRAME
from animate.progress import Progress, Stage
from temporal.errors import TemporalError
from temporal.noise import frame_noise
from temporal.offload import offloaded
from temporal.windows import WindowPlan

Renewal = Callable[[int, Tensor], Tensor]
"""Adds noise to the latents after a step, by the step's number."""
OnStep = Callable[[int, Tensor, Tensor], Tensor | None]
"""Called after each step with its number, its timestep and the latents (F,C,h,w), which must not be
changed; latents that it returns are taken in their place."""


def generate(
    engine: Engine,
    settings: ClipSettings,
    picture: np.ndarray,
    control: ControlFrames,
    progress: Progress,
    keeper: Keeper | None = None,
    picture_of: FramePictures | None = None,
    face: np.ndarray | None = None,
) -> Generator[np.ndarray, None, None]:
    """Frames (H,W,3) uint8 RGB of the clip, as they are decoded; its latents are made at once.

    `picture` (H,W,3) uint8 RGB has the clip's size. What `keeper` has of an earlier run is not
    done again; it changes nothing else. Memory holds the clip's latents twice, on the host, what
    the solver remembers of them, and one window. `picture_of` gives each frame its own picture in
    place of the reference's, for variants whose image latents are warped; their latents are held
    on the host in half precision. `face` is the face vector (I), for variants with face tokens;
    None is nobody's, zeros.

    Raises NotFiniteError where a network gives numbers that are not finite, TemporalError where
    the device's memory is too small.
    """
    latents = sample(engine, settings, picture, control, progress, keeper, picture_of, face)
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
    face: np.ndarray | None = None,
    *,
    noise: Tensor | None = None,
    on_step: OnStep | None = None,
    live: LivePreview | None = None,
) -> Tensor:
    """Clean latents (F,C,h,w) of the clip, float32, on the host.

    A window for which memory ran out, or whose numbers are not finite, is computed again in smaller
    pieces or a wider type, and so is what follows, with a warning (`animate.generate.engine`).

    noise: standard normal (F,C,h,w) to begin with; None: drawn from the seed
    on_step: see `OnStep`
    live: who is given a small picture of some frames after every step
    """
    keeper = keeper or KeepsNothing()
    engine.clear_device()
    conditioning = encode(engine, settings, picture, progress, face)
    if picture_of is not None:
        latents = encode_warped(engine, settings, picture_of, len(control), progress)
        conditioning = replace(conditioning, frame_latents=latents)
    variant = engine.components.variant
    scheduler = family_of(variant).scheduler(variant, settings, engine.device)
    work = plan_work(engine, settings, conditioning, control, scheduler)
    state = first_state(engine, work, scheduler, keeper, progress, noise)
    if state.step == work.steps.plan.steps:
        return state.latents

    renew: Renewal | None = None
    if variant.distilled_levels is not None:
        renew = partial(_add_fresh_noise, engine, settings, scheduler)
    maker = None
    if live is not None:
        maker = live.maker(state.latents, scheduler, clean=renew is not None)
    after = _after_step(on_step, maker, work.steps, renew)

    for attempt in attempts(engine, "denoise", progress):
        planned = replace(work, memory=engine.plan)
        with attempt, ExitStack() as stack:  # the state stands still while a window fails
            latents = denoise(
                state,
                scheduler,
                work.steps,
                stack.enter_context(networks_of(engine, planned, state, progress)),
                device=engine.device,
                on_step=after,
                on_state=partial(keeper.offer_state, scheduler=scheduler),
            )
    return latents


def _after_step(
    on_step: OnStep | None, maker: PreviewMaker | None, steps: Steps, renew: Renewal | None
) -> Callable[[int, Tensor], Tensor | None] | None:
    """The loop's callback after a step: the caller's first, then the preview of what that leaves,
    and fresh noise last. None where there is nothing to do."""
    if on_step is None and maker is None and renew is None:
        return None

    def after(step: int, latents: Tensor) -> Tensor | None:
        changed = None if on_step is None else on_step(step, steps.timesteps[step], latents)
        if maker is not None:
            maker(step, latents if changed is None else changed)
        if renew is not None:
            changed = renew(step, latents if changed is None else changed)
        return changed

    return after


def _add_fresh_noise(
    engine: Engine, settings: ClipSettings, scheduler: Any, step: int, latents: Tensor
) -> Tensor:
    """The clean latents of a distilled model's step, with noise of the level that comes next."""
    sigma = float(scheduler.sigmas[step + 1])
    if sigma == 0:
        return latents
    fresh = replace(settings, seed=step_seed(settings.seed, step))
    return latents.add_(draw_noise(engine, fresh, len(latents)).to(latents.device), alpha=sigma)


def encode(
    engine: Engine,
    settings: ClipSettings,
    picture: np.ndarray,
    progress: Progress,
    face: np.ndarray | None = None,
) -> Conditioning:
    """Conditions of the UNet from the reference picture, and from its face vector (I) for variants
    with face tokens. Raises NotFiniteError."""
    family = family_of(engine.components.variant)
    with progress.stage("encode", 1) as stage:
        for attempt in attempts(engine, "encode", progress):
            with attempt:
                conditioning = family.encode(engine, settings, picture, face)
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
    with progress.stage("warp", frames) as stage:
        for attempt in attempts(engine, "encode", progress):
            with attempt, offloaded(vae, engine.device, engine.offload):
                latents = encode_frames(
                    picture_of,
                    frames,
                    vae=vae,
                    noise=frame_noise([REFERENCE_FRAME], shape, settings.seed),
                    augmentation=variant.micro_conditions.noise_augmentation,
                    device=engine.device,
                    on_frame=stage.advance,
                )
    return latents


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
        packed=engine.packed,
    )


def first_state(
    engine: Engine,
    work: ClipWork,
    scheduler: Any,
    keeper: Keeper,
    progress: Progress,
    noise: Tensor | None = None,
) -> ClipState:
    """The state to begin with: an earlier run's, or noise. The scheduler is brought there.

    noise: see `sample`
    """
    plan = work.steps.plan
    for note in plan.notes:
        progress.note(note)
    state = keeper.state(scheduler)
    if state is None:
        if noise is None:
            noise = draw_noise(engine, work.settings, plan.frames)
        return ClipState.begin(noise, scheduler)
    if engine.executor is not None:
        state.restart_step()  # workers take whole steps
    if windows_done(plan, state):
        progress.note(f"going on from step {state.step} of {plan.steps}, window {state.window}")
    return state


class FrameCount:
    """Progress of denoising in frames, each counted once at every step, from windows."""

    def __init__(self, plan: WindowPlan, stage: Stage) -> None:
        self._plan, self._stage = plan, stage
        self._windows = self._frames = 0

    def skip(self, windows: int) -> None:
        """Count `windows` that went through the network in an earlier run."""
        self._stage.skip(self._frames_with(windows))

    def advance(self, windows: int = 1) -> None:
        """Report `windows` more that went through the network."""
        self._stage.advance(self._frames_with(windows))

    def _frames_with(self, windows: int) -> int:
        """Frames that are done by `windows` more."""
        before = self._frames
        self._windows += windows
        step, left = 0, self._windows
        while step < self._plan.steps and left >= (count := len(self._plan.at(step))):
            step, left = step + 1, left - count
        self._frames = step * self._plan.frames
        if left:
            self._frames += left * self._plan.frames // len(self._plan.at(step))
        return self._frames - before


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
    with progress.stage("denoise", plan.frames * plan.steps) as stage:
        counted = FrameCount(plan, stage)
        if earlier := windows_done(plan, start):
            counted.skip(earlier)
        if engine.executor is None:
            family = family_of(engine.components.variant)
            with family.networks(engine.components, work, engine.device) as networks:
                yield replace(networks, on_window=counted.advance)
            return
        for message in unshareable(work.settings):
            raise TemporalError(message)
        with engine.executor.open(engine.components, work, counted.advance) as predict:
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
