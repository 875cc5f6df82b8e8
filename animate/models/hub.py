"""Fetch a variant's files from the model hub, and check the files on this machine.

Only files that were asked for by name are fetched. Downloads resume, appear whole or not at all,
and are shared with other programs: they lie in the hub library's own cache.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from animate.errors import ModelError
from animate.files import sha256
from animate.models.download import RemoteFile, check_room, describe, download, size_text, sweep
from animate.models.licences import check_accepted, file_licences, weights_licences
from animate.models.store import ModelFile, hub_digest, matches_hub
from animate.models.variants import ModelVariant
from animate.progress import Progress, Quiet, Stage

State = Literal["ok", "missing", "damaged", "unpinned"]
_UNIT = 1 << 20
"""Bytes of a step of the progress bar."""


@dataclass(frozen=True, kw_only=True)
class FileState:
    """State of one file of a variant."""

    file: ModelFile
    state: State
    """"ok": as the variant, or the hub when it was fetched, states; "damaged": it differs;
    "missing"; "unpinned": here, but nothing states its digest."""
    path: Path | None = None
    digest: str | None = None
    """SHA-256 of the file as it is now."""


def fetch(
    variant: ModelVariant, progress: Progress | None = None, *, accepted: Collection[str] = ()
) -> tuple[Path, ...]:
    """Bring all files of `variant` onto this machine; returns their paths.

    Files that are here are read and, when their digest is wrong, fetched again. Every repository is
    asked, and the room on the disk looked at, before the first byte comes. `accepted` names the
    repositories, or the variant, whose restricted licences the caller accepts. Raises `ModelError`
    for a restricted licence that is not accepted, when a repository is gated, absent or out of
    reach, and for a file that is not the one stated.
    """
    if variant.name in accepted:
        accepted = [licence.origin for licence in weights_licences(variant)]
    return fetch_files(variant.files(), progress, accepted=accepted)


def fetch_files(
    files: Iterable[ModelFile],
    progress: Progress | None = None,
    *,
    accepted: Collection[str] = (),
) -> tuple[Path, ...]:
    """`fetch` for any files; `accepted` names repositories."""
    progress = progress or Quiet()
    states = [_state_of(file) for file in files]
    wanted = [state for state in states if state.state in ("missing", "damaged")]
    check_accepted(file_licences(state.file for state in wanted), accepted)
    remotes = {str(state.file): _described(state) for state in wanted}
    needed = check_room(list(remotes.values()))
    if remotes:
        progress.note(f"{len(remotes)} files to fetch, {size_text(needed)}")
    paths = {str(state.file): state.path for state in states if state.path is not None}
    size = sum(remote.size for remote in remotes.values())
    with progress.stage("fetching (MiB)", -(-size // _UNIT)) as stage:
        count = _Count(stage)
        for name, remote in remotes.items():
            progress.note(f"{name} ({size_text(remote.size)})")
            with _said_to_be_kept():
                paths[name] = path = download(remote, count)
            if remote.file.digest is not None and len(remote.digest) != 64:
                _check_stated(remote.file, sha256(path), "it will not be used")
    sweep(list(remotes.values()))
    return tuple(paths[str(state.file)] for state in states)


@contextmanager
def _said_to_be_kept() -> Iterator[None]:
    """Tell on an interruption that it loses nothing."""
    try:
        yield
    except KeyboardInterrupt as stop:
        stop.add_note("what came is kept; the same command goes on from there")
        raise


class _Count:
    """Advances a stage by whole units of the bytes that came."""

    def __init__(self, stage: Stage) -> None:
        self._stage, self._bytes, self._units = stage, 0, 0

    def __call__(self, count: int, *, earlier: bool = False) -> None:
        self._bytes += count
        units = -(-self._bytes // _UNIT) - self._units
        if units > 0:
            self._units += units
            (self._stage.skip if earlier else self._stage.advance)(units)


def _described(state: FileState) -> RemoteFile:
    """The hub's word on a file. Raises `ModelError` when it is not the file that is stated."""
    file = state.file
    if file.source is None:
        raise ModelError(
            f"{file} is {state.state} and comes from no repository; copy the folder again"
        )
    remote = describe(file)
    if len(remote.digest) == 64:
        _check_stated(file, remote.digest, "nothing was fetched")
    return remote


def _check_stated(file: ModelFile, digest: str, outcome: str) -> None:
    """Raises `ModelError` for a SHA-256 other than the variant's."""
    if file.digest not in (None, digest):
        raise ModelError(
            f"{file} has been changed on the hub: its digest is {digest[:12]}..., and the variant "
            f"states {str(file.digest)[:12]}...; {outcome}: use a newer version of this program, "
            "or correct the variant if you trust the file"
        )


def verify(variant: ModelVariant) -> tuple[FileState, ...]:
    """Read every file of `variant` and compare its digest. Needs no network."""
    return verify_files(variant.files())


def verify_files(files: Iterable[ModelFile]) -> tuple[FileState, ...]:
    """`verify` for any files."""
    return tuple(_state_of(file) for file in files)


def _state_of(file: ModelFile) -> FileState:
    path = file.locate()
    if path is None:
        return FileState(file=file, state="missing")
    digest, of_hub = sha256(path), hub_digest(path)
    state: State = "unpinned"
    if file.digest is not None:
        state = "ok" if file.digest == digest else "damaged"
    elif of_hub is not None:
        sound = of_hub == digest if len(of_hub) == 64 else matches_hub(path, of_hub)
        state = "ok" if sound else "damaged"
    return FileState(file=file, state=state, path=path, digest=digest)
