"""A motion UNet in pieces: frames for its spatial layers, pixels for its transformers over time.

Its spatial layers see each frame by itself, so their stock forward runs on some frames at a time.

Legend: B batch, F frames, C channels, H height, W width, P pixels (H times W).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from torch import Tensor

from temporal.chunked.chunks import spans
from temporal.chunked.resblock import by_frames


def res_block_by_frames(
    stock: Callable[..., Tensor], frames: Callable[[Tensor], int | None]
) -> Callable[..., Tensor]:
    """The forward of a residual block over frames, (B*F,C,H,W), some at a time.

    Args:
        stock: the block's own forward.
        frames: number of frames at a time for a tensor; None for all.
    """

    def forward(input_tensor: Tensor, temb: Tensor | None = None) -> Tensor:
        def run(start: int, stop: int) -> Tensor:
            return stock(input_tensor[start:stop], None if temb is None else temb[start:stop])

        return by_frames(run, len(input_tensor), frames(input_tensor))

    return forward


def transformer_by_frames(
    stock: Callable[..., Any], frames: Callable[[Tensor], int | None]
) -> Callable[..., Any]:
    """The forward of a spatial transformer, (B*F,C,H,W) with a context (B*F,T,D), in pieces.

    Args:
        stock: the model's own forward.
        frames: number of frames at a time for a tensor; None for all.
    """

    def forward(
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        return_dict: bool = True,
        **more: Any,
    ) -> tuple[Tensor]:
        assert not return_dict, "the stock blocks ask for a tuple"

        def run(start: int, stop: int) -> Tensor:
            context = None
            if encoder_hidden_states is not None:
                context = encoder_hidden_states[start:stop]
            result: Tensor = stock(
                hidden_states[start:stop], encoder_hidden_states=context, return_dict=False, **more
            )[0]
            return result

        return (by_frames(run, len(hidden_states), frames(hidden_states)),)

    return forward


def motion_by_pixels(module: AnimateDiffTransformer3D, pixels: int | None) -> Callable[..., Tensor]:
    """The forward of a transformer over time, (B*F,C,H,W), some pixels at a time.

    The norm sees all pixels, as in the stock forward; its result is where the output is written.
    """

    def forward(hidden_states: Tensor, *arguments: Any, num_frames: int = 1, **more: Any) -> Tensor:
        if arguments:  # the mid block passes it by position
            num_frames = arguments[3]
        shape = hidden_states.shape
        clip_BCFHW = hidden_states.unflatten(0, (-1, num_frames)).transpose(1, 2)
        result_BFCHW = module.norm(clip_BCFHW).transpose(1, 2).contiguous()
        result_BFCP = result_BFCHW.flatten(3)
        for start, stop in spans(result_BFCP.shape[-1], pixels):
            tokens = result_BFCP[..., start:stop].permute(0, 3, 1, 2).flatten(0, 1)
            tokens = module.proj_in(tokens)
            for block in module.transformer_blocks:
                tokens = block(tokens)
            tokens = module.proj_out(tokens).unflatten(0, (-1, stop - start))
            result_BFCP[..., start:stop] = tokens.permute(0, 2, 3, 1)
            del tokens
        result: Tensor = result_BFCHW.view(shape).add_(hidden_states)
        return result

    return forward
