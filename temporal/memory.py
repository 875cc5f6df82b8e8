"""Choose how to run within a memory budget: first what costs no time, last what changes numbers.

The choices form a ladder from the fastest to the smallest; a plan is its first rung that fits.
Going down it: windows one at a time, pieces, guidance halves in turn, smaller pieces, networks on
the device only while in use, the UNet's weights block by block, and (if the precision may be
chosen) 8-bit weights. Two of them change the result: 8-bit weights, and fewer frames decoded
together, which is done only where the autoencoder alone on the device has no room for them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from torch import nn

from temporal.chunked.chunks import Chunks
from temporal.chunked.decoder import DecoderCuts
from temporal.constant_attention import constant_cross_attention
from temporal.errors import TemporalError
from temporal.estimate import decode_peak, encode_peak, unet_peak
from temporal.offload import UNITS_HELD, Offload, offloaded
from temporal.precision import Precision, computing_type, quantise_weights
from temporal.vae import DecodeOptions

GIB = 2**30
_ROOM = 1.05  # allocators round up and leave gaps
# CUDA's limit for the axis of a grid on which torch's attention kernels put the batch: beyond it
# some fail to launch (pytorch issue 146704).
_GRID = 65_535

# Frames, pixels and tokens at a time for latents of 128x72, from fast to small.
_PIECES = ((8, 4096, 65536), (4, 2048, 16384), (2, 1024, 8192), (1, 512, 4096))
_CUTS = (
    DecoderCuts(),
    DecoderCuts(rows=64),
    DecoderCuts(rows=16, pixels=8192, queries=1024),
)


@dataclass(frozen=True, kw_only=True)
class MemoryRequest:
    """What is to be run, and within what.

    Attributes:
        unet_config: of the `UNetSpatioTemporalConditionModel`.
        vae_config: of the `AutoencoderKLTemporalDecoder`.
        unet_weights: parameters of the UNet, a count.
        vae_weights: parameters of the autoencoder, a count.
        encoder_weights: parameters of the image encoder, a count.
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
        for name in ("window", "windows", "decode_group", "budget"):
            if getattr(self, name) < 1:
                raise TemporalError(f"{name} is {getattr(self, name)}; the nearest that works is 1")

    @property
    def latent_size(self) -> tuple[int, int]:
        """(width, height) of the latents."""
        scale = 2 ** (len(self.vae_config["block_out_channels"]) - 1)
        return -(-self.size[0] // scale), -(-self.size[1] // scale)


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """How to run, and what that is predicted to take.

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


def plan_memory(request: MemoryRequest) -> MemoryPlan:
    """The fastest plan within the budget.

    Raises:
        TemporalError: nothing fits; says what the smallest plan takes.
    """
    plans = _ladder(request)
    for plan in plans:
        if plan.peak * _ROOM <= request.budget:
            return plan
    least = min(plans, key=lambda plan: plan.peak)
    needed = least.peak * _ROOM / GIB
    shorter = "" if request.window == 1 else ", or use a smaller size or a shorter window"
    raise TemporalError(
        f"nothing runs {request.window} frames of {request.size[0]}x{request.size[1]} within "
        f"{request.budget / GIB:.2f} GiB; the nearest budget that works is "
        f"{needed + 0.005:.2f} GiB{shorter}"
    )


def smaller(plan: MemoryPlan, stage: Literal["denoise", "decode"] = "denoise") -> MemoryPlan:
    """The next plan that takes clearly less in a stage, after memory has run out in it.

    Raises:
        TemporalError: there is none.
    """
    if stage == "decode":
        found = _smaller_decoding(plan)
    else:
        later = _ladder(plan.request)[plan.rung + 1 :]
        less = 0.95 * plan.peaks["denoise"]
        found = next((other for other in later if other.peaks["denoise"] < less), None)
    if found is None:
        raise TemporalError(
            f"memory ran out with the smallest plan already ({plan.peaks[stage] / GIB:.2f} GiB "
            f"predicted to {stage}); use a smaller size or a shorter window, or free memory on "
            "the device"
        )
    return found


def _smaller_decoding(plan: MemoryPlan) -> MemoryPlan | None:
    request = plan.request
    element = _element(request, plan.precision)
    work = decode_peak(
        request.vae_config,
        size=request.latent_size,
        frames=plan.decode.group,
        options=plan.decode,
        element=element,
    )
    options, peak = _decoding(request, element, room=int(0.95 * _ROOM * work), fewer=True)
    if peak > 0.95 * work:
        return None
    peaks = {**plan.peaks, "decode": plan.peaks["decode"] - work + peak}
    return replace(plan, decode=options, peaks=peaks)


def _ladder(request: MemoryRequest) -> list[MemoryPlan]:
    ways: list[Offload] = ["none", "model", "stream"]
    if request.on_host:
        ways = ["none"]
    elif request.offload is not None:
        ways = [request.offload]
    precisions: list[Precision] = [request.automatic]
    if request.precision == "auto":
        precisions.append("int8")
    else:
        precisions = [request.precision]
    rungs = [
        (batch, together, chunks, precision, way)
        for precision in precisions
        for way in ways
        if not (precision == "int8" and way == "stream" and request.offload is None)
        for batch, together, chunks in _pieces(request)
    ]
    return [_priced(request, number, *rung) for number, rung in enumerate(rungs)]


def _pieces(request: MemoryRequest) -> list[tuple[int, bool, Chunks | None]]:
    width, height = request.latent_size
    found: list[tuple[int, bool, Chunks | None]] = []
    batches = [batch for batch in (8, 4, 2, 1) if batch <= request.windows]
    together = (True, False) if request.guided else (True,)
    # Attention over time has a batch of all pixels, of every window and guidance half.
    sequences = width * height * (2 if request.guided else 1)
    found += [
        (batch, True, None) for batch in batches if request.on_host or batch * sequences <= _GRID
    ]
    for halves in together:
        rows = request.window * (2 if halves and request.guided else 1)
        for frames, pixels, tokens in _PIECES:
            # The same amount of work in a piece at any picture size.
            frames = max(1, frames * 128 * 72 // (width * height))
            chunks = Chunks(frames=frames, pixels=pixels, tokens=tokens)
            fitted = chunks.fitted(frames=rows, pixels=width * height)
            if (1, halves, fitted) not in found:
                found.append((1, halves, fitted))
    return found


def _priced(
    request: MemoryRequest,
    rung: int,
    batch: int,
    together: bool,
    chunks: Chunks | None,
    precision: Precision,
    offload: Offload,
) -> MemoryPlan:
    element = _element(request, precision)
    stored = 1.02 if precision == "int8" else float(element)
    unet, vae = int(request.unet_weights * stored), request.vae_weights * element
    encoder = request.encoder_weights * element
    calls = batch * (2 if together and request.guided else 1)
    denoise = unet_peak(
        request.unet_config,
        size=request.latent_size,
        frames=request.window,
        batch=calls,
        chunks=chunks,
        element=element,
    )
    # The autoencoder encodes in float32, whatever it is kept in.
    encoding = 4 * request.vae_weights + encode_peak(request.vae_config, size=request.latent_size)
    if offload == "none":
        here = dict.fromkeys(("encode", "denoise", "decode"), unet + vae + encoder)
        here["encode"] -= vae
        if request.on_host:  # weights are made 8-bit to denoise
            here["encode"] += request.unet_weights * element - unet
    else:
        units = int(UNITS_HELD * stored * widest_unit(request.unet_config))
        here = {"encode": 0, "denoise": unet if offload == "model" else units, "decode": vae}
        encoding = max(encoding, encoder)  # one network after the other
    decode, decoding = _decoding(
        request,
        element,
        room=request.budget - request.resident - here["decode"],
        fewer=offload != "none" or request.offload == "none" or request.on_host,
    )
    here["denoise"] += request.kept * element
    work = {"encode": encoding, "denoise": denoise, "decode": decoding}
    return MemoryPlan(
        window_batch=batch,
        halves_together=together,
        chunks=chunks,
        decode=decode,
        precision=precision,
        offload=offload,
        peaks={stage: request.resident + here[stage] + work[stage] for stage in work},
        budget=request.budget,
        rung=rung,
        request=request,
    )


def _element(request: MemoryRequest, precision: Precision) -> int:
    """Bytes of one number of those that a precision computes with."""
    return computing_type(request.automatic if precision == "int8" else precision).itemsize


def _decoding(
    request: MemoryRequest, element: int, *, room: int, fewer: bool
) -> tuple[DecodeOptions, int]:
    """The quickest way to decode that fits into the room, or the smallest.

    Args:
        request: what was asked for.
        element: bytes of one number.
        room: bytes that are free for it.
        fewer: fewer frames together may be tried, too.
    """
    group = request.decode_group
    choices = [DecodeOptions(group=group, cuts=cuts) for cuts in _CUTS]
    while fewer and group > 1:
        group = (group + 1) // 2
        choices.append(DecodeOptions(group=group, cuts=_CUTS[-1]))
    for options in choices:
        peak = decode_peak(
            request.vae_config,
            size=request.latent_size,
            frames=options.group,
            options=options,
            element=element,
        )
        if peak * _ROOM <= room:
            break
    return options, peak


def widest_unit(config: Mapping[str, Any]) -> int:
    """Parameters of the widest part that is streamed as one: a transformer or a residual block."""
    widths = list(config["block_out_channels"])
    context = _most(config.get("cross_attention_dim", 1024))
    layers = _most(config.get("transformer_layers_per_block", 1))
    attending = [widths[-1]]  # the middle has one always
    for kind, width in zip(config["down_block_types"], widths, strict=True):
        attending += [width] if "CrossAttn" in kind else []
    width = max(attending)
    spatial = 18 * width**2 + 2 * context * width + 17 * width
    temporal = 30 * width**2 + 2 * context * width + 28 * width
    # What is around them: norm, projections in and out, the embedding of time, the mixing factor.
    transformer = 10 * width**2 + 9 * width + 1 + layers * (spatial + temporal)
    width, joined, time = max(widths), 2 * max(widths), 4 * widths[0]
    over_space = 10 * joined * width + 9 * width**2 + time * width + 2 * joined + 6 * width
    over_time = 6 * width**2 + time * width + 7 * width
    return max(transformer, over_space + over_time + 1)


def _most(value: Any) -> int:
    """Of one number for all levels, or one for each."""
    return int(value) if isinstance(value, int) else max(map(int, value))


@contextlib.contextmanager
def apply_plan(unet: nn.Module, plan: MemoryPlan, device: Any) -> Iterator[None]:
    """Within it the UNet runs as planned; put it into the plan's computing type first.

    Constant cross-attention is on, too. What is not the UNet's is the caller's: `window_batch`,
    `halves_together`, `decode`, and moving the other networks for offload "model" and "stream"
    (`offloaded(vae, device, "model")`).

    Args:
        unet: a `UNetSpatioTemporalConditionModel`; restored at the end, but for 8-bit weights,
            which stay.
        plan: from `plan_memory`.
        device: where to compute.
    """
    from temporal.chunked.context import chunked

    if plan.precision == "int8":
        quantise_weights(unet)
    with contextlib.ExitStack() as stack:
        stack.enter_context(offloaded(unet, device, plan.offload))
        stack.enter_context(constant_cross_attention(unet))
        if plan.chunks is not None:
            # Steps without guidance, and the last windows, have fewer rows than were planned for.
            stack.enter_context(chunked(unet, plan.chunks, clamp=True))
        yield
