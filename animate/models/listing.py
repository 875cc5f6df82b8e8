"""Facts on a variant for a list: additions, licences, sizes, memory; neither torch nor network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from animate.models.download import size_text
from animate.models.licences import Licence, Use, code_licence, weights_licences, weights_use
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
        if len(self.weights) > 1:
            yield f"  weights   {self.use}, together"
        head = "          " if len(self.weights) > 1 else "weights   "
        for licence in self.weights:
            yield f"  {head}{licence.use}: {_licence_text(licence)}"
        yield f"  window    {self.window} frames of {self.size}"
        yield f"  memory    {self._memory_text()}"
        yield f"  files     {self._files_text()}"

    def _memory_text(self) -> str:
        if self.peak_memory is None:
            return f"see cnx plan --model {self.name}"
        return f"{self.peak_memory / 2**30:.3g} GiB at that size (cnx plan shows how to need less)"

    def _files_text(self) -> str:
        if not self.missing:
            return "here"
        size = size_text(self.download_bytes) if self.download_bytes else "size not known"
        count = f"{self.missing} of {self.files}"
        return f"{count} not here ({size} in all): cnx models fetch {self.name}"


def _licence_text(licence: Licence) -> str:
    gate = ", after acceptance with an account" if licence.gated else ""
    accept = f", --accept-licence {licence.origin}" if licence.is_restricted else ""
    source = licence.url or licence.origin
    return f"{licence.name}{gate}{accept}" + (f"; {source}" if source else "")


def listing_of(variant: ModelVariant) -> Listing:
    """The facts on a variant."""
    files = list(variant.files())
    sizes = [
        file.source.bytes.get(file.path, 0 if file.path.endswith(".json") else None)
        for file in files
        if file.source is not None
    ]
    known = [size for size in sizes if size is not None]
    return Listing(
        name=variant.name,
        summary=variant.summary,
        adds=_additions(variant),
        code=code_licence(variant),
        weights=weights_licences(variant),
        use=weights_use(variant),
        download_bytes=sum(known) if len(known) == len(sizes) else None,
        files=len(files),
        missing=len(variant.missing()),
        size=str(variant.sizes[0]),
        window=variant.defaults.window,
        peak_memory=variant.peak_memory,
    )


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
