"""Stills by stock diffusers pipelines, controlled by ControlNeXt or by what it is compared with.

The pipeline, its schedulers, LoRA, image prompts, image-to-image, ControlNet and T2I-Adapter are
diffusers' own; ours are the control network of ControlNeXt, the hook that adds its features, and
the loading of the partial UNets that belong to it.

Shapes: H x W pixels, a multiple of 8 each. Pictures are RGB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from animate.device import queued
from animate.errors import RequestError, raises_ours
from animate.media.info import PictureType
from animate.models.stills import FAMILIES
from animate.request.request import Fit
from animate.request.still import Span
from animate.request.values import Size
from animate.stills.control import controlled
from animate.stills.loaded import LoadedStills
from animate.stills.prompts import long_prompt, parts_of
from animate.stills.sizes import Picture, chosen_size, fitted_to, pil
from animate.stills.stock import STOCK_CONTROLS, assembled

Tensors = dict[str, Tensor]
OnStep = Callable[[Any, int, Tensor, Tensors], Tensors | None]
"""Called after a step with the pipeline, the step's number, its timestep and the tensors that were
asked for; what it returns counts in their place."""
Arguments = dict[str, object]
"""Arguments of a stock pipeline's call."""


class StillPipeline(LoadedStills):
    """A loaded base model, with a control network where one was named.

    Its conventions are those of `ControlNeXtVideoPipeline`. It may be called from any thread: calls
    of all pipelines of a process queue. A callback that raises ends its call and leaves the
    pipeline as it was.
    """

    _interrupt = False

    @property
    def interrupt(self) -> bool:
        """True once the call in progress was asked to end after its step: the picture is that of
        the steps until then. To be set from a callback or another thread; a call begins without.
        """
        return self._interrupt

    @interrupt.setter
    def interrupt(self, value: bool) -> None:
        self._interrupt = value

    def check_prompt(self, text: str) -> str | None:
        """A remark on a prompt that is longer than the text encoder takes; None otherwise."""
        parts = parts_of(self.pipe, text)
        if len(parts) == 1:
            return None
        return (
            f"the prompt is longer than the text encoder takes and is encoded in {len(parts)} "
            f"parts; the first ends with {parts[0][-24:]!r}"
        )

    @torch.no_grad()
    @raises_ours
    @queued()
    def __call__(
        self,
        prompt: str = "",
        control: Picture | None = None,
        *,
        negative_prompt: str = "",
        size: Size | tuple[int, int] | str | None = None,
        fit: Fit = "crop",
        steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int | None = None,
        generator: torch.Generator | None = None,
        control_weight: float | None = None,
        control_range: tuple[float, float] = (0.0, 1.0),
        scheduler: str | None = None,
        init: Picture | None = None,
        strength: float = 0.8,
        ip_image: Picture | None = None,
        output_type: PictureType = "pil",
        callback_on_step_end: OnStep | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        **embeddings: Tensor,
    ) -> Any:
        """One picture, of Pillow's or as `output_type` says. The same seed and settings give the
        same picture.

        control: picture of edges, a skeleton or depth; None: none
        size: (width, height); None: the control's or the init's, else the design's first
        fit: way to bring control and init of another shape to the size
        control_weight: None takes the design's
        control_range: fractions of the steps at which control begins and ends
        init: picture to begin from in place of noise, by `strength`
        generator: gives the noise in place of a seed, which is 0 where neither is given
        callback_on_step_end_tensor_inputs: names of the tensors that the callback sees
        embeddings: as the stock pipeline takes them in place of a prompt (`prompt_embeds`, ...)
        Raises RequestError for sizes off the grid and for control without a control network.
        """
        if output_type not in get_args(PictureType):
            kinds = ", ".join(get_args(PictureType))
            raise RequestError(f"output_type {output_type!r} is not one of {kinds}")
        if seed is not None and generator is not None:
            raise RequestError("seed and generator are both given; give one of them")
        self._interrupt = False
        natural = control if control is not None else init
        chosen = chosen_size(None if size is None else Size.parse(size), natural, self.design)
        self.set_scheduler(scheduler)
        guidance = self.design.guidance if guidance_scale is None else guidance_scale
        arguments: Arguments = {
            "num_inference_steps": self.design.steps if steps is None else steps,
            "guidance_scale": guidance,
            "generator": generator or torch.Generator("cpu").manual_seed(seed or 0),
            **embeddings,
        }
        if not embeddings:
            arguments |= self._texts(prompt, negative_prompt, guided=guidance > 1)
        if ip_image is not None:
            arguments["ip_adapter_image"] = pil(ip_image)
        if self.reports_steps:
            arguments["callback_on_step_end"] = self._after_step(callback_on_step_end)
            arguments["callback_on_step_end_tensor_inputs"] = list(
                callback_on_step_end_tensor_inputs
            )
        elif callback_on_step_end is not None:
            raise RequestError("diffusers' T2I-Adapter pipelines call nobody after a step")
        fitted = None if control is None else fitted_to(control, chosen, fit)
        begin = None if init is None else fitted_to(init, chosen, fit)
        if begin is not None:
            arguments |= {"strength": strength}
        span = Span(*control_range)
        if fitted is not None and self.network is None:
            raise RequestError("a control picture needs a control network; give its file")
        if fitted is None or self.method == "controlnext":
            with self._controlled(fitted, control_weight, span):
                picture = self._plain(arguments, chosen, begin)
        else:
            picture = self._stock(arguments, chosen, fitted, begin, control_weight, span)
        return _in_form(picture, output_type)

    def _after_step(self, callback: OnStep | None) -> OnStep:
        """The callback that a stock pipeline is given: the caller's, and the end after a step."""

        def after(stock: Any, step: int, timestep: Tensor, tensors: Tensors) -> Tensors:
            changed = None if callback is None else callback(self, step, timestep, tensors)
            if self._interrupt:
                stock._interrupt = True  # the way that diffusers documents
            return changed or {}

        return after

    @property
    def reports_steps(self) -> bool:
        """True where the pipeline calls back after each step."""
        return self.method != "t2i-adapter"

    def _texts(self, prompt: str, negative: str, *, guided: bool) -> Arguments:
        if any(len(parts_of(self.pipe, text)) > 1 for text in (prompt, negative)):
            return long_prompt(self.pipe, prompt, negative, guided=guided)
        return {"prompt": prompt, "negative_prompt": negative or None}

    def _plain(self, arguments: Arguments, size: Size, begin: Image.Image | None) -> Image.Image:
        """The base's own pipeline, whose UNet may be hooked."""
        if begin is None:
            shape = {"width": size.width, "height": size.height}
            picture: Image.Image = self.pipe(**arguments, **shape).images[0]
            return picture
        pipe = self._assembled(FAMILIES[self.design.family].image_to_image)
        begun: Image.Image = pipe(**arguments, image=begin).images[0]
        return begun

    def _stock(
        self, arguments: Arguments, size: Size, control: Image.Image,
        begin: Image.Image | None, weight: float | None, span: Span,
    ) -> Image.Image:  # fmt: skip
        """Diffusers' own pipeline of the network's kind."""
        stock = STOCK_CONTROLS[self.method]
        classes = stock.text_to_image if begin is None else stock.image_to_image
        if self.design.family not in classes:
            raise RequestError(f"diffusers has no image-to-image pipeline with {self.method}")
        if span != (0.0, 1.0) and not stock.span:
            raise RequestError(f"diffusers' {self.method} has no control range")
        pipe = self._assembled(classes[self.design.family], **{stock.argument: self.network})
        more: Arguments = {stock.weight: 1.0 if weight is None else weight}
        more |= dict(zip(stock.span, span, strict=False))
        if begin is None:
            more |= {"image": control, "width": size.width, "height": size.height}
        else:
            more |= {"image": begin, "control_image": control}
        picture: Image.Image = pipe(**arguments, **more).images[0]
        return picture

    @contextmanager
    def _controlled(
        self, control: Image.Image | None, weight: float | None, span: Span
    ) -> Iterator[None]:
        if control is None:
            yield
            return
        pixels = torch.from_numpy(np.array(control)).permute(2, 0, 1)[None].float() / 255
        with controlled(
            self.pipe.unet,
            self.network,
            self.design.injection,
            pixels.to(self.pipe.device),
            weight=weight,
            scheduler=self.pipe.scheduler,
            span=span,
        ):
            yield

    def _assembled(self, name: str, **more: Any) -> Any:
        """The stock pipeline of that class, of this one's parts, with its bar."""
        pipe = assembled(self.pipe, self.design.family, name, **more)
        pipe.set_progress_bar_config(**self._bar)
        return pipe


def _in_form(picture: Image.Image, output_type: PictureType) -> Any:
    if output_type == "pil":
        return picture
    values = np.asarray(picture.convert("RGB"), np.float32) / 255
    return values if output_type == "np" else torch.from_numpy(values).permute(2, 0, 1)
