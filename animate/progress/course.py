"""The course of a clip: seconds that its stages are likely to take, and the time left by them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_TRUST = 0.1
"""Part of a stage after which its own pace counts as much as the one that was expected."""
_NETWORKS = ("denoise", "decode")
"""Stages whose pace tells that of the later ones where nothing was measured."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """Likely seconds of each stage of a clip, in the order of the work.

    A stage that is not in it is work of its own, such as a download.
    """

    seconds: Mapping[str, float]
    measured: bool = False
    """True for seconds of earlier runs on this machine; otherwise only their ratios mean something,
    and nobody can know the time left before denoising has a pace."""

    def share(self, stage: str) -> tuple[float, float] | None:
        """Part of the clip's progress that a stage is, from and to, in [0,1]; None for others."""
        if stage not in self.seconds:
            return None
        total, before = sum(self.seconds.values()) or 1.0, 0.0
        for name, seconds in self.seconds.items():
            if name == stage:
                break
            before += seconds
        return before / total, (before + self.seconds[stage]) / total

    def stage_left(self, stage: str, done: int, total: int | None, elapsed: float) -> float | None:
        """Seconds left of a stage by its pace so far, which counts for more the more is done; None
        while nobody can know."""
        if not total:
            return None
        expected = self.seconds.get(stage, 0.0) if self.measured else 0.0
        trust = _TRUST if expected else 0.0
        if not done and not trust:
            return None
        pace = (elapsed + trust * expected) / (done + trust * total)
        return pace * max(0, total - done)

    def left(self, stage: str, done: int, total: int | None, elapsed: float) -> float | None:
        """Seconds left of the whole clip while this stage runs, and of the stage alone where it is
        none of the clip's; None while nobody can know."""
        left = self.stage_left(stage, done, total, elapsed)
        if left is None or stage not in self.seconds:
            return left
        names = list(self.seconds)
        later = sum(self.seconds[name] for name in names[names.index(stage) + 1 :])
        if self.measured:
            return left + later
        if stage not in _NETWORKS:
            return None
        return left + later * (elapsed + left) / self.seconds[stage]


USUAL = Course(
    seconds={
        "restyle": 0.0,
        "poses": 10.0,
        "skeletons": 0.0,
        "background": 0.0,
        "encode": 1.0,
        "warp": 0.0,
        "denoise": 79.0,
        "decode": 10.0,
    }
)
"""Shares in per cent where nothing is known of a clip; denoising is nearly all of the work."""
RESTYLED = Course(seconds={**USUAL.seconds, "restyle": 5.0, "denoise": 74.0})
"""The same for a clip whose reference is made anew first."""
