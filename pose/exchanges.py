"""People taken for each other while one hid the other, found over time and put right.

A tracker decides frame by frame, and at the moment when two people part it has little to go by.
Here the whole shot is known. For every two people the cheapest way through it is sought, by dynamic
programming over two states a frame: as followed, or exchanged. Clothes of another colour than the
person wears where both are seen well cost, and so does a change of state, the more the further a
person would have to jump in it.

Legend: F frames of one shot, P people.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pose.arrays import Array, Indices, Mask

# Levels of 255 by which the clothes of one person may look different from frame to frame; the cost
# of one frame is bounded, and is only a part of that of an independent look.
_COLOUR_SPREAD, _MOST_COLOUR_COST = 25.0, 4.0
_SHARE = 0.3
# Sizes of a person's body that nobody moves at once, and in a second.
_JUMP, _SPEED = 0.1, 1.0
_MOST_MOTION_COST = 20.0
_CHANGE = 1.0
# Frames in which both must be seen well for their clothes to be known.
_FEWEST = 3
_ROUNDS = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Sights:
    """The people of one shot as they were followed."""

    times: Array
    """(F,) seconds."""
    middles: Array
    """(F,P,2) pixels of each person's trunk; NaN where the person is absent."""
    sizes: Array
    """(F,P) pixels; NaN likewise."""
    colours: Array
    """(F,P,3,3) of the clothes (see `pose.appearance.clothes`); NaN where unseen."""
    clear: Mask
    """(F,P): nobody else is in front of the person or behind."""


def put_right(sights: Sights) -> Indices:
    """(F,P) column among `sights` in which each person is in each frame."""
    count, people = sights.middles.shape[:2]
    order = np.tile(np.arange(people), (count, 1))
    for _ in range(_ROUNDS):
        before = order.copy()
        for pair in combinations(range(people), 2):
            exchanged = _exchanged(sights, order[:, list(pair)])
            both = list(pair)
            order[:, both] = np.where(exchanged[:, None], order[:, both[::-1]], order[:, both])
        if np.array_equal(order, before):
            break
    return order


def _exchanged(sights: Sights, columns: Indices) -> Mask:
    """True for each frame in which two people are better exchanged.

    columns: (F,2) those in which they are followed
    """
    rows = np.arange(len(columns))[:, None]
    colours, clear = sights.colours[rows, columns], sights.clear[rows, columns]
    middles, sizes = sights.middles[rows, columns], sights.sizes[rows, columns]
    run = _both_seen(colours, clear)
    if run.stop - run.start < _FEWEST:
        return np.zeros(len(columns), bool)
    ways = _motion_costs(sights.times, middles, sizes)
    return _cheapest(_colour_costs(colours, colours[run]), ways)


def _both_seen(colours: Array, clear: Mask) -> slice:
    """The longest time in which both are seen well: they are two people then, whoever is who."""
    known = ~np.isnan(colours).all(axis=(2, 3))
    return _longest_run(np.asarray((clear & known).all(axis=1), bool))


def _median(colours: Array) -> Array:
    """The median over frames; NaN where no frame knows."""
    median = np.full(colours.shape[1:], np.nan)
    known = ~np.isnan(colours).all(axis=0)
    median[known] = np.nanmedian(colours[:, known], axis=0)
    return median


def _longest_run(flags: Mask) -> slice:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    starts, stops = edges[::2], edges[1::2]
    if len(starts) == 0:
        return slice(0, 0)
    longest = int(np.argmax(stops - starts))
    return slice(int(starts[longest]), int(stops[longest]))


def _colour_costs(colours: Array, seen_well: Array) -> Array:
    """(F,2) cost of each state by the clothes, which are known by those frames `seen_well`.

    Clothes of a large pattern change by themselves, and say the less of who wears them.
    """
    worn = _median(seen_well)
    changes = _median(np.linalg.norm(seen_well - worn, axis=-1)[..., None])[..., 0]
    spread = np.fmax(_COLOUR_SPREAD, np.nanmax(changes, axis=0, initial=0.0))
    apart = np.linalg.norm(colours[:, :, None] - worn, axis=-1) / spread
    known = ~np.isnan(apart)
    typical = np.zeros(apart.shape[:3])
    some = known.any(axis=-1)
    typical[some] = np.nanmedian(apart[some], axis=-1)
    cost = _SHARE * np.minimum(_MOST_COLOUR_COST, typical**2 / 2)
    return np.stack([cost[:, 0, 0] + cost[:, 1, 1], cost[:, 0, 1] + cost[:, 1, 0]], axis=1)


def _motion_costs(times: Array, middles: Array, sizes: Array) -> Array:
    """(F,2) costs of the ways to each frame when the state stays, and when it changes there."""
    frames = np.arange(len(middles))
    costs = np.zeros((len(middles), 2, 2))
    for before in range(2):
        seen = np.where(np.isnan(middles[:, before, 0]), -1, frames)
        last = np.concatenate([[-1], np.maximum.accumulate(seen)[:-1]])
        moved = np.linalg.norm(middles - middles[last, before][:, None], axis=2)
        elapsed = times - times[last]
        size = np.fmax(sizes, sizes[last, before][:, None])
        allowed = np.fmax((_JUMP + _SPEED * elapsed)[:, None] * size, 1e-6)
        way = np.nan_to_num(np.minimum(moved / allowed, _MOST_MOTION_COST))
        costs[:, before] = np.where((last < 0)[:, None], 0.0, way)
    straight, crossed = costs[:, 0, 0] + costs[:, 1, 1], costs[:, 0, 1] + costs[:, 1, 0]
    return np.stack([straight, crossed], axis=1)


def _cheapest(fit: Array, ways: Array) -> Mask:
    """The states (F,) of least cost, given each state's own and those of the ways to each frame."""
    followed, exchanged = float(fit[0, 0]), float(fit[0, 1]) + _CHANGE
    changes = np.zeros(fit.shape, bool)
    for frame, (straight, crossed) in enumerate(ways[1:].tolist(), start=1):
        crossed += _CHANGE
        changes[frame] = (
            exchanged + crossed < followed + straight,
            (followed + crossed < exchanged + straight),
        )
        followed, exchanged = (
            min(followed + straight, exchanged + crossed) + float(fit[frame, 0]),
            min(exchanged + straight, followed + crossed) + float(fit[frame, 1]),
        )
    states = np.zeros(len(fit), bool)
    states[-1] = exchanged < followed
    for frame in range(len(fit) - 1, 0, -1):
        states[frame - 1] = states[frame] != changes[frame, int(states[frame])]
    return states
