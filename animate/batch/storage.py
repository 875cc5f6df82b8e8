"""Files by URL (`s3://`, `gs://`, `memory://`, any that fsspec knows), fetched and put up whole.

Credentials are the library's own business: from the environment, a profile or the machine's role. A
URL that holds some is refused, since URLs stand in records and reports.
"""

from __future__ import annotations

import errno
import hashlib
import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from animate.errors import MediaError, RequestError, reason_of
from animate.files import atomic

EXTRA = "pip install 'cnx-animate[remote]'"
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_WHOLE = {"s3", "s3a", "gs", "gcs", "abfs", "az", "memory"}
"""Stores in which an object appears whole or not at all; in others a file is renamed at its end."""
_PART = ".part"
_MARKS = ("ETag", "md5Hash", "content_md5", "etag", "created", "mtime")
"""Names of digests and times in what stores say of a file, digests first."""


@dataclass(frozen=True, kw_only=True)
class RemoteState:
    """Size and version of a remote file."""

    bytes: int
    version: str
    """Digest of its content by the store, or of its size and time where the store has none."""


class StorageError(OSError):
    """The store does not answer as it should; later it may."""


def is_url(value: object) -> bool:
    """True for text that begins as a URL does."""
    return isinstance(value, str) and _URL.match(value) is not None


def check_url(url: str, name: str) -> str:
    """`url` if it names a file of a store that is installed, without credentials in it.

    Raises RequestError; `name` is the setting's.
    """
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise RequestError(
            f"{name}: the URL of {parts.hostname} has credentials in it, which records would keep; "
            "give them by the environment or a profile of the store"
        )
    if parts.scheme in ("http", "https") and parts.query:
        raise RequestError(
            f"{name}: a signed or queried address of {parts.hostname} would stand in records; copy "
            "the file to a bucket, or fetch it first"
        )
    if "::" in url:  # fsspec would open the second for the sake of the first
        raise RequestError(f"{name}: {url} names one file within another; unpack it first")
    _filesystem(url, name)
    return url


def join_url(folder: str, name: str) -> str:
    """The URL of a file in a folder's URL; a URL stays as it is."""
    if is_url(name):
        return name
    scheme, separator, path = folder.partition("://")
    joined = posixpath.normpath(posixpath.join(path, name))
    if joined.startswith(".."):
        raise RequestError(f"{name} lies above {folder}")
    return f"{scheme}{separator}{joined}"


def parent_url(url: str) -> str:
    """The URL of the folder that a file lies in."""
    scheme, separator, path = url.partition("://")
    return f"{scheme}{separator}{posixpath.dirname(path)}"


def remote_state(url: str) -> RemoteState | None:
    """State of a remote file; None where there is none. Raises MediaError or StorageError."""
    filesystem, path = _filesystem(url)
    try:
        with _explained(url):
            info = filesystem.info(path)
    except MediaError as reason:
        if isinstance(reason.__cause__, FileNotFoundError):
            return None
        raise
    if info.get("type") == "directory":
        return None
    marks = [
        info.get(name) for name in ("ETag", "md5Hash", "content_md5", "etag", "created", "mtime")
    ]
    known = next((str(mark) for mark in marks if mark is not None), "")
    size = int(info.get("size") or 0)
    version = hashlib.sha256(f"{size} {known}".encode()).hexdigest()
    return RemoteState(bytes=size, version=version)


def remote_files(url: str) -> dict[str, RemoteState]:
    """State of every file below a folder's URL, by its path in the folder."""
    filesystem, path = _filesystem(url)
    with _explained(url):
        files = filesystem.find(path)
    root = path.rstrip("/") + "/"
    names = [file[len(root) :] for file in files if file.startswith(root)]
    states = {name: remote_state(join_url(url, name)) for name in names}
    return {name: state for name, state in states.items() if state is not None}


def remote_matches(pattern: str) -> list[str]:
    """URLs that a pattern with `*` or `?` fits, by name."""
    filesystem, path = _filesystem(pattern)
    with _explained(pattern):
        files = filesystem.glob(path)
    return sorted(str(filesystem.unstrip_protocol(file)) for file in files)


def fetch_file(url: str, path: Path) -> None:
    """Bring a remote file to `path`, whole or not at all. Raises MediaError or StorageError."""
    filesystem, remote = _filesystem(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as partial, _explained(url):
        filesystem.get_file(remote, str(partial))


def put_file(path: Path, url: str) -> RemoteState:
    """Put a file at a URL, whole or not at all. Raises MediaError or StorageError."""
    filesystem, remote = _filesystem(url)
    scheme = urlsplit(url).scheme
    direct = scheme in _WHOLE
    with _explained(url):
        if not direct:
            filesystem.makedirs(posixpath.dirname(remote), exist_ok=True)
        goal = remote if direct else remote + _PART
        filesystem.put_file(str(path), goal)
        if not direct:
            filesystem.mv(goal, remote)
    state = remote_state(url)
    if state is None or state.bytes != path.stat().st_size:
        raise StorageError(errno.EIO, f"{url} did not arrive whole")
    return state


def _filesystem(url: str, name: str = "") -> tuple[Any, str]:
    """fsspec's file system of a URL, and the path in it. Raises RequestError."""
    begin = f"{name}: " if name else ""
    try:
        import fsspec.core
    except ImportError as reason:
        raise RequestError(f"{begin}{url} needs fsspec: {EXTRA}") from reason
    try:
        # What was listed a while ago may have changed.
        filesystem, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except ImportError as reason:
        raise RequestError(f"{begin}{url} needs a package: {reason}; {EXTRA}") from reason
    except Exception as reason:  # of each store's own kind, for what it would have beside the URL
        raise RequestError(f"{begin}{url} cannot be used: {reason_of(reason)}") from reason
    return filesystem, str(path)


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Errors of the store in words that say what to do."""
    try:
        yield
    except PermissionError as reason:
        raise MediaError(
            f"{url}: the store refuses access; check its credentials in the environment, and the "
            "bucket's policy"
        ) from reason
    except FileNotFoundError as reason:
        raise MediaError(f"{url} does not exist; check the bucket and the name") from reason
    except (MediaError, StorageError):
        raise
    except Exception as reason:  # each library has errors of its own
        words = " ".join(str(reason).split()) or type(reason).__name__
        raise StorageError(
            errno.EIO, f"{url}: the store does not answer as it should: {words}"
        ) from reason
