"""One call at work: from its arguments to latents, and from latents to frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from animate.animator import Animator
from animate.clip.make import engine_for, face_of, prepare
from animate.clip.motion import Motion, clip_finish, clip_motion
from animate.clip.preflight import check_identity, check_options
from animate.driving.placement import Placement
from animate.errors import RequestError
from animate.finish.chain import Finish
from animate.finish.enlarge import Enlargement
from animate.generate.decoding import decode
from animate.generate.engine import Engine
from animate.generate.pipeline import sample
from animate.generate.settings import ClipSettings, settle
from animate.media.info import Image
from animate.models.lora import merged
from animate.pipeline.arrays import Picture, read_mask, read_picture
from animate.pipeline.bars import Watched
from animate.pipeline.call import CallbackInputs, VideoCall
from animate.pipeline.preview import latent_colours, preview_picture
from animate.progress import Progress, Quiet
from animate.request.request import AnimationRequest
from animate.request.values import Lora, Size

OnStep = Callable[[int, Tensor, CallbackInputs], CallbackInputs | None]
"""See `call.OnStepEnd`; without the pipeline."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """A clip whose latents are made."""

    request: AnimationRequest
    settings: ClipSettings
    engine: Engine
    motion: Motion
    finish: Finish
    latents: Tensor
    """(F,C,h,w), with those of a reference that leads."""
    background: np.ndarray | None
    """(H,W,1) float32 in [0,1]: share of the reference in each pixel; None: none."""

    def finished(self, generated: Iterable[Image]) -> Iterator[Image]:
        """Frames to hand out, of the generated ones in order."""
        frames = self.finish(generated)
        if (share := self.background) is None:
            return frames
        ground = share * self.finish.picture
        return (np.rint(ground + (1 - share) * frame).astype(np.uint8) for frame in frames)

    @property
    def leading(self) -> int:
        """Frames before the clip's own."""
        return int(self.motion.leading)


class _Interrupted(Exception):
    """Raised within denoising to leave it; the latents of the last step are kept."""


class Making:
    """The work of one call."""

    def __init__(
        self,
        animator: Animator,
        call: VideoCall,
        progress: Progress,
        *,
        adapters: tuple[Lora, ...] = (),
        memory: int | str | None = None,
        offload: str | None = None,
        on_step: OnStep | None = None,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        """
        adapters, memory, offload: as a request has them
        on_step: called after each step
        interrupted: True when denoising is to end early
        """
        self.animator, self.call = animator, call
        self.progress = Watched(progress, "denoise", self._look_for_interrupt)
        self._adapters, self._memory, self._offload = adapters, memory, offload
        self._on_step, self._interrupted = on_step, interrupted
        self._last: Tensor | None = None
        self._scene: tuple[Engine, Image] | None = None
        self._colours: Tensor | None = None

    def request(self, image: Picture, seed: int) -> AnimationRequest:
        """The request of a clip. Raises RequestError for settings that cannot be."""
        engine = self.animator.engine
        request = self.call.request(
            image,
            engine.components.variant,
            seed=seed,
            lora=self._adapters,
            memory=self._memory,
            offload=self._offload if engine.device.type == "cuda" else None,
        )
        check_options(request)
        if request.place_in_driving:
            self._check_shot()
        return self.animator.in_own_precision(request)

    def _check_shot(self) -> None:
        """Raise RequestError where there is no driving shot, or its background is not wanted."""
        name, _ = self.call.motion
        if name != "driving":
            raise RequestError(
                f"place_in_driving needs a driving video, and the motion is given as {name}; give "
                "driving, and poses of it by `Animator`"
            )
        if self.call.background_mask is not None:
            raise RequestError(
                "background_mask keeps the picture's background, place_in_driving takes the "
                "driving shot's; give one of them"
            )

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Hold the process's queue of calls in the block."""
        with self.animator.computing(self.request("image", 0).runtime):
            yield

    def clip(self, image: Picture, seed: int) -> Clip:
        """Make the latents of a clip. The queue must be held."""
        picture = read_picture(image, "image")
        request = self.request(image, seed)
        engine = self._conditioned(self.animator.engine)
        variant = engine.components.variant
        settings = settle(request, variant, Size(picture.shape[1], picture.shape[0]))
        check_identity(request, variant)
        inputs = self.call.inputs(
            picture, request, lambda: self.animator.estimator(request), settings.window
        )
        prepared = prepare(self.animator, engine, request, settings, inputs.source, self.progress)
        with merged(engine.components.unet, prepared.adapters):
            motion = clip_motion(
                request,
                inputs,
                variant,
                settings,
                lambda: self.animator.estimator(request),
                self.progress,
            )
            engine = engine_for(self.animator, request, prepared.memory, self.progress)
            engine = self._conditioned(engine)
            face = face_of(self.animator, request, picture, self.progress)
            latents = self._latents(engine, settings, motion, face)
        return Clip(
            request=request,
            settings=settings,
            engine=engine,
            motion=motion,
            finish=clip_finish(
                request, settings, motion, inputs, prepared.enlargement, self.progress
            ),
            latents=latents,
            background=self._background(picture, motion.placement, prepared.enlargement),
        )

    def frames(self, clip: Clip) -> Iterator[Image]:
        """Frames (H,W,3) uint8 RGB of a clip. The queue must be held throughout."""
        engine, settings, latents = clip.engine, clip.settings, clip.latents
        return decode(engine, settings, latents, self.progress, leading=clip.leading)

    def streamed(self, clip: Clip) -> Iterator[Image]:
        """The same frames, a group at a time; other calls may compute in between."""
        engine, count = clip.engine, len(clip.latents)
        group = engine.plan.decode.group if engine.plan else clip.settings.decode_chunk
        with self.progress.stage("decode", count) as stage:
            for first in range(0, count, group):
                end = min(first + group, count)
                with self.animator.computing(clip.request.runtime):
                    decoded = decode(
                        engine,
                        clip.settings,
                        clip.latents,
                        Quiet(),
                        leading=clip.leading,
                        first=first,
                    )
                    with closing(decoded):
                        pictures = list(islice(decoded, end - max(first, clip.leading)))
                stage.advance(end - first)
                yield from pictures

    def preview(self, latents_Chw: Tensor, size: int) -> Image:
        """See `ControlNeXtVideoPipeline.preview`."""
        if self._scene is None:
            raise RequestError("preview works once denoising has begun")
        if self._colours is None:
            self._colours = latent_colours(*self._scene)
        return preview_picture(latents_Chw, self._colours, size)

    def _background(
        self, picture: Image, placement: Placement, enlargement: Enlargement | None
    ) -> np.ndarray | None:
        if self.call.background_mask is None:
            return None
        size = (picture.shape[1], picture.shape[0])
        mask = read_mask(self.call.background_mask, "background_mask", size)
        levels = np.rint(mask * 255).astype(np.uint8)
        if enlargement is not None:
            placement = placement.enlarged(enlargement.placement)
        laid = placement.picture(np.repeat(levels[..., None], 3, axis=2))
        return laid[..., :1].astype(np.float32) / 255

    def _conditioned(self, engine: Engine) -> Engine:
        """The engine with the call's micro-conditions."""
        parts = engine.components
        micro = self.call.micro_conditions(parts.variant)
        if micro == parts.variant.micro_conditions:
            return engine
        variant = replace(parts.variant, micro_conditions=micro)
        return replace(engine, components=replace(parts, variant=variant))

    def _latents(
        self, engine: Engine, settings: ClipSettings, motion: Motion, face: np.ndarray | None
    ) -> Tensor:
        self._last, self._scene, self._colours = None, (engine, motion.picture), None
        try:
            return sample(
                engine,
                settings,
                motion.picture,
                motion.control,
                self.progress,
                picture_of=motion.picture_of,
                face=face,
                noise=self._noise(engine, settings, len(motion.control)),
                on_step=self._step_end,
            )
        except _Interrupted:
            assert self._last is not None
            return self._last.clone()

    def _noise(self, engine: Engine, settings: ClipSettings, frames: int) -> Tensor | None:
        noise = self.call.latents
        if noise is None:
            return None
        side = engine.latent_scale
        channels = engine.components.vae.config.latent_channels
        size = settings.size
        expected = (1, frames, channels, size.height // side, size.width // side)
        if not isinstance(noise, Tensor) or tuple(noise.shape) != expected:
            shape = tuple(noise.shape) if isinstance(noise, Tensor) else type(noise).__name__
            raise RequestError(f"latents are {shape}; expected a tensor of shape {expected}")
        if not bool(torch.isfinite(noise).all()):
            raise RequestError("latents have values that are not finite")
        return noise[0].to("cpu", torch.float32)

    def _step_end(self, step: int, timestep: Tensor, latents: Tensor) -> Tensor | None:
        changed = None
        if self._on_step is not None:
            values = dict.fromkeys(self.call.callback_on_step_end_tensor_inputs, latents[None])
            answer = self._on_step(step, timestep, values)
            changed = _changed(answer, latents)
        self._last = latents if changed is None else changed
        if self._interrupted():
            raise _Interrupted
        return changed

    def _look_for_interrupt(self) -> None:
        """Leave denoising between two windows, where a whole step is there to go back to."""
        if self._last is not None and self._interrupted():
            raise _Interrupted


def _changed(answer: object, latents: Tensor) -> Tensor | None:
    """Latents that a callback returned in place of `latents`; None where it returned none.

    Raises RequestError for anything else.
    """
    if answer is None:
        return None
    if not isinstance(answer, dict):
        raise RequestError(
            f"callback_on_step_end returned {type(answer).__name__}; expected a dict of tensors"
        )
    changed = answer.get("latents")
    if changed is None:
        return None
    if not isinstance(changed, Tensor) or changed.shape != latents[None].shape:
        shape = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
        expected = (1, *latents.shape)
        raise RequestError(f"callback_on_step_end returned latents of {shape}; expected {expected}")
    return changed[0].to(latents)
