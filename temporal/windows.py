"""Which frames of a long clip the network sees together, at every denoising step.

A clip of any length is generated in windows of a fixed number of frames that overlap. A plan says
which windows a step consists of and with which weight each window's prediction of a frame enters
the fused one. A plan that leaves a frame without weight at any step cannot be constructed.

Schedules:
    static     the grid starts at frame 0; the last window is moved back to end with the clip
    anchored   slot 0 of every window is global frame 0, the other slots move on; frame 0 itself
               is taken from the first window alone, elsewhere it is only looked at
    shifting   the static grid, moved by another offset at every step, so that no border between
               windows stays in place
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

from temporal.errors import TemporalError
from temporal.kinds import Schedule, WeightName
from temporal.slot_weights import slot_weights

SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)

_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, kw_only=True)
class Window:
    """Frames that go through the network together, in this order.

    frames: global index of each slot, all different, >= 0
    weights: relative weight of each slot's prediction; 0 = looked at, does not contribute
    control: frame whose control signal each slot takes; empty means each its own
    """

    frames: tuple[int, ...]
    weights: tuple[float, ...]
    control: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.control:
            object.__setattr__(self, "control", self.frames)
        if not len(self.frames) == len(self.weights) == len(self.control):
            raise TemporalError(
                f"a window of {len(self.frames)} frames has {len(self.weights)} weights and "
                f"{len(self.control)} control frames; give one of each for every frame"
            )
        if len(set(self.frames)) != len(self.frames) or min(self.frames, default=0) < 0:
            raise TemporalError(f"window frames must be different and >= 0, not {self.frames}")
        if not all(0 <= weight < math.inf for weight in self.weights):
            raise TemporalError(f"window weights must be finite and >= 0, not {self.weights}")

    @property
    def contributes(self) -> tuple[int, ...]:
        """The frames that this window has a say in."""
        return tuple(f for f, weight in zip(self.frames, self.weights, strict=True) if weight > 0)


@dataclass(frozen=True, kw_only=True)
class WindowPlan:
    """The windows of every denoising step of one clip, proven to cover every frame at every step.

    frames: length of the clip
    window: frames in each window (after clamping to the clip)
    overlap: frames that neighbours share at least (after clamping)
    steps: denoising steps, counted as calls of the network
    schedule, weights: names of the settings that made it, for records
    cycle: the windows of step 0, 1, ...; repeats when there are more steps
    notes: what was changed from what was asked for, in words; empty if nothing
    """

    frames: int
    window: int
    overlap: int
    steps: int
    schedule: str
    weights: str
    cycle: tuple[tuple[Window, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.cycle:
            raise TemporalError("a window plan needs the windows of at least one step")
        for step, windows in enumerate(self.cycle):
            for window in windows:
                if len(window.frames) != self.window or max(window.frames) >= self.frames:
                    raise TemporalError(
                        f"step {step}: window {window.frames[0]}..{window.frames[-1]} does not "
                        f"fit a plan of {self.window}-frame windows over {self.frames} frames"
                    )
            if missing := uncovered(windows, self.frames):
                raise TemporalError(
                    f"step {step}: no window contributes to frames {missing[:8]}"
                    f"{' and more' if len(missing) > 8 else ''}; raise the overlap"
                )

    def at(self, step: int) -> tuple[Window, ...]:
        """The windows of a step in [0, steps), in the order in which they are fused."""
        if not 0 <= step < self.steps:
            raise TemporalError(f"step {step} is outside this plan of {self.steps} steps")
        return self.cycle[step % len(self.cycle)]

    @property
    def calls(self) -> int:
        """Windows that go through the network over all steps: what the plan costs."""
        return sum(len(self.at(step)) for step in range(self.steps))


def uncovered(windows: tuple[Window, ...], frames: int) -> tuple[int, ...]:
    """The frames of a clip that no window contributes to."""
    seen = {frame for window in windows for frame in window.contributes}
    return tuple(frame for frame in range(frames) if frame not in seen)


def plan_windows(
    frames: int,
    *,
    window: int,
    overlap: int,
    steps: int,
    schedule: Schedule = "static",
    weights: WeightName = "overlap-linear",
) -> WindowPlan:
    """Plan the windows of a clip.

    frames: clip length, at least 1
    window: frames that the network sees together; clamped to the clip, which `notes` then says
    overlap: frames that neighbouring windows share (with `anchored`: besides the anchor)
    steps: calls of the network for each frame
    Raises TemporalError, naming the nearest setting that works.
    """
    check_settings(frames, window, overlap, steps)
    if schedule not in SCHEDULES:
        raise TemporalError(f"no window schedule {schedule!r}; there are {', '.join(SCHEDULES)}")
    notes: list[str] = []
    if window > frames:
        notes.append(clamped_note(window, frames))
        window = frames
    if window == frames:
        overlap = 0  # one window: there is no neighbour
    elif schedule == "anchored" and overlap >= window - 1:
        raise TemporalError(_anchored_message(window, overlap))
    stride = window - overlap
    if schedule == "static":
        grids = [_contiguous(frames, window, stride, offset=0)]
    elif schedule == "shifting":
        grids = [_contiguous(frames, window, stride, offset=o) for o in _offsets(stride, steps)]
        grids = grids[:1] if window == frames else grids
    else:
        grids = [_anchored(frames, window, overlap)]
    return WindowPlan(
        frames=frames,
        window=window,
        overlap=overlap,
        steps=steps,
        schedule=schedule,
        weights=weights,
        cycle=tuple(_weighted(grid, weights, anchored=schedule == "anchored") for grid in grids),
        notes=tuple(notes),
    )


def check_settings(frames: int, window: int, overlap: int, steps: int) -> None:
    """Raise TemporalError for settings that no schedule can serve."""
    if frames < 1:
        raise TemporalError(f"a clip of {frames} frames cannot be planned; the shortest has 1")
    if window < 1:
        raise TemporalError(f"a window of {window} frames is empty; the smallest is 1")
    if steps < 1:
        raise TemporalError(f"{steps} denoising steps cannot be planned; the fewest is 1")
    if overlap < 0:
        raise TemporalError(f"an overlap of {overlap} frames leaves gaps; the smallest is 0")
    if overlap >= window:
        raise TemporalError(
            f"an overlap of {overlap} frames never gets past a window of {window}; "
            f"the largest overlap for it is {window - 1}"
        )


def clamped_note(window: int, frames: int) -> str:
    """The note of a plan whose window is longer than the clip."""
    return f"the window of {window} frames is longer than the clip: {frames} used"


def starts(frames: int, window: int, stride: int, offset: int = 0) -> list[int]:
    """First frames of windows that start every `stride` frames from `-offset`, kept in the clip."""
    last = frames - window
    grid = [min(max(start, 0), last) for start in range(-offset, last + stride, stride)]
    return sorted(set(grid))


def _contiguous(frames: int, window: int, stride: int, offset: int) -> list[tuple[int, ...]]:
    first = starts(frames, window, stride, offset)
    return [tuple(range(start, start + window)) for start in first]


def _anchored(frames: int, window: int, overlap: int) -> list[tuple[int, ...]]:
    if window == frames:
        return [tuple(range(frames))]
    moving = window - 1
    first = starts(frames - 1, moving, moving - overlap)
    return [(0, *range(start + 1, start + 1 + moving)) for start in first]


def _offsets(stride: int, steps: int) -> list[int]:
    """Every offset of the grid once before any returns, consecutive ones far apart."""
    jump = max(1, round(stride * _GOLDEN))
    while math.gcd(jump, stride) != 1:
        jump += 1
    return [step * jump % stride for step in range(min(steps, stride))]


def _weighted(
    grid: list[tuple[int, ...]], weights: WeightName, *, anchored: bool
) -> tuple[Window, ...]:
    windows = []
    for number, frames in enumerate(grid):
        pinned = anchored and number > 0
        moving = frames[1:] if pinned else frames
        left = _shared(grid[number - 1], moving) if number else 0
        right = _shared(grid[number + 1], moving) if number + 1 < len(grid) else 0
        if anchored and not pinned and right:
            right -= 1  # frame 0 is in every window and is no neighbour's frame
        values = slot_weights(weights, len(moving), left=left, right=right)
        windows.append(Window(frames=frames, weights=((0.0,) if pinned else ()) + values))
    return tuple(windows)


def _shared(neighbour: tuple[int, ...], frames: tuple[int, ...]) -> int:
    return len(set(neighbour) & set(frames))


def _anchored_message(window: int, overlap: int) -> str:
    if window < 3 and overlap == 0:
        return (
            f"a window of {window} frame(s) has no room for the anchor and a frame that moves on; "
            "the smallest window of the anchored schedule is 2"
        )
    return (
        f"an overlap of {overlap} frames and the anchor fill a window of {window}; "
        f"the largest overlap for it with the anchored schedule is {max(window - 2, 0)}"
    )
