"""Keeps how far a run is, at a pace that costs next to nothing, and finds it again."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from animate.clip.tensor_file import read_tensors, write_tensors
from animate.clip.typed_json import from_plain
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


@dataclass(frozen=True, kw_only=True)
class StateHeader:
    """Header of a file of latents."""

    run: str
    """Fingerprint of the pictures that the run makes."""
    step: int
    window: int
    solver: Mapping[str, object]
    """Plain values that the solver remembers."""


@dataclass(frozen=True, kw_only=True)
class FramesHeader:
    """Header of a file of decoded frames."""

    run: str
    """Fingerprint of the pictures that the run makes."""
    first: int
    """Number of the first frame in the file."""


Header = TypeVar("Header", StateHeader, FramesHeader)


class FolderKeeper:
    """The `Keeper` of a work folder.

    A disk that is full or breaks does not stop the run: that is said once, what was kept before
    stays, and keeping is tried again.
    """

    def __init__(self, folder: WorkFolder, *, every: float, progress: Progress) -> None:
        """`every`: seconds between two savings at least."""
        self._folder = folder.path
        self._run = folder.begun.digest
        self._every, self._progress = every, progress
        self._cost, self._last = 0.0, time.monotonic()
        self._waiting: list[np.ndarray] = []
        self._decoded = 0
        self._keeps_frames = folder.worth
        self._complained = False

    def state(self, scheduler: Any) -> ClipState | None:
        """See `Keeper.state`. A damaged one is said, removed, and the one before it taken."""
        for path in reversed(self._files(STATES)):
            try:
                header, tensors = self._read(path, StateHeader, "clip/latents")
            except WorkError as reason:
                self._progress.warn(f"{reason}; the work kept before it is taken")
                path.unlink(missing_ok=True)
                continue
            latents = tensors.pop("clip/latents")
            fused = tensors.pop("clip/fused", latents[:0])
            restore_solver(scheduler, tensors, header.solver)
            return ClipState(step=header.step, window=header.window, latents=latents, fused=fused)
        return None

    def offer_state(self, state: ClipState, scheduler: Any) -> None:
        """See `Keeper.offer_state`."""
        if not self._due():
            return
        tensors, values = solver_state(scheduler)
        tensors["clip/latents"] = state.latents
        if state.window:
            tensors["clip/fused"] = state.fused
        header = StateHeader(run=self._run, step=state.step, window=state.window, solver=values)
        name = f"latents-{state.step:06d}-{state.window:06d}"
        if self._write(name, header, tensors):
            self._keeps_frames = True
            for old in self._files(STATES)[:-_STATES_KEPT]:
                old.unlink(missing_ok=True)

    def frames(self) -> Iterator[np.ndarray]:
        """See `Keeper.frames`. From a damaged file on, they are decoded again."""
        self._decoded = 0
        for path in self._files(FRAMES):
            try:
                header, tensors = self._read(path, FramesHeader, "frames")
                if header.first != self._decoded:
                    raise WorkError(f"{path} does not follow the frames before it")
            except WorkError as reason:
                self._progress.warn(f"{reason}; frames from {self._decoded} on are decoded again")
                break
            pictures = tensors["frames"].numpy()
            self._decoded += len(pictures)
            yield pictures
        for path in self._files(FRAMES):
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
        header = FramesHeader(run=self._run, first=self._decoded)
        name = f"frames-{self._decoded:06d}"
        written = self._write(name, header, {"frames": torch.from_numpy(together)})
        self._decoded += len(together)
        self._keeps_frames = written  # what comes after a gap would be of no use

    def _due(self) -> bool:
        return time.monotonic() - self._last >= max(self._every, _SHARE * self._cost)

    def _read(
        self, path: Path, kind: type[Header], tensor: str
    ) -> tuple[Header, dict[str, Tensor]]:
        """Header and tensors of a file of one kind. Raises WorkError for any other."""
        values, tensors = read_tensors(path)
        try:
            header: Header = from_plain(kind, values, "its header")
        except ValueError as reason:
            raise WorkError(f"{path} holds something else: {reason}") from reason
        if tensor not in tensors:
            raise WorkError(f"{path} holds something else: {tensor} is missing")
        if header.run != self._run:
            raise WorkError(f"{path} is of another run")
        return header, tensors

    def _write(
        self, name: str, header: StateHeader | FramesHeader, tensors: dict[str, Tensor]
    ) -> bool:
        began = time.monotonic()
        try:
            write_tensors(self._folder / name, asdict(header), tensors)
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

    def _files(self, pattern: str) -> list[Path]:
        paths = (path for path in self._folder.glob(pattern) if not is_partial(path.name))
        return sorted(paths, key=_numbers)


def _numbers(path: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in path.name.split("-")[1:])
