"""One file from the model hub: resumed, checked against the hub's own digest, whole or absent.

The hub library places what it fetches, but no longer resumes. Here bytes go to a part file beside
their place in its cache, locked by whoever fetches; a part file that was left by Ctrl-C, a kill or
a full disk is continued by the next fetch of the same file.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any, Protocol

from animate.errors import ModelError
from animate.models.hub_answers import endpoint, explained, storage_fault
from animate.models.store import (
    ModelFile,
    hub_library,
    hub_sum,
    is_digest,
    matches_hub,
    repository_folder,
)

PART = ".cnx-part"
TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as lost."""
PAUSES = (1.0, 3.0, 10.0)
"""Seconds before each further try after a lost connection or a busy hub."""
_BUSY = {429, 500, 502, 503, 504}
_CHUNK_BYTES = 1 << 20
_WEEK = 7 * 24 * 3600


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file as the hub describes it."""

    file: ModelFile
    url: str
    """Address of the bytes."""
    commit: str
    digest: str
    """SHA-256, or git's SHA-1 of a small file."""
    size: int
    """Bytes."""

    @property
    def blob(self) -> Path:
        """The file's place in the hub library's cache."""
        assert self.file.source is not None
        return repository_folder(self.file.source) / "blobs" / self.digest

    @property
    def part(self) -> Path:
        """The file that it is fetched into."""
        return self.blob.with_name(self.digest + PART)

    def present(self) -> int:
        """Bytes that an earlier fetch left."""
        try:
            return min(self.size, self.part.stat().st_size)
        except OSError:
            return 0


def describe(file: ModelFile) -> RemoteFile:
    """The hub's word on a file: size, digest, address. Raises `ModelError` with the way out."""
    hub = hub_library()
    assert file.source is not None
    url = hub.hf_hub_url(file.source.repository, file.path, revision=file.source.revision)
    for pause in (*PAUSES[:2], None):
        try:
            metadata = hub.get_hf_file_metadata(url, timeout=TIMEOUT)
            break
        except Exception as reason:
            response = getattr(reason, "response", None)
            if pause is None or getattr(response, "status_code", None) not in _BUSY:
                raise explained(file, reason) from reason
            time.sleep(pause)
    stated = metadata.etag is not None and is_digest(metadata.etag)
    if not stated or metadata.commit_hash is None or metadata.size is None:
        raise ModelError(
            f"{endpoint()} does not state size and digest of {file}; is it a model hub? check "
            "HF_ENDPOINT"
        )
    return RemoteFile(
        file=file,
        url=metadata.location,
        commit=metadata.commit_hash,
        digest=str(metadata.etag),
        size=metadata.size,
    )


class OnBytes(Protocol):
    """Takes the numbers of bytes of a download as they come."""

    def __call__(self, count: int, *, earlier: bool = False) -> None:
        """`count` bytes more are here, or fewer where the hub begins anew.

        earlier: they came with an earlier fetch, or another process's
        """


def download(remote: RemoteFile, on_bytes: OnBytes) -> Path:
    """Bring a file into the hub library's cache; returns its path there.

    `on_bytes` is called with each number of bytes that came, those of an earlier fetch first.
    Raises `ModelError` when they cannot be had, are not those that the hub states, or find no room;
    what came so far stays for the next fetch, except bytes that are wrong.
    """
    try:
        if remote.blob.is_file() and matches_hub(remote.blob, remote.digest):
            on_bytes(remote.size, earlier=True)  # it is there, for another revision
        else:
            _complete(remote, on_bytes)
        return _link(remote)
    except OSError as reason:
        raise storage_fault(remote.file, remote.blob.parent, reason) from reason


def _complete(remote: RemoteFile, on_bytes: OnBytes) -> None:
    with _part_file(remote) as part:
        if part is None:
            on_bytes(remote.size, earlier=True)
        else:
            _fill(remote, part, on_bytes)
            os.replace(remote.part, remote.blob)  # where the blob was a link, the link goes


@contextmanager
def _part_file(remote: RemoteFile) -> Iterator[IO[bytes] | None]:
    """The part file, locked; None where another process has completed it meanwhile."""
    remote.part.parent.mkdir(parents=True, exist_ok=True)
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        with os.fdopen(os.open(remote.part, flags, 0o644), "r+b") as part:
            fcntl.flock(part, fcntl.LOCK_EX)  # waits for another fetch of the same file
            if not _is_same_file(part, remote.part):
                if remote.blob.is_file():
                    yield None
                    return
                continue
            yield part
            return


def _is_same_file(part: IO[bytes], path: Path) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.fstat(part.fileno()), path.lstat())
    return False


def _fill(remote: RemoteFile, part: IO[bytes], on_bytes: OnBytes) -> None:
    if os.fstat(part.fileno()).st_size > remote.size:
        part.truncate(0)
    running = hub_sum(remote.part, remote.digest, remote.size)
    done = part.seek(0, os.SEEK_END)
    on_bytes(done, earlier=True)
    pauses = iter(PAUSES)
    while done < remote.size:
        try:
            with _open(remote, done) as answer:
                if done and answer.status != 206:  # the hub begins anew
                    on_bytes(-done)
                    part.truncate(0)
                    running, done = hub_sum(None, remote.digest, remote.size), part.seek(0)
                for piece in _pieces(answer, remote.size - done):
                    part.write(piece)
                    running.update(piece)
                    done += len(piece)
                    on_bytes(len(piece))
                    pauses = iter(PAUSES)
        except _Lost as reason:
            pause = next(pauses, None)
            if pause is None:
                part.flush()
                raise explained(remote.file, reason.cause) from reason.cause
            time.sleep(pause)
    part.flush()
    os.fsync(part.fileno())
    if running.hexdigest() != remote.digest:
        part.truncate(0)
        remote.part.unlink()
        raise ModelError(
            f"{remote.file} came with other bytes than {endpoint()} states for it (digest "
            f"{running.hexdigest()[:12]}..., stated {remote.digest[:12]}...): it was changed on "
            "the way and is thrown away; run the same command again, and if that does not help, "
            "without a proxy or another HF_ENDPOINT between"
        )


class _Lost(Exception):
    """The connection was lost, or the hub is busy: another try may do."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _open(remote: RemoteFile, offset: int) -> Any:
    """An answer with the file's bytes from `offset` on.

    Raises `_Lost` for a connection that may be tried again, `ModelError` when the hub refuses.
    """
    headers = {"User-Agent": "cnx-animate", "Accept-Encoding": "identity"}
    if urllib.parse.urlparse(remote.url).netloc == urllib.parse.urlparse(endpoint()).netloc:
        # Other addresses are signed; the token is for the hub alone.
        headers |= {
            k: v
            for k, v in hub_library().utils.build_hf_headers().items()
            if k.lower() == "authorization"
        }
    if offset:
        headers["Range"] = f"bytes={offset}-"
    request = urllib.request.Request(remote.url, headers=headers)
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as reason:
        reason.close()
        if reason.code in _BUSY:
            raise _Lost(reason) from reason
        raise explained(remote.file, reason) from reason
    except (OSError, HTTPException) as reason:
        raise _Lost(reason) from reason


def _pieces(answer: Any, count: int) -> Iterator[bytes]:
    """`count` bytes of an answer. Raises `_Lost` when it ends before."""
    while count > 0:
        try:
            piece = answer.read(min(_CHUNK_BYTES, count))
            if not piece:
                raise ConnectionError("the connection ended early")
        except (OSError, HTTPException) as reason:
            raise _Lost(reason) from reason
        count -= len(piece)
        yield piece


def _link(remote: RemoteFile) -> Path:
    """The file's name in the cache, which the hub library makes once the bytes are there."""
    hub = hub_library()
    assert remote.file.source is not None
    source = remote.file.source
    old = repository_folder(source) / "snapshots" / remote.commit / remote.file.path
    if old.exists() and not old.is_symlink():
        old.unlink()  # a copy, where the file system has no links
    try:
        return Path(
            hub.hf_hub_download(source.repository, remote.file.path, revision=source.revision)
        )
    except Exception as reason:
        raise explained(remote.file, reason) from reason


def check_room(remotes: list[RemoteFile]) -> int:
    """Bytes that are still to come.

    Raises `ModelError` when the cache's disk has no room, or is not to be written to.
    """
    needed = sum(remote.size - remote.present() for remote in remotes)
    folder = repository_folder(remotes[0].file.source).parent if remotes else Path()  # type: ignore[arg-type]
    existing = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    if remotes and not os.access(existing, os.W_OK):  # of a read-only disk for root, too
        raise ModelError(
            f"{folder} cannot be written to: {existing} is read-only for you; set HF_HOME to a "
            "folder that you may write to"
        )
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise ModelError(
            f"{size_text(needed)} are still to be fetched, and {folder} has {size_text(free)} "
            "free; make room there, or set HF_HOME to a folder on another disk"
        )
    return needed


def sweep(remotes: list[RemoteFile]) -> None:
    """Remove part files that nobody has continued for a week, from the repositories of these."""
    for folder in {remote.part.parent for remote in remotes}:
        for part in folder.glob(f"*{PART}"):
            with suppress(OSError):
                if time.time() - part.lstat().st_mtime > _WEEK and not part.is_symlink():
                    part.unlink()


def size_text(count: int) -> str:
    """`9.6 GB`, `12 MB` or `3 kB`."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            value = count / size
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{-(-count // 1000)} kB"
