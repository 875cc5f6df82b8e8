"""LoRA and image prompt adapters, by diffusers' own loaders."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from animate.errors import ModelError
from animate.files import check_readable
from animate.request.values import Lora

_FAULTS = (ValueError, KeyError, RuntimeError, OSError, AttributeError, TypeError, SafetensorError)


def load_lora(pipe: Any, family: str, adapters: tuple[Lora, ...]) -> None:
    """Load adapters into a pipeline of a family, in place of those that it has.

    Raises ModelError where one does not fit, and where the library that they need is missing.
    """
    if _adapters_of(pipe):
        pipe.unload_lora_weights()
    if not adapters:
        return
    if find_spec("peft") is None:
        raise ModelError("LoRA on stills needs peft; install it: pip install 'cnx-animate[stills]'")
    names = [f"lora{number}" for number in range(len(adapters))]
    for name, adapter in zip(names, adapters, strict=True):
        _check_tensors(adapter.path, "LoRA")
        try:
            pipe.load_lora_weights(adapter.path, adapter_name=name)
        except _FAULTS as reason:
            pipe.unload_lora_weights()
            raise ModelError(
                f"LoRA {adapter.path} does not fit a {family} model: {str(reason).splitlines()[0]}"
            ) from reason
        if name not in _adapters_of(pipe):
            raise ModelError(
                f"LoRA {adapter.path} holds nothing for a {family} model; it is of another base"
            )
    pipe.set_adapters(names, [adapter.weight for adapter in adapters])


def load_ip_adapter(pipe: Any, adapter: Lora, encoder: Path) -> None:
    """Load an image prompt adapter; `encoder` is the folder of its image encoder.

    Raises ModelError where they do not fit.
    """
    from transformers import CLIPVisionModelWithProjection

    _check_tensors(adapter.path, "image prompt adapter")
    if not (encoder / "config.json").is_file():
        raise ModelError(f"image encoder {encoder} has no config.json; name its folder")
    try:
        image_encoder: Any = CLIPVisionModelWithProjection.from_pretrained(
            encoder, local_files_only=True, use_safetensors=True, dtype=pipe.unet.dtype
        )
        pipe.register_modules(image_encoder=image_encoder.to(pipe.device))
        path = adapter.path
        pipe.load_ip_adapter(
            str(path.parent), subfolder="", weight_name=path.name, image_encoder_folder=None
        )
    except _FAULTS as reason:
        raise ModelError(
            f"image prompt adapter {adapter.path} does not fit: {str(reason).splitlines()[0]}"
        ) from reason
    pipe.set_ip_adapter_scale(adapter.weight)


def _check_tensors(path: Path, role: str) -> None:
    check_readable(path, role, ModelError)
    if path.suffix != ".safetensors":
        raise ModelError(
            f"{role} {path} is no .safetensors file; pickled files may run code when they are "
            "opened and are not"
        )


def _adapters_of(pipe: Any) -> set[str]:
    names = pipe.get_list_adapters()
    return {name for listed_names in names.values() for name in listed_names}
