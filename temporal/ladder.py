"""The plans there are for a request, from the fastest to the smallest, each with what it takes.

Going down the ladder: windows one at a time, pieces, guidance halves in turn, smaller pieces,
networks on the device only while in use, the UNet's weights block by block, and (if the precision
may be chosen) 8-bit weights. Two of them change the result: 8-bit weights, and fewer frames decoded
together, which is done only where the autoencoder alone on the device has no room for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from temporal.chunked.chunks import Chunks
from temporal.chunked.decoder import DecoderCuts
from temporal.estimate import decode_peak, encode_peak, unet_peak
from temporal.kinds import Offload, Precision
from temporal.memory_plan import MemoryPlan, MemoryRequest
from temporal.offload import UNITS_HELD
from temporal.precision import computing_type
from temporal.vae import DecodeOptions

ROOM = 1.05
"""Free memory that a plan needs, in parts of what it takes: allocators round up and leave gaps."""
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


def ladder(request: MemoryRequest) -> list[MemoryPlan]:
    """All plans of a request, the fastest first."""
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
    tried: list[tuple[int, bool, Chunks | None]] = []
    batches = [batch for batch in (8, 4, 2, 1) if batch <= request.windows]
    together = (True, False) if request.guided else (True,)
    # Attention over time has a batch of all pixels, of every window and guidance half.
    sequences = width * height * (2 if request.guided else 1)
    tried += [
        (batch, True, None) for batch in batches if request.on_host or batch * sequences <= _GRID
    ]
    for halves in together:
        rows = request.window * (2 if halves and request.guided else 1)
        for frames, pixels, tokens in _PIECES:
            # The same amount of work in a piece at any picture size.
            frames = max(1, frames * 128 * 72 // (width * height))
            chunks = Chunks(frames=frames, pixels=pixels, tokens=tokens)
            if request.motion and halves and request.guided:
                # Frames of both halves differ in what they attend to.
                chunks = Chunks(tokens=tokens)
            fitted = chunks.fitted(frames=rows, pixels=width * height)
            if (1, halves, fitted) not in tried:
                tried.append((1, halves, fitted))
    return tried


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
        motion=request.motion,
        context_tokens=request.context_tokens,
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


def smaller_decoding(plan: MemoryPlan) -> MemoryPlan | None:
    """The plan with decoding that takes clearly less, or None."""
    request = plan.request
    element = _element(request, plan.precision)
    work = decode_peak(
        request.vae_config,
        size=request.latent_size,
        frames=plan.decode.group,
        options=plan.decode,
        element=element,
    )
    options, peak = _decoding(request, element, room=int(0.95 * ROOM * work), fewer=True)
    if peak > 0.95 * work:
        return None
    peaks = {**plan.peaks, "decode": plan.peaks["decode"] - work + peak}
    return replace(plan, decode=options, peaks=peaks)


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
        if peak * ROOM <= room:
            break
    return options, peak


def widest_unit(config: Mapping[str, Any]) -> int:
    """Parameters of the widest part that is streamed as one: a transformer or a residual block."""
    widths = list(config["block_out_channels"])
    context = _most(config.get("cross_attention_dim", 1024))
    attending = [widths[-1]]  # the middle has one always
    for kind, width in zip(config["down_block_types"], widths, strict=True):
        attending += [width] if "CrossAttn" in kind else []
    width, joined, time = max(widths), 2 * max(widths), 4 * widths[0]
    over_space = 10 * joined * width + 9 * width**2 + time * width + 2 * joined + 6 * width
    if "motion_max_seq_length" in config:
        return max(over_space, *_motion_units(max(attending), max(widths), context))
    layers = _most(config.get("transformer_layers_per_block", 1))
    transformer = _spatio_temporal_unit(max(attending), context, layers)
    over_time = 6 * width**2 + time * width + 7 * width
    return max(transformer, over_space + over_time + 1)


def _spatio_temporal_unit(width: int, context: int, layers: int) -> int:
    """Parameters of a transformer over space and time."""
    spatial = 18 * width**2 + 2 * context * width + 17 * width
    temporal = 30 * width**2 + 2 * context * width + 28 * width
    # Around them: norm, projections in and out, the embedding of time, the mixing factor.
    return 10 * width**2 + 9 * width + 1 + layers * (spatial + temporal)


def _motion_units(width: int, widest: int, context: int) -> tuple[int, int]:
    """Parameters of a spatial transformer of that width, and of the widest one over time."""
    spatial = 20 * width**2 + 2 * context * width + 21 * width
    return spatial, 22 * widest**2 + 21 * widest


def _most(value: Any) -> int:
    """The largest of one number for all levels, or one for each."""
    return int(value) if isinstance(value, int) else max(map(int, value))
