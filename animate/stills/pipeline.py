"""`StillPipeline`: pictures in, pictures out, by a stock Stable Diffusion pipeline under control.

The pipeline, its schedulers, LoRA, IP-Adapter and image-to-image are diffusers' own; ours are the
control network, the hook that adds its features, and the loading of the partial UNets that belong
to it.

Shapes: H x W pixels, a multiple of 8 each. Pictures are RGB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from animate.device import choose_device, choose_dtype
from animate.errors import ModelError, RequestError
from animate.models.components import build_control_network
from animate.models.ldm_names import is_original, to_diffusers
from animate.models.stills import FAMILIES, StillDesign, load_still_design
from animate.models.weight_files import apply_weights, read_weights
from animate.request.request import Precision
from animate.request.still import Span
from animate.request.values import Lora, Size
from animate.request.wording import listed
from animate.stills.control import controlled

Picture = Image.Image | np.ndarray
OnStep = Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]
SCHEDULERS = {
    "unipc": "UniPCMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler-ancestral": "EulerAncestralDiscreteScheduler",
    "dpmpp-2m": "DPMSolverMultistepScheduler",
    "ddim": "DDIMScheduler",
}
"""Classes in diffusers by the words of a request."""


class StillPipeline:
    """A loaded base model, with a control network where a design's files were given.

    Not for several threads at once: a call hooks the UNet and lets go of it again.
    """

    def __init__(self, pipe: Any, design: StillDesign, network: Any = None) -> None:
        """
        pipe: a stock text-to-image pipeline of the design's family
        network: the design's control network, where the UNet is; None: no control
        """
        self.pipe, self.design, self.network = pipe, design, network
        self._base_scheduler = pipe.scheduler
        self.pipe.set_progress_bar_config(disable=True)

    @classmethod
    def from_files(
        cls,
        base: Path | str,
        *,
        design: str = "controlnext-sd15",
        controlnext: Path | str | None = None,
        unet: Path | str | None = None,
        device: str = "auto",
        precision: Precision = "auto",
    ) -> Self:
        """Load a base model and, where they are given, the files of a design.

        base: a diffusers folder, or a single-file checkpoint
        controlnext: weights of the control network
        unet: weights of the UNet that were trained with it, whole or in part; the design says
            whether they replace the base's or are added to them
        Raises ModelError for files that are missing, damaged or of another model, RequestError for
        a device that is not there.
        """
        chosen = load_still_design(design)
        target = choose_device(device)
        dtype = choose_dtype(precision, target)
        pipe = _base_pipeline(Path(base), chosen, dtype)
        network = None
        if controlnext is not None:
            network = load_control_network(chosen, Path(controlnext)).to(target, dtype)
        if unet is not None:
            apply_unet(pipe.unet, chosen, Path(unet))
        pipe.to(target)
        return cls(pipe, chosen, network)

    def load_lora(self, adapters: tuple[Lora, ...]) -> None:
        """Load adapters by diffusers' own loader.

        Raises ModelError where one does not fit, or where the library that they need is missing.
        """
        if adapters and find_spec("peft") is None:
            raise ModelError(
                "LoRA on stills needs peft; install it: pip install 'cnx-animate[stills]'"
            )
        for number, adapter in enumerate(adapters):
            name = f"lora{number}"
            try:
                self.pipe.load_lora_weights(adapter.path, adapter_name=name)
            except (ValueError, KeyError, RuntimeError, OSError) as reason:
                raise ModelError(
                    f"LoRA {adapter.path} does not fit a {self.design.family} model: {reason}"
                ) from reason
            if name not in _adapters_of(self.pipe):
                raise ModelError(
                    f"LoRA {adapter.path} holds nothing for a {self.design.family} model; it is of "
                    "another base"
                )
        if adapters:
            names = [f"lora{number}" for number in range(len(adapters))]
            self.pipe.set_adapters(names, [adapter.weight for adapter in adapters])

    def load_ip_adapter(self, adapter: Lora, encoder: Path) -> None:
        """Load an image prompt adapter by diffusers' own loader; `encoder` is the folder of its
        image encoder. Raises ModelError where they do not fit."""
        from transformers import CLIPVisionModelWithProjection

        try:
            image_encoder: Any = CLIPVisionModelWithProjection.from_pretrained(
                encoder, local_files_only=True, dtype=self.pipe.unet.dtype
            )
            self.pipe.register_modules(image_encoder=image_encoder.to(self.pipe.device))
            path = adapter.path
            self.pipe.load_ip_adapter(
                str(path.parent), subfolder="", weight_name=path.name, image_encoder_folder=None
            )
        except (ValueError, KeyError, RuntimeError, OSError) as reason:
            raise ModelError(f"image prompt adapter {adapter.path}: {reason}") from reason
        self.pipe.set_ip_adapter_scale(adapter.weight)

    def set_scheduler(self, name: str | None) -> None:
        """Use a scheduler of `SCHEDULERS` with the base's settings; None: the design's own."""
        kind = self.design.scheduler if name is None else SCHEDULERS[name]
        scheduler = getattr(import_module("diffusers"), kind)
        self.pipe.scheduler = scheduler.from_config(self._base_scheduler.config)

    def check_prompt(self, text: str) -> str | None:
        """A warning where a prompt is longer than the text encoder takes; None otherwise."""
        tokenizer = self.pipe.tokenizer
        if tokenizer is None:
            return None
        tokens = len(tokenizer(text).input_ids)
        if tokens <= tokenizer.model_max_length:
            return None
        return (
            f"the prompt has {tokens} tokens and the text encoder takes "
            f"{tokenizer.model_max_length}: what comes after them is cut off; shorten it"
        )

    @torch.no_grad()
    def __call__(
        self,
        prompt: str = "",
        control: Picture | None = None,
        *,
        negative_prompt: str = "",
        size: Size | tuple[int, int] | str | None = None,
        steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int = 0,
        control_weight: float | None = None,
        control_range: tuple[float, float] = (0.0, 1.0),
        scheduler: str | None = None,
        init: Picture | None = None,
        strength: float = 0.8,
        ip_image: Picture | None = None,
        callback_on_step_end: OnStep | None = None,
        **embeddings: Tensor,
    ) -> Image.Image:
        """One picture. The same seed and settings give the same picture.

        control: picture of edges, a skeleton or depth, brought to the picture's size; None: none
        size: (width, height); None: the control's or the init's, else the design's first
        control_weight: None takes the design's
        control_range: fractions of the steps at which control begins and ends
        init: picture to begin from in place of noise, by `strength`
        embeddings: as the stock pipeline takes them in place of a prompt (`prompt_embeds`, ...)
        Raises RequestError for sizes off the grid and for control without a control network.
        """
        natural = control if control is not None else init
        size = _natural_size(natural, self.design) if size is None else Size.parse(size)
        _check_size(size)
        self.set_scheduler(scheduler)
        arguments: dict[str, Any] = {
            "num_inference_steps": self.design.steps if steps is None else steps,
            "guidance_scale": self.design.guidance if guidance_scale is None else guidance_scale,
            "generator": torch.Generator("cpu").manual_seed(seed),
            **embeddings,
        }
        if not embeddings:
            arguments |= {"prompt": prompt, "negative_prompt": negative_prompt or None}
        if ip_image is not None:
            arguments["ip_adapter_image"] = _pil(ip_image)
        if callback_on_step_end is not None:
            arguments["callback_on_step_end"] = callback_on_step_end
        pipe = self.pipe
        if init is None:
            arguments |= {"width": size.width, "height": size.height}
        else:
            pipe = self._image_to_image()
            resized = _pil(init).resize(size, Image.Resampling.LANCZOS)
            arguments |= {"image": resized, "strength": strength}
        with ExitStack() as stack:
            if control is not None:
                span = Span(*control_range)
                stack.enter_context(self._controlled(control, size, control_weight, span))
            picture: Image.Image = pipe(**arguments).images[0]
        return picture

    @contextmanager
    def _controlled(
        self, control: Picture, size: Size, weight: float | None, span: Span
    ) -> Iterator[None]:
        if self.network is None:
            raise RequestError("a control picture needs a control network; give its file")
        resized = _pil(control).resize(size, Image.Resampling.LANCZOS)
        pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1)[None].float() / 255
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

    def _image_to_image(self) -> Any:
        kind = getattr(import_module("diffusers"), FAMILIES[self.design.family].image_to_image)
        pipe = kind(**self.pipe.components, **self._flags())
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def _flags(self) -> dict[str, bool]:
        return {"requires_safety_checker": False} if self.design.family == "sd15" else {}


def load_control_network(design: StillDesign, path: Path) -> Any:
    """The design's control network with the weights of a file. Raises ModelError where the file is
    of another design, which is named."""
    weights = read_weights(path)
    fits = FIRST_DESIGN if is_first_design(weights) else LATER_DESIGNS
    if design.name not in fits:
        raise ModelError(
            f"control file {path} is of the design {' or '.join(fits)}, not {design.name}; give "
            f"--model {fits[0]}"
        )
    network = build_control_network(design.controlnext)
    apply_weights(network, weights, path)
    return network.eval().requires_grad_(False)


FIRST_DESIGN = ("controlnext-sd15",)
LATER_DESIGNS = ("controlnext-sd15-trained", "controlnext-sdxl")


def is_first_design(weights: Mapping[str, Tensor]) -> bool:
    """True for a control file of the first SD1.5 design, which has no stem and a learned scale."""
    return "embedding.0.weight" not in weights and "scale" in weights


def apply_unet(unet: Any, design: StillDesign, path: Path) -> None:
    """Put a partial UNet file into the base's UNet, as the design says.

    Raises ModelError for names or sizes that the UNet does not have.
    """
    weights: Mapping[str, Tensor] = read_weights(path)
    if is_original(weights):
        weights = to_diffusers(weights, unet.config)
    state = unet.state_dict()
    unknown = [name for name in weights if name not in state]
    if unknown:
        raise ModelError(
            f"UNet file {path} holds {listed(unknown)}, which a {design.family} UNet does not "
            "have; it is of another base model"
        )
    if design.unet_weights == "increments":
        wrong = [name for name in weights if weights[name].shape != state[name].shape]
        if wrong:
            raise ModelError(
                f"UNet file {path} does not fit the base's sizes: {listed(wrong)}; it is of "
                "another base model"
            )
        weights = {name: state[name] + value.to(state[name]) for name, value in weights.items()}
    apply_weights(unet, weights, path, partial=True)


def _base_pipeline(base: Path, design: StillDesign, dtype: torch.dtype) -> Any:
    kind: Any = getattr(import_module("diffusers"), FAMILIES[design.family].text_to_image)
    more: dict[str, Any] = {"torch_dtype": dtype, "local_files_only": True}
    if design.family == "sd15":
        more |= {"safety_checker": None, "requires_safety_checker": False}
    if not base.exists():
        raise ModelError(f"base model {base} does not exist; name a diffusers folder or a file")
    if base.is_file() and base.suffix != ".safetensors":
        raise ModelError(
            f"base model {base} is no .safetensors file; pickled checkpoints may run code when "
            "they are opened and are not"
        )
    try:
        if base.is_dir():
            return kind.from_pretrained(base, use_safetensors=True, **more)
        return kind.from_single_file(str(base), **more)
    except (ValueError, KeyError, OSError, RuntimeError, TypeError) as reason:
        raise ModelError(
            f"base model {base} cannot be loaded as {design.family}: {str(reason).splitlines()[0]}"
        ) from reason


def _adapters_of(pipe: Any) -> set[str]:
    names = pipe.get_list_adapters()
    return {name for listed_names in names.values() for name in listed_names}


def _natural_size(picture: Picture | None, design: StillDesign) -> Size:
    if picture is None:
        return design.sizes[0]
    width, height = _pil(picture).size
    return Size(max(8, width // 8 * 8), max(8, height // 8 * 8))


def _check_size(size: Size) -> None:
    if size.width % 8 or size.height % 8:
        nearest = Size(max(8, round(size.width / 8) * 8), max(8, round(size.height / 8) * 8))
        raise RequestError(
            f"size {size} cannot be made: both sides must be multiples of 8; the nearest is "
            f"{nearest}"
        )


def _pil(picture: Picture) -> Image.Image:
    """A picture as RGB. Raises RequestError for arrays of another shape or type."""
    if isinstance(picture, Image.Image):
        return picture.convert("RGB")
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise RequestError(
            f"a picture of shape {picture.shape} and type {picture.dtype} is not (H,W,3) uint8 RGB"
        )
    return Image.fromarray(picture)
