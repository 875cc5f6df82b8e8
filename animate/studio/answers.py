"""Requests of pages, read once, and mistakes answered as JSON."""

from __future__ import annotations

import errno
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from animate.errors import RequestError, user_mistakes
from animate.request.schema import build
from animate.studio.motion import ConflictError
from animate.studio.project import MissingError, OutsideError
from animate.studio.uploads import TooLargeError

T = TypeVar("T")
Holder = TypeVar("Holder")
_STATUS = (
    (OutsideError, 403),
    (MissingError, 404),
    (ConflictError, 409),
    (TooLargeError, 413),
)
"""Answers to errors that are more than a bad value."""


@dataclass(frozen=True, kw_only=True)
class VideoOrder:
    """A video whose poses are wanted."""

    video: str
    estimator: str = "blazepose"


@dataclass(frozen=True, kw_only=True)
class MotionChange:
    """A change of poses."""

    poses: str
    revision: int = 0
    """Revision that the page saw."""
    edit: object = None
    """Plain values of the edit; see `pose.edit`."""


@dataclass(frozen=True, kw_only=True)
class ClipOrder:
    """Clips to make, or to look ahead at: settings by name, each of them one or several times."""

    settings: Mapping[str, object]
    variations: Mapping[str, object] = field(default_factory=dict)
    """Lists of values by setting; a clip is made of every combination."""


@dataclass(frozen=True, kw_only=True)
class ClipChange:
    """A clip of the queue to act on."""

    clip: str
    """Name of its record."""


def answering(
    function: Callable[[Holder, Request], Awaitable[Response]],
) -> Callable[[Holder, Request], Awaitable[Response]]:
    """The endpoint, with mistakes answered as JSON: their sentence, and a status that fits."""

    @wraps(function)
    async def answer(self: Holder, request: Request) -> Response:
        try:
            return await function(self, request)
        except user_mistakes() as reason:
            status = next((s for kind, s in _STATUS if isinstance(reason, kind)), 422)
            return JSONResponse({"error": str(reason)}, status)
        except ClientDisconnect:
            return JSONResponse({"error": "the request was cut off"}, 400)
        except OSError as reason:
            if request.method in ("GET", "HEAD"):
                words = (reason.strerror or str(reason)).lower()
                return JSONResponse({"error": f"that could not be read: {words}"}, 500)
            full = reason.errno in (errno.ENOSPC, errno.EDQUOT)
            words = "the disk is full" if full else (reason.strerror or str(reason)).lower()
            return JSONResponse({"error": f"that could not be written: {words}"}, 507)

    return answer


async def read_order(request: Request, kind: type[T]) -> T:
    """The dataclass that a request's JSON is. Raises RequestError for anything else."""
    try:
        values: object = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise RequestError("the request is no JSON") from None
    return build(kind, values)


def text_of(request: Request, name: str) -> str:
    value = request.query_params.get(name, "")
    if not value:
        raise RequestError(f"{name} is missing in the address")
    return value


def number_of(request: Request, name: str, default: int | None = None) -> int:
    value = request.query_params.get(name, "" if default is None else str(default))
    if not (value.isascii() and value.isdigit() and len(value) < 12):
        raise RequestError(f"{name} {value!r} is not a whole number")
    return int(value)
