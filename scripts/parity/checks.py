"""One comparison of tensors, and the lines that a person reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

NETWORK_TOLERANCE = 2e-4
"""Largest absolute difference of control network and UNet outputs."""
PIPELINE_TOLERANCE = 1e-3
"""Tolerance of latents and frames of the whole pipeline, which add up many calls."""
KEYPOINT_TOLERANCE = 1e-3
"""Pixels."""
LEVELS = 2
"""Difference of a channel, of 255, up to which two drawn pixels count as the same."""
PIXEL_SHARE = 0.005
"""Share of drawn pixels that may differ by more."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One tensor compared, or the reason why it was not."""

    name: str
    difference: float = 0.0
    """Largest absolute difference; for drawn images the largest difference in levels."""
    tolerance: float = 0.0
    passed: bool = True
    note: str = ""
    skipped: bool = False
    """The tensor could not be checked; `note` says why."""

    def line(self) -> str:
        """The check as a line of the report."""
        if self.skipped:
            return f"  not checked  {self.name}: {self.note}"
        verdict = "ok  " if self.passed else "FAIL"
        note = f"  {self.note}" if self.note else ""
        return (
            f"  {verdict}  {self.name:<34} largest difference {self.difference:.3e}"
            f"  (tolerance {self.tolerance:g}){note}"
        )


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """All checks of one file."""

    title: str
    checks: Sequence[Check] = field(default_factory=tuple)

    @property
    def passed(self) -> bool:
        """True when something was checked and nothing differs by more than its tolerance."""
        checked = [check for check in self.checks if not check.skipped]
        return bool(checked) and all(check.passed for check in checked)

    @property
    def complete(self) -> bool:
        """True when nothing was left out."""
        return not any(check.skipped for check in self.checks)

    def lines(self) -> list[str]:
        """The report for a person."""
        skipped = sum(check.skipped for check in self.checks)
        failed = sum(not check.passed for check in self.checks if not check.skipped)
        count = len(self.checks) - skipped
        last = f"{count - failed} of {count} tensors within tolerance"
        if not count:
            last = "nothing could be checked"
        return [
            self.title,
            *(check.line() for check in self.checks),
            last + (f"; {skipped} not checked" if skipped else ""),
        ]


def compare(
    name: str, actual: ArrayLike, expected: ArrayLike, tolerance: float, note: str = ""
) -> Check:
    """Largest absolute difference. A NaN equals a NaN in the same place and nothing else."""
    computed = np.asarray(actual, dtype=np.float64)
    published = np.asarray(expected, dtype=np.float64)
    if computed.shape != published.shape and computed.size + published.size > 0:
        return _other_shape(name, computed, published, tolerance)
    computed = computed.reshape(published.shape)  # two empty tensors may have other empty shapes
    with np.errstate(invalid="ignore"):
        difference = np.abs(computed - published)
    difference[(np.isnan(computed) & np.isnan(published)) | (computed == published)] = 0
    largest = float(difference.max(initial=0.0))  # NaN, and so a failure, where only one is NaN
    return Check(
        name=name,
        difference=largest,
        tolerance=tolerance,
        passed=largest <= tolerance,
        note=note,
    )


def compare_images(name: str, actual: ArrayLike, expected: ArrayLike) -> Check:
    """Share of pixels of which a channel differs by more than `LEVELS`."""
    computed, published = np.asarray(actual, dtype=np.int16), np.asarray(expected, dtype=np.int16)
    if computed.shape != published.shape:
        return _other_shape(name, computed, published, PIXEL_SHARE)
    difference = np.abs(computed - published)
    share = float((difference.max(axis=-1) > LEVELS).mean()) if difference.size else 0.0
    return Check(
        name=name,
        difference=share,
        tolerance=PIXEL_SHARE,
        passed=share <= PIXEL_SHARE,
        note=f"share of pixels off by more than {LEVELS} levels; "
        f"largest difference {difference.max(initial=0)} levels",
    )


def skipped(name: str, why: str) -> Check:
    """A tensor that was not checked."""
    return Check(name=name, note=why, skipped=True)


def failed(name: str, why: str) -> Check:
    """Something that should have run and could not."""
    return Check(name=name, difference=float("inf"), passed=False, note=why)


def _other_shape(name: str, computed: np.ndarray, published: np.ndarray, tolerance: float) -> Check:
    return Check(
        name=name,
        difference=float("inf"),
        tolerance=tolerance,
        passed=False,
        note=f"shape {computed.shape} where {published.shape} is expected",
    )
