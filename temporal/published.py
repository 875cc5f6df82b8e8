"""Window plans of published long-video loops, by name.

    controlnext-v1   windows from a static grid, equal weights, every window but the first leaves
                     out its own first frame
    controlnext-v2   the same, and that frame is shown the control of frame 0 instead of its own
    mimicmotion      frame 0 in slot 0, the other slots move on, triangular weights for all slots
    animate-anyone   windows that wrap round from the last frame to the first, equal weights

The published loops leave frames uncovered where the overlap is 0, and the last one cannot run on a
clip shorter than its window; animate-anyone's last frames share a window with the first ones,
whatever the motion, where ours moves the last window back to end with the clip. `published_plan`
repairs just that and keeps everything else;
`published_windows` gives the loops' windows as they are, faults included, to compare with.
"""

from __future__ import annotations

from typing import get_args

from temporal.errors import TemporalError
from temporal.kinds import PublishedName
from temporal.slot_weights import triangular
from temporal.windows import Window, WindowPlan, check_settings, clamped_note, starts, uncovered

PUBLISHED: tuple[PublishedName, ...] = get_args(PublishedName)


def published_plan(
    name: PublishedName, frames: int, *, window: int, overlap: int, steps: int
) -> WindowPlan:
    """The published windows for a clip, with the frames covered that they leave out.

    Arguments and errors as for `plan_windows`; what was repaired stands in the plan's notes.
    """
    check_settings(frames, window, overlap, steps)
    notes: list[str] = []
    if window > frames:
        notes.append(clamped_note(window, frames))
        window = frames
    if window == frames:
        overlap = 0
    windows = published_windows(name, frames, window=window, overlap=overlap)
    if name == "animate-anyone":
        windows = tuple(_even(start, window) for start in starts(frames, window, window - overlap))
    if missing := uncovered(windows, frames):
        windows = _repaired(name, windows, frames, window, overlap)
        notes.append(f"{name} leaves {len(missing)} frame(s) uncovered, first {missing[0]}: added")
    return WindowPlan(
        frames=frames,
        window=window,
        overlap=overlap,
        steps=steps,
        schedule=name,
        weights="triangular" if name == "mimicmotion" else "flat",
        cycle=(windows,),
        notes=tuple(notes),
    )


def published_windows(
    name: PublishedName, frames: int, *, window: int, overlap: int
) -> tuple[Window, ...]:
    """The windows of a published loop as they are, uncovered frames included.

    A mimicmotion window longer than the clip raises TemporalError: that loop has none then.
    """
    check_settings(frames, window, overlap, steps=1)
    if name == "mimicmotion":
        if window > frames:
            raise TemporalError(
                f"mimicmotion has no windows of {window} frames for a clip of {frames}; "
                f"the longest is {frames}"
            )
        return _mimicmotion(frames, window, window - overlap)
    if name not in PUBLISHED:
        raise TemporalError(f"no published windows {name!r}; there are {', '.join(PUBLISHED)}")
    window = min(window, frames)
    stride = max(window - overlap, 1)
    if name == "animate-anyone":
        return tuple(
            _even(start, window, frames)
            for start in ([0] if window == frames else range(0, frames, stride))
        )
    return tuple(
        _controlnext(start, window, reference_control=name == "controlnext-v2")
        for start in starts(frames, window, stride)
    )


def _controlnext(start: int, window: int, *, reference_control: bool) -> Window:
    frames = tuple(range(start, start + window))
    if start == 0:
        return Window(frames=frames, weights=(1.0,) * window)
    return Window(
        frames=frames,
        weights=(0.0,) + (1.0,) * (window - 1),
        control=(0, *frames[1:]) if reference_control else frames,
    )


def _even(start: int, window: int, frames: int | None = None) -> Window:
    """Equal weights; with `frames`, the length of the clip, the window wraps round."""
    numbers = range(start, start + window)
    wrapped = tuple(n if frames is None else n % frames for n in numbers)
    return Window(frames=wrapped, weights=(1.0,) * window)


def _mimicmotion(frames: int, window: int, stride: int) -> tuple[Window, ...]:
    weights = triangular(window)
    return tuple(
        Window(frames=(0, *range(start + 1, start + window)), weights=weights)
        for start in starts(frames, window, stride)
    )


def _repaired(
    name: PublishedName, windows: tuple[Window, ...], frames: int, window: int, overlap: int
) -> tuple[Window, ...]:
    if name == "mimicmotion" and window > 1:
        # Its windows show window - 1 frames besides the anchor: the stride must not be longer.
        return _mimicmotion(frames, window, min(window - overlap, window - 1))
    if name == "mimicmotion":
        raise TemporalError(
            "mimicmotion windows of 1 frame hold the anchor alone; the smallest window is 2"
        )
    missing = set(uncovered(windows, frames))
    return tuple(
        Window(
            frames=w.frames,
            weights=tuple(
                1.0 if f in missing else weight
                for f, weight in zip(w.frames, w.weights, strict=True)
            ),
            # A frame that is to be kept must follow its own pose.
            control=tuple(
                f if f in missing else c for f, c in zip(w.frames, w.control, strict=True)
            ),
        )
        for w in windows
    )
