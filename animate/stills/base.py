"""The base model of a still: found by name or path, recognised, loaded by diffusers' own loaders.

Nothing is fetched. A checkpoint in one file comes without sizes and without a vocabulary; those of
Stable Diffusion 1.5 and XL are shipped, so that diffusers need not ask its hub for them.
"""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from animate.errors import ModelError
from animate.models.single_file import SingleFile
from animate.models.stills import (
    FAMILIES,
    PIPELINE_FILE,
    STILL_FILE,
    Family,
    StillModel,
    load_still_design,
    named_model,
    split_name,
    still_design_names,
    usual_model,
)
from animate.models.store import read_json
from animate.request.presets import configs_folder
from animate.request.wording import listed, nearest
from animate.stills.control_files import fitting_designs

_MARKS: dict[Family, str] = {"sdxl": "conditioner.embedders.", "sd15": "cond_stage_model."}
"""Beginnings of the text encoder's names in a checkpoint of each family."""
_BEGIN, _END = "<|startoftext|>", "<|endoftext|>"


def choose_model(
    name: str,
    *,
    base: Path | None = None,
    controlnext: Path | None = None,
    unet: Path | None = None,
    controlled: bool,
) -> StillModel:
    """The model that a request names, with the files that count in place of its own.

    name: "auto", a shipped design or `DESIGN:CHECKPOINT`, a folder, or a checkpoint in one file
    base, controlnext, unet: files in place of the model's own
    controlled: a control picture is given, so that the control network is needed
    Raises ModelError for files that are missing or do not belong together, by name.
    """
    needs_network = controlled and controlnext is None
    path = Path(name)
    if split_name(name)[0] in still_design_names():
        model = named_model(name, controlled=needs_network, base=base)
    elif name == "auto" and base is None:
        model = usual_model(controlled=needs_network)
    elif name == "auto" or path.exists():
        model = _unnamed(base or path, controlnext, controlled)
    else:
        known = ["auto", *still_design_names()]
        raise ModelError(
            f"no model for stills is called {name!r}{nearest(name, known)}, and no folder or file "
            f"is there (known: {', '.join(known)})"
        )
    if controlnext is not None:
        model = replace(model, controlnext=controlnext, unet=unet)
    if unet is not None:
        model = replace(model, unet=unet)
    _check_family(model)
    return model


def _unnamed(base: Path, controlnext: Path | None, controlled: bool) -> StillModel:
    """A base with the design that its control file has, told from the tensors."""
    if (base / STILL_FILE).is_file():
        design = load_still_design(base)
        files = design.checkpoint() if controlled else None
        return StillModel(
            design=design,
            base=base,
            variant=design.base_variant,
            controlnext=design.file(files.controlnext).locate() if files else None,
            unet=design.file(files.unet).locate() if files and files.unet else None,
            reason=f"the folder {base} was named",
        )
    family = family_of(base)
    of_family = [
        design for design in map(load_still_design, still_design_names()) if design.family == family
    ]
    if controlnext is None:
        if controlled:
            raise ModelError(
                f"base model {base} has no control network for the control picture; name its file "
                "with --controlnext, or a model of `cnx still --list`"
            )
        published = next(design for design in of_family if design.folder is None)
        return StillModel(design=published, base=base, reason=f"{base} is a {family} model")
    fitting = fitting_designs(controlnext)
    designs = [design for design in of_family if design.name in fitting]
    if not designs:
        raise ModelError(
            f"control file {controlnext} is of {listed(fitting) or 'no known design'}, and base "
            f"model {base} is a {family} model; name a base or a control file that fits"
        )
    reason = f"{controlnext.name} has the tensors of {designs[0].name}"
    return StillModel(design=designs[0], base=base, reason=reason)


def _check_family(model: StillModel) -> None:
    """Raise ModelError where the base is of another family than the design."""
    family, needed = family_of(model.base), model.design.family
    if family != needed:
        raise ModelError(
            f"base model {model.base} is a {family} model, and {model.design.name} is for {needed}"
            f"; name a {needed} base, or a design for {family}"
        )


def family_of(base: Path) -> Family:
    """The family of a folder in diffusers' layout, or of a checkpoint in one file.

    Raises ModelError for paths that are missing, pickled, or of another kind of model.
    """
    if not base.exists():
        raise ModelError(f"base model {base} does not exist; name a diffusers folder or a file")
    if base.is_dir():
        return _family_of_folder(base)
    if base.suffix != ".safetensors":
        raise ModelError(
            f"base model {base} is no .safetensors file; pickled checkpoints may run code when "
            "they are opened and are not"
        )
    with SingleFile(base) as file:
        for family, mark in _MARKS.items():
            if any(key.startswith(mark) for key in file.keys):
                _check_still(base, file.keys)
                return family
    raise ModelError(
        f"base model {base} is no checkpoint of Stable Diffusion 1.5 or XL: it holds no text "
        "encoder; name a whole checkpoint, or a diffusers folder"
    )


def _family_of_folder(base: Path) -> Family:
    index = base / PIPELINE_FILE
    if not index.is_file():
        raise ModelError(
            f"base model {base} has no {PIPELINE_FILE}, so it is no folder in diffusers' layout"
        )
    kind = str(read_json(index).get("_class_name"))
    for family, classes in FAMILIES.items():
        if kind in (classes.text_to_image, classes.image_to_image):
            return family
    stills = ", ".join(classes.text_to_image for classes in FAMILIES.values())
    raise ModelError(f"base model {base} is a {kind}; stills are made with {stills}")


def _check_still(base: Path, keys: Collection[str]) -> None:
    if any(".time_stack." in key for key in keys):
        raise ModelError(f"base model {base} makes videos; name a checkpoint for pictures")
    if any(key.startswith("cond_stage_model.model.") for key in keys):
        raise ModelError(
            f"base model {base} is of Stable Diffusion 2; the designs are for 1.5 and XL"
        )


def load_base(model: StillModel, dtype: torch.dtype) -> Any:
    """The stock pipeline of a model's base. Raises ModelError where it cannot be loaded."""
    base, design = model.base, model.design
    kind: Any = getattr(import_module("diffusers"), FAMILIES[design.family].text_to_image)
    more: dict[str, object] = {"torch_dtype": dtype, "local_files_only": True}
    if design.family == "sd15":
        more |= {"safety_checker": None, "requires_safety_checker": False}
    try:
        with _without_bars():
            if base.is_dir():
                variant = model.variant or _variant_of(base)
                return kind.from_pretrained(base, use_safetensors=True, variant=variant, **more)
            return _from_single_file(kind, model, more)
    except (ValueError, KeyError, OSError, RuntimeError, TypeError) as reason:
        raise ModelError(
            f"base model {base} cannot be loaded as {design.family}: {str(reason).splitlines()[0]}"
        ) from reason


@contextmanager
def _without_bars() -> Iterator[None]:
    """Keep the libraries from drawing progress bars of their own in the block."""
    libraries = [import_module(f"{name}.utils.logging") for name in ("diffusers", "transformers")]
    drawing = [library for library in libraries if library.is_progress_bar_enabled()]
    for library in drawing:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in drawing:
            library.enable_progress_bar()


def _variant_of(base: Path) -> str | None:
    """Diffusers' word for the precision in the names of a folder's files, if they have one."""
    names = {path.name for path in (base / "unet").glob("*.safetensors")}
    full = any(".fp16." not in name for name in names)
    return None if full or not names else "fp16"


def _from_single_file(kind: Any, model: StillModel, more: dict[str, object]) -> Any:
    sizes = configs_folder() / "stills" / model.design.family
    tokenizers = {"tokenizer": clip_tokenizer()}
    if model.design.family == "sdxl":
        # The second encoder was trained with another padding.
        tokenizers["tokenizer_2"] = clip_tokenizer(padding="!")
    return kind.from_single_file(str(model.base), config=str(sizes), **tokenizers, **more)


def clip_tokenizer(padding: str = _END) -> Any:
    """CLIP's tokenizer, of the byte-pair merges that are shipped."""
    from transformers import CLIPTokenizer

    packed = configs_folder() / "stills" / "clip-merges.txt.gz"
    merges = gzip.decompress(packed.read_bytes()).decode().split("\n")[:-1]
    single = list(_byte_letters())
    words = [*single, *(f"{letter}</w>" for letter in single)]
    words += ["".join(merge.split()) for merge in merges] + [_BEGIN, _END]
    return CLIPTokenizer(
        vocab={word: number for number, word in enumerate(words)},
        merges=[tuple(merge.split()) for merge in merges],
        model_max_length=77,
        pad_token=padding,
    )


def _byte_letters() -> list[str]:
    """The letters that byte-pair encoding writes bytes with, in the vocabulary's order."""
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = len(set(range(256)) - set(printed))
    return [chr(code) for code in (*printed, *range(256, 256 + others))]


def load_control_model(kind: str, path: Path, unet: Any, dtype: torch.dtype) -> Any:
    """A network of diffusers' class `kind` ("ControlNetModel", "T2IAdapter") from a folder, or from
    a file of a ControlNet.

    unet: the base's, whose sizes a ControlNet in one file has
    Raises ModelError where it cannot be loaded.
    """
    network: Any = getattr(import_module("diffusers"), kind)
    folder = path if path.is_dir() else path.parent
    described = (folder / "config.json").is_file()
    if not described and (path.is_dir() or not hasattr(network, "from_single_file")):
        raise ModelError(f"{kind} {path}: there is no config.json in {folder}; name its folder")
    if not path.is_dir() and path.suffix != ".safetensors":
        raise ModelError(f"{kind} {path} is no .safetensors file; pickles may run code")
    try:
        if described:
            variant = "fp16" if list(folder.glob("*.fp16.safetensors")) else None
            return network.from_pretrained(
                folder, use_safetensors=True, local_files_only=True, torch_dtype=dtype,
                variant=variant,
            )  # fmt: skip
        with tempfile.TemporaryDirectory() as sizes:
            network.from_unet(unet, load_weights_from_unet=False).save_config(sizes)
            return network.from_single_file(
                str(path), config=sizes, local_files_only=True, torch_dtype=dtype
            )
    except (ValueError, KeyError, OSError, RuntimeError, TypeError) as reason:
        raise ModelError(
            f"{kind} {path} cannot be loaded: {str(reason).splitlines()[0]}"
        ) from reason
