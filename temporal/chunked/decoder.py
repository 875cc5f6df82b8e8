"""The video autoencoder's decoder in pieces, with the stock result for the frames it is given.

The stock forward holds several tensors of all frames at full size, the widest of them right behind
the last doubling. Here doubling and the spatial half of the block behind it run frame by frame (or
band by band), so that this tensor never exists whole; what follows is written in place.

Legend: F frames, C channels, H height, W width.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor

from temporal.chunked.attention import QueryChunks, is_plain
from temporal.chunked.bands import convolved_bands, run_resnet, run_upsampler
from temporal.chunked.chunks import empty_in_layout_of, refuse_empty, spans
from temporal.chunked.convolution import run_over_time
from temporal.chunked.resblock import by_frames, by_pixel, mix_over_time


@dataclass(frozen=True, kw_only=True)
class DecoderCuts:
    """Sizes of the decoder's pieces. No choice changes the result.

    None leaves that work in one piece, and so does a size beyond what there is.

    Attributes:
        frames: frames at a time in spatial layers.
        rows: rows of a frame at a time in spatial layers; takes about a tenth longer.
        pixels: pixels at a time in temporal layers, each with all frames.
        queries: queries at a time in the one attention layer.

    Raises:
        TemporalError: a size is below one.
    """

    frames: int | None = 1
    rows: int | None = None
    pixels: int | None = 16384
    queries: int | None = 2304

    def __post_init__(self) -> None:
        refuse_empty(self)


def decode_in_pieces(decoder: Any, latents_FCHW: Tensor, cuts: DecoderCuts) -> Tensor:
    """The frames that a stock `TemporalDecoder` gives for all latents together.

    Args:
        decoder: of a diffusers `AutoencoderKLTemporalDecoder`.
        latents_FCHW: (F,C,h,w) unscaled latents.
        cuts: sizes of the pieces.

    Returns:
        (F,3,H,W), in the decoder's own range: [-1,1] is black to white, a little beyond happens.
    """
    indicator = latents_FCHW.new_zeros(1, len(latents_FCHW))
    hidden = decoder.conv_in(latents_FCHW)
    # The halves of a block stand side by side here, so that the first one's input is not held
    # while the second one runs.
    for attention, block in zip(
        [None, *decoder.mid_block.attentions], decoder.mid_block.resnets, strict=False
    ):
        if attention is not None:
            hidden = _attend(attention, hidden, cuts)
        hidden = _spatial_half(block.spatial_res_block, hidden, None, cuts)
        hidden = mix_over_time(block, hidden, None, indicator, pixels=cuts.pixels)
    hidden = hidden.to(next(decoder.up_blocks.parameters()).dtype)
    upsampler: Upsample2D | None = None
    for up_block in decoder.up_blocks:
        for block in up_block.resnets:
            hidden = _spatial_half(block.spatial_res_block, hidden, upsampler, cuts)
            hidden = mix_over_time(block, hidden, None, indicator, pixels=cuts.pixels)
            upsampler = None
        upsampler = up_block.upsamplers[0] if up_block.upsamplers is not None else None
    rgb = _to_rgb(decoder, hidden, cuts)
    clip = run_over_time(decoder.time_conv_out, by_pixel(rgb, len(rgb)))
    return clip.squeeze(0).transpose(0, 1).unflatten(-1, rgb.shape[2:])


def _spatial_half(
    block: ResnetBlock2D, hidden: Tensor, upsampler: Upsample2D | None, cuts: DecoderCuts
) -> Tensor:
    """Doubling (if any) and a residual block, in groups of frames; in place where shapes allow."""

    def doubled(start: int, stop: int) -> Tensor:
        piece = hidden[start:stop]
        return piece if upsampler is None else run_upsampler(upsampler, piece, cuts.rows)

    result = hidden if upsampler is None and block.conv_shortcut is None else None
    if cuts.rows is None:
        return by_frames(
            lambda start, stop: block(doubled(start, stop), None), len(hidden), cuts.frames, result
        )
    for start, stop in spans(len(hidden), cuts.frames):
        piece = doubled(start, stop)
        if result is None:
            shape = (len(hidden), block.conv2.out_channels, *piece.shape[2:])
            result = empty_in_layout_of(piece, shape)
        run_resnet(block, piece, cuts.rows, into=result[start:stop])
        del piece
    assert result is not None, "there are no frames"
    return result


def _attend(attention: Attention, hidden: Tensor, cuts: DecoderCuts) -> Tensor:
    """Self-attention within each frame, in place."""
    with ExitStack() as stack:
        if cuts.queries is not None and is_plain(attention):
            stack.callback(setattr, attention, "processor", attention.processor)
            attention.processor = QueryChunks(cuts.queries)
        return by_frames(
            lambda start, stop: attention(hidden[start:stop]), len(hidden), cuts.frames, into=hidden
        )


def _to_rgb(decoder: Any, hidden: Tensor, cuts: DecoderCuts) -> Tensor:
    """Last norm, activation and convolution: (F,3,H,W)."""
    rgb = hidden.new_empty(len(hidden), decoder.conv_out.out_channels, *hidden.shape[2:])
    layers = (decoder.conv_norm_out, decoder.conv_act, decoder.conv_out)
    for start, stop in spans(len(hidden), cuts.frames):
        for above, below, band in convolved_bands(hidden[start:stop], *layers, cuts.rows):
            rgb[start:stop, :, above:below] = band
    return rgb
