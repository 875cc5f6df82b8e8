"""Make a model folder of files that other programs keep: linked, not copied.

A source is a folder in diffusers' layout, a folder with the published files (`unet.bin` and
`controlnet.bin`), a checkpoint in one file, or a repository that the model hub's cache has. Files
are recognised by the names and sizes of their tensors, not by their own names.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from animate.errors import ModelError
from animate.files import atomic_folder, write_text
from animate.models.components import (
    OWN_NETWORKS,
    build_own,
    empty_network,
    with_processors,
    without_memory,
)
from animate.models.config import Component, Layout, Source
from animate.models.recognise import DENOISING, MOTION, REFERENCE, FileKind, check_kind, kind_of
from animate.models.reference_attention import published_name
from animate.models.single_file import SingleFile
from animate.models.store import cache_root, read_json, recorded_digest
from animate.models.variants import (
    COMPONENTS,
    VARIANT_FILE,
    ModelVariant,
    list_variants,
    load_variant,
    shipped_config,
)
from animate.models.weight_files import PICKLES
from animate.request.wording import listed

_SUFFIXES = (".safetensors", *PICKLES)
_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
_STOCK = ("unet", "vae", "image_encoder")
_PICTURES = ("vae", "image_encoder")
_VIDEO_PIPELINE = "StableVideoDiffusionPipeline"
_DEFAULT = "svd-v2"


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


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A model folder that was made, and a line on every network in it."""

    variant: ModelVariant
    recognised: tuple[str, ...]


def import_model(
    source: str, folder: Path, *, base: str | None = None, like: str | None = None
) -> Imported:
    """Make the model folder `folder` of a source.

    base: another source, for the autoencoder and the image encoder where the first one lacks them
    like: variant whose constants are taken; None: the one whose control network the source has
    Raises `ModelError` when a source is of another base model (by its name) or lacks files, and
    when the folder exists already.
    """
    parts = find_parts(source)
    control = parts.get("controlnext")
    known = load_variant(like) if like else _variant_of(parts)
    if base is not None:
        pictures = {name: part for name, part in find_parts(base).items() if name in _PICTURES}
        parts = {**pictures, **parts}
    if control is None and "unet" in parts:
        # The published UNets were trained together with their control networks.
        parts = {name: part for name, part in parts.items() if name != "unet"}
    for name, part in parts.items():
        if name not in known.networks:
            raise ModelError(
                f"{listed(part.weights)} is {part.text}, which {known.name} has no use for; name "
                "the variant that it was made for by --like"
            )
        _check_fit(name, part, known)
    try:
        with atomic_folder(folder) as partial:
            variant = _write(partial, folder, known, parts)
    except FileExistsError:
        raise ModelError(f"model folder {folder} exists already; choose another name") from None
    except OSError as reason:
        raise ModelError(f"model folder {folder} cannot be written: {reason}") from reason
    lines = tuple(_line(name, parts.get(name), known) for name in known.networks)
    return Imported(variant=replace(variant, folder=folder.resolve()), recognised=lines)


def _line(name: str, part: Part | None, known: ModelVariant) -> str:
    if part is not None:
        return f"{name}: {part.text}, linked to {listed(part.weights)}"
    return f"{name}: that of {known.name} ({known.components[name].weights[0]})"


def find_parts(source: str) -> dict[str, Part]:
    """The networks of a source by name. Raises `ModelError` where there is none."""
    path = _source_path(source)
    parts = dict(_folder_parts(path) if path.is_dir() else _file_parts(path))
    if not parts:
        raise ModelError(
            f"{source} holds no network of Stable Video Diffusion or ControlNeXt; name a folder in "
            "diffusers' layout, one with unet.bin and controlnet.bin, or a checkpoint"
        )
    return parts


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


def _variant_of(parts: Mapping[str, Part]) -> ModelVariant:
    """The variant whose networks a source has: by the sizes of its control network, then by the
    networks beside it, then by the names of its files. Raises `ModelError` for none or several."""
    control = parts.get("controlnext")
    if control is None:
        return load_variant(_DEFAULT)
    sizes = _sizes(control)
    fitting = [
        variant
        for variant in list_variants()
        if sizes == _shapes(without_memory(lambda v=variant: build_own("controlnext", v)))  # type: ignore[misc]
    ]
    if not fitting:
        raise ModelError(
            f"{control.weights[0]} is the control network of none of "
            f"{', '.join(variant.name for variant in list_variants())}; name the variant whose "
            "constants it was trained with by --like"
        )
    for tells in (_has_same_networks, _holds_same_networks, _has_same_files):
        fitting = [variant for variant in fitting if tells(variant, parts)] or fitting
    if len(fitting) > 1:
        raise ModelError(
            f"{listed(control.weights)} fits {listed([variant.name for variant in fitting])}; name "
            "one of them by --like"
        )
    return fitting[0]


def _has_same_networks(variant: ModelVariant, parts: Mapping[str, Part]) -> bool:
    beside = {name for name in variant.networks if name not in COMPONENTS}
    return beside == {name for name in parts if name not in COMPONENTS}


def _holds_same_networks(variant: ModelVariant, parts: Mapping[str, Part]) -> bool:
    return variant.components["controlnext"].prefix == parts["controlnext"].prefix


def _has_same_files(variant: ModelVariant, parts: Mapping[str, Part]) -> bool:
    return all(
        {path.name for path in part.weights}
        == {Path(file).name for file in variant.components[name].weights}
        for name, part in parts.items()
        if name not in _PICTURES and name in variant.components
    )


def _sizes(part: Part) -> dict[str, tuple[int, ...]]:
    """Sizes of the tensors of a part, by the names of its network in the file."""
    sizes: dict[str, tuple[int, ...]] = {}
    for path in part.weights:
        with SingleFile(path) as file:
            keys = [key for key in file.keys if key.startswith(part.prefix)]
            sizes |= {key.removeprefix(part.prefix): file.shape(key) for key in keys}
    return sizes


def _shapes(network: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def _check_fit(name: str, part: Part, known: ModelVariant) -> None:
    """Raise `ModelError` where files do not have the tensors of their network."""
    config = read_json(part.config) if part.config else None
    network = empty_network(name, known, config)
    with with_processors(name, network, known):
        state = _shapes(network)
    for path in part.weights:
        with SingleFile(path) as file:
            if part.layout == "single-file":
                file.pieces(network)
                return
            check_kind(file.keys, state, part.prefix, path, f"the {name} of {known.name}")
    if part.layout == "animate-anyone":
        # The sinusoids are the network's own.
        state = {published_name(k): v for k, v in state.items() if not k.endswith("pos_embed.pe")}
    sizes = _sizes(part)
    wrong = [key for key, value in state.items() if sizes.get(key) != value]
    if wrong:
        raise ModelError(
            f"{listed(part.weights)} ({part.text}) is not the {name} that {known.name} needs: "
            f"{listed(wrong)} is missing or of another size; name the variant that it was made "
            "for by --like"
        )


def _write(
    partial: Path, folder: Path, known: ModelVariant, parts: Mapping[str, Part]
) -> ModelVariant:
    digests: dict[str, str] = {}
    components = {}
    for name in known.networks:
        if name not in parts:
            components[name] = _foreign(name, known)
            continue
        part, config = parts[name], ""
        if name not in OWN_NETWORKS:
            config = f"{name}/config.json"
            write_text_into(partial / config, part.config or shipped_config(name, known.family))
            digests[config] = recorded_digest(partial / config)
        weights = []
        for path in part.weights:
            within = "checkpoint" if part.layout == "single-file" or part.prefix else name
            target = f"{within}/{path.name}"
            if not (partial / target).is_symlink():
                _link(path, partial / target)
            digests[target] = recorded_digest(path)
            weights.append(target)
        components[name] = Component(
            config=config, weights=tuple(weights), layout=part.layout, prefix=part.prefix
        )
    variant = replace(
        known,
        name=folder.name,
        summary=f"{known.name} of files that were imported",
        licence=_licences(known),
        components=components,
        sources=used_sources(known.sources, components.values()),
        digests=digests,
        folder=partial,
    )
    text = yaml.safe_dump(variant.to_dict(), sort_keys=False, width=100, allow_unicode=True)
    write_text(partial / VARIANT_FILE, text)
    return variant


def _foreign(name: str, known: ModelVariant) -> Component:
    """A network that no source has: the variant's own, from the hub."""
    component = known.components[name]
    if any(":" not in file for file in component.weights):
        raise ModelError(f"the source has no {name}; name another source that has it by --base")
    return component


def _licences(known: ModelVariant) -> str:
    stated = [known.licence, *(source.licence for source in known.sources.values())]
    return "; ".join(dict.fromkeys(stated))


def write_text_into(target: Path, source: Path) -> None:
    """Copy a small text file, with the folder that it stands in."""
    target.parent.mkdir(exist_ok=True)
    write_text(target, source.read_text(encoding="utf-8"))


def _link(path: Path, target: Path) -> None:
    """A link to a file, or its copy where the file system has no links."""
    target.parent.mkdir(exist_ok=True)
    try:
        os.symlink(path.absolute(), target)
    except OSError:
        shutil.copy(path, target)


def used_sources(
    sources: Mapping[str, Source], components: Iterable[Component]
) -> dict[str, Source]:
    """The repositories that components name files of, with the digests of these files alone."""
    files = {file for part in components for file in (part.config, *part.weights)}
    used = {}
    for name, source in sources.items():
        paths = {file.partition(":")[2] for file in files if file.startswith(f"{name}:")}
        if paths:
            stated = {path: value for path, value in source.digests.items() if path in paths}
            used[name] = replace(source, digests=stated)
    return used
