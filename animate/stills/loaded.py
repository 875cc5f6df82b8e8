"""The parts of a still pipeline: stock base, control network, scheduler and adapters.

Names of methods and properties are those of diffusers' pipelines.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import torch

from animate.device import choose_device, choose_dtype, device_and_dtype, precision_named
from animate.errors import RequestError
from animate.models.stills import StillDesign, StillModel
from animate.request.request import Precision
from animate.request.still import ControlMethod
from animate.request.values import Lora
from animate.stills.adapters import load_ip_adapter, load_lora
from animate.stills.base import choose_model, load_base, load_control_model
from animate.stills.control_files import apply_unet, load_control_network
from animate.stills.stock import STOCK_CONTROLS

SCHEDULERS = {
    "unipc": "UniPCMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler-ancestral": "EulerAncestralDiscreteScheduler",
    "dpmpp-2m": "DPMSolverMultistepScheduler",
    "ddim": "DDIMScheduler",
}
"""Classes in diffusers by the words of a request."""


class LoadedStills:
    """A base model with its control network, device, scheduler and adapters."""

    def __init__(
        self,
        pipe: Any,
        design: StillDesign,
        network: Any = None,
        method: ControlMethod = "controlnext",
    ) -> None:
        """
        pipe: a stock text-to-image pipeline of the design's family
        network: the control network, where the UNet is; None: no control
        method: the kind of that network
        """
        self.pipe, self.design, self.network, self.method = pipe, design, network, method
        self._base_scheduler = pipe.scheduler
        self.set_progress_bar_config(disable=True)

    @classmethod
    def from_model(
        cls,
        model: StillModel,
        *,
        method: ControlMethod = "controlnext",
        control_model: Path | None = None,
        device: str = "auto",
        precision: Precision = "auto",
    ) -> Self:
        """Load the files of a model; `control_model` is the network of a method of diffusers' own.

        Raises ModelError for files that are missing, damaged or of another model, RequestError for
        a device that is not there.
        """
        target = choose_device(device)
        dtype = choose_dtype(precision, target)
        pipe = load_base(model, dtype)
        network = None
        if control_model is not None:
            kind = STOCK_CONTROLS[method].network
            network = load_control_model(kind, control_model, pipe.unet, dtype).to(target)
        elif model.controlnext is not None:
            network = load_control_network(model.design, model.controlnext).to(target, dtype)
        if model.unet is not None:
            apply_unet(pipe.unet, model.design, model.unet)
        pipe.to(target)
        return cls(pipe, model.design, network, method)

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str] = "auto",
        *,
        controlled: bool = True,
        torch_dtype: torch.dtype | None = None,
        device: str | torch.device = "auto",
        precision: Precision = "auto",
    ) -> Self:
        """Load a model by name (see `cnx still --list`), or a folder, from files that are here.

        controlled: with its control network
        torch_dtype: numbers that the networks compute with; None: `precision`
        Raises as `from_model`.
        """
        model = choose_model(str(name), controlled=controlled)
        if torch_dtype is not None:
            precision = precision_named(torch_dtype)
        return cls.from_model(model, device=str(device), precision=precision)

    @classmethod
    def from_files(
        cls,
        base: Path | str,
        *,
        design: str = "auto",
        controlnext: Path | str | None = None,
        unet: Path | str | None = None,
        device: str = "auto",
        precision: Precision = "auto",
    ) -> Self:
        """Load a base model and, where they are given, the files of a design.

        base: a diffusers folder, or a single-file checkpoint
        design: the design that the files are of; "auto": told from the control file's tensors
        controlnext: weights of the control network
        unet: weights of the UNet that were trained with it, whole or in part; the design says
            whether they replace the base's or are added to them
        Raises as `from_model`.
        """
        model = choose_model(
            design,
            base=Path(base),
            controlnext=None if controlnext is None else Path(controlnext),
            unet=None if unet is None else Path(unet),
            controlled=controlnext is not None,
        )
        return cls.from_model(model, device=device, precision=precision)

    @property
    def unet(self) -> Any:
        """diffusers' `UNet2DConditionModel`."""
        return self.pipe.unet

    @property
    def vae(self) -> Any:
        """diffusers' `AutoencoderKL`."""
        return self.pipe.vae

    @property
    def device(self) -> torch.device:
        """The device that computes."""
        device: torch.device = self.pipe.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Numbers that the networks compute with."""
        dtype: torch.dtype = self.pipe.dtype
        return dtype

    def to(
        self,
        *targets: str | torch.device | torch.dtype,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> Self:
        """Compute on another device, or with other numbers; returns the pipeline."""
        device, dtype = device_and_dtype(targets, device, dtype)
        chosen = self.device if device is None else choose_device(str(device))
        self.pipe.to(chosen, self.dtype if dtype is None else dtype)
        if self.network is not None:
            self.network.to(chosen, self.dtype)
        return self

    def set_progress_bar_config(self, **settings: object) -> None:
        """Settings of the bar over the steps, as `tqdm` takes them; off by default."""
        self.pipe.set_progress_bar_config(**settings)
        self._bar = dict(settings)

    def load_lora(self, adapters: tuple[Lora, ...]) -> None:
        """Load adapters in place of those that are loaded. Raises ModelError where one does not
        fit, or where the library that they need is missing."""
        load_lora(self.pipe, self.design.family, adapters)

    def load_ip_adapter(self, adapter: Lora, encoder: Path) -> None:
        """Load an image prompt adapter; `encoder` is the folder of its image encoder. Raises
        ModelError where they do not fit."""
        if self.method == "t2i-adapter":
            raise RequestError("diffusers has no image prompts beside a T2I-Adapter")
        load_ip_adapter(self.pipe, adapter, encoder)

    def set_scheduler(self, name: str | None) -> None:
        """Use a scheduler of `SCHEDULERS` with the base's settings; None: the design's own."""
        kind = self.design.scheduler if name is None else SCHEDULERS[name]
        scheduler = getattr(import_module("diffusers"), kind)
        self.pipe.scheduler = scheduler.from_config(self._base_scheduler.config)
