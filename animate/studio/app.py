"""Addresses of the studio: each reads what was asked for, calls one function, and answers JSON.

Functions that are not `async` run in threads, so that none holds up the others.
"""

from __future__ import annotations

import errno
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

import animate
from animate.errors import RequestError, user_mistakes
from animate.request.schema import build
from animate.studio import pictures
from animate.studio.clips import clip_files
from animate.studio.desk import Studio
from animate.studio.forms import fields, model_cards
from animate.studio.motion import ConflictError, motion_values
from animate.studio.project import MissingError, OutsideError
from animate.studio.uploads import TooLargeError, take_upload
from pose.draw import COLOURS
from pose.layout import FACE, FEET_LIMBS, HAND_EDGES, HANDS, LIMBS, NAMES, SEEN

STATIC = Path(__file__).parent / "static"
T = TypeVar("T")
Endpoint = Callable[[Request], Awaitable[Response]]
_STATUS = (
    (OutsideError, 403),
    (MissingError, 404),
    (ConflictError, 409),
    (TooLargeError, 413),
)
"""Answers to errors that are more than a bad value."""
_CLIP_TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm"}
"""Kinds of clips that browsers play; others are for keeping."""


def make_app(studio: Studio) -> Starlette:
    """The application, without its guard; the studio works as long as it runs."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await run_in_threadpool(studio.start)
        yield
        await run_in_threadpool(studio.close)

    api = Api(studio)
    routes = [
        Route("/", page),
        Route("/api/state", api.state),
        Route("/api/events", api.events),
        Route("/api/upload", api.upload, methods=["PUT"]),
        Route("/api/photo", api.photo),
        Route("/api/video", api.video),
        Route("/api/frames", api.frames),
        Route("/api/file", api.file),
        Route("/api/poses", api.estimate, methods=["POST"]),
        Route("/api/poses/stop", api.stop_estimate, methods=["POST"]),
        Route("/api/motion", api.motion),
        Route("/api/motion/points", api.points),
        Route("/api/motion/fitted", api.fitted),
        Route("/api/motion/{action:str}", api.change_motion, methods=["POST"]),
        Route("/api/settings", api.settings),
        Route("/api/outlook", api.outlook, methods=["POST"]),
        Route("/api/clips", api.make_clips, methods=["POST"]),
        Route("/api/clips/files", api.files_of_clip),
        Route("/api/clips/picture", api.clip_picture),
        Route("/api/clips/preview", api.clip_preview),
        Route("/api/clips/{action:str}", api.change_clip, methods=["POST"]),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def layout() -> dict[str, object]:
    """Numbers, names and colours of a person's points, as pages draw them."""
    return {
        "names": NAMES,
        "limbs": LIMBS,
        "feet": FEET_LIMBS,
        "hands": [[hand.start, hand.stop] for hand in HANDS],
        "hand_edges": HAND_EDGES,
        "face": [FACE.start, FACE.stop],
        "colours": COLOURS,
        "seen": SEEN,
    }


async def page(request: Request) -> Response:
    """The one page; its parts come from `static`."""
    return FileResponse(STATIC / "index.html", headers={"cache-control": "no-store"})


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
    variations: Mapping[str, object] = ()  # type: ignore[assignment]
    """Lists of values by setting; a clip is made of every combination."""


def answering(
    function: Callable[[Api, Request], Awaitable[Response]],
) -> Callable[[Api, Request], Awaitable[Response]]:
    """The endpoint, with mistakes answered as JSON: their sentence, and a status that fits."""

    @wraps(function)
    async def answer(self: Api, request: Request) -> Response:
        try:
            return await function(self, request)
        except user_mistakes() as reason:
            status = next((s for kind, s in _STATUS if isinstance(reason, kind)), 422)
            return JSONResponse({"error": str(reason)}, status)
        except ClientDisconnect:
            return JSONResponse({"error": "the request was cut off"}, 400)
        except OSError as reason:
            full = reason.errno in (errno.ENOSPC, errno.EDQUOT)
            words = "the disk is full" if full else (reason.strerror or str(reason)).lower()
            return JSONResponse({"error": f"that could not be written: {words}"}, 507)

    return answer


class Api:
    """The answers of one studio."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._project = studio.project

    @answering
    async def state(self, request: Request) -> Response:
        """Everything that is shown and may change: files, clips, estimates."""
        values = await run_in_threadpool(self._studio.state)
        return JSONResponse({"version": animate.__version__, **values})

    @answering
    async def events(self, request: Request) -> Response:
        """News of that, as server-sent events."""
        headers = {"cache-control": "no-store"}
        return StreamingResponse(
            self._studio.hub.listen(), media_type="text/event-stream", headers=headers
        )

    @answering
    async def upload(self, request: Request) -> Response:
        """Take a file in."""
        path = await take_upload(
            self._project,
            _text(request, "name"),
            int(request.headers.get("content-length", "0")),
            self._studio.most_upload,
            request.stream(),
        )
        self._studio.publish_files()
        return JSONResponse({"name": self._project.name(path)}, 201)

    @answering
    async def photo(self, request: Request) -> Response:
        """A photo, at most `size` pixels wide or high."""
        path = self._project.file(_text(request, "file"))
        size = max(16, min(_number(request, "size", 540), 2160))
        data = await run_in_threadpool(pictures.photo, path, size)
        return Response(data, media_type="image/jpeg")

    @answering
    async def video(self, request: Request) -> Response:
        """Size, rate and length of a video."""
        path = self._project.file(_text(request, "file"))
        facts = await run_in_threadpool(self._studio.frames.facts, path)
        return JSONResponse(asdict(facts))

    @answering
    async def frames(self, request: Request) -> Response:
        """A block of frames; see `FrameStore.block`."""
        path = self._project.file(_text(request, "file"))
        block = await run_in_threadpool(
            self._studio.frames.block, path, _number(request, "block"), _number(request, "size")
        )
        return Response(block, media_type="application/octet-stream")

    @answering
    async def file(self, request: Request) -> Response:
        """A file of the project as it is: a clip to play, or anything to keep."""
        path = self._project.file(_text(request, "file"))
        kind = _CLIP_TYPES.get(path.suffix.lower(), "application/octet-stream")
        keep = request.query_params.get("keep") == "1" or kind == "application/octet-stream"
        return FileResponse(
            path,
            media_type=kind,
            filename=path.name,
            content_disposition_type="attachment" if keep else "inline",
            headers={"cache-control": "no-cache"},
        )

    @answering
    async def estimate(self, request: Request) -> Response:
        """Estimate the poses of a video."""
        order = await _read(request, VideoOrder)
        path = self._project.file(order.video)
        poses = self._studio.estimates.submit(path, order.estimator)
        return JSONResponse({"poses": self._project.name(poses)}, 202)

    @answering
    async def stop_estimate(self, request: Request) -> Response:
        """Stop estimating."""
        change = await _read(request, MotionChange)
        self._studio.estimates.stop(self._project.path(change.poses))
        return JSONResponse({})

    @answering
    async def motion(self, request: Request) -> Response:
        """The state of a pose file."""
        path = self._project.file(_text(request, "poses"))
        state = await run_in_threadpool(self._studio.motion.state, path)
        return JSONResponse(motion_values(state))

    @answering
    async def points(self, request: Request) -> Response:
        """Points of frames; see `MotionDesk.points`."""
        path = self._project.file(_text(request, "poses"))
        data = await run_in_threadpool(
            self._studio.motion.points,
            path,
            request.query_params.get("layer", "edited"),
            _number(request, "first"),
            _number(request, "stop"),
        )
        return Response(data, media_type="application/octet-stream")

    @answering
    async def fitted(self, request: Request) -> Response:
        """The motion on the reference's picture."""
        poses = self._project.file(_text(request, "poses"))
        reference = self._project.file(_text(request, "reference"))
        data = await run_in_threadpool(
            self._studio.motion.fitted,
            poses,
            reference,
            request.query_params.get("person", "main"),
            request.query_params.get("mode", "robust"),
        )
        canvas = self._studio.motion.reference(reference).canvas
        headers = {"x-canvas": f"{canvas[0]}x{canvas[1]}"}
        return Response(data, media_type="application/octet-stream", headers=headers)

    @answering
    async def change_motion(self, request: Request) -> Response:
        """Edit, undo, redo or save."""
        change = await _read(request, MotionChange)
        path = self._project.file(change.poses)
        action = request.path_params["action"]
        state = await run_in_threadpool(self._studio.change_motion, action, path, change)
        return JSONResponse(motion_values(state))

    @answering
    async def settings(self, request: Request) -> Response:
        """Settings and models to choose from."""
        cards = await run_in_threadpool(model_cards)
        return JSONResponse(
            {
                "fields": [asdict(field) for field in fields()],
                "models": [asdict(card) for card in cards],
                "layout": layout(),
            }
        )

    @answering
    async def outlook(self, request: Request) -> Response:
        """Time, memory and faults of a clip before it is made."""
        order = await _read(request, ClipOrder)
        return JSONResponse(asdict(await run_in_threadpool(self._studio.outlook, order.settings)))

    @answering
    async def make_clips(self, request: Request) -> Response:
        """Queue clips."""
        order = await _read(request, ClipOrder)
        names = await run_in_threadpool(
            self._studio.submit, order.settings, dict(order.variations or {})
        )
        return JSONResponse({"clips": names}, 202)

    @answering
    async def files_of_clip(self, request: Request) -> Response:
        """Names of a clip's files, for keeping."""
        path = self._project.file(_text(request, "file"))
        return JSONResponse(await run_in_threadpool(clip_files, self._project, path))

    @answering
    async def clip_picture(self, request: Request) -> Response:
        """A small picture of a clip."""
        data = self._studio.clips.picture(_text(request, "clip"), _number(request, "number", 0))
        return Response(data, media_type="image/jpeg")

    @answering
    async def clip_preview(self, request: Request) -> Response:
        """The newest picture of the clip that is being made."""
        data = self._studio.clips.preview()
        return Response(data, media_type="image/jpeg", headers={"cache-control": "no-store"})

    @answering
    async def change_clip(self, request: Request) -> Response:
        """Stop, resume or remove a clip of the queue."""
        change = await _read(request, ClipChange)
        queue = self._studio.clips
        actions = {"stop": queue.stop, "resume": queue.resume, "remove": queue.remove}
        action = request.path_params["action"]
        if action not in actions:
            raise MissingError(f"nothing is called {action} here")
        await run_in_threadpool(actions[action], change.clip)
        return JSONResponse({})


@dataclass(frozen=True, kw_only=True)
class ClipChange:
    """A clip of the queue to act on."""

    clip: str
    """Name of its record."""


async def _read(request: Request, kind: type[T]) -> T:
    """The dataclass that a request's JSON is. Raises RequestError for anything else."""
    try:
        values: Any = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise RequestError("the request is no JSON") from None
    return build(kind, values)


def _text(request: Request, name: str) -> str:
    value = request.query_params.get(name, "")
    if not value:
        raise RequestError(f"{name} is missing in the address")
    return value


def _number(request: Request, name: str, default: int | None = None) -> int:
    value = request.query_params.get(name, "" if default is None else str(default))
    if not (value.isascii() and value.isdigit() and len(value) < 12):
        raise RequestError(f"{name} {value!r} is not a whole number")
    return int(value)
