"""A clip to run within a memory budget, and the plan for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from temporal.chunked.chunks import Chunks
from temporal.errors import TemporalError
from temporal.kinds import Offload, Precision
from temporal.vae import DecodeOptions

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class MemoryRequest:
    """A clip to run, and the memory to run it in.

    Attributes:
        unet_config: of the `UNetSpatioTemporalConditionModel`.
        vae_config: of the `AutoencoderKLTemporalDecoder`.
        unet_weights: parameters of the UNet, a count.
        vae_weights: parameters of the autoencoder, a count.
        encoder_weights: parameters of the image encoder and of what else encodes, a count.
        motion: the UNet is a `UNetMotionModel`, which attends to a reference's features.
        context_tokens: tokens that the UNet attends to; one alone is a constant.
        size: (width, height) of the picture in pixels.
        window: frames of a window.
        windows: windows that may run together, at most.
        guided: two guidance halves, or only one.
        decode_group: frames decoded together.
        budget: bytes that may be in use on the device.
        resident: bytes there that are not these networks' (control network, latents of the clip).
        kept: numbers that are kept there from one denoising step to the next.
        precision: a precision, or "auto": `automatic`, with 8-bit weights as the last resort.
        automatic: what "auto" computes in, and 8-bit weights.
        offload: a way, or None to choose.
        on_host: the device is the host itself: weights that are not in use stay where they are, so
            offloading saves nothing.

    Raises:
        TemporalError: a number is below one, or offloading is asked for from the host to the host.
    """

    unet_config: Mapping[str, Any]
    vae_config: Mapping[str, Any]
    unet_weights: int
    vae_weights: int
    encoder_weights: int = 0
    motion: bool = False
    context_tokens: int = 1
    size: tuple[int, int]
    window: int
    windows: int = 1
    guided: bool = True
    decode_group: int = 8
    budget: int
    resident: int = 0
    kept: int = 0
    precision: Precision | Literal["auto"] = "auto"
    automatic: Precision = "float16"
    offload: Offload | None = None
    on_host: bool = False

    def __post_init__(self) -> None:
        if self.on_host and self.offload not in (None, "none"):
            raise TemporalError(
                f"offload {self.offload} keeps weights on the host, where a CPU computes anyway; "
                "that saves nothing; leave it out"
            )
        for name in ("window", "windows", "decode_group"):
            if getattr(self, name) < 1:
                raise TemporalError(f"{name} is {getattr(self, name)}; the nearest that works is 1")
        # Any amount may be asked for, even none: the planner says what would be enough.
        if self.budget < 0:
            raise TemporalError(f"budget is {self.budget}, not an amount of memory")

    @property
    def latent_size(self) -> tuple[int, int]:
        """(width, height) of the latents."""
        scale = 2 ** (len(self.vae_config["block_out_channels"]) - 1)
        return -(-self.size[0] // scale), -(-self.size[1] // scale)


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """Pieces and offloading by which to run, and the memory that this is predicted to take.

    Attributes:
        window_batch: windows in one call of the UNet.
        halves_together: both guidance halves in one call, or one after the other.
        chunks: pieces of the UNet's work; None for its stock forward.
        decode: how latents become frames.
        precision: of weights and arithmetic.
        offload: where weights are while they are not needed.
        peaks: predicted bytes on the device by stage: encode, denoise, decode.
        budget: bytes that were allowed.
        rung: place on the ladder, for `smaller`.
        request: what was asked for.
    """

    window_batch: int
    halves_together: bool
    chunks: Chunks | None
    decode: DecodeOptions
    precision: Precision
    offload: Offload
    peaks: Mapping[str, int]
    budget: int
    rung: int
    request: MemoryRequest = field(repr=False)

    @property
    def peak(self) -> int:
        """Predicted bytes of the widest stage."""
        return max(self.peaks.values())

    def lines(self) -> list[str]:
        """The plan in words, for people."""
        chunks = self.chunks
        pieces = (
            "whole"
            if chunks is None
            else ", ".join(
                f"{size} {name}" for name, size in vars(chunks).items() if size is not None
            )
        )
        cuts = self.decode.cuts
        rows = "" if cuts.rows is None else f", {cuts.rows} rows at a time"
        return [
            f"windows together   {self.window_batch}",
            f"guidance halves    {'together' if self.halves_together else 'in turn'}",
            f"UNet in pieces of  {pieces}",
            f"decoded together   {self.decode.group} frames{rows}",
            f"precision          {self.precision}",
            f"offload            {self.offload}",
            *(f"peak, {stage:12} {size / GIB:.2f} GiB" for stage, size in self.peaks.items()),
            f"budget             {self.budget / GIB:.2f} GiB",
        ]
