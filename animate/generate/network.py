"""The networks as the denoising loop calls them: the UNet with guidance and control, and the
control network.

Shapes: W windows, S slots of a window, N = W windows times the conditions they are run under,
C H W a latent, c h w a control feature map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from animate.driving.skeletons import ControlFrames
from animate.generate.conditioning import Conditioning
from animate.generate.denoise import Call, Networks, Steps
from animate.generate.feature_cache import cached_features
from animate.generate.guidance import guide
from animate.generate.kept_control import with_kept_control
from animate.generate.settings import ClipSettings
from animate.models.components import Components
from animate.models.identity_attention import identity_attention
from animate.models.injection import ControlPort, inject, learned_weight, unconditional_weight
from temporal.constant_attention import constant_cross_attention
from temporal.errors import TemporalError
from temporal.memory import apply_plan
from temporal.memory_plan import MemoryPlan
from temporal.offload import Offload, offloaded
from temporal.packing import packed_weights
from temporal.speed import cached_chunks, compiled, convolutions_in_2d, tuned_for_cpu

_BLANK, _KNOWN = 0, 1  # the unconditional half, the conditional half


@dataclass(frozen=True, kw_only=True)
class ClipWork:
    """Everything that networks need of one clip, besides its latents."""

    settings: ClipSettings
    steps: Steps
    conditioning: Conditioning
    """Conditions that the reference picture gives."""
    control: ControlFrames
    """Skeletons of all frames, drawn where they are needed."""
    memory: MemoryPlan | None = None
    """Pieces and offloading that keep within an amount of memory; None runs everything whole."""
    compiler: str | None = None
    """Backend of `torch.compile` for the UNet; None runs it as it is."""
    packed: bool = False
    """The UNet's weights are packed for the processor."""


@contextmanager
def networks_for(parts: Components, work: ClipWork, device: torch.device) -> Iterator[Networks]:
    """The networks on the device, every shortcut on, control going in; undone at the end.

    Raises TemporalError for settings that exclude each other.
    """
    memory, settings, unet = work.memory, work.settings, parts.unet
    injection = parts.variant.injection
    offload: Offload = "none" if memory is None or memory.offload == "none" else "model"
    # With face tokens a cross-attention depends on its queries: it is no constant of the clip.
    constant = work.conditioning.embedding.shape[1] == 1
    with ExitStack() as stack:
        stack.enter_context(offloaded(parts.controlnext, device, offload))
        if parts.identity is not None and not constant:
            weight = settings.identity_weight
            stack.enter_context(identity_attention(unet, parts.identity, weight))
        if memory is not None:
            stack.enter_context(apply_plan(unet, memory, device, constant=constant))
        else:
            stack.enter_context(offloaded(unet, device))
            if constant:
                stack.enter_context(constant_cross_attention(unet))
        if device.type == "cpu":
            pixels = work.conditioning.latents[0, 0].numel()
            pieces = cached_chunks(unet, window=work.steps.plan.window, pixels=pixels)
            cut = memory is not None and memory.chunks is not None
            tuned = tuned_for_cpu(unet, None if cut else pieces, parts.controlnext)
            stack.enter_context(tuned)
            if work.packed:
                stack.enter_context(packed_weights(unet))
        else:
            # In half precision cuDNN's 3-D kernels are slow, and hungry in torch 2.9.
            stack.enter_context(convolutions_in_2d(unet))
        known_weight = learned_weight(injection, parts.controlnext, settings.control_weight)
        port = stack.enter_context(inject(unet, injection, known_weight))
        if work.compiler is not None:  # last: compiled code does not see what is hooked later
            check_compilable(work)
            stack.enter_context(compiled(unet, backend=work.compiler))
        guided = GuidedUNet(
            unet=unet,
            port=port,
            conditioning=work.conditioning,
            unconditional_weight=unconditional_weight(
                injection, parts.controlnext, settings.control_weight
            ),
            together=memory is None or memory.halves_together,
        )
        encoder = ControlEncoder(controlnext=parts.controlnext, draw=work.control, device=device)
        networks = Networks(
            predict=guided, control=encoder, batch=1 if memory is None else memory.window_batch
        )
        if settings.keep_features > 1:
            caching = cached_features(unet, networks, work.steps.plan, every=settings.keep_features)
            networks = stack.enter_context(caching)
        if settings.keep_control > 1:
            networks = with_kept_control(networks, work.steps.plan, every=settings.keep_control)
        yield networks


def check_compilable(work: ClipWork) -> None:
    """Raise TemporalError for what takes the UNet apart while it runs."""
    if work.settings.keep_features > 1:
        raise TemporalError("--compile does not go with --keep-features; leave out one of them")
    if work.memory is not None and work.memory.offload == "stream":
        raise TemporalError(
            "--compile does not go with weights that are streamed block by block; leave it out, or "
            "allow more --memory"
        )


class GuidedUNet:
    """A `Predict`: the UNet on both guidance halves, with control on the conditional one."""

    def __init__(
        self,
        unet: Any,
        port: ControlPort,
        conditioning: Conditioning,
        *,
        unconditional_weight: float | Tensor = 0.0,
        together: bool = True,
    ) -> None:
        """
        unet: a stock `UNetSpatioTemporalConditionModel`, whatever wraps or hooks it
        port: where its control goes in, from `inject`
        conditioning: of the reference image, where the UNet is
        unconditional_weight: weight of the control on the unconditional half (`Injection`)
        together: both halves in one call; in turn they need about half the memory
        """
        self.unet, self.port = unet, port
        self.unconditional_weight, self.together = unconditional_weight, together
        known = conditioning.to(conditioning.latents.device, unet.dtype)
        self._halves = (known.unconditional(), known)
        self._inputs: dict[tuple[tuple[int, ...], int], Conditioning] = {}

    def __call__(self, sample_WSCHW: Tensor, control: Tensor | None, call: Call) -> Tensor:
        windows, slots = sample_WSCHW.shape[:2]
        halves = (_KNOWN,) if call.scale is None else (_BLANK, _KNOWN)
        outputs = []
        for part in [halves] if self.together else [(half,) for half in halves]:
            inputs = self._conditions(part, windows)
            sample = sample_WSCHW.to(self.unet.dtype).repeat(len(part), 1, 1, 1, 1)
            image = self._image_latents(inputs, part, call, slots)
            with self._controlled(control, part):
                output = self.unet(
                    torch.cat([sample, image], dim=2),
                    call.timestep,
                    encoder_hidden_states=inputs.embedding,
                    added_time_ids=inputs.micro,
                    return_dict=False,
                )[0]
            outputs += output.chunk(len(part))
        if call.scale is None:
            return outputs[0]
        blank, known = outputs
        return guide(blank.float(), known.float(), call.scale)

    def _image_latents(
        self, inputs: Conditioning, halves: tuple[int, ...], call: Call, slots: int
    ) -> Tensor:
        """(N,S,C,H,W): the reference's for all frames, or those of the frame whose pose a slot has;
        nothing on the unconditional half."""
        latents = self._halves[_KNOWN].frame_latents
        if latents is None:
            return inputs.latents[:, None].expand(-1, slots, -1, -1, -1)
        known = torch.stack([latents[list(window.control)] for window in call.windows])
        known = known.to(inputs.latents.device, inputs.latents.dtype)
        return torch.cat([known if half == _KNOWN else torch.zeros_like(known) for half in halves])

    def _conditions(self, halves: tuple[int, ...], windows: int) -> Conditioning:
        """One row for each of the UNet's: always the same tensors, so that what was computed from
        them alone (constant cross-attention) can be kept from call to call.
        """
        if (halves, windows) not in self._inputs:
            rows = [self._halves[half] for half in halves for _ in range(windows)]
            self._inputs[halves, windows] = Conditioning(
                embedding=torch.cat([row.embedding for row in rows]),
                latents=torch.cat([row.latents for row in rows]),
                micro=torch.cat([row.micro for row in rows]),
            )
        return self._inputs[halves, windows]

    def _controlled(
        self, control_WSchw: Tensor | None, halves: tuple[int, ...]
    ) -> AbstractContextManager[None]:
        """Control at the UNet's port for the length of a call."""
        if control_WSchw is None:
            return nullcontext()
        windows = len(control_WSchw)
        flat = control_WSchw.to(self.unet.dtype).flatten(0, 1)
        # The port lets the conditions of one window share its rows; more windows need their own.
        rows = flat if windows == 1 else flat.repeat(len(halves), 1, 1, 1)
        weights = (self.unconditional_weight, self.port.weight)
        return self.port.holding(rows, [weights[half] for half in halves for _ in range(windows)])


@dataclass(frozen=True, kw_only=True)
class ControlEncoder:
    """A `ControlFeatures`: control frames drawn when they are needed, through the control network.

    controlnext: (1,n,3,H,W) in [0,1] and a timestep -> (n,c,h,w)
    draw: control frames (n,3,H,W) in [0,1], or uint8, for global frame indices
    device: where the control network is
    chunk: frames that go through it together; it sees each alone, so this changes memory only
    """

    controlnext: Any
    draw: Callable[[Sequence[int]], Tensor]
    device: torch.device | str = "cpu"
    chunk: int = 8

    def __call__(self, frames: Sequence[int], timestep: Tensor) -> Tensor:
        parts = [frames[start : start + self.chunk] for start in range(0, len(frames), self.chunk)]
        return torch.cat([self._features(part, timestep) for part in parts])

    def _features(self, frames: Sequence[int], timestep: Tensor) -> Tensor:
        drawn = self.draw(frames)
        if torch.device(self.device).type == "cuda" and drawn.device.type == "cpu":
            drawn = drawn.pin_memory()  # so that the copy need not be waited for
        drawn = drawn.to(self.device, non_blocking=True)
        dtype = next(self.controlnext.parameters()).dtype
        drawn = drawn.to(dtype) / 255 if drawn.dtype == torch.uint8 else drawn.to(dtype)
        return self.controlnext(drawn[None], timestep)
