"""The studio's server: this machine alone, one port, a token of its own."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from animate.errors import ExecutorError, RequestError

LOOPBACK = "127.0.0.1"


def serve(folder: Path, *, port: int, most_upload: int, announce: Callable[[str], None]) -> None:
    """Serve a project until the process is interrupted.

    port: 0 for any that is free
    most_upload: bytes of a file that a browser may send
    announce: called with the address once it answers

    Raises RequestError for a folder, or a port, that cannot be had, ExecutorError where the extra
    is not installed.
    """
    try:
        import uvicorn

        from animate.studio.app import make_app
    except ModuleNotFoundError as missing:
        if missing.name not in ("uvicorn", "starlette"):
            raise
        raise ExecutorError(
            f"the studio needs {missing.name}; install the extra: pip install 'cnx-animate[studio]'"
        ) from missing
    from animate.studio.desk import Studio
    from animate.studio.guard import Guard

    studio = Studio(folder, most_upload=most_upload)
    with alone_in(studio.project.root), listening(port) as listener:
        number = listener.getsockname()[1]
        token = secrets.token_urlsafe(24)
        config = uvicorn.Config(
            Guard(make_app(studio), token=token, port=number),
            log_level="critical",
            access_log=False,
            server_header=False,
            lifespan="on",
            timeout_graceful_shutdown=1,
        )

        class Server(uvicorn.Server):
            """Says its address when it listens, and ends open connections before it waits."""

            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                announce(f"http://{LOOPBACK}:{number}/?token={token}")

            async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
                studio.hub.close()
                await super().shutdown(sockets)

        Server(config).run(sockets=[listener])


@contextmanager
def listening(port: int) -> Iterator[socket.socket]:
    """A socket that listens on this machine alone. Raises RequestError where the port is taken."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
            listener.listen(64)
        except OSError as reason:
            cause = "is in use" if reason.errno == errno.EADDRINUSE else "cannot be had"
            raise RequestError(
                f"port {port} {cause}; give another one with --port, or 0 for any that is free"
            ) from reason
        yield listener


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder as the only studio. Raises RequestError where another one works in it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RequestError(
                f"another studio works in {folder}; open that one, or close it first"
            ) from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(descriptor)
