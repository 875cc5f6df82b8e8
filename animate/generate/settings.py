"""A request meets a model variant: every value that was left open gets one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from animate.driving.placement import native_size
from animate.errors import RequestError
from animate.models.variants import ModelVariant
from animate.request.request import AnimationRequest, Fusing, Levels, Noise, Schedule, Solver
from animate.request.values import Guidance, Interval, Size
from temporal.published import PUBLISHED, published_plan
from temporal.windows import WindowPlan, plan_windows

_HEUN_STEPS = 10


@dataclass(frozen=True, kw_only=True)
class ClipSettings:
    """What a clip is really made with; names and meanings as in `SamplingOptions`."""

    size: Size
    seed: int
    steps: int
    window: int
    overlap: int
    schedule: Schedule
    fusing: Fusing
    guidance: Guidance
    control_weight: float
    noise: Noise
    solver: Solver
    levels: Levels
    guidance_interval: Interval | None
    keep_features: int
    decode_chunk: int
    """Frames that the VAE decodes together."""


def settle(request: AnimationRequest, variant: ModelVariant, reference: Size) -> ClipSettings:
    """The request's values, and the variant's in place of None; `reference` is its picture's size.

    An overlap that was left open shrinks with a shorter window. Raises RequestError for a size
    that the model cannot take, naming the nearest that it can.
    """
    given, defaults = request.sampling, variant.sampling
    window = given.window or defaults.window
    if given.overlap is not None and given.overlap >= window:
        raise RequestError(
            f"overlap {given.overlap} is not below {variant.name}'s window of {window} frames; "
            f"use at most {window - 1}, or a longer window"
        )
    weight = given.control_weight
    return ClipSettings(
        size=_checked(request.size, variant) if request.size else _fitting(variant, reference),
        seed=given.seed,
        steps=given.steps or defaults.steps,
        window=window,
        overlap=min(defaults.overlap, window - 1) if given.overlap is None else given.overlap,
        schedule=given.schedule or defaults.schedule,
        fusing=given.fusing or defaults.fusing,
        guidance=given.guidance or defaults.guidance,
        control_weight=variant.injection.weight if weight is None else weight,
        noise=given.noise,
        solver=given.solver,
        levels=given.levels,
        guidance_interval=given.guidance_interval,
        keep_features=given.keep_features,
        decode_chunk=request.runtime.decode_chunk or defaults.decode_chunk,
    )


def cautions(settings: ClipSettings, variant: ModelVariant) -> list[str]:
    """What is allowed, but makes worse pictures than whoever asked for it may expect.

    Heun's second call of a step looks where hardly any noise is left, and a long step multiplies
    what the UNet gets wrong there: fewer than ten steps leave visible noise in the bundled model's
    clips (docs/speed.md). Others were not measured.
    """
    said = []
    if settings.solver == "heun" and 1 < settings.steps < _HEUN_STEPS:
        said.append(
            f"solver heun with {settings.steps} steps can leave noise in the pictures; take "
            f"{_HEUN_STEPS} steps or more, or the solver euler"
        )
    together = variant.sampling.decode_chunk
    if settings.decode_chunk < together:
        said.append(
            f"decode_chunk {settings.decode_chunk} is fewer frames than {variant.name} is used to "
            f"decode together ({together}); colours may change and flicker"
        )
    return said


def _fitting(variant: ModelVariant, reference: Size) -> Size:
    """The shape nearest to the reference's, with the short side that the model was trained on."""
    short_side = min(min(size) for size in variant.sizes)
    return native_size(reference, short_side, variant.size_multiple)


def _checked(size: Size, variant: ModelVariant) -> Size:
    multiple = variant.size_multiple
    if size.width % multiple == 0 and size.height % multiple == 0:
        return size
    first, *others = nearest_sizes(size, multiple)
    then = f" (then {', '.join(map(str, others))})" if others else ""
    raise RequestError(
        f"size {size} cannot be made by {variant.name}: both sides must be multiples of "
        f"{multiple}; the nearest is {first}{then}"
    )


def nearest_sizes(size: Size, multiple: int) -> list[Size]:
    """The sizes around `size` whose sides are multiples, the nearest and best shaped first."""

    def around(side: int) -> set[int]:
        return {max(multiple, side // multiple * multiple), -(-side // multiple) * multiple}

    def distance(other: Size) -> tuple[int, float]:
        moved = abs(other.width - size.width) + abs(other.height - size.height)
        return moved, abs(other.width * size.height - other.height * size.width)

    able = [Size(w, h) for w in around(size.width) for h in around(size.height)]
    return sorted(able, key=distance)


def plan_clip(settings: ClipSettings, *, frames: int, steps: int) -> WindowPlan:
    """The windows of a clip, by the schedule that the settings name."""
    schedule: Any = settings.schedule
    shape: dict[str, Any] = {"window": settings.window, "overlap": settings.overlap, "steps": steps}
    if schedule in PUBLISHED:
        return published_plan(schedule, frames, **shape)
    return plan_windows(frames, **shape, schedule=schedule, weights=settings.fusing)
