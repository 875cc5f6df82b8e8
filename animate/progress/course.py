"""The course of a clip: seconds that its stages are likely to take, and the time left by them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_TRUST = 0.1
"""Part of a stage after which its own pace counts as much as the one that was expected."""
_NETWORKS = ("denoise", "decode")
"""Stages whose pace tells that of the later ones where nothing was measured."""


@dataclass(frozen=True, kw_only=True)
class Position:
    """The position within a running stage."""

    stage: str
    done: int
    total: int | None
    """Steps of the stage; None if unknown."""
    elapsed: float
    """Seconds that the steps of this run have taken so far."""
    skipped: int = 0
    """Steps among those done that an earlier run has finished: they tell nothing of the pace."""

    @property
    def share(self) -> float:
        """Part of the stage that this run has to do, in [0,1]."""
        return 1 - self.skipped / self.total if self.total else 1.0


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

    def stage_left(self, at: Position) -> float | None:
        """Seconds left of a stage by its pace so far, which counts for more the more is done; None
        while nobody can know."""
        if not at.total:
            return None
        expected = self.seconds.get(at.stage, 0.0) * at.share if self.measured else 0.0
        trust = _TRUST * (at.total - at.skipped) if expected else 0.0
        worked = at.done - at.skipped + trust
        if not worked:
            return None
        pace = (at.elapsed + _TRUST * expected) / worked
        return pace * max(0, at.total - at.done)

    def left(self, at: Position) -> float | None:
        """Seconds left of the whole clip while a stage runs, and of the stage alone where it is
        none of the clip's; None while nobody can know."""
        left = self.stage_left(at)
        if left is None or at.stage not in self.seconds:
            return left
        names = list(self.seconds)
        later = sum(self.seconds[name] for name in names[names.index(at.stage) + 1 :])
        if self.measured:
            return left + later
        if at.stage not in _NETWORKS or not at.share:
            return None
        return left + later * (at.elapsed + left) / (self.seconds[at.stage] * at.share)


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
