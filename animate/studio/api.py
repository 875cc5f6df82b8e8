"""The answers of a studio: each reads what was asked for, calls one function, and answers JSON.

Work is done in threads, so that none holds up the others.
"""

from __future__ import annotations

from dataclasses import asdict

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse

import animate
from animate.studio import pictures
from animate.studio.answers import (
    ClipChange,
    ClipOrder,
    MotionChange,
    VideoOrder,
    answering,
    number_of,
    read_order,
    text_of,
)
from animate.studio.clips import clip_files
from animate.studio.desk import Studio
from animate.studio.forms import fields, model_cards, presets
from animate.studio.motion import motion_values
from animate.studio.project import PAGE_SUFFIX, MissingError
from animate.studio.uploads import take_upload
from pose.draw import COLOURS
from pose.layout import FACE, FEET_LIMBS, HAND_EDGES, HANDS, LIMBS, NAMES, SEEN

_CLIP_TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm"}
"""Kinds of clips that browsers play; others are for keeping."""
_PAGE_POLICY = (
    "sandbox allow-scripts; default-src 'none'; img-src data:; media-src data:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)


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
            text_of(request, "name"),
            int(request.headers.get("content-length", "0")),
            self._studio.most_upload,
            request.stream(),
        )
        self._studio.publish_files()
        return JSONResponse({"name": self._project.name(path)}, 201)

    @answering
    async def photo(self, request: Request) -> Response:
        """A photo, at most `size` pixels wide or high."""
        path = self._project.file(text_of(request, "file"))
        size = max(16, min(number_of(request, "size", 540), 2160))
        data = await run_in_threadpool(pictures.photo, path, size)
        return Response(data, media_type="image/jpeg")

    @answering
    async def video(self, request: Request) -> Response:
        """Size, rate and length of a video."""
        path = self._project.file(text_of(request, "file"))
        facts = await run_in_threadpool(self._studio.frames.facts, path)
        return JSONResponse(asdict(facts))

    @answering
    async def frames(self, request: Request) -> Response:
        """A block of frames; see `FrameStore.block`."""
        path = self._project.file(text_of(request, "file"))
        block = await run_in_threadpool(
            self._studio.frames.block, path, number_of(request, "block"), number_of(request, "size")
        )
        return Response(block, media_type="application/octet-stream")

    @answering
    async def file(self, request: Request) -> Response:
        """A file of the project as it is: a clip to play, or anything to keep."""
        path = self._project.file(text_of(request, "file"))
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
    async def page(self, request: Request) -> Response:
        """A report or comparison of the folder, shut off: it may run its own scripts, and neither
        reach the studio nor load anything."""
        path = self._project.file(text_of(request, "file"))
        if path.suffix.lower() != PAGE_SUFFIX:
            raise MissingError(f"{self._project.name(path)} is no page")
        headers = {"content-security-policy": _PAGE_POLICY, "cache-control": "no-cache"}
        return FileResponse(path, media_type="text/html", headers=headers)

    @answering
    async def estimate(self, request: Request) -> Response:
        """Estimate the poses of a video."""
        order = await read_order(request, VideoOrder)
        path = self._project.file(order.video)
        poses = self._studio.estimates.submit(path, order.estimator)
        return JSONResponse({"poses": self._project.name(poses)}, 202)

    @answering
    async def stop_estimate(self, request: Request) -> Response:
        """Stop estimating."""
        change = await read_order(request, MotionChange)
        self._studio.estimates.stop(self._project.path(change.poses))
        return JSONResponse({})

    @answering
    async def motion(self, request: Request) -> Response:
        """The state of a pose file."""
        path = self._project.file(text_of(request, "poses"))
        state = await run_in_threadpool(self._studio.motion.state, path)
        return JSONResponse(motion_values(state))

    @answering
    async def points(self, request: Request) -> Response:
        """Points of frames; see `MotionDesk.points`."""
        path = self._project.file(text_of(request, "poses"))
        data = await run_in_threadpool(
            self._studio.motion.points,
            path,
            request.query_params.get("layer", "edited"),
            number_of(request, "first"),
            number_of(request, "stop"),
        )
        return Response(data, media_type="application/octet-stream")

    @answering
    async def fitted(self, request: Request) -> Response:
        """The motion on the reference's picture."""
        poses = self._project.file(text_of(request, "poses"))
        reference = self._project.file(text_of(request, "reference"))
        data = await run_in_threadpool(
            self._studio.motion.fitted,
            poses,
            reference,
            request.query_params.get("person", "main"),
            request.query_params.get("mode", "robust"),
            number_of(request, "first"),
            number_of(request, "stop"),
        )
        canvas = self._studio.motion.reference(reference).canvas
        headers = {"x-canvas": f"{canvas[0]}x{canvas[1]}"}
        return Response(data, media_type="application/octet-stream", headers=headers)

    @answering
    async def change_motion(self, request: Request) -> Response:
        """Edit, undo, redo or save."""
        change = await read_order(request, MotionChange)
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
                "presets": [asdict(preset) for preset in presets()],
                "layout": layout(),
            }
        )

    @answering
    async def outlook(self, request: Request) -> Response:
        """Time, memory and faults of a clip before it is made."""
        order = await read_order(request, ClipOrder)
        return JSONResponse(asdict(await run_in_threadpool(self._studio.outlook, order.settings)))

    @answering
    async def make_clips(self, request: Request) -> Response:
        """Queue clips."""
        order = await read_order(request, ClipOrder)
        names = await run_in_threadpool(self._studio.submit, order.settings, order.variations)
        return JSONResponse({"clips": names}, 202)

    @answering
    async def files_of_clip(self, request: Request) -> Response:
        """Names of a clip's files, for keeping."""
        path = self._project.file(text_of(request, "file"))
        return JSONResponse(await run_in_threadpool(clip_files, self._project, path))

    @answering
    async def clip_picture(self, request: Request) -> Response:
        """A small picture of a clip."""
        data = self._studio.clips.picture(text_of(request, "clip"), number_of(request, "number", 0))
        return Response(data, media_type="image/jpeg")

    @answering
    async def clip_preview(self, request: Request) -> Response:
        """The newest picture of the clip that is being made."""
        data = self._studio.clips.preview()
        return Response(data, media_type="image/jpeg", headers={"cache-control": "no-store"})

    @answering
    async def change_clip(self, request: Request) -> Response:
        """Stop, resume or remove a clip of the queue."""
        change = await read_order(request, ClipChange)
        queue = self._studio.clips
        actions = {"stop": queue.stop, "resume": queue.resume, "remove": queue.remove}
        action = request.path_params["action"]
        if action not in actions:
            raise MissingError(f"nothing is called {action} here")
        await run_in_threadpool(actions[action], change.clip)
        return JSONResponse({})
