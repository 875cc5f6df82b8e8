"""Turn a UNet's forward into one in pieces, for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0
from diffusers.models.resnet import ResnetBlock2D, SpatioTemporalResBlock
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D, UNetMotionModel
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from temporal.chunked.attention import QueryChunks, is_plain, token_chunks
from temporal.chunked.chunks import Chunks
from temporal.chunked.motion import (
    motion_by_pixels,
    res_block_by_frames,
    transformer_by_frames,
)
from temporal.chunked.resblock import by_frames, run_res_block
from temporal.chunked.transformer import run_transformer
from temporal.wrapping import override_forward


class _Pieces:
    """The sizes of the pieces during one call, for tensors of any resolution in it."""

    def __init__(self, chunks: Chunks, *, clamp: bool, motion: bool) -> None:
        self.chunks, self.clamp, self.motion = chunks, clamp, motion
        self._spatial_tokens: int | None = None

    def enter(self, sample_BFCHW: Tensor) -> None:
        """A motion UNet's sample has its channels before its frames."""
        if self.motion:
            sample_BFCHW = sample_BFCHW.transpose(1, 2)
        batch, count, _, height, width = sample_BFCHW.shape
        if not self.clamp:
            self.chunks.check(frames=batch * count, pixels=height * width)
        if self.chunks.frames is not None:
            self._spatial_tokens = self.chunks.frames * height * width

    def frames(self, hidden: Tensor) -> int | None:
        """Frames at a time for (B*F,C,H,W): as many as make the latent's number of pixels."""
        if self._spatial_tokens is None:
            return None
        return max(1, self._spatial_tokens // hidden[0, 0].numel())


def _res_block(block: SpatioTemporalResBlock, pieces: _Pieces) -> Callable[..., Tensor]:
    def forward(
        hidden_states: Tensor,
        temb: Tensor | None = None,
        image_only_indicator: Tensor | None = None,
    ) -> Tensor:
        assert image_only_indicator is not None, "the stock block cannot do without it either"
        return run_res_block(
            block,
            hidden_states,
            temb,
            image_only_indicator,
            frames=pieces.frames(hidden_states),
            pixels=pieces.chunks.pixels,
        )

    return forward


def _transformer(model: TransformerSpatioTemporalModel, pieces: _Pieces) -> Callable[..., Any]:
    def forward(
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        image_only_indicator: Tensor,
        return_dict: bool = False,
    ) -> tuple[Tensor]:
        assert not return_dict, "the stock blocks ask for a tuple"
        result = run_transformer(
            model,
            hidden_states,
            encoder_hidden_states,
            image_only_indicator,
            frames=pieces.frames(hidden_states),
            pixels=pieces.chunks.pixels,
        )
        return (result,)

    return forward


def _upsampler(layer: Upsample2D, pieces: _Pieces) -> Callable[..., Tensor]:
    stock = layer.forward

    def forward(hidden_states: Tensor, output_size: Any = None) -> Tensor:
        # The pieces are as wide as the result's pixels ask for, four times the input's.
        size = pieces.frames(hidden_states)
        frames = None if size is None else max(1, size // 4)

        def run(start: int, stop: int) -> Tensor:
            return stock(hidden_states[start:stop], output_size)

        return by_frames(run, len(hidden_states), frames)

    return forward


@contextlib.contextmanager
def chunked(unet: nn.Module, chunks: Chunks, *, clamp: bool = False) -> Iterator[None]:
    """Within it, a UNet works in pieces: less memory, the same result.

    Guidance halves in turn are the caller's (two calls with a batch of one); window and batch are
    free to change from call to call.

    Args:
        unet: a diffusers `UNetSpatioTemporalConditionModel`, or a `UNetMotionModel` without
            cross-attention over time; restored at the end.
        chunks: sizes of the pieces.
        clamp: take a size beyond what a call has for all of it: for sizes that a plan has chosen
            for its largest call.

    Raises:
        TemporalError: at a call, a size is beyond what there is, and is not to be clamped.
    """
    pieces = _Pieces(chunks, clamp=clamp, motion=isinstance(unet, UNetMotionModel))

    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        pieces.enter(args[0] if args else kwargs["sample"])

    with contextlib.ExitStack() as stack:
        hook = unet.register_forward_pre_hook(enter, with_kwargs=True)
        stack.callback(hook.remove)
        for module in unet.modules():
            _cut(stack, module, chunks, pieces)
        yield


def _cut(stack: contextlib.ExitStack, module: nn.Module, chunks: Chunks, pieces: _Pieces) -> None:
    """Put the wrappers that the sizes ask for on one module."""
    spatial_or_temporal = chunks.frames is not None or chunks.pixels is not None
    if isinstance(module, SpatioTemporalResBlock) and spatial_or_temporal:
        override_forward(stack, module, _res_block(module, pieces))
    elif isinstance(module, TransformerSpatioTemporalModel) and spatial_or_temporal:
        override_forward(stack, module, _transformer(module, pieces))
    elif isinstance(module, AnimateDiffTransformer3D) and chunks.pixels is not None:
        override_forward(stack, module, motion_by_pixels(module, chunks.pixels))
    elif isinstance(module, Transformer2DModel) and chunks.frames is not None:
        override_forward(stack, module, transformer_by_frames(module.forward, pieces.frames))
    elif pieces.motion and isinstance(module, ResnetBlock2D) and chunks.frames is not None:
        override_forward(stack, module, res_block_by_frames(module.forward, pieces.frames))
    elif isinstance(module, Upsample2D) and chunks.frames is not None:
        override_forward(stack, module, _upsampler(module, pieces))
    elif isinstance(module, FeedForward) and chunks.tokens is not None:
        override_forward(stack, module, token_chunks(module.forward, chunks.tokens))
    elif isinstance(module, Attention) and chunks.queries is not None:
        stock = isinstance(module.processor, AttnProcessor | AttnProcessor2_0)
        if stock and is_plain(module):
            stack.callback(setattr, module, "processor", module.processor)
            module.processor = QueryChunks(chunks.queries)
