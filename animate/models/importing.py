"""Make a model folder of files that other programs keep: linked, not copied."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from animate.errors import ModelError
from animate.files import atomic_folder, real_path, write_text
from animate.models.components import (
    OWN_NETWORKS,
    build_own,
    empty_network,
    with_processors,
    without_memory,
)
from animate.models.config import Component, Source
from animate.models.recognise import check_kind
from animate.models.reference_attention import published_name
from animate.models.single_file import SingleFile
from animate.models.source_parts import Part, find_parts
from animate.models.store import read_json, recorded_digest
from animate.models.variants import (
    COMPONENTS,
    VARIANT_FILE,
    ModelVariant,
    list_variants,
    load_variant,
    shipped_config,
)
from animate.request.wording import listed

_PICTURES = ("vae", "image_encoder")
_DEFAULT = "svd-v2"
_OF_FILES = frozenset(
    ("name", "summary", "licence", "licence_url", "commercial", "code_licence", "code_url",
     "peak_memory", "sources", "components", "digests")
)  # fmt: skip
"""Fields in which variants of the same networks differ, since their files do."""


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
    # The published UNets were trained together with their control networks.
    unpaired = parts.pop("unet", None) if control is None else None
    if unpaired is not None and not parts:
        raise ModelError(
            f"{source} holds a UNet alone ({listed(unpaired.weights)}), and the control network "
            "that was trained with it is missing (controlnet.bin in the published folders); copy "
            "the folder again"
        )
    if base is not None:
        pictures = {name: part for name, part in find_parts(base).items() if name in _PICTURES}
        parts = {**pictures, **parts}
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
    lines = [_line(name, parts.get(name), known) for name in known.networks]
    if unpaired is not None:
        lines.append(
            f"not used: the UNet of {listed(unpaired.weights)}; no control network is beside it, "
            f"and that of {known.name} was trained with a UNet of its own"
        )
    return Imported(variant=replace(variant, folder=real_path(folder)), recognised=tuple(lines))


def _line(name: str, part: Part | None, known: ModelVariant) -> str:
    if part is not None:
        return f"{name}: {part.text}, linked to {listed(part.weights)}"
    return f"{name}: that of {known.name} ({known.file(known.components[name].weights[0])})"


def _variant_of(parts: Mapping[str, Part]) -> ModelVariant:
    """The variant whose networks a source has: by the sizes of its control network, then by the
    networks beside it, then by the names of its files. Raises `ModelError` for none or several."""
    control = parts.get("controlnext")
    if control is None:
        return load_variant(_DEFAULT)
    fitting = _with_control_of(_sizes(control))
    if not fitting:
        raise ModelError(
            f"{control.weights[0]} is the control network of none of "
            f"{', '.join(variant.name for variant in list_variants())}; name the variant whose "
            "constants it was trained with by --like"
        )
    for tells in (_has_same_networks, _holds_same_networks, _has_same_files, _is_of_one_model):
        fitting = [variant for variant in fitting if tells(variant, parts)] or fitting
    if any(_constants(variant) != _constants(fitting[0]) for variant in fitting):
        raise ModelError(
            f"{listed(control.weights)} fits {listed([variant.name for variant in fitting])}; name "
            "one of them by --like"
        )
    return fitting[0]


def _with_control_of(sizes: Mapping[str, tuple[int, ...]]) -> list[ModelVariant]:
    """The variants whose control network has tensors of these names and sizes."""
    return [
        variant
        for variant in list_variants()
        if sizes == _shapes(without_memory(lambda v=variant: build_own("controlnext", v)))  # type: ignore[misc]
    ]


def _has_same_networks(variant: ModelVariant, parts: Mapping[str, Part]) -> bool:
    beside = {name for name in variant.networks if name not in COMPONENTS}
    return beside == {name for name in parts if name not in COMPONENTS}


def _holds_same_networks(variant: ModelVariant, parts: Mapping[str, Part]) -> bool:
    return variant.components["controlnext"].prefix == parts["controlnext"].prefix


def _has_same_files(variant: ModelVariant, parts: Mapping[str, Part]) -> bool:
    return all(
        {path.name for path in part.weights}
        == {Path(file.rpartition(":")[2]).name for file in variant.components[name].weights}
        for name, part in parts.items()
        if name not in _PICTURES and name in variant.components
    )


def _is_of_one_model(variant: ModelVariant, parts: Mapping[str, Part]) -> bool:
    """True where no other model's file is added to a network."""
    return not any(component.added for component in variant.components.values())


def _constants(variant: ModelVariant) -> dict[str, Any]:
    """All that a variant states but its files, names and licences."""
    return {name: value for name, value in variant.to_dict().items() if name not in _OF_FILES}


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
    has_config = name not in OWN_NETWORKS
    config = read_json(part.config or shipped_config(name, known.family)) if has_config else None
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
        others = [v.name for v in _with_control_of(sizes)] if name == "controlnext" else []
        raise ModelError(
            f"{listed(part.weights)} ({part.text}{f', that of {listed(others)}' if others else ''})"
            f" is not the {name} that {known.name} needs: {listed(wrong)} is missing or of another "
            "size; name the variant that it was made for by --like"
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
