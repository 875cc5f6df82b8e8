"""Spatial layers of an autoencoder over bands of rows, with the statistics of whole frames.

A 3x3 convolution of a band needs one row more on each side; a group norm needs its statistics from
all rows first. With both, bands give exactly what whole frames give.

Legend: F frames, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator

from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from temporal.chunked.chunks import empty_in_layout_of, spans
from temporal.chunked.norms import GroupStatistics, normalise


def convolved_bands(
    frames_FCHW: Tensor,
    norm: nn.GroupNorm,
    activation: nn.Module,
    conv: nn.Module,
    rows: int | None,
) -> Iterator[tuple[int, int, Tensor]]:
    """Norm, activation and a 3x3 convolution over bands of rows.

    Yields:
        (first row, row behind the last, (F,C',rows,W)); the bands must be stored elsewhere than in
        the input, whose rows the next band needs.
    """
    height = frames_FCHW.shape[2]
    statistics = GroupStatistics(norm)
    for start, stop in spans(height, rows):
        statistics.add(frames_FCHW[:, :, start:stop])
    mean, variance = statistics.by_channel()
    for start, stop in spans(height, rows):
        above = max(start - 1, 0)
        band = normalise(frames_FCHW[:, :, above : stop + 1], norm, mean, variance)
        band = conv(activation(band))
        yield start, stop, band[:, :, start - above : stop - above]
        del band  # not held while the next one is at its widest


def run_resnet(block: ResnetBlock2D, frames_FCHW: Tensor, rows: int | None, into: Tensor) -> None:
    """A residual block without time embedding, in bands.

    Args:
        block: the stock block.
        frames_FCHW: its input.
        rows: rows at a time.
        into: (F,C',H,W) to write to; may be the input itself.
    """
    middle: Tensor | None = None
    layers = (block.norm1, block.nonlinearity, block.conv1)
    for start, stop, band in convolved_bands(frames_FCHW, *layers, rows):
        if middle is None:
            middle = empty_in_layout_of(band, into.shape)
        middle[:, :, start:stop] = band
    assert middle is not None, "a frame without rows"
    layers = (block.norm2, block.nonlinearity, block.conv2)
    for start, stop, band in convolved_bands(middle, *layers, rows):
        residual = frames_FCHW[:, :, start:stop]
        if block.conv_shortcut is not None:
            residual = block.conv_shortcut(residual)
        into[:, :, start:stop] = (residual + band) / block.output_scale_factor


def run_upsampler(layer: Upsample2D, frames_FCHW: Tensor, rows: int | None) -> Tensor:
    """Doubling of (F,C,H,W) with its 3x3 convolution, in bands of about `rows` rows."""
    height = frames_FCHW.shape[2]
    result: Tensor | None = None
    for start, stop in spans(height, None if rows is None else max(1, rows // 2)):
        above = max(start - 1, 0)
        band = layer(frames_FCHW[:, :, above : stop + 1])
        if result is None:
            result = empty_in_layout_of(band, (*band.shape[:2], 2 * height, band.shape[3]))
        skipped = 2 * (start - above)
        result[:, :, 2 * start : 2 * stop] = band[:, :, skipped : skipped + 2 * (stop - start)]
        del band
    assert result is not None, "a frame without rows"
    return result
