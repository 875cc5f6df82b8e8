"""The networks that a source holds: files that other programs keep, recognised by their tensors.

A source is a folder in diffusers' layout, a folder with the published files (`unet.bin` and
`controlnet.bin`), a checkpoint in one file, or a repository that the model hub's cache has. Files
are recognised by the names and sizes of their tensors, not by their own names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from animate.errors import ModelError
from animate.models.config import Layout
from animate.models.recognise import DENOISING, MOTION, REFERENCE, FileKind, kind_of
from animate.models.single_file import SingleFile
from animate.models.store import cache_root, read_json
from animate.models.variants import VARIANT_FILE
from animate.models.weight_files import PICKLES
from animate.request.wording import listed

_SUFFIXES = (".safetensors", *PICKLES)
_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
_STOCK = ("unet", "vae", "image_encoder")
_VIDEO_PIPELINE = "StableVideoDiffusionPipeline"
_NAMES = {
    "UNetSpatioTemporalConditionModel": "unet",
    "AutoencoderKLTemporalDecoder": "vae",
    "AutoencoderKL": "vae",
    "CLIPVisionModelWithProjection": "image_encoder",
}
"""Networks in diffusers' layout, by the class in their configuration."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Files of one network in a source."""

    weights: tuple[Path, ...]
    config: Path | None = None
    """JSON file of its sizes; None: those of Stable Video Diffusion."""
    layout: Layout = "diffusers"
    prefix: str = ""
    """Beginning of the network's names in files that hold several."""
    text: str
    """Words on the part, for a person."""


def find_parts(source: str) -> dict[str, Part]:
    """The networks of a source by name. Raises `ModelError` where there is none."""
    path = _source_path(source)
    parts = _together(_folder_parts(path) if path.is_dir() else _file_parts(path))
    if not parts:
        deeper = _folders_of_weights(path)
        raise ModelError(
            f"{source} holds no network of Stable Video Diffusion or ControlNeXt; "
            + (
                f"folders in it hold weights, name one of them: {listed(deeper)}"
                if deeper
                else "name a folder in diffusers' layout, one with unet.bin and controlnet.bin, or "
                "a checkpoint"
            )
        )
    return parts


def _folders_of_weights(path: Path) -> list[Path]:
    """Folders two levels down at most that hold weight files."""
    files = (file for pattern in ("*/*", "*/*/*") for file in path.glob(pattern))
    return sorted({file.parent for file in files if file.suffix in _SUFFIXES})


def _together(parts: Iterable[tuple[str, Part]]) -> dict[str, Part]:
    """Parts by their networks. Files beside a folder in diffusers' layout replace its networks, but
    for the whole model in one file. Raises `ModelError` for two files of one network."""
    chosen: dict[str, Part] = {}
    for name, part in parts:
        before = chosen.get(name)
        if before is not None and before.config is None:
            raise ModelError(
                f"{listed([*before.weights, *part.weights])} hold the {name} each; name one of "
                "them, or a folder with the files of one model alone"
            )
        if before is None or part.layout != "single-file":
            chosen[name] = part
    return chosen


def _source_path(source: str) -> Path:
    path = Path(source)
    if path.exists():
        return path
    if not re.fullmatch(r"\w[\w.-]*/[\w.-]+", source):
        raise ModelError(f"there is no file or folder {source}; check the path")
    repository = cache_root() / f"models--{source.replace('/', '--')}"
    snapshots = sorted((repository / "snapshots").glob("*"), key=lambda p: p.stat().st_mtime)
    if not snapshots:
        raise ModelError(
            f"there is no folder {source}, and the repository of that name is not on this machine; "
            f"`hf download {source}` brings it"
        )
    named = repository / "refs" / "main"
    commit = named.read_text().strip() if named.is_file() else snapshots[-1].name
    chosen = repository / "snapshots" / commit
    return chosen if chosen.is_dir() else snapshots[-1]


def _folder_parts(folder: Path) -> Iterator[tuple[str, Part]]:
    if (folder / VARIANT_FILE).is_file():
        raise ModelError(f"{folder} is a model folder already; use it with --model {folder}")
    _check_pipeline(folder)
    for name in _STOCK:
        if (folder / name / "config.json").is_file():
            yield name, diffusers_part(folder, name)
    if (folder / "config.json").is_file():
        known = _NAMES.get(_class_in(folder / "config.json"))
        if known is not None:
            yield known, _stock_part(folder, known)
            return
    files = [
        file
        for holder in (folder, folder / "controlnext", folder / "controlnet")
        for file in (sorted(holder.iterdir()) if holder.is_dir() else ())
        if file.is_file() and file.suffix in _SUFFIXES
    ]
    together = dict(_reference_net_parts(files))
    yield from together.items()
    taken = {file for part in together.values() for file in part.weights}
    for file in files:
        if file not in taken:
            yield from _file_parts(file)


def _reference_net_parts(files: Sequence[Path]) -> Iterator[tuple[str, Part]]:
    """The two UNets of AnimateAnyone, where its motion modules are among the files."""
    kinds = {file: _kind(file) for file in files}
    by_kind = {kind: file for file, kind in kinds.items() if kind is not None}
    if MOTION not in by_kind:
        return
    for name, needed in (("unet", (DENOISING, MOTION)), ("reference_unet", (REFERENCE,))):
        absent = [kind.text for kind in needed if kind not in by_kind]
        if absent:
            raise ModelError(
                f"{by_kind[MOTION]} is {MOTION.text}, but {listed(absent)} is not beside it; copy "
                "the folder again"
            )
        weights = tuple(by_kind[kind] for kind in needed)
        yield name, Part(weights=weights, layout="animate-anyone", text=needed[0].text)


def _kind(path: Path) -> FileKind | None:
    with SingleFile(path) as file:
        return kind_of(file.keys)


def _check_pipeline(folder: Path) -> None:
    index = folder / "model_index.json"
    if index.is_file():
        pipeline = read_json(index).get("_class_name")
        if pipeline != _VIDEO_PIPELINE:
            raise ModelError(
                f"{folder} is a {pipeline}, not a {_VIDEO_PIPELINE}: only models on Stable Video "
                "Diffusion can be imported"
            )


def diffusers_part(folder: Path, name: str) -> Part:
    """A network of a folder in diffusers' layout: whole, half-precision or sharded files.

    Raises `ModelError` when its files are missing.
    """
    subfolder = folder / name
    config = subfolder / "config.json"
    if not config.is_file():
        raise ModelError(
            f"{folder} is no base model: it has neither a {VARIANT_FILE} nor {name}/config.json as "
            "in diffusers' layout of Stable Video Diffusion"
        )
    return _stock_part(subfolder, name)


def _class_in(config: Path) -> str:
    """The class that a configuration of diffusers or transformers is for."""
    values = read_json(config)
    architectures = values.get("architectures") or [""]
    return str(values.get("_class_name") or architectures[0])


def _stock_part(subfolder: Path, name: str) -> Part:
    config = subfolder / "config.json"
    kind = read_json(config).get("_class_name", "")
    if name == "unet" and kind not in ("", "UNetSpatioTemporalConditionModel"):
        width = read_json(config).get("cross_attention_dim")
        raise ModelError(
            f"{subfolder} is {_other_base(width, 4)}: only Stable Video Diffusion's fits"
        )
    for half in ("", ".fp16"):
        for suffix in (".safetensors", ".bin"):
            for stem in _STEMS:
                file = subfolder / f"{stem}{half}{suffix}"
                if file.is_file():
                    return Part(config=config, weights=(file,), text=_words(half, 1))
                # Two ways to write the index of a half-precision variant.
                for end in (f"{half}{suffix}.index", f"{suffix}.index{half}"):
                    index = subfolder / f"{stem}{end}.json"
                    if index.is_file():
                        shards = _shards(index)
                        return Part(config=config, weights=shards, text=_words(half, len(shards)))
    looked = " or ".join(f"{stem}.safetensors" for stem in _STEMS)
    raise ModelError(f"{subfolder} has no weights: {looked} is looked for; copy the folder again")


def _words(half: str, count: int) -> str:
    precision = "half precision" if half else "as published"
    return f"diffusers' layout, {precision}" + (f", {count} shards" if count > 1 else "")


def _shards(index: Path) -> tuple[Path, ...]:
    named = read_json(index).get("weight_map")
    names = sorted({str(name) for name in named.values()}) if isinstance(named, dict) else []
    missing = [name for name in names if not (index.parent / name).is_file()]
    outside = [name for name in names if Path(name).name != name]
    if missing or outside or not names:
        absent = listed([*outside, *missing]) or "none"
        raise ModelError(
            f"{index} names files that are not beside it: {absent}; copy the folder again"
        )
    return tuple(index.parent / name for name in names)


def _file_parts(path: Path) -> Iterator[tuple[str, Part]]:
    """The networks in one weight file, by the names of its tensors. Raises `ModelError`."""
    if path.suffix not in _SUFFIXES:
        raise ModelError(
            f"{path} is no weight file ({', '.join(_SUFFIXES)}); name one, or a folder"
        )
    with SingleFile(path) as file:
        if any(".lora" in key or "lora_" in key for key in file.keys):
            raise ModelError(f"{path} is an adapter, not a model; use it with --lora {path}")
        kind = kind_of(file.keys)
        if kind is not None and kind.networks:
            for network, start in kind.networks:
                yield network, Part(weights=(path,), prefix=start, text=kind.text)
            return
        prefix = file.unet_prefix()
        if prefix is not None:
            _check_video(path, file, f"{prefix}input_blocks.0.0.weight", ".time_stack.")
            complete = prefix == "model.diffusion_model."
            text = "single-file checkpoint" if complete else "single file of a UNet"
            for name in _STOCK if complete else ("unet",):
                yield name, Part(weights=(path,), layout="single-file", text=text)
        elif "conv_in.weight" in file.keys:
            _check_video(path, file, "conv_in.weight", ".temporal_res_block.")
            yield "unet", Part(weights=(path,), text="UNet in diffusers' names")


def _check_video(path: Path, file: SingleFile, first: str, temporal: str) -> None:
    """Raise `ModelError`, with the name of the base, for a UNet that is not of Stable Video
    Diffusion."""
    if any(temporal in key for key in file.keys):
        return
    contexts = sorted(key for key in file.keys if key.endswith("attn2.to_k.weight"))
    width = file.shape(contexts[0])[1] if contexts else None
    raise ModelError(
        f"{path} is {_other_base(width, file.shape(first)[1])}: only Stable Video Diffusion's fits"
    )


def _other_base(width: object, channels: int) -> str:
    """A name for the base of a UNet, by the width of its context and its input channels."""
    names = {
        768: "a UNet of Stable Diffusion 1.x",
        1024: "a UNet of Stable Diffusion 2.x",
        1280: "a UNet of SDXL's refiner",
        2048: "a UNet of SDXL",
    }
    name = names.get(width, f"a UNet of another base (context width {width})")  # type: ignore[call-overload]
    return f"{name} for inpainting" if channels == 9 else str(name)
