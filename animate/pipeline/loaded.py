"""The networks of a pipeline: what is loaded, on which device, with which adapters.

Names of methods and properties are those of diffusers' pipelines.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import torch

from animate.animator import Animator
from animate.device import device_and_dtype, precision_named
from animate.errors import RequestError, raises_ours
from animate.models.components import save_model
from animate.models.lora import open_adapters
from animate.models.variants import COMPONENTS
from animate.pipeline.bars import TqdmBars
from animate.pipeline.hub_ids import model_of
from animate.progress import Progress
from animate.request.request import Precision, RuntimeOptions
from animate.request.values import Lora
from animate.request.wording import listed, nearest
from temporal.kinds import Offload
from temporal.offload import send_home


class LoadedPipeline:
    """A model variant with its networks, device, limits, adapters and progress."""

    def __init__(self, animator: Animator) -> None:
        """Use the networks and estimators of an `Animator`."""
        self.animator = animator
        self._adapters: dict[str, Lora] = {}
        self._progress: Progress = TqdmBars({})
        self._offload: Offload | None = None
        self._memory: int | str | None = None

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
        local_files_only: bool = True,
    ) -> Self:
        """Load a model variant by its name, a model folder, or a repository of the model hub.

        A repository that has a known variant's files, or Stable Video Diffusion's, means that
        variant (svd-v2 for the latter); of another one its networks are taken.

        torch_dtype: numbers that the networks compute with; None: `precision`
        device: "auto" is the first GPU, else the CPU
        precision: the same in a word, or "int8" for 8-bit weights
        variant: "fp16" holds weights in float16 where nothing else is said
        local_files_only: False fetches what is not on this machine
        Raises ModelError when it is unknown, not on this machine, or damaged; RequestError when
        the device is not there.
        """
        if variant not in (None, "fp16"):
            raise RequestError(f'variant {variant!r} is not "fp16"; leave it out')
        if variant == "fp16" and precision == "auto" and torch_dtype is None:
            precision = "float16"
        if torch_dtype is not None:
            precision = precision_named(torch_dtype)
        path = model_of(name, local_files_only=local_files_only, progress=TqdmBars({}))
        return cls(Animator.from_pretrained(path, device=str(device), precision=precision))

    def share(self) -> Self:
        """Another pipeline over the same networks, with adapters, limits and progress of its own
        that begin as these are."""
        twin = type(self)(self.animator)
        twin._adapters = dict(self._adapters)
        twin._memory, twin._offload = self._memory, self._offload
        twin._progress = self._progress
        return twin

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
        device, dtype = device_and_dtype(targets, device, dtype)
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

    # ------------------------------------------------------------------ progress

    def set_progress_bar_config(self, **settings: Any) -> None:
        """Settings of the progress bars, as tqdm takes them; `disable=True` shows none."""
        self._progress = TqdmBars(settings)

    def set_progress(self, progress: Progress) -> None:
        """Report stages and remarks to a `Progress` of `animate.progress` in place of bars."""
        self._progress = progress
