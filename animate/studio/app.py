"""Addresses of the studio and what answers them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from animate.studio.api import Api
from animate.studio.desk import Studio

STATIC = Path(__file__).parent / "static"


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
        Route("/api/page", api.page),
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


async def page(request: Request) -> Response:
    """The one page; its parts come from `static`."""
    return FileResponse(STATIC / "index.html", headers={"cache-control": "no-store"})
