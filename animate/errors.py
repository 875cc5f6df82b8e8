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
    +-- InternalError      a promise inside this project was broken; please report it (exit 1)

    pose.errors.PoseError(ValueError)              poses, pose files, estimators (exit 2)
    temporal.errors.TemporalError(ValueError)      windows, chunks, budgets (exit 2)

`pose` and `temporal` stand alone and therefore have their own; `user_mistakes()` names them all.
"""

from __future__ import annotations


class AnimateError(Exception):
    """Base of the errors that the `animate` package raises on purpose."""


class UserError(AnimateError):
    """What the caller gave cannot be used; the message names it and the way out."""


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


class InternalError(AnimateError):
    """A promise inside this project was broken: a fault of the program."""


def user_mistakes() -> tuple[type[Exception], ...]:
    """Exception types that mean "the user's input", those of the lower packages included."""
    from pose.errors import PoseError
    from temporal.errors import TemporalError

    return (UserError, PoseError, TemporalError)
