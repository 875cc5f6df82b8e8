"""Fetch a variant's files from the model hub, and check what is on this machine.

Only what is asked for by name is fetched. Downloads resume, appear whole or not at all, and are
shared with other programs: they are the hub library's own cache.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from animate.errors import ModelError
from animate.files import sha256
from animate.models.store import ModelFile, cached_digest
from animate.models.variants import ModelVariant

State = Literal["ok", "missing", "damaged", "unpinned"]


@dataclass(frozen=True, kw_only=True)
class FileState:
    """What `verify` found of one file."""

    file: ModelFile
    state: State
    """"ok": as the variant, or the hub when it was fetched, states; "damaged": it differs;
    "missing"; "unpinned": here, but nothing states its digest."""
    path: Path | None = None
    digest: str | None = None
    """SHA-256 of the file as it is now."""


def fetch(
    variant: ModelVariant, on_file: Callable[[ModelFile, int, int], None] | None = None
) -> tuple[Path, ...]:
    """Bring all files of `variant` onto this machine; returns where they are.

    Files that are here are read and, when their digest is wrong, fetched again. `on_file(file,
    number, total)` is called before each. Raises `ModelError` when a repository is gated, absent or
    out of reach, and when a file that was fetched has another digest than is stated for it.
    """
    return fetch_files(variant.files(), on_file)


def fetch_files(
    files: Iterable[ModelFile], on_file: Callable[[ModelFile, int, int], None] | None = None
) -> tuple[Path, ...]:
    """`fetch` for any files."""
    wanted = tuple(files)
    paths = []
    for number, file in enumerate(wanted, start=1):
        if on_file is not None:
            on_file(file, number, len(wanted))
        known = _verified(file)
        here = known.path if known.state in ("ok", "unpinned") else None
        paths.append(here or _fetched(file, again=known.state == "damaged"))
    return tuple(paths)


def verify(variant: ModelVariant) -> tuple[FileState, ...]:
    """Read every file of `variant` and compare its digest. Needs no network."""
    return verify_files(variant.files())


def verify_files(files: Iterable[ModelFile]) -> tuple[FileState, ...]:
    """`verify` for any files."""
    return tuple(_verified(file) for file in files)


def _verified(file: ModelFile) -> FileState:
    path = file.locate()
    if path is None:
        return FileState(file=file, state="missing")
    digest = sha256(path)
    stated = file.digest or cached_digest(path)
    state: State = "unpinned" if stated is None else "ok" if stated == digest else "damaged"
    return FileState(file=file, state=state, path=path, digest=digest)


def _fetched(file: ModelFile, *, again: bool) -> Path:
    if file.source is None:
        state = "damaged" if again else "missing"
        raise ModelError(f"{file} is {state} and comes from no repository; copy the folder again")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when the library is imported
    import huggingface_hub

    try:
        path = Path(
            huggingface_hub.hf_hub_download(
                file.source.repository,
                file.path,
                revision=file.source.revision,
                force_download=again,
            )
        )
    except Exception as reason:
        raise _explained(file, reason) from reason
    if file.digest is not None and sha256(path) != file.digest:
        raise ModelError(
            f"{file} was fetched but its digest is not the {file.digest[:12]}... that is stated "
            f"for it: it was changed or damaged and will not be used; remove {path} to try again"
        )
    return path


def _explained(file: ModelFile, reason: Exception) -> ModelError:
    """The hub library's many errors in words that say what to do."""
    from huggingface_hub import errors

    assert file.source is not None
    repository, revision = file.source.repository, file.source.revision
    page = f"https://huggingface.co/{repository}"
    if isinstance(reason, errors.GatedRepoError | errors.RepositoryNotFoundError):
        return ModelError(
            f"{repository} may not be read: accept its licence ({file.source.licence}) at {page} "
            "with your account, make a token there, and set HF_TOKEN to it (or run `hf auth "
            "login`)"
        )
    if isinstance(reason, errors.RevisionNotFoundError):
        return ModelError(f"{repository} has no revision {revision}; correct the variant")
    # LocalEntryNotFoundError is an EntryNotFoundError too, but means that there is no network.
    if isinstance(reason, errors.EntryNotFoundError) and not isinstance(
        reason, errors.LocalEntryNotFoundError
    ):
        return ModelError(f"{repository} at {revision} has no file {file.path}")
    words = str(reason).strip().splitlines()
    said = words[0][:200] if words else type(reason).__name__
    return ModelError(
        f"{file} could not be fetched ({said}). Is this machine online, HF_HUB_OFFLINE not set and "
        "the disk not full? Otherwise run the same command on a machine that is online and copy "
        "its cache folder (HF_HOME, usually ~/.cache/huggingface) here"
    )
