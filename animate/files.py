"""Files that are either whole or absent, and clear words when one cannot be read or written.

A result is written to a hidden ``.cnx-partial`` file in the folder of its destination, flushed to
the disk and renamed: whoever looks at the destination sees the old file or the new one, never half
of it. The writer holds a lock on its partial file; one without a holder was left by a process that
was killed, and the next writer of the same destination removes it. A partial file's name ends in a
random token and a checksum of the rest of the name, so that no other program's file is taken for
one (`is_partial`).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from animate.errors import UserError, reason_of

PARTIAL = ".cnx-partial"
CLAIM = ".cnx-lock"
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
"""Endings of still pictures that are numbered, or read as one picture."""
FRAME_NUMBER = re.compile(r"%0?(?P<digits>\d*)d|(?P<hashes>#+)")
"""The number in a name of numbered images: shot.%04d.png, shot.####.png."""
LONGEST_NAME, _LONGEST_STEM = 255, 200
"""Bytes of a name on all usual file systems, and of that kept in the name of its partial file."""
_HIDDEN_NAME = re.compile(
    rf"\.(?P<stem>.+)\.(?P<token>[0-9a-f]{{8}})(?P<check>[0-9a-f]{{8}})"
    rf"(?P<kind>{re.escape(PARTIAL)}|{re.escape(CLAIM)})",
    re.DOTALL,
)


def sha256(path: str | os.PathLike[str]) -> str:
    """Hexadecimal SHA-256 of the file at `path`, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def real_path(path: str | os.PathLike[str]) -> Path:
    """The path with all links resolved; one in a circle, where `Path.resolve` raises, stays."""
    return Path(os.path.realpath(path))


def is_sequence(path: str | os.PathLike[str]) -> bool:
    """True for a name of numbered images: shot.%04d.png or shot.####.png, but no such file."""
    text = os.fspath(path)
    if "%" not in text and "#" not in text:
        return False
    pattern = Path(text)
    numbers = FRAME_NUMBER.findall(pattern.name)
    return pattern.suffix.lower() in IMAGE_SUFFIXES and len(numbers) == 1 and not pattern.is_file()


def check_readable(
    path: str | os.PathLike[str], role: str = "file", error: type[UserError] = UserError
) -> Path:
    """`path` if it is a file with something in it that can be read; raises `error` otherwise.

    `role` is the word for the file in messages, such as "driving video".
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise error(f"{role} {path} is a folder; name a file")
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise error(f"{role} {path} is not a regular file; save it to disk first")
        # Nothing is read: files of the kernel, which state no size, may wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            if os.fstat(descriptor).st_size == 0:
                raise error(f"{role} {path} is empty (0 bytes); copy or export it again")
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise error(f"{role} {path} does not exist; check the path") from None
    except PermissionError:
        raise error(f"{role} {path} cannot be read: permission denied") from None
    except (OSError, ValueError) as reason:
        raise error(f"{role} {path} cannot be read: {reason_of(reason)}") from reason
    return path


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """A regular file opened for reading; links to one are followed.

    Raises OSError for anything else: a pipe would be waited for without end, a device never ends.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind):
        os.close(descriptor)
        number = errno.EISDIR if stat.S_ISDIR(kind) else errno.EINVAL
        words = "is a folder" if stat.S_ISDIR(kind) else "not a regular file; save it to disk first"
        raise OSError(number, words, os.fspath(path))
    return open(descriptor, "rb")


def check_output(
    path: str | os.PathLike[str],
    *,
    overwrite: bool,
    role: str = "output",
    error: type[UserError] = UserError,
    probe: bool = True,
) -> Path:
    """`path` if a file can be made there; raises `error` otherwise. Meant to run before the work.

    `probe` tries the folder for real; see `probe_folder`.
    """
    path = Path(path)
    try:
        if path.is_symlink():
            with suppress(FileNotFoundError):  # what it leads to is made
                path.stat()  # raises for a link that leads in a circle
        if path.is_dir():
            raise error(f"{role} {path} is a folder; name a file in it")
        if path.exists() and not path.is_file():
            raise error(f"{role} {path} is not a regular file; choose another name")
        if path.exists() and not overwrite:
            raise error(f"{role} {path} exists already; choose another name or give --overwrite")
        _check_folder(path.parent, role, error)
    except (OSError, ValueError) as reason:
        raise error(f"{role} {path} cannot be written: {reason_of(reason)}") from reason
    if probe:
        probe_folder(path, role, error)
    return path


def probe_folder(path: Path, role: str = "output", error: type[UserError] = UserError) -> None:
    """Make and remove a file beside `path`; raises `error` where that is not possible.

    Permission bits say nothing of read-only mounts, quotas or a full disk.
    """
    _remove_abandoned(path)
    try:
        partial, lock = _create_partial(path)
    except (OSError, ValueError) as reason:
        raise error(f"{role} {path} cannot be written: {reason_of(reason)}") from reason
    os.close(lock)
    partial.unlink(missing_ok=True)


def _check_folder(folder: Path, role: str, error: type[UserError]) -> None:
    if not folder.exists():
        raise error(f"folder {folder} of the {role} does not exist; make it: mkdir -p {folder}")
    if not folder.is_dir():
        raise error(f"{folder} is not a folder, so the {role} cannot be written into it")


@contextmanager
def atomic(
    path: str | os.PathLike[str],
    *,
    follow: bool = True,
    replace: bool = True,
    before_rename: Callable[[Path], None] | None = None,
) -> Iterator[Path]:
    """A path beside `path` to write to; what is there at a clean exit becomes `path`.

    On any exception, KeyboardInterrupt included, the partial file is removed and an existing
    `path` stays as it was. A symbolic link at `path` is followed, or replaced without `follow`:
    in folders of this program nothing is written through a link. Without `replace`, a file that
    has come to `path` meanwhile stays, and FileExistsError is raised. `before_rename` is given the
    finished partial file; what it raises counts as well. Operating system errors of creating and
    renaming pass through: the caller knows which error type to raise.
    """
    path = real_path(path) if follow else Path(path)
    _remove_abandoned(path)
    partial, lock = _create_partial(path)
    try:
        yield partial
        if before_rename is not None:
            before_rename(partial)
        _flush(partial)
        _rename(partial, path, replace)
        _flush(path.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    finally:
        os.close(lock)


def _rename(partial: Path, path: Path, replace: bool) -> None:
    if not replace:
        try:
            os.link(partial, path, follow_symlinks=False)
            partial.unlink()
            return
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links: looking first is the best there is
            if path.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
    os.replace(partial, path)


@contextmanager
def atomic_folder(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Like `atomic` for a folder of files: yields an empty folder that becomes `path`.

    With `overwrite`, an existing folder is moved aside, replaced and then removed; a crash in
    between leaves the old one beside it under a ``.replaced`` name. Raises FileExistsError without.
    """
    path = real_path(path)
    _remove_abandoned(path)
    partial, lock = _create_partial(path, folder=True)
    try:
        yield partial
        for file in sorted(partial.iterdir()):
            _flush(file)
        _flush(partial)
        _replace_folder(partial, path, overwrite)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        os.close(lock)


def _replace_folder(partial: Path, path: Path, overwrite: bool) -> None:
    if not path.exists():
        os.replace(partial, path)
        _flush(path.parent)
        return
    if not overwrite:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    aside = hidden_name(path, ".replaced")
    os.replace(path, aside)
    try:
        os.replace(partial, path)
    except BaseException:
        os.replace(aside, path)
        raise
    _flush(path.parent)
    if aside.is_dir():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        aside.unlink(missing_ok=True)


@contextmanager
def gathered_folder(
    folder: str | os.PathLike[str],
    *,
    replace: bool = True,
    before_rename: Callable[[Path], None] | None = None,
) -> Iterator[Path]:
    """A hidden folder whose files are moved into `folder` at a clean exit.

    `folder` is made if it is missing and may hold other files; it may be a file system of its own,
    so the hidden one is made in it. Without `replace`, files that have come to one of the names
    meanwhile stay, and FileExistsError is raised. `before_rename` is given the hidden folder when
    all is in it.
    On any exception the hidden folder is removed, and `folder` stays as it was.
    """
    path = real_path(folder)
    new = not path.exists()
    path.mkdir(exist_ok=True)
    with ExitStack() as stack:
        if new:
            stack.callback(_remove_empty, path)
        inside = path / path.name
        _remove_abandoned(inside)
        partial, lock = _create_partial(inside, folder=True)
        stack.callback(os.close, lock)
        stack.callback(shutil.rmtree, partial, ignore_errors=True)
        yield partial
        if before_rename is not None:
            before_rename(partial)
        files = sorted(partial.iterdir())
        for file in files:
            _flush(file)
        for file in files:
            _rename(file, path / file.name, replace)
        _flush(path)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # it holds files, and stays
        folder.rmdir()


def write_bytes(
    path: str | os.PathLike[str], data: bytes, *, follow: bool = True, replace: bool = True
) -> None:
    """Put `data` at `path` atomically; see `atomic` for links and `replace`."""
    with atomic(path, follow=follow, replace=replace) as partial:
        partial.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str, *, follow: bool = True) -> None:
    """Put `text` at `path` atomically, as UTF-8 with newlines as they are.

    Without `follow` for files that nobody has named: a link in their place is nobody's wish.
    """
    write_bytes(path, text.encode(), follow=follow)


def _short(name: str) -> str:
    return os.fsdecode(os.fsencode(name)[:_LONGEST_STEM])


def hidden_name(path: Path, suffix: str = PARTIAL) -> Path:
    """A new name beside `path` for what is not finished, or about to go."""
    stem, token = _short(path.name), os.urandom(4).hex()
    return path.parent / f".{stem}.{token}{_name_check(stem, token)}{suffix}"


def is_partial(name: str, of: str | None = None) -> bool:
    """True for a name that `hidden_name` gave to a partial file, of a destination named `of`.

    The checksum in the name makes sure: other programs' hidden or partial files never match.
    """
    match = _HIDDEN_NAME.fullmatch(name)
    if match is None or match["kind"] != PARTIAL or not _is_checked(match):
        return False
    return of is None or match["stem"] == _short(of)


def claim_name(path: Path) -> Path:
    """The name beside `path` of the lock that a run holds on it; always the same."""
    stem, token = _short(path.name), hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]
    return path.parent / f".{stem}.{token}{_name_check(stem, token)}{CLAIM}"


def is_claim(name: str) -> bool:
    """True for a name that `claim_name` gave."""
    match = _HIDDEN_NAME.fullmatch(name)
    return match is not None and match["kind"] == CLAIM and _is_checked(match)


def _is_checked(match: re.Match[str]) -> bool:
    return match["check"] == _name_check(match["stem"], match["token"])


def _name_check(stem: str, token: str) -> str:
    return hashlib.sha256(b"cnx-animate\0" + os.fsencode(f"{stem}\0{token}")).hexdigest()[:8]


def _create_partial(path: Path, *, folder: bool = False) -> tuple[Path, int]:
    """A new, locked partial file or folder for `path` and the descriptor that holds the lock."""
    while True:
        partial = hidden_name(path)
        if folder:
            partial.mkdir()
            try:
                lock = os.open(partial, os.O_RDONLY)
            except BaseException:
                partial.rmdir()
                raise
        else:
            lock = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        with suppress(OSError):  # a file system without locks; its leftovers stay then
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if partial.exists():
            return partial, lock
        os.close(lock)  # somebody took it for abandoned between creation and lock


def _remove_abandoned(path: Path) -> None:
    with suppress(OSError):
        for leftover in path.parent.iterdir():
            if is_partial(leftover.name, of=path.name) and not leftover.is_symlink():
                _remove_if_unlocked(leftover)


def _remove_if_unlocked(leftover: Path) -> None:
    try:
        lock = os.open(leftover, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # gone already, or another user's
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)
    except OSError:  # its writer lives
        pass
    finally:
        os.close(lock)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
