"""Settings by which latents become a clip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from animate.errors import RequestError
from animate.request.schema import validate
from animate.request.setting import Converted, option
from animate.request.values import Guidance, NoiseInterval
from temporal import kinds

Solver = Literal["euler", "heun", "dpmpp-2m", "unipc"]
"""Solvers; see `animate.generate.schedules`."""
Levels = Literal["model", "align-your-steps"]
"""Noise levels of the steps; see `animate.generate.schedules`."""
if TYPE_CHECKING:
    from typing_extensions import TypeVar as _TypeVar

    Open = _TypeVar("Open", covariant=True, default=None)
else:  # a default means something to type checkers alone
    Open = TypeVar("Open", covariant=True)
"""None in options that may leave a value open, Never in those where every value is there."""
GuidanceText = Guidance | tuple[float, float] | float | str | None
IntervalText = NoiseInterval | tuple[float, float] | str | None


@dataclass(frozen=True, kw_only=True)
class SamplingOptions(Generic[Open]):
    """Settings by which latents become a clip. None takes the model variant's default.

    The variant's own defaults are of this class, and so is what a clip is made with
    (`animate.generate.settings.ClipSettings`), where nothing is open any more.

    Raises RequestError for values out of range.
    """

    seed: int = option(
        0,
        "seed of the noise; with the frame's number it decides",
        least=0,
        most=2**64 - 1,
        usual=True,
        timed=False,
    )
    steps: int | Open = option(None, "denoising steps", least=1, most=1000, usual=True, timed=False)
    window: int | Open = option(None, "frames denoised together", least=1, most=1024, usual=True)
    overlap: int | Open = option(
        None, "frames that neighbouring windows share", least=0, usual=True
    )
    schedule: kinds.Schedule | kinds.PublishedName | Open = option(
        None, "how windows lie over the clip"
    )
    fusing: kinds.WeightName | Open = option(
        None, "weights of a window's frames where windows overlap"
    )
    guidance: Converted[Guidance | Open, GuidanceText] = option(
        None,
        "guidance scale, or its values at a window's first and last frame",
        metavar="MIN[:MAX]",
        usual=True,
    )
    control_weight: float | Open = option(
        None, "weight of the control features", least=0.0, most=10.0
    )
    identity_weight: float = option(
        1.0, "weight of the face, for models that are given one; 0: no face", least=0.0, most=10.0
    )
    noise: kinds.NoiseKind | Open = option(None, "how the noise of frames is related")
    solver: Solver = option("euler", "solver; heun calls the UNet twice a step, and wants ten")
    levels: Levels = option("model", "noise levels of the steps: the model's, or few chosen ones")
    guidance_interval: Converted[NoiseInterval | None, IntervalText] = option(
        None, "guide only at these noise levels", metavar="LOW:HIGH"
    )
    keep_features: int = option(
        1, "compute the UNet's deep features at one step in N (1: at every step)", least=1, most=16
    )
    keep_control: int = option(
        1, "compute control features at one call in N (1: at every call)", least=1, most=1000
    )
    decode_chunk: int | Open = option(
        None, "frames decoded together; fewer need less memory, but may flicker", least=1, most=256
    )

    def __post_init__(self) -> None:
        validate(self)
        window, overlap = self.window, self.overlap
        if isinstance(window, int) and isinstance(overlap, int) and overlap >= window:
            raise RequestError(
                f"overlap {overlap} is not below the window of {window} frames; "
                f"use at most {window - 1}"
            )
