"""The claim on an output: no two runs write one clip, or one record, at the same time.

A run holds a lock file beside each file that it claims, whatever its work folder is. It is removed
at the end; one without a holder was left by a run that was killed, and the next one takes it over.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from animate.clip.record import is_of_another, record_paths
from animate.errors import BusyError, MediaError
from animate.files import FRAME_NUMBER, claim_name, is_sequence

_MOST_BYTES = 32
"""Size of a lock file, which holds a process number, at most."""


@contextmanager
def claimed(path: Path, role: str = "output") -> Iterator[None]:
    """Hold the claim on a file that may not be there yet.

    Raises BusyError naming the process that holds it, MediaError where it cannot be had.
    """
    lock = claim_name(_claimed_path(path))
    try:
        descriptor = _take(lock, path, role)
    except OSError as reason:
        words = (reason.strerror or str(reason)).lower()
        if reason.errno == errno.ELOOP:
            words = f"{lock.name} beside it is a link; remove it"
        raise MediaError(f"{role} {path} cannot be written: {words}") from reason
    try:
        yield
    finally:
        with suppress(OSError):
            if is_at(descriptor, lock):
                lock.unlink()
        os.close(descriptor)


@contextmanager
def claimed_record(clip: Path) -> Iterator[Path]:
    """Hold the claim on the record of a clip, and yield its path.

    That is the other one of `record_paths` where the usual one is, or is about to be, the record
    of another clip. Raises as `claimed`.
    """
    usual, longer = record_paths(clip)
    with ExitStack() as stack:
        try:
            stack.enter_context(claimed(usual, "record"))
            path = longer if is_of_another(usual, clip) else usual
        except BusyError:  # by the run of another clip: this one's is claimed by us
            path = longer
        if path == longer:
            stack.close()
            stack.enter_context(claimed(longer, "record"))
        yield path


def is_at(descriptor: int, path: Path) -> bool:
    """True if an open file is the one at a path."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def try_flock(descriptor: int) -> bool:
    """Lock an open file; False where another holds it.

    On a file system without locks everybody has them: two runs at once are not known there.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as reason:
        return reason.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def sign_lock(descriptor: int) -> None:
    """Write this process's number into its lock file."""
    with suppress(OSError):  # a full disk: the lock is held all the same
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def lock_holder(descriptor: int) -> str:
    """The process number in a lock file."""
    with suppress(OSError, ValueError):
        return str(int(os.pread(descriptor, _MOST_BYTES, 0)))
    return "unknown"


def _claimed_path(path: Path) -> Path:
    """One path for one file: without links, and with one pattern for all of the same numbers.

    That of numbered images is beside their folder, which may not be there yet.
    """
    if not is_sequence(path):
        return Path(os.path.realpath(path))
    folder = Path(os.path.realpath(path.parent))
    return folder.with_name(f"{folder.name}.{FRAME_NUMBER.sub('#', path.name)}")


def _take(lock: Path, path: Path, role: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    while True:
        descriptor = os.open(lock, flags, 0o666)
        try:
            if not try_flock(descriptor):
                raise BusyError(
                    f"another run (process {lock_holder(descriptor)}) is writing {role} {path}; "
                    "wait for it or stop it, or choose another name"
                )
            if is_at(descriptor, lock):  # or the run that has just ended has removed it
                _check_ours(descriptor, lock)
                sign_lock(descriptor)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def is_lock_file(state: os.stat_result) -> bool:
    """True for the state of a file that can be a lock: small, and under one name alone."""
    return stat.S_ISREG(state.st_mode) and state.st_nlink == 1 and state.st_size <= _MOST_BYTES


def _check_ours(descriptor: int, lock: Path) -> None:
    state = os.fstat(descriptor)
    if state.st_nlink > 0 and not is_lock_file(state):
        raise MediaError(f"{lock} is in the way, and none of this program's files; move it away")
