"""Weights of a variant's files into its networks, and what is said where a file is not the one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from torch import Tensor, nn

from animate.errors import ModelError
from animate.models.config import Layout
from animate.models.recognise import check_kind
from animate.models.reference_attention import read_published
from animate.models.single_file import read_part
from animate.models.store import recorded_digest
from animate.models.variants import ModelVariant
from animate.models.weight_files import (
    WeightReport,
    apply_weights,
    check_weight_file,
    read_weights,
    without_prefix,
)
from animate.request.wording import listed


def check_present(variant: ModelVariant, fresh: Collection[str]) -> None:
    """Raise `ModelError` for files that are not on this machine, with the command that fetches
    them; those of networks in `fresh` are not needed."""
    references = [file for name in fresh for file in variant.components[name].weights]
    unneeded = {str(variant.file(reference)) for reference in references}
    missing = [file for file in variant.missing() if str(file) not in unneeded]
    if not missing:
        return
    cure = (
        f"`cnx models fetch {variant.folder or variant.name}` gets them"
        if any(file.source for file in missing)
        else "copy the folder again"
    )
    raise ModelError(f"model {variant.name} lacks files: {listed(missing)}; {cure}")


READERS: Mapping[Layout, Callable[[Path, nn.Module], Mapping[str, Tensor]]] = {
    "diffusers": lambda path, network: read_weights(path),
    "single-file": read_part,
    "animate-anyone": lambda path, network: read_published(read_weights(path), network),
}
"""The reader of each layout: tensors of a file by the network's own names."""


def fill(
    network: nn.Module, variant: ModelVariant, name: str, digests: dict[str, str]
) -> list[WeightReport]:
    """Put the weights of the variant's files into the network called `name`; their digests go into
    `digests`, by the file's path. Raises `ModelError` for a file that does not fit, and for weights
    that no file has."""
    component, reports = variant.components[name], []
    for reference in component.weights:
        # Tensors that an earlier file set may be missing from a later one; nothing may stay unset.
        path, weights = _read(network, variant, name, reference, digests)
        if component.added:
            weights = _shifted(network, variant, name, weights, digests)
        reports.append(apply_weights(network, weights, path, partial=True))
    unset = [name for name, value in network.state_dict().items() if value.is_meta]
    if unset:
        raise ModelError(
            f"weight file {reports[-1].source} lacks {len(unset)} tensors of the "
            f"{type(network).__name__} ({listed(unset)}); fetch it again, or let the variant name "
            "the complete file before it if it holds only the learned parameters"
        )
    return reports


def _read(
    network: nn.Module,
    variant: ModelVariant,
    name: str,
    reference: str,
    digests: dict[str, str],
) -> tuple[Path, Mapping[str, Tensor]]:
    """A file's path, and its tensors by the network's names."""
    component, file = variant.components[name], variant.file(reference)
    path = file.locate()
    assert path is not None  # check_present has looked
    check_weight_file(path)
    digest = recorded_digest(path)
    if file.digest not in (None, digest):
        raise ModelError(
            f"weight file {path} is not the one that {variant.name} states (SHA-256 "
            f"{digest[:12]}..., stated {str(file.digest)[:12]}...): it was changed or damaged; "
            "remove it and get it again, or correct the digest in the variant"
        )
    digests[file.path] = digest
    weights = READERS[component.layout](path, network)
    check_kind(
        weights, network.state_dict(), component.prefix, path, f"the {name} of {variant.name}"
    )
    return path, without_prefix(weights, component.prefix)


def _shifted(
    network: nn.Module,
    variant: ModelVariant,
    name: str,
    weights: Mapping[str, Tensor],
    digests: dict[str, str],
) -> dict[str, Tensor]:
    """The weights with what `added` has and `subtracted` has not, summed in float32 and rounded
    once. Raises `ModelError` for tensors that the two lack or have in another shape."""
    component, state = variant.components[name], network.state_dict()
    path, added = _read(network, variant, name, component.added, digests)
    base_path, base = _read(network, variant, name, component.subtracted, digests)
    for file, tensors in ((path, added), (base_path, base)):
        unfit = [
            key
            for key, value in weights.items()
            if key not in tensors or tensors[key].shape != value.shape
        ]
        if unfit:
            raise ModelError(
                f"weight file {file} lacks {len(unfit)} tensors of the {name} of {variant.name}, "
                f"or has them in another size ({listed(unfit)}); name the complete file of the "
                "same architecture"
            )
    return {
        key: (value.float() + (added[key].float() - base[key].float())).to(
            state[key].dtype if key in state else value.dtype
        )
        for key, value in weights.items()
    }
