"""Diffusers' own pipelines of a base's parts, and its own ways of control.

One is made for a call that the base's text-to-image pipeline cannot do; networks are shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from typing import Any

from animate.models.stills import Family


@dataclass(frozen=True, kw_only=True)
class StockControl:
    """Diffusers' own way of control: the classes of network and pipelines, and the names that its
    call has for picture and weight."""

    network: str
    argument: str
    """The pipeline's part that is the network."""
    text_to_image: dict[Family, str]
    image_to_image: dict[Family, str]
    """Empty where diffusers has no such pipeline."""
    weight: str
    span: tuple[str, ...] = ()
    """Arguments for the beginning and the end of control, as fractions of the steps."""


STOCK_CONTROLS: dict[str, StockControl] = {
    "controlnet": StockControl(
        network="ControlNetModel",
        argument="controlnet",
        text_to_image={
            "sd15": "StableDiffusionControlNetPipeline",
            "sdxl": "StableDiffusionXLControlNetPipeline",
        },
        image_to_image={
            "sd15": "StableDiffusionControlNetImg2ImgPipeline",
            "sdxl": "StableDiffusionXLControlNetImg2ImgPipeline",
        },
        weight="controlnet_conditioning_scale",
        span=("control_guidance_start", "control_guidance_end"),
    ),
    "t2i-adapter": StockControl(
        network="T2IAdapter",
        argument="adapter",
        text_to_image={
            "sd15": "StableDiffusionAdapterPipeline",
            "sdxl": "StableDiffusionXLAdapterPipeline",
        },
        image_to_image={},
        weight="adapter_conditioning_scale",
    ),
}


def assembled(base: Any, family: Family, name: str, **more: Any) -> Any:
    """The stock pipeline of the class called `name` with the parts of another; `more` are further
    parts."""
    kind = getattr(import_module("diffusers"), name)
    parameters = signature(kind.__init__).parameters
    parts = {key: part for key, part in base.components.items() if key in parameters}
    if family == "sd15":
        more["requires_safety_checker"] = False
    return kind(**parts, **more)
