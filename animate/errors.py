"""Every error that this project raises on purpose, drawn in one place.

::

    AnimateError
    +-- UserError          what the caller gave cannot be used; the message says what to do (exit 2)
    |   +-- RequestError   an option, or options that do not fit together
    |   |   +-- ManifestError  a file of many requests
    |   +-- MediaError     a video, image or output file
    |   +-- ModelError     a model folder, a weight file, a configuration of either
    |   +-- WorkError      a work folder that is in use, of another run, or cannot be written
    |   |   +-- BusyError      a clip or work folder that another running process holds
    |   +-- TrainingError  a training recipe, data folder or checkpoint
    |   +-- ExecutorError  an engine that is not installed, or workers that stay away
    |   +-- MotionError    poses, pose files, estimators: also a pose.errors.PoseError
    |   +-- WindowError    windows, chunks: also a temporal.errors.TemporalError
    |   |   +-- BudgetError    an amount of memory in which nothing runs: also a MemoryBudgetError
    |   +-- NotFiniteError a network gave numbers that are not finite
    +-- InternalError      a promise inside this project was broken; please report it (exit 1)

`pose` and `temporal` stand alone and have errors of their own (`ValueError`s). Where they would
leave this package, at the functions that programs call, `raises_ours` makes them a MotionError,
WindowError or BudgetError, so that `except AnimateError` catches all, and `except PoseError` too.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from pose.errors import PoseError
from temporal.errors import MemoryBudgetError, TemporalError

P = ParamSpec("P")
T = TypeVar("T")


class AnimateError(Exception):
    """Base of the errors that the `animate` package raises on purpose."""


class UserError(AnimateError):
    """The caller's input cannot be used; the message names it and the way out."""


class RequestError(UserError):
    """An option has an impossible value, or two options do not fit together."""


class ManifestError(RequestError):
    """A file of many requests cannot be used; every row that is wrong is named."""


class MediaError(UserError):
    """A video, image, sound or output file cannot be read or written."""


class ModelError(UserError):
    """A model variant, folder or weight file is missing, damaged or does not fit."""


class WorkError(UserError):
    """A run's work folder is in use, belongs to another run, or cannot be written or read."""


class BusyError(WorkError):
    """Another running process makes this clip or works in this folder; later it may be free."""


class TrainingError(UserError):
    """A training recipe, data folder or checkpoint cannot be used."""


class ExecutorError(UserError):
    """An engine that shares work is not installed, does not answer, or has lost its workers."""


class MotionError(UserError, PoseError):
    """A pose, pose file, estimator or its input cannot be used."""


class WindowError(UserError, TemporalError):
    """Windows or chunk sizes that cannot work; names the nearest that do."""


class BudgetError(WindowError, MemoryBudgetError):
    """An amount of memory in which nothing runs; names the nearest one that is enough."""


class NotFiniteError(UserError):
    """A network gave numbers that are not finite: a picture of them would be black or noise."""

    def __init__(self, stage: str, position: str, network: str) -> None:
        """`position`: step and frames within the stage."""
        super().__init__(stage, position, network)
        self.stage, self.position, self.network = stage, position, network

    def __str__(self) -> str:
        return (
            f"{self.stage}: the {self.network} gave numbers that are not finite ({self.position}); "
            "run again with --precision bfloat16 or float32, which hold larger numbers; if that "
            "is in use already, the model's weights or an adapter are damaged"
        )


class InternalError(AnimateError):
    """A promise inside this project was broken: a fault of the program."""


def user_mistakes() -> tuple[type[Exception], ...]:
    """Exception types that mean "the user's input", those of the lower packages included."""
    return (UserError, PoseError, TemporalError)


@contextmanager
def adopted_errors() -> Iterator[None]:
    """Within, errors of `pose` and `temporal` are raised as errors of this package."""
    try:
        yield
    except (PoseError, TemporalError) as reason:
        if isinstance(reason, AnimateError):
            raise
        ours = _adopted(reason)
        for note in getattr(reason, "__notes__", ()):
            ours.add_note(note)
        raise ours from reason


def raises_ours(function: Callable[P, T]) -> Callable[P, T]:
    """The function, with errors of `pose` and `temporal` raised as errors of this package."""
    return adopted_errors()(function)


def _adopted(error: PoseError | TemporalError) -> UserError:
    if isinstance(error, PoseError):
        return MotionError(str(error))
    kind = BudgetError if isinstance(error, MemoryBudgetError) else WindowError
    return kind(str(error))


def reason_of(error: BaseException) -> str:
    """The operating system's or a library's words for an error, without its number and path, to
    stand within a sentence."""
    words = getattr(error, "strerror", None) or str(error)
    command = _LIMITS.get(getattr(error, "errno", None) or 0)
    hint = f" (this process's limit: {command})" if command else ""
    return words[:1].lower() + words[1:] + hint if words else type(error).__name__


_LIMITS = {errno.EMFILE: "ulimit -n", errno.EFBIG: "ulimit -f"}
"""Shell commands that show, and raise, the limits by which calls of the system fail."""


def hit_limit(error: BaseException) -> bool:
    """True for an error by which the system kept this process within a limit."""
    if isinstance(error, RuntimeError):
        return "can't start new thread" in str(error)
    # EAGAIN: no further process could be started.
    return isinstance(error, OSError) and error.errno in (*_LIMITS, errno.EAGAIN)


_REFUSALS = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE
)  # fmt: skip
"""Numbers by which the system refuses a file that is there, or room for it."""


def was_refused(error: BaseException) -> bool:
    """True for an error by which the system refused to read or write a file."""
    return isinstance(error, OSError) and error.errno in _REFUSALS


_NO_MEMORY = (
    "allocate memory", "unable to allocate", "bad_alloc", "failed to map segment",
    "out of memory", "cublas_status_alloc_failed", "cublas_status_not_initialized",
    "cudnn_status_alloc_failed", "unable to find an engine to execute this computation",
    "could not create a primitive",
)  # fmt: skip
"""Words of the allocator, of numpy, of C++, of the loader of shared libraries, of oneDNN; of CUDA
for memory that it pins or allocates itself, and of cuBLAS and cuDNN, which have none for their
workspace."""


def ran_out_of_memory(error: BaseException) -> bool:
    """True for an error of Python, torch or a library that means too little memory.

    Torch's is known by its name, as torch may be missing here; those of CUDA's libraries are plain
    RuntimeErrors.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, MemoryError) or "OutOfMemoryError" in names:
        return True
    kinds = (RuntimeError, ImportError, OSError)
    return isinstance(error, kinds) and any(word in str(error).lower() for word in _NO_MEMORY)
