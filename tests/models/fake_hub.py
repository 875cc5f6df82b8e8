"""A model hub on the loopback address: files in memory, and faults on demand.

It speaks as much of the hub's protocol as fetching a file needs: HEAD and GET of
`/OWNER/NAME/resolve/REVISION/PATH`, with digests, ranges, tokens and error codes.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

COMMIT = "c0ffee" + "0" * 34
LARGE = 1000
"""Bytes from which on a file is stored apart, under its SHA-256."""


@dataclass
class FakeHub:
    """Files by `owner/name/path`, and what shall go wrong with them."""

    files: dict[str, bytes]
    gated: set[str] = field(default_factory=set)
    """Repositories that only tokens in `members` may read."""
    tokens: set[str] = field(default_factory=lambda: {"good", "stranger", "narrow"})
    members: set[str] = field(default_factory=lambda: {"good"})
    narrow: set[str] = field(default_factory=lambda: {"narrow"})
    """Tokens without the permission to read gated repositories."""
    status: dict[str, list[int]] = field(default_factory=dict)
    """Answers that a file gives before its own, one for each request."""
    drop_after: dict[str, list[int]] = field(default_factory=dict)
    """Bytes after which the connection breaks, one number for each GET."""
    corrupt: set[str] = field(default_factory=set)
    silent: threading.Event | None = None
    """Requests of the kinds in `silent_to` are answered once it is set."""
    silent_to: tuple[str, ...] = ("GET",)
    ranges: bool = True
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    """(method, file, range) of every request."""
    server: ThreadingHTTPServer | None = None

    def start(self) -> str:
        """Serve from now on; returns the address."""
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                pass

            def do_HEAD(self) -> None:
                _answer(hub, self)

            def do_GET(self) -> None:
                _answer(hub, self)

        self.server = _Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def stop(self) -> None:
        assert self.server is not None
        self.server.shutdown()
        self.server.server_close()

    def gets(self, name: str) -> list[str | None]:
        """Ranges of the GET requests of a file."""
        return [span for method, file, span in self.requests if (method, file) == ("GET", name)]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Callers may go in the midst of an answer."""


def digest_of(content: bytes) -> str:
    if len(content) >= LARGE:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _fail(request: BaseHTTPRequestHandler, status: int, code: str = "", words: str = "") -> None:
    request.send_response(status)
    if code:
        request.send_header("X-Error-Code", code)
    if words:
        request.send_header("X-Error-Message", words)
    request.send_header("Content-Length", "0")
    request.end_headers()


def _answer(hub: FakeHub, request: BaseHTTPRequestHandler) -> None:
    owner, name, _, revision, *path = request.path.lstrip("/").split("/")
    repository, file = f"{owner}/{name}", f"{owner}/{name}/{'/'.join(path)}"
    hub.requests.append((request.command, file, request.headers.get("Range")))
    token = (request.headers.get("Authorization") or "").removeprefix("Bearer ")
    if hub.silent is not None and request.command in hub.silent_to:
        hub.silent.wait()
    if hub.status.get(file):
        return _fail(request, hub.status[file].pop(0))
    if token and token not in hub.tokens:
        return _fail(request, 401, words="Invalid credentials in Authorization header")
    if not any(known.startswith(f"{repository}/") for known in hub.files):
        return _fail(request, 404 if token else 401, "RepoNotFound", "Repository not found")
    if repository in hub.gated and token not in hub.members:
        if token in hub.narrow:
            return _fail(request, 403, words="Please enable access to public gated repositories")
        return _fail(request, 403 if token else 401, "GatedRepo", "Access is restricted")
    if revision not in ("main", COMMIT):
        return _fail(request, 404, "RevisionNotFound")
    if file not in hub.files:
        return _fail(request, 404, "EntryNotFound")
    _send(hub, request, file)


def _send(hub: FakeHub, request: BaseHTTPRequestHandler, file: str) -> None:
    content = hub.files[file]
    digest, start = digest_of(content), 0
    span = request.headers.get("Range") if hub.ranges else None
    if span:
        start = int(span.removeprefix("bytes=").rstrip("-"))
    request.send_response(206 if span else 200)
    request.send_header("X-Repo-Commit", COMMIT)
    request.send_header("ETag", f'"{digest}"')
    if len(content) >= LARGE:
        request.send_header("X-Linked-ETag", f'"{digest}"')
        request.send_header("X-Linked-Size", str(len(content)))
    if span:
        request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    request.send_header("Content-Length", str(len(content) - start))
    request.end_headers()
    if request.command == "HEAD":
        return
    body = content[start:]
    if file in hub.corrupt:
        body = bytes([body[0] ^ 1]) + body[1:]
    if hub.drop_after.get(file):
        request.wfile.write(body[: hub.drop_after[file].pop(0)])
        request.wfile.flush()
        request.close_connection = True
        return
    request.wfile.write(body)


def use_hub(hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Start a hub and let the hub library use it, and a cache of its own, for the test."""
    from huggingface_hub import constants

    address = hub.start()
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("animate.models.download.PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache.parent / "no-token"))
    return address
