"""`ControlNeXtVideoPipeline`: a picture and motion in, frames out, all in memory.

Arguments are named and ordered as those of diffusers' `StableVideoDiffusionPipeline`, so that code
written for it works with the motion added. It is `Animator` without files: the same networks, the
same steps, the same frames.

Shapes: F frames, C h w a latent. Pictures are RGB.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import torch
from diffusers.utils.outputs import BaseOutput
from torch import Tensor

from animate.animator import Animator
from animate.errors import RequestError, adopted_errors, raises_ours
from animate.media.info import Image, PictureType
from animate.pipeline.arrays import Picture, Pictures, Poses, several
from animate.pipeline.call import TENSORS, OnStepEnd, VideoCall
from animate.pipeline.loaded import LoadedPipeline
from animate.pipeline.making import Making
from animate.pipeline.outputs import OutputType, check_output_type, packed, picture_as, seeds
from animate.progress import Progress, Remembering


@dataclass
class ControlNeXtVideoOutput(BaseOutput):
    """Frames of a call; also a mapping and, by number, a tuple, as diffusers' outputs are."""

    frames: Any
    """A list of pictures for each video, or what `output_type` names, videos first."""
    fps: Fraction
    """Exact rate of the frames."""
    warnings: tuple[str, ...]
    """Remarks on the clips, in sentences."""


class ControlNeXtVideoPipeline(LoadedPipeline):
    """A loaded model variant; call it with pictures and motion, as often as wanted.

    It may be called from any thread: calls of all pipelines and animators of a process queue. A
    callback that raises ends its call and leaves the pipeline as it was.
    """

    _callback_tensor_inputs = TENSORS

    def __init__(self, animator: Animator) -> None:
        """Use the networks and estimators of an `Animator`."""
        super().__init__(animator)
        self._interrupt = False
        self._making: Making | None = None

    # ------------------------------------------------------------------ while it runs

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
        height: int | None = None,
        width: int | None = None,
        num_frames: int | None = None,
        num_inference_steps: int | None = None,
        sigmas: Sequence[float] | None = None,
        min_guidance_scale: float | None = None,
        max_guidance_scale: float | None = None,
        fps: int | None = None,
        motion_bucket_id: int | None = None,
        noise_aug_strength: float | None = None,
        decode_chunk_size: int | None = None,
        num_videos_per_prompt: int = 1,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        latents: Tensor | None = None,
        output_type: OutputType = "pil",
        callback_on_step_end: OnStepEnd | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = TENSORS,
        return_dict: bool = True,
        *,
        driving: Pictures | str | os.PathLike[str] | None = None,
        poses: Poses | None = None,
        control_frames: Pictures | str | os.PathLike[str] | None = None,
        driving_fps: float | Fraction | str | None = None,
        background_mask: np.ndarray | Tensor | None = None,
        seed: int | None = None,
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
        sigmas: refused; `levels` names the noise levels that there are
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
        if sigmas is not None:
            raise RequestError(
                "sigmas are the model's own here; leave them out, or give "
                'levels="align-your-steps" and num_inference_steps'
            )
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
        output_type: PictureType = "pil",
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
