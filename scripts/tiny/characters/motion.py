"""Motion of a character: every joint's angle is a smooth function of time.

Angles are radians in the body's own frame. `a` opens a limb outward from hanging down, `f` lifts
it forward; an elbow or knee adds to its parent's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

Pose = dict[str, float]

KINDS = ("idle", "walk", "wave", "dance", "gesture", "hips")

# Least and most that each angle may take, whatever the sum of waves says.
_LIMITS: dict[str, tuple[float, float]] = {
    "arm_a": (-0.25, 2.8),
    "arm_f": (-0.6, 1.7),
    "elbow_a": (-2.4, 2.2),
    "elbow_f": (-0.1, 2.0),
    "wrist": (-0.7, 0.7),
    "curl": (0.0, 1.4),
    "palm": (-1.0, 1.0),
    "hip_a": (-0.1, 0.9),
    "hip_f": (-0.5, 1.2),
    "knee": (0.0, 1.6),
    "lean": (-0.35, 0.35),
    "bend": (-0.2, 0.4),
    "yaw": (-1.3, 1.3),
    "twist": (-0.5, 0.5),
    "head_yaw": (-0.9, 0.9),
    "head_pitch": (-0.4, 0.5),
    "head_roll": (-0.4, 0.4),
    "blink": (0.0, 1.0),
    "mouth": (0.0, 1.0),
    "x": (-0.2, 0.2),
    "y": (-0.06, 0.06),
}


@dataclass(frozen=True, kw_only=True)
class Wave:
    """`base + sum of two sines`; the second at twice the rate."""

    base: float
    amplitude: float
    rate: float
    phase: float
    second: float
    second_phase: float

    def at(self, cycles: float) -> float:
        turn = 2 * np.pi * self.rate * cycles
        swing = self.amplitude * np.sin(turn + self.phase)
        return float(self.base + swing + self.second * np.sin(2 * turn + self.second_phase))


class Motion:
    """Angles over time, from a generator: one of `KINDS`, never twice the same."""

    def __init__(self, rng: Generator) -> None:
        self.kind = KINDS[int(rng.integers(len(KINDS)))]
        self.speed = float(rng.uniform(0.03, 0.09))
        """Cycles a frame."""
        self._start = float(rng.uniform(0, 100))
        self._waves = {name: _wave(rng, *values) for name, values in _ranges(rng, self.kind)}

    def at(self, frame: float) -> Pose:
        """The angles at a frame, which may be a fraction."""
        cycles = self._start + self.speed * frame
        pose = {}
        for name, wave in self._waves.items():
            low, high = _LIMITS[name.removeprefix("left_").removeprefix("right_")]
            pose[name] = float(np.clip(wave.at(cycles), low, high))
        pose["blink"] = float(pose["blink"] > 0.93)
        return pose


def _wave(
    rng: Generator, base: float, spread: float, amplitude: float, phase: float | None
) -> Wave:
    size = rng.uniform(0.2, 1.0) * amplitude
    return Wave(
        base=base + rng.uniform(-spread, spread),
        amplitude=size,
        rate=1.0 if phase is not None else float(rng.choice([0.5, 1.0, 1.0])),
        phase=phase if phase is not None else rng.uniform(0, 2 * np.pi),
        second=size * rng.uniform(0, 0.35),
        second_phase=rng.uniform(0, 2 * np.pi),
    )


_Range = tuple[float, float, float, float | None]


def _ranges(rng: Generator, kind: str) -> list[tuple[str, _Range]]:
    """For each angle: base, spread of the base, amplitude, and a phase where it must agree."""
    ranges: list[tuple[str, _Range]] = []
    for side, shift in (("left_", 0.0), ("right_", np.pi)):
        ranges += [(side + name, values) for name, values in _arm(rng, kind, shift).items()]
        ranges += [(side + name, values) for name, values in _leg(rng, kind, shift).items()]
    view = 1.1 if rng.uniform() < 0.15 else 0.45
    ranges += [
        ("lean", (0.0, 0.06, 0.12, None)),
        ("bend", (0.03, 0.06, 0.08, None)),
        ("yaw", (0.0, view, 0.35, None)),
        ("twist", (0.0, 0.1, 0.25, None)),
        ("head_yaw", (0.0, 0.2, 0.4, None)),
        ("head_pitch", (0.0, 0.12, 0.15, None)),
        ("head_roll", (0.0, 0.1, 0.2, None)),
        ("blink", (0.0, 0.2, 1.0, None)),
        ("mouth", (0.1, 0.2, 0.5, None)),
        ("x", (0.0, 0.0, 0.06 if kind != "idle" else 0.02, None)),
        ("y", (0.0, 0.01, 0.02, None)),
    ]
    return ranges


def _arm(rng: Generator, kind: str, shift: float) -> dict[str, _Range]:
    hands: dict[str, _Range] = {
        "wrist": (0.0, 0.25, 0.3, None),
        "curl": (0.4, 0.4, 0.3, None),
        "palm": (0.0, 0.8, 0.4, None),
    }
    if kind == "walk":
        return {
            "arm_a": (0.15, 0.1, 0.08, None),
            "arm_f": (0.1, 0.1, 0.6, shift + np.pi),
            "elbow_a": (0.0, 0.1, 0.1, None),
            "elbow_f": (0.35, 0.25, 0.3, shift + np.pi),
            **hands,
        }
    if kind == "idle":
        return {
            "arm_a": (0.2, 0.15, 0.12, None),
            "arm_f": (0.1, 0.2, 0.12, None),
            "elbow_a": (-0.15, 0.5, 0.2, None),
            "elbow_f": (0.3, 0.35, 0.2, None),
            **hands,
        }
    if kind == "hips" or (kind == "wave" and rng.uniform() < 0.5):
        return {
            "arm_a": (0.7, 0.15, 0.15, None),
            "arm_f": (-0.05, 0.2, 0.1, None),
            "elbow_a": (-1.35, 0.3, 0.15, None),
            "elbow_f": (0.25, 0.25, 0.15, None),
            **hands,
        }
    if kind == "gesture":
        return {
            "arm_a": (0.35, 0.3, 0.3, None),
            "arm_f": (0.3, 0.3, 0.4, None),
            "elbow_a": (-0.4, 0.9, 0.5, None),
            "elbow_f": (1.2, 0.4, 0.5, None),
            **hands,
        }
    return {
        "arm_a": (1.2, 0.8, 0.9, None),
        "arm_f": (0.15, 0.35, 0.35, None),
        "elbow_a": (0.5, 0.9, 0.7, None),
        "elbow_f": (0.35, 0.4, 0.4, None),
        **hands,
    }


def _leg(rng: Generator, kind: str, shift: float) -> dict[str, _Range]:
    if kind == "walk":
        return {
            "hip_a": (0.05, 0.03, 0.04, None),
            "hip_f": (0.1, 0.05, 0.45, shift),
            "knee": (0.35, 0.1, 0.5, shift + 0.9),
        }
    wide = 0.35 if kind == "dance" else 0.12
    return {
        "hip_a": (0.12, 0.1, wide, None),
        "hip_f": (0.08, 0.1, wide, None),
        "knee": (0.15, 0.15, 0.15 + wide, None),
    }
