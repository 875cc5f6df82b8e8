"""The protocol by which the pipeline offers its work for keeping, and asks for an earlier run's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from animate.generate.clip_state import ClipState


class Keeper(Protocol):
    """What the pipeline tells of its work, and where it asks for an earlier run's."""

    def state(self, scheduler: Any) -> ClipState | None:
        """The newest state kept, with `scheduler` (new, of the same settings) brought there."""

    def offer_state(self, state: ClipState, scheduler: Any) -> None:
        """The clip between two calls of the network; kept when it is time."""

    def frames(self) -> Iterator[np.ndarray]:
        """Pictures (F,H,W,3) uint8 RGB decoded by an earlier run, from the first frame on."""

    def offer_frames(self, pictures: np.ndarray) -> None:
        """The next decoded pictures (F,H,W,3) uint8 RGB; kept when it is time."""


class KeepsNothing:
    """The `Keeper` of a run without a work folder."""

    def state(self, scheduler: Any) -> ClipState | None:
        """None."""
        return None

    def offer_state(self, state: ClipState, scheduler: Any) -> None:
        """Nothing is kept."""

    def frames(self) -> Iterator[np.ndarray]:
        """None."""
        return iter(())

    def offer_frames(self, pictures: np.ndarray) -> None:
        """Nothing is kept."""
