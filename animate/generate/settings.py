"""A request meets a model variant: every value that was left open gets one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Never

from animate.driving.placement import native_size
from animate.errors import RequestError
from animate.models.variants import ModelVariant
from animate.request.request import AnimationRequest, SamplingOptions
from animate.request.values import Guidance, NoiseInterval, Size
from animate.request.wording import listed
from temporal.published import PUBLISHED, published_plan
from temporal.windows import WindowPlan, plan_windows

_HEUN_STEPS = 10
_AREA = 2.0
"""Factor of a picture's area up to which a size is near to one that the model was trained on."""


@dataclass(frozen=True, kw_only=True)
class ClipSettings(SamplingOptions[Never]):
    """Sampling options with every value filled in, and the clip's size."""

    size: Size
    if TYPE_CHECKING:  # mypy gives inherited fields the types of what may be passed for them
        guidance: Guidance
        guidance_interval: NoiseInterval | None


def settle(request: AnimationRequest, variant: ModelVariant, reference: Size) -> ClipSettings:
    """The request's values, and the variant's in place of None; `reference` is its picture's size.

    An overlap that was left open shrinks with a shorter window. A clip that is to be enlarged is
    generated at the model's size nearest in shape to the enlarged one.

    Raises RequestError for a size that the model cannot take, naming the nearest that it can.
    """
    stated, defaults = request.sampling, variant.defaults
    values = {item.name: getattr(stated, item.name) for item in fields(stated)}
    for name, value in values.items():
        if value is None:
            values[name] = getattr(defaults, name)
    window = values["window"]
    if stated.overlap is None:
        values["overlap"] = min(defaults.overlap, window - 1)
    elif stated.overlap >= window:
        raise RequestError(
            f"--overlap {stated.overlap} is not below {variant.name}'s window of {window} frames; "
            f"use at most {window - 1}, or a longer window"
        )
    shape = request.enlarge_to or reference
    size = _checked(request.size, variant) if request.size else _fitting(variant, shape)
    return ClipSettings(**values, size=size)


def cautions(settings: ClipSettings, variant: ModelVariant) -> list[str]:
    """Warnings of settings that are allowed and make worse pictures than one may expect.

    Heun's second call of a step looks where hardly any noise is left, and a long step multiplies
    what the UNet gets wrong there: fewer than ten steps leave visible noise in the bundled model's
    clips (docs/speed.md). Others were not measured.
    """
    warnings = []
    if settings.solver == "heun" and 1 < settings.steps < _HEUN_STEPS:
        warnings.append(
            f"--solver heun with {settings.steps} steps can leave noise in the pictures; take "
            f"{_HEUN_STEPS} steps or more, or --solver euler"
        )
    together = variant.defaults.decode_chunk
    if settings.decode_chunk < together:
        warnings.append(
            f"--decode-chunk {settings.decode_chunk} is fewer frames than {variant.name} is used "
            f"to decode together ({together}); colours may change and flicker"
        )
    return warnings


def unshareable(sampling: SamplingOptions[Any]) -> Iterator[str]:
    """Messages that refuse features kept from call to call where workers compute the windows."""
    for option, every in (
        ("--keep-features", sampling.keep_features),
        ("--keep-control", sampling.keep_control),
    ):
        if every > 1:
            yield (
                f"{option} {every} needs each window's own history, which workers do not keep; "
                f"leave out {option} or --workers"
            )


def unusual_size(settings: ClipSettings, variant: ModelVariant) -> str | None:
    """A caution about a size far from all that the model was trained on; None for a usual one.

    A model that sees a person several times larger or smaller than it knows draws the reference
    with something over it, at the price of a larger clip.
    """
    size = settings.size
    areas = [trained.width * trained.height for trained in variant.sizes]
    area = size.width * size.height
    if min(areas) / _AREA <= area <= max(areas) * _AREA:
        return None
    nearest = _fitting(variant, size)
    larger = area > max(areas)
    advice = (
        f"--enlarge-to {size} generates at {nearest} and enlarges that"
        if larger
        else f"the nearest is --size {nearest}"
    )
    return (
        f"{variant.name} was made for {listed(variant.sizes, 4)}, not for {size}: expect "
        f"bad pictures{' and a long time' if larger else ''}; {advice}"
    )


def _fitting(variant: ModelVariant, reference: Size) -> Size:
    """The shape nearest to the reference's, with the short side that the model was trained on."""
    short_side = min(min(size) for size in variant.sizes)
    return native_size(reference, short_side, variant.size_multiple)


def _checked(size: Size, variant: ModelVariant) -> Size:
    multiple = variant.size_multiple
    if size.width % multiple == 0 and size.height % multiple == 0:
        return size
    first, *further = nearest_sizes(size, multiple)
    alternatives = f" (then {', '.join(map(str, further))})" if further else ""
    raise RequestError(
        f"size {size} cannot be made by {variant.name}: both sides must be multiples of "
        f"{multiple}; the nearest is {first}{alternatives}"
    )


def nearest_sizes(size: Size, multiple: int) -> list[Size]:
    """The sizes around `size` whose sides are multiples, the nearest and best shaped first."""

    def around(side: int) -> set[int]:
        return {max(multiple, side // multiple * multiple), -(-side // multiple) * multiple}

    def distance(candidate: Size) -> tuple[int, float]:
        moved = abs(candidate.width - size.width) + abs(candidate.height - size.height)
        return moved, abs(candidate.width * size.height - candidate.height * size.width)

    able = [Size(w, h) for w in around(size.width) for h in around(size.height)]
    return sorted(able, key=distance)


def plan_clip(settings: ClipSettings, *, frames: int, steps: int) -> WindowPlan:
    """The windows of a clip, by the schedule that the settings name."""
    schedule: Any = settings.schedule
    shape = {"window": settings.window, "overlap": settings.overlap, "steps": steps}
    if schedule in PUBLISHED:
        return published_plan(schedule, frames, **shape)
    return plan_windows(frames, **shape, schedule=schedule, weights=settings.fusing)
