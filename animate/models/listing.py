"""Facts on variants and models for stills, for lists; neither torch nor network is needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from animate.models.download import size_text
from animate.models.licences import (
    Licence,
    Use,
    code_licence,
    file_licences,
    strictest,
    use_of,
    weights_licences,
    weights_use,
)
from animate.models.stills import StillDesign
from animate.models.store import ModelFile
from animate.models.variants import CONTROL_SECTIONS, ModelVariant

_POINTS = {
    "stem": "to the output of the UNet's first convolution",
    "stem-after": "to the input of the UNet's first block",
    "down": "to the output of the UNet's first block",
    "mid-input": "to the input of the UNet's middle block",
    "mid-output": "to the output of the UNet's middle block",
}
"""Hook points in words."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """One variant as `cnx models list` shows it."""

    name: str
    summary: str
    adds: str
    """Its control network, and the point of the UNet that its features are added to."""
    code: Licence
    """Licence of the published code."""
    weights: tuple[Licence, ...]
    """Licences of its files, by origin."""
    use: Use
    """Commercial use of all its files together."""
    download_bytes: int | None
    """Bytes of all files that come from the hub; None where a size is not known."""
    files: int
    """Number of its files."""
    missing: int
    """Number of those that are not on this machine."""
    size: str
    """Default size of a clip, WIDTHxHEIGHT."""
    window: int
    """Frames denoised together."""
    peak_memory: int | None
    """Predicted peak on a GPU at that size and window, in bytes."""

    def lines(self) -> Iterator[str]:
        """Lines for people."""
        yield f"{self.name}: {self.summary}"
        yield f"  adds      {self.adds}"
        yield f"  code      {self.code.use}: {_licence_text(self.code)}"
        yield from _weights_lines(self.weights, self.use)
        yield f"  window    {self.window} frames of {self.size}"
        yield f"  memory    {self._memory_text()}"
        yield _files_line(self.name, self.files, self.missing, self.download_bytes)

    def _memory_text(self) -> str:
        if self.peak_memory is None:
            return f"see cnx plan --model {self.name}"
        return f"{self.peak_memory / 2**30:.3g} GiB at that size (cnx plan shows how to need less)"


@dataclass(frozen=True, kw_only=True)
class StillListing:
    """One model for stills as `cnx models list --kind still` shows it."""

    name: str
    summary: str
    checkpoints: tuple[str, ...]
    """Published weights to choose from, the usual first; empty where there is one or none."""
    weights: tuple[Licence, ...]
    """Licences of the files of the usual checkpoint, by origin."""
    use: Use
    """Commercial use of all these files together."""
    download_bytes: int | None
    """Bytes of those that come from the hub; None where a size is not known."""
    files: int
    """Number of these files."""
    missing: int
    """Number of those that are not on this machine."""
    size: str
    """Default size of a picture, WIDTHxHEIGHT."""

    def lines(self) -> Iterator[str]:
        """Lines for people."""
        yield f"{self.name}: {self.summary}"
        yield from _weights_lines(self.weights, self.use)
        if self.checkpoints:
            yield f"  names     {', '.join(f'{self.name}:{each}' for each in self.checkpoints)}"
        yield f"  size      {self.size}"
        yield _files_line(self.name, self.files, self.missing, self.download_bytes)


def _weights_lines(weights: tuple[Licence, ...], use: Use) -> Iterator[str]:
    if len(weights) > 1:
        yield f"  weights   {use}, together"
    head = "          " if len(weights) > 1 else "weights   "
    for licence in weights:
        yield f"  {head}{licence.use}: {_licence_text(licence)}"


def _files_line(name: str, files: int, missing: int, download_bytes: int | None) -> str:
    if not missing:
        return "  files     here"
    size = size_text(download_bytes) if download_bytes else "size not known"
    return f"  files     {missing} of {files} not here ({size} in all): cnx models fetch {name}"


def _licence_text(licence: Licence) -> str:
    gate = ", after acceptance with an account" if licence.gated else ""
    accept = f", --accept-licence {licence.origin}" if licence.is_restricted else ""
    source = licence.url or licence.origin
    return f"{licence.name}{gate}{accept}" + (f"; {source}" if source else "")


def listing_of(variant: ModelVariant) -> Listing:
    """The facts on a variant."""
    files = list(variant.files())
    return Listing(
        name=variant.name,
        summary=variant.summary,
        adds=_additions(variant),
        code=code_licence(variant),
        weights=weights_licences(variant),
        use=weights_use(variant),
        download_bytes=_download_bytes(files),
        files=len(files),
        missing=len(variant.missing()),
        size=str(variant.sizes[0]),
        window=variant.defaults.window,
        peak_memory=variant.peak_memory,
    )


def still_listing_of(design: StillDesign) -> StillListing:
    """The facts on a model for stills."""
    files = tuple(design.files())
    bundled = Licence(
        name=design.licence,
        use=use_of(design.licence),
        origin=f"the folder of {design.name}",
        url=design.licence_url,
    )
    weights = file_licences(files) or (bundled,)
    return StillListing(
        name=design.name,
        summary=design.summary,
        checkpoints=tuple(design.checkpoints) if len(design.checkpoints) > 1 else (),
        weights=weights,
        use=strictest(licence.use for licence in weights),
        download_bytes=_download_bytes(files),
        files=len(files),
        missing=sum(file.locate() is None for file in files),
        size=str(design.sizes[0]),
    )


def _download_bytes(files: Iterable[ModelFile]) -> int | None:
    """Bytes of the files that come from the hub; None where a size is not known."""
    sizes = [
        file.source.bytes.get(file.path, 0 if file.path.endswith(".json") else None)
        for file in files
        if file.source is not None
    ]
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


def _additions(variant: ModelVariant) -> str:
    kind = next(name for name in CONTROL_SECTIONS if getattr(variant, name) is not None)
    injection = variant.injection
    point = _POINTS[injection.hook_point]
    halves = "both halves" if injection.halves == "both" else "the conditional half"
    normalised = ", cross-normalised" if injection.normalise else ""
    control = f"features of a {kind} network {point}{normalised}, on {halves} of guidance"
    besides = []
    if variant.face is not None:
        besides.append("face tokens in the spatial cross-attentions")
    if "reference_unet" in variant.networks:
        besides.append("self-attention to the features of a second UNet of the reference")
    return "; ".join([control, *besides])
