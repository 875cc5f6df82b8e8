"""`ControlNeXtVideoPipeline`: a picture and motion in, frames out, all in memory.

Arguments are named as those of diffusers' `StableVideoDiffusionPipeline`, so that code written for
it works with the motion added. It is `Animator` without files: the same networks, the same steps,
the same frames.

Shapes: F frames, C h w a latent. Pictures are RGB.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from diffusers.utils.outputs import BaseOutput
from torch import Tensor

from animate.animator import Animator
from animate.errors import RequestError, adopted_errors, raises_ours
from animate.media.info import Image
from animate.models.components import save_model
from animate.models.lora import open_adapters
from animate.models.variants import COMPONENTS
from animate.pipeline.arrays import Picture, Pictures, Poses, several
from animate.pipeline.bars import TqdmBars
from animate.pipeline.call import TENSORS, OnStepEnd, VideoCall
from animate.pipeline.making import Making
from animate.pipeline.outputs import OutputType, check_output_type, packed, picture_as, seeds
from animate.progress import Progress, Remembering
from animate.request.request import Precision, RuntimeOptions
from animate.request.values import Lora
from animate.request.wording import listed, nearest
from temporal.kinds import Offload
from temporal.offload import send_home

_PRECISIONS: Mapping[torch.dtype, Precision] = {
    torch.float32: "float32",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
}


@dataclass
class ControlNeXtVideoOutput(BaseOutput):
    """Frames of a call; also a mapping and, by number, a tuple, as diffusers' outputs are."""

    frames: Any
    """A list of pictures for each video, or what `output_type` names, videos first."""
    fps: Fraction
    """Exact rate of the frames."""
    warnings: tuple[str, ...]
    """Remarks on the clips, in sentences."""


class ControlNeXtVideoPipeline:
    """A loaded model variant; call it with pictures and motion, as often as wanted.

    It may be called from any thread: calls of all pipelines and animators of a process queue. A
    callback that raises ends its call and leaves the pipeline as it was.
    """

    _callback_tensor_inputs = TENSORS

    def __init__(self, animator: Animator) -> None:
        """Use the networks and estimators of an `Animator`."""
        self.animator = animator
        self._adapters: dict[str, Lora] = {}
        self._progress: Progress = TqdmBars({})
        self._offload: Offload | None = None
        self._memory: int | str | None = None
        self._interrupt = False
        self._making: Making | None = None

    @classmethod
    @raises_ours
    def from_pretrained(
        cls,
        name: str | os.PathLike[str] = "auto",
        *,
        torch_dtype: torch.dtype | None = None,
        device: str | torch.device = "auto",
        precision: Precision = "auto",
        variant: Literal["fp16"] | None = None,
    ) -> Self:
        """Load a model variant by its name, or a model folder.

        torch_dtype: numbers that the networks compute with; None: `precision`
        device: "auto" is the first GPU, else the CPU
        precision: the same in a word, or "int8" for 8-bit weights
        variant: "fp16" holds weights in float16 where nothing else is said
        Raises ModelError when it is unknown, not on this machine, or damaged; RequestError when
        the device is not there.
        """
        if variant not in (None, "fp16"):
            raise RequestError(f'variant {variant!r} is not "fp16"; leave it out')
        if variant == "fp16" and precision == "auto" and torch_dtype is None:
            precision = "float16"
        if torch_dtype is not None:
            precision = _precision(torch_dtype)
        path = name if isinstance(name, str) else Path(name)
        return cls(Animator.from_pretrained(path, device=str(device), precision=precision))

    def share(self) -> Self:
        """Another pipeline over the same networks, with adapters, limits and progress of its own
        that begin as these are."""
        other = type(self)(self.animator)
        other._adapters = dict(self._adapters)
        other._memory, other._offload = self._memory, self._offload
        other._progress = self._progress
        return other

    # ------------------------------------------------------------------ what is loaded

    @property
    def unet(self) -> Any:
        """diffusers' `UNetSpatioTemporalConditionModel`."""
        return self.animator.engine.components.unet

    @property
    def vae(self) -> Any:
        """diffusers' `AutoencoderKLTemporalDecoder`."""
        return self.animator.engine.components.vae

    @property
    def image_encoder(self) -> Any:
        """transformers' `CLIPVisionModelWithProjection`."""
        return self.animator.engine.components.image_encoder

    @property
    def controlnext(self) -> Any:
        """The control network."""
        return self.animator.engine.components.controlnext

    @property
    def scheduler(self) -> Any:
        """diffusers' scheduler of the variant."""
        return self.animator.engine.components.scheduler

    @property
    def components(self) -> Mapping[str, object]:
        """The networks and the scheduler by name."""
        return {name: getattr(self, name) for name in (*COMPONENTS, "scheduler")}

    @property
    def device(self) -> torch.device:
        """The device that computes."""
        return self.animator.engine.device

    @property
    def dtype(self) -> torch.dtype:
        """The numbers that the networks compute with."""
        return next(self.vae.parameters()).dtype

    @raises_ours
    def to(
        self,
        *targets: str | torch.device | torch.dtype,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> Self:
        """Compute on another device, or with other numbers; returns the pipeline."""
        for target in targets:
            if isinstance(target, torch.dtype):
                dtype = target
            else:
                device = target
        if dtype is not None:
            _precision(dtype)
        self.animator.to(None if device is None else str(device), dtype)
        return self

    def enable_model_cpu_offload(
        self, gpu_id: int | None = None, device: str | torch.device | None = None
    ) -> None:
        """Keep networks on the host, and bring each to the GPU for as long as it is used.

        Without a GPU the host computes anyway, and nothing changes.
        """
        self._offload_to("model", gpu_id, device)

    def enable_sequential_cpu_offload(
        self, gpu_id: int | None = None, device: str | torch.device | None = None
    ) -> None:
        """Stream the UNet's weights to the GPU block by block: least memory, and slow."""
        self._offload_to("stream", gpu_id, device)

    def _offload_to(
        self,
        way: Literal["model", "stream"],
        gpu_id: int | None,
        device: str | torch.device | None,
    ) -> None:
        target = "cuda" if gpu_id is None else f"cuda:{gpu_id}"
        if device is not None:
            target = str(device)
        if torch.cuda.is_available() and self.device.type != "cuda":
            self.to(target)
        self._offload = way

    def limit_memory(self, amount: int | str | None) -> None:
        """Keep networks and frames within an amount of memory, such as "8GiB"; None: no limit."""
        self._memory = amount

    def free_memory(self) -> None:
        """Take the networks off the GPU; the next call brings back what it uses."""
        with self.animator.computing(RuntimeOptions()):
            send_home(self.animator.engine.components.networks())
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    maybe_free_model_hooks = free_memory

    @raises_ours
    def save_pretrained(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write a model folder that `from_pretrained` loads to the same frames.

        Adapters are not in it. Raises ModelError when it is there already, unless `overwrite`.
        """
        with self.animator.computing(RuntimeOptions()):
            parts = self.animator.engine.components
            networks = {name: getattr(parts, name) for name in COMPONENTS}
            save_model(folder, parts.variant, networks, dtype=self.dtype, overwrite=overwrite)

    # ------------------------------------------------------------------ adapters

    @raises_ours
    def load_lora_weights(
        self,
        path: str | os.PathLike[str],
        *,
        weight_name: str | None = None,
        adapter_name: str | None = None,
        weight: float = 1.0,
    ) -> None:
        """Add an adapter to every call from now on; `set_adapters` changes its weight.

        path: a file, or a folder that holds one
        Raises ModelError where it is missing or does not fit.
        """
        file = Path(path) / weight_name if weight_name else Path(path)
        name = adapter_name or f"adapter_{len(self._adapters)}"
        if name in self._adapters:
            raise RequestError(f"adapter {name} is loaded already; give another adapter_name")
        lora = Lora.parse((file, weight))
        with self.animator.computing(RuntimeOptions()):
            open_adapters(self.unet, (lora,))
        self._adapters[name] = lora

    @raises_ours
    def set_adapters(
        self, names: str | Sequence[str], weights: float | Sequence[float] = 1.0
    ) -> None:
        """Use these adapters of those loaded, at these weights; the others rest at 0.

        Raises RequestError for one that is not loaded.
        """
        chosen = [names] if isinstance(names, str) else list(names)
        amounts = list(weights) if isinstance(weights, Sequence) else [weights] * len(chosen)
        if len(amounts) != len(chosen):
            raise RequestError(f"{len(chosen)} adapters need as many weights, not {len(amounts)}")
        for name in chosen:
            if name not in self._adapters:
                raise RequestError(
                    f"adapter {name} is not loaded{nearest(name, set(self._adapters))}; loaded: "
                    f"{listed(list(self._adapters)) or 'none'}"
                )
        by_name = dict(zip(chosen, amounts, strict=True))
        for name, lora in self._adapters.items():
            self._adapters[name] = Lora.parse((lora.path, by_name.get(name, 0.0)))

    def get_active_adapters(self) -> list[str]:
        """Names of the adapters whose weight is not 0."""
        return [name for name, lora in self._adapters.items() if lora.weight]

    def unload_lora_weights(self) -> None:
        """Forget all adapters."""
        self._adapters.clear()

    # ------------------------------------------------------------------ while it runs

    def set_progress_bar_config(self, **settings: Any) -> None:
        """Settings of the progress bars, as tqdm takes them; `disable=True` shows none."""
        self._progress = TqdmBars(settings)

    def set_progress(self, progress: Progress) -> None:
        """Report stages and remarks to a `Progress` of `animate.progress` in place of bars."""
        self._progress = progress

    @property
    def interrupt(self) -> bool:
        """True while the running call is to end early; set it to end that call.

        Denoising ends after the window that is computed, from the second step on, and the call
        returns the frames of the last whole step.
        """
        return self._interrupt

    @interrupt.setter
    def interrupt(self, value: bool) -> None:
        self._interrupt = value

    def preview(self, latents: Tensor, size: int = 256) -> Image:
        """A rough picture (h,w,3) uint8 RGB of one frame's latents (C,h,w), for callbacks.

        Colours are fitted to the call's own reference: no network runs for a frame.
        size: longest side in pixels
        Raises RequestError where no call is running.
        """
        if self._making is None:
            raise RequestError("preview works within a callback of a call that is running")
        return self._making.preview(latents, size)

    # ------------------------------------------------------------------ calls

    @raises_ours
    def __call__(
        self,
        image: Picture | Sequence[Picture],
        *,
        driving: Pictures | str | os.PathLike[str] | None = None,
        poses: Poses | None = None,
        control_frames: Pictures | str | os.PathLike[str] | None = None,
        driving_fps: float | Fraction | str | None = None,
        height: int | None = None,
        width: int | None = None,
        num_frames: int | None = None,
        num_inference_steps: int | None = None,
        min_guidance_scale: float | None = None,
        max_guidance_scale: float | None = None,
        fps: int | None = None,
        motion_bucket_id: int | None = None,
        noise_aug_strength: float | None = None,
        decode_chunk_size: int | None = None,
        background_mask: np.ndarray | Tensor | None = None,
        num_videos_per_prompt: int = 1,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        seed: int | None = None,
        latents: Tensor | None = None,
        output_type: OutputType = "pil",
        callback_on_step_end: OnStepEnd | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = TENSORS,
        return_dict: bool = True,
        **settings: Any,
    ) -> Any:
        """Animate a picture's person with the motion of others. None takes the model's default.

        image: the person to animate, or several pictures, each of which becomes a video
        driving: pictures or a video whose motion is taken
        poses: its poses, in place of `driving`; points of an array lie on `image`
        control_frames: its skeletons, drawn already, in place of `driving`
        driving_fps: rate of pictures and arrays (25 otherwise); of a video, that to sample it at
        height, width: of the frames, both or neither
        num_frames: frames at most
        fps, motion_bucket_id, noise_aug_strength: the model's micro-conditions, as diffusers counts
            them: it is told `fps - 1`
        background_mask: (H,W) of `image` in [0,1]; where it is 1 the frames keep the picture
        num_videos_per_prompt: videos of one picture, by the next seeds
        generator: gives the seed: a fresh one its own, a used one its next number
        seed: of the noise; 0 if neither is given. The same seed gives the same frames
        latents: standard normal noise (1,F,C,h,w) to begin with
        return_dict: False returns the frames alone
        settings: any other setting of a request that decides frames, by its name, such as
            `window`, `overlap`, `stride`, `retarget="none"`, `solver="unipc"`, `lock_background`

        Without any motion the person holds its own pose for `num_frames` frames (a window
        otherwise).

        Raises RequestError for arguments that cannot be used, MediaError for files, MotionError
        where nobody is seen, WindowError for windows, BudgetError for too little memory.
        """
        check_output_type(output_type)
        call = VideoCall(
            driving=driving,
            poses=poses,
            control_frames=control_frames,
            driving_fps=driving_fps,
            height=height,
            width=width,
            num_frames=num_frames,
            num_inference_steps=num_inference_steps,
            min_guidance_scale=min_guidance_scale,
            max_guidance_scale=max_guidance_scale,
            fps=fps,
            motion_bucket_id=motion_bucket_id,
            noise_aug_strength=noise_aug_strength,
            decode_chunk_size=decode_chunk_size,
            background_mask=background_mask,
            latents=latents,
            callback_on_step_end=callback_on_step_end,
            callback_on_step_end_tensor_inputs=callback_on_step_end_tensor_inputs,
            settings=settings,
        )
        progress = Remembering(self._progress)
        videos: list[Any] = []
        rate = Fraction(0)
        with self._running(call, progress) as making:
            for picture in several(image):
                for chosen in seeds(seed, generator, num_videos_per_prompt):
                    if videos and self._interrupt:
                        break
                    clip = making.clip(picture, chosen)
                    rate = clip.finish.fps
                    if output_type == "latent":
                        videos.append(clip.latents[clip.leading :])
                    else:
                        videos.append([*clip.finished(making.frames(clip))])
        frames = packed(videos, output_type)
        if not return_dict:
            return frames
        warnings = tuple(dict.fromkeys(progress.warnings))
        return ControlNeXtVideoOutput(frames=frames, fps=rate, warnings=warnings)

    @raises_ours
    def stream(
        self,
        image: Picture,
        *,
        output_type: Literal["pil", "np", "pt"] = "pil",
        generator: torch.Generator | None = None,
        seed: int | None = None,
        **arguments: Any,
    ) -> Iterator[Any]:
        """The frames of one video, each as soon as it is decoded; they are those of a call.

        Arguments are those of a call. Denoising is done when the first frame comes. Other calls may
        compute between two frames. Raises as a call does: for its arguments at once.
        """
        check_output_type(output_type, latents=False)
        call = VideoCall.of(arguments)
        [chosen] = seeds(seed, generator, 1)
        return self._streamed(image, chosen, call, output_type)

    def _streamed(
        self, image: Picture, seed: int, call: VideoCall, output_type: OutputType
    ) -> Iterator[Any]:
        with adopted_errors():
            with self._running(call, self._progress) as making:
                clip = making.clip(image, seed)
            for frame in clip.finished(making.streamed(clip)):
                yield picture_as(frame, output_type)

    @contextmanager
    def _running(self, call: VideoCall, progress: Progress) -> Iterator[Making]:
        """The work of a call, with the process's queue held."""
        on_step = None
        if (callback := call.callback_on_step_end) is not None:
            on_step = partial(callback, self)
        making = Making(
            self.animator,
            call,
            progress,
            adapters=tuple(lora for lora in self._adapters.values() if lora.weight),
            memory=self._memory,
            offload=self._offload,
            on_step=on_step,
            interrupted=lambda: self._interrupt,
        )
        with making.computing():
            outer = self._making
            self._making, self._interrupt = making, False
            try:
                yield making
            finally:
                self._making, self._interrupt = outer, False


def _precision(dtype: torch.dtype) -> Precision:
    if dtype not in _PRECISIONS:
        kinds = ", ".join(_PRECISIONS.values())
        raise RequestError(f"torch_dtype {dtype} is not one of {kinds}")
    return _PRECISIONS[dtype]
