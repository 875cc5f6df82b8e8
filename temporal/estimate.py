"""Peaks of the networks from their configuration alone, in microseconds.

Walks through a network as it runs and adds up what is alive: what callers hold (skip tensors, a
block's input), the block's own tensors, and the widest piece of its work. `tracking.tracked_peak`
runs the same under torch's tracker and is what these sums are checked against.

Sizes are counted in elements and turned into bytes at the end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from temporal.chunked.chunks import Chunks
from temporal.vae import DecodeOptions


@dataclass(frozen=True, kw_only=True)
class _Work:
    """Rows and pieces of one call of the UNet."""

    rows: int  # batch elements times frames
    chunks: Chunks
    pixels: int  # of the latents
    element: int  # bytes of one number
    batch: int = 1  # windows and guidance halves
    context: int = 0  # numbers that a row attends to; 0 where cross-attention is a constant
    motion: bool = False  # a `UNetMotionModel`
    reference: bool = False  # all rows attend to a reference's features as well

    def frames(self, pixels: int) -> int:
        """Frames at a time where a frame has that many pixels."""
        if self.chunks.frames is None:
            return self.rows
        return min(self.rows, max(1, self.chunks.frames * self.pixels // pixels))

    def piece(self, pixels: int) -> int:
        return min(pixels, self.chunks.pixels or pixels)

    def statistics(self) -> float:
        """Numbers at a time in a norm's statistics: two of float32."""
        return 8 / self.element


def _res_block(work: _Work, source: int, channels: int, pixels: int) -> float:
    group = work.frames(pixels) * pixels
    spatial = group * max(2 * source, source + channels, 4 * channels)
    whole = work.rows * pixels * channels
    if work.motion:
        return spatial + (whole if work.frames(pixels) < work.rows else 0)
    piece = work.rows * work.piece(pixels) * channels
    temporal = whole + piece * max(work.statistics(), 4)
    kept = whole if work.frames(pixels) < work.rows else 0
    return max(kept + spatial, whole + temporal)


def _transformer(work: _Work, channels: int, pixels: int) -> float:
    group = work.frames(pixels) * pixels
    whole = work.rows * pixels * channels
    if work.motion:
        return max(
            _motion_attention(work, channels, pixels), _motion_module(work, channels, pixels)
        )
    spatial = _block(work, group, channels)
    piece = work.piece(pixels)
    temporal = _over_time(work, piece, channels)
    if piece < pixels:  # at the second one, with the result of the first
        second = _over_time(work, min(piece, pixels - piece), channels)
        temporal = max(temporal, work.rows * piece * channels + second)
    return whole + max(spatial, temporal, whole + 3 * group * channels)


def _over_time(work: _Work, pixels: int, channels: int) -> float:
    """A transformer block over time on that many pixels of every frame."""
    tokens = work.rows * pixels * channels
    copied = tokens if work.batch > 1 else 0  # frames of a batch are no view by pixels
    attended = tokens + work.batch * pixels * work.context if work.context else 0
    return _block(work, work.rows * pixels, channels, attending=8) + copied + attended


def _block(work: _Work, tokens: int, channels: int, attending: int = 7) -> float:
    """A transformer block on some tokens: attention, or the feed-forward that is wider.

    attending: tensors of all tokens that are alive when attention is at its widest
    """
    at_once = min(tokens, work.chunks.tokens or tokens)
    feeding = 3 * tokens + 16 * at_once
    if at_once < tokens:  # the result and the piece before, at the second one
        feeding = max(feeding, 4 * tokens + at_once + 16 * min(at_once, tokens - at_once))
    return max(attending * tokens, feeding) * channels


def _motion_attention(work: _Work, channels: int, pixels: int) -> float:
    """The spatial transformer of a motion UNet: its result, and one group of frames in it."""
    group = work.frames(pixels) * pixels
    joined = work.rows * pixels * channels if work.frames(pixels) < work.rows else 0
    attending = (10 if work.reference else 7) * group * channels
    return joined + group * channels + max(attending, _block(work, group, channels))


def _motion_module(work: _Work, channels: int, pixels: int) -> float:
    """A transformer over time: all normalised pixels where any go in pieces, and one of these."""
    piece = work.rows * work.piece(pixels) * channels
    normal = work.rows * pixels * channels if work.chunks.pixels is not None else 0
    return normal + piece + _block(work, work.rows * work.piece(pixels), channels)


def unet_peak(
    config: Mapping[str, Any],
    *,
    size: tuple[int, int],
    frames: int,
    batch: int,
    chunks: Chunks | None,
    element: int,
    motion: bool = False,
    context_tokens: int = 1,
) -> int:
    """Bytes at the widest moment of one call of a video UNet, without its weights.

    Args:
        config: of a `UNetSpatioTemporalConditionModel`, or of a `UNetMotionModel`.
        size: (width, height) of the latents.
        frames: frames of a window.
        batch: windows and guidance halves in one call.
        chunks: its pieces; None for the stock forward.
        element: bytes of one number.
        motion: a transformer over time follows every block, as in a `UNetMotionModel`, whose
            conditional half attends to a reference's features.
        context_tokens: tokens of the context; cross-attention to one alone is a constant.
    """
    width, height = size
    work = _Work(
        rows=batch * frames,
        batch=batch,
        context=context_tokens * config["cross_attention_dim"] if context_tokens > 1 else 0,
        chunks=chunks or Chunks(),
        pixels=width * height,
        element=element,
        motion=motion,
        reference=motion and batch == 1,
    )
    widths = list(config["block_out_channels"])
    layers = _per_level(config["layers_per_block"], len(widths))
    areas, skips, peak = [], [], 0.0
    pixels, source = width * height, widths[0]
    skips.append((pixels, source))

    def held() -> float:
        return work.rows * sum(p * c for p, c in skips)

    for level, channels in enumerate(widths):
        areas.append(pixels)
        attends = motion or "CrossAttn" in config["down_block_types"][level]
        for _ in range(layers[level]):
            peak = max(peak, held() + _res_block(work, source, channels, pixels))
            if attends:
                inside = work.rows * pixels * channels + _transformer(work, channels, pixels)
                peak = max(peak, held() + inside)
            skips.append((pixels, channels))
            source = channels
        if level < len(widths) - 1:
            width, height = math.ceil(width / 2), math.ceil(height / 2)
            pixels = width * height
            skips.append((pixels, channels))
    peak = max(peak, held() + work.rows * pixels * source + _transformer(work, source, pixels))
    entering = (pixels, source)
    for level in reversed(range(len(widths))):
        channels, pixels = widths[level], areas[level]
        attends = motion or "CrossAttn" in config["up_block_types"][len(widths) - 1 - level]
        base = held() + work.rows * math.prod(entering)
        hidden = entering[1]
        own_input = 0.0  # the block's own input, once it is no longer the caller's
        for _ in range(layers[level] + 1):
            _, skip = skips[-1]
            skips.pop()
            joined = work.rows * pixels * (hidden + skip)
            peak = max(peak, base + own_input + joined)
            inside = joined + _res_block(work, hidden + skip, channels, pixels)
            peak = max(peak, base + inside)
            own_input = work.rows * pixels * channels
            if attends:
                peak = max(peak, base + own_input + _transformer(work, channels, pixels))
            hidden = channels
        if level > 0:
            larger = areas[level - 1]
            group = max(1, work.frames(pixels) // 4) if work.chunks.frames else work.rows
            doubled = work.rows * larger * channels
            peak = max(peak, base + own_input + doubled + 2 * group * larger * channels)
            entering = (larger, channels)
    return int(peak * element)


def _per_level(value: Any, levels: int) -> list[int]:
    return [value] * levels if isinstance(value, int) else list(value)


def reference_numbers(config: Mapping[str, Any], *, size: tuple[int, int]) -> int:
    """Numbers that a reference's UNet hands over: one map for each of its transformer blocks.

    Args:
        config: of the `UNetMotionModel` that attends to them.
        size: (width, height) of the latents.
    """
    widths = list(config["block_out_channels"])
    layers = _per_level(config["layers_per_block"], len(widths))
    width, height = size
    total, pixels = 0, width * height
    for level, channels in enumerate(widths):
        pixels = width * height
        for kind, more in (("down_block_types", 0), ("up_block_types", 1)):
            kinds = list(config[kind])[:: -1 if more else 1]
            if "CrossAttn" in kinds[level]:
                total += (layers[level] + more) * pixels * channels
        if level < len(widths) - 1:
            width, height = math.ceil(width / 2), math.ceil(height / 2)
    return total + pixels * widths[-1]


def decode_peak(
    config: Mapping[str, Any],
    *,
    size: tuple[int, int],
    frames: int,
    options: DecodeOptions,
    element: int,
) -> int:
    """Bytes at the widest moment of decoding one group, without weights.

    Args:
        config: of an `AutoencoderKLTemporalDecoder`.
        size: (width, height) of the latents.
        frames: frames of the clip.
        options: groups, tiles and pieces.
        element: bytes of one number.
    """
    width, height = size
    finished = 0
    scale = 2 ** (len(config["block_out_channels"]) - 1)
    count = min(options.group, frames)
    if options.tile is not None:
        finished = 3 * count * 3 * width * height * scale**2
        width, height = min(width, options.tile), min(height, options.tile)
    cuts = options.cuts
    widths = list(reversed(config["block_out_channels"]))
    source, held, peak = widths[0], 0, 0.0
    group = min(count, cuts.frames or count)
    attention = 6 * group * width * height * source + count * width * height * source
    peak = max(peak, attention)
    for level, channels in enumerate(widths):
        pixels, rows = width * height, min(height, cuts.rows or height)
        band = group * (rows + 2) * width
        before = count * (pixels // 4) * source if level else 0
        whole = count * pixels * channels
        wide = group * pixels * source if level else 0  # the doubled frame
        if cuts.rows is None:
            spatial = before + whole + wide + group * pixels * max(2 * source, 4 * channels)
        else:
            values = 8 / element
            inner = group * pixels * channels + band * max(values, 4) * max(source, channels)
            spatial = before + whole + wide + inner
        piece = count * min(pixels, cuts.pixels or pixels) * channels
        temporal = 2 * whole + piece * max(8 / element, 4)
        peak = max(peak, spatial, temporal)
        source, held = channels, whole
        if level < len(widths) - 1:
            width, height = 2 * width, 2 * height
    peak = max(peak, held + 4 * group * width * min(height, cuts.rows or height) * source)
    return int((peak + finished) * element)


def encode_peak(config: Mapping[str, Any], *, size: tuple[int, int]) -> int:
    """Bytes at the widest moment of encoding one reference image in float32, without weights.

    Args:
        config: of an `AutoencoderKLTemporalDecoder`.
        size: (width, height) of the latents.
    """
    widths = list(config["block_out_channels"])
    pixels = size[0] * size[1] * 4 ** (len(widths) - 1)
    peak, source = 0, widths[0]
    for channels in widths:
        peak = max(peak, pixels * (source + max(2 * source, 4 * channels)))
        pixels, source = pixels // 4, channels
    return 4 * peak
