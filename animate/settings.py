"""A request meets a model variant: every value that was left open gets one."""

from __future__ import annotations

from dataclasses import replace

from animate.errors import RequestError
from animate.geometry import native_size
from animate.models.variants import ModelVariant
from animate.options import AnimationRequest
from animate.values import Size


def resolve_request(
    request: AnimationRequest, variant: ModelVariant, reference: Size
) -> AnimationRequest:
    """The request with the variant's defaults in place of None; `reference` is its picture's size.

    An overlap that was left open shrinks with a shorter window. Raises RequestError for a size
    that the model cannot take, naming the nearest that it can.
    """
    given, defaults = request.sampling, variant.sampling
    window = given.window or defaults.window
    overlap = given.overlap
    if overlap is None:
        overlap = min(defaults.overlap, window - 1)
    elif overlap >= window:
        raise RequestError(
            f"overlap {overlap} is not below {variant.name}'s window of {window} frames; "
            f"use at most {window - 1}, or a longer window"
        )
    sampling = replace(
        given,
        steps=given.steps or defaults.steps,
        window=window,
        overlap=overlap,
        schedule=given.schedule or defaults.schedule,
        fusing=given.fusing or defaults.fusing,
        guidance=given.guidance or defaults.guidance,
        control_weight=(
            variant.injection.weight if given.control_weight is None else given.control_weight
        ),
    )
    runtime = replace(
        request.runtime, decode_chunk=request.runtime.decode_chunk or defaults.decode_chunk
    )
    size = _checked(request.size, variant) if request.size else _fitting(variant, reference)
    return replace(request, model=variant.name, size=size, sampling=sampling, runtime=runtime)


def _fitting(variant: ModelVariant, reference: Size) -> Size:
    """The trained size of the reference's orientation, or the shape nearest to the reference's."""
    short_side = min(min(size) for size in variant.sizes)
    return native_size(reference, short_side, variant.size_multiple)


def _checked(size: Size, variant: ModelVariant) -> Size:
    multiple = variant.size_multiple
    if size.width % multiple == 0 and size.height % multiple == 0:
        return size
    nearest = Size(*(max(multiple, round(side / multiple) * multiple) for side in size))
    raise RequestError(
        f"size {size} cannot be made by {variant.name}: both sides must be multiples of "
        f"{multiple}; the nearest is {nearest}"
    )
