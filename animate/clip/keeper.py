"""Keeps how far a run is, at a pace that costs next to nothing, and finds it again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from animate.clip.tensor_file import read_record, write_record
from animate.clip.work_folder import FRAMES, STATES, WorkFolder
from animate.errors import WorkError
from animate.files import is_partial
from animate.generate.clip_state import ClipState, restore_solver, solver_state
from animate.progress import Progress

_SHARE = 50
"""Work is kept after this many times what keeping it took the last time: 2% of the time at most."""
_FRAME_BYTES = 32 << 20
"""Decoded frames that wait to be kept."""
_STATES_KEPT = 2
"""The newest, and one more in case that one is damaged."""


class FolderKeeper:
    """The `Keeper` of a work folder.

    A disk that is full or breaks does not stop the run: that is said once, what was kept before
    stays, and keeping is tried again.
    """

    def __init__(self, folder: WorkFolder, *, every: float, progress: Progress) -> None:
        """`every`: seconds between two savings at least."""
        self._folder = folder.path
        self._every, self._progress = every, progress
        self._cost, self._last = 0.0, time.monotonic()
        self._waiting: list[np.ndarray] = []
        self._decoded = 0
        self._keeps_frames = folder.worth
        self._complained = False

    def state(self, scheduler: Any) -> ClipState | None:
        """See `Keeper.state`. A damaged one is said, removed, and the one before it taken."""
        for path in reversed(self._found(STATES)):
            try:
                header, tensors = read_record(path)
            except WorkError as reason:
                self._progress.warn(f"{reason}; the work kept before it is taken")
                path.unlink(missing_ok=True)
                continue
            latents = tensors.pop("clip/latents")
            fused = tensors.pop("clip/fused", latents[:0])
            restore_solver(scheduler, tensors, header["solver"])
            step, window = header["step"], header["window"]
            return ClipState(step=step, window=window, latents=latents, fused=fused)
        return None

    def offer_state(self, state: ClipState, scheduler: Any) -> None:
        """See `Keeper.offer_state`."""
        if not self._due():
            return
        tensors, values = solver_state(scheduler)
        tensors["clip/latents"] = state.latents
        if state.window:
            tensors["clip/fused"] = state.fused
        header = {"step": state.step, "window": state.window, "solver": values}
        name = f"latents-{state.step:06d}-{state.window:06d}"
        if self._keep(name, header, tensors):
            self._keeps_frames = True
            for old in self._found(STATES)[:-_STATES_KEPT]:
                old.unlink(missing_ok=True)

    def frames(self) -> Iterator[np.ndarray]:
        """See `Keeper.frames`. From a damaged file on, they are decoded again."""
        self._decoded = 0
        for path in self._found(FRAMES):
            try:
                header, tensors = read_record(path)
                if header["first"] != self._decoded:
                    raise WorkError(f"{path} does not follow the frames before it")
            except WorkError as reason:
                self._progress.warn(f"{reason}; frames from {self._decoded} on are decoded again")
                break
            pictures = tensors["frames"].numpy()
            self._decoded += len(pictures)
            yield pictures
        for path in self._found(FRAMES):
            if int(path.name.partition("-")[2]) >= self._decoded:
                path.unlink(missing_ok=True)

    def offer_frames(self, pictures: np.ndarray) -> None:
        """See `Keeper.offer_frames`.

        Frames are many bytes, so they are kept only where the run is long enough for a state to
        have been kept as well.
        """
        if not self._keeps_frames:
            return
        self._waiting.append(pictures)
        if not self._due() and sum(part.nbytes for part in self._waiting) < _FRAME_BYTES:
            return
        together = np.concatenate(self._waiting)
        self._waiting = []
        name = f"frames-{self._decoded:06d}"
        kept = self._keep(name, {"first": self._decoded}, {"frames": torch.from_numpy(together)})
        self._decoded += len(together)
        self._keeps_frames = kept  # what comes after a gap would be of no use

    def _due(self) -> bool:
        return time.monotonic() - self._last >= max(self._every, _SHARE * self._cost)

    def _keep(self, name: str, header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> bool:
        began = time.monotonic()
        try:
            write_record(self._folder / name, header, tensors)
        except OSError as reason:
            if not self._complained:
                self._progress.warn(
                    f"work cannot be kept in {self._folder}: "
                    f"{(reason.strerror or str(reason)).lower()}; the run goes on without"
                )
            self._complained = True
            return False
        finally:
            self._last = time.monotonic()
            self._cost = self._last - began
        return True

    def _found(self, pattern: str) -> list[Path]:
        names = (p for p in self._folder.glob(pattern) if not is_partial(p.name))
        return sorted(names, key=_numbers)


def _numbers(path: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in path.name.split("-")[1:])
