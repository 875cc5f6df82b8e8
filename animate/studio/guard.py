"""Who may talk to a studio: the browser that was given its address, on this machine.

Every request needs the token, which is in the address that the command prints and becomes a cookie.
A page of another site cannot send that cookie (SameSite), is refused by its Origin, and a foreign
name for this machine by its Host. Pages load nothing from elsewhere.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADER = "x-studio-token"
_LARGEST_BODY = 1 << 20
"""Bytes of a request that is no upload."""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_ONCE = (
    b"host",
    b"origin",
    b"content-length",
    b"sec-fetch-site",
    b"sec-fetch-mode",
    HEADER.encode(),
)
_ENTER = "open the address that cnx studio printed: it holds the key to this page"


class Guard:
    """An application behind the checks; refuses with 400, 403 or 413 and a sentence."""

    def __init__(self, app: App, *, token: str, port: int) -> None:
        self._app, self._token = app, token
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        # Cookies do not know ports: two studios must not take each other's.
        self._cookie = f"cnx_studio_{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = {key.decode("latin-1").lower(): value.decode("latin-1")
                   for key, value in scope["headers"]}  # fmt: skip
        if len(headers) < len(scope["headers"]) and (twice := _twice(scope)):
            await _answer(send, 400, f"the request says {twice} twice")
            return
        if refusal := self._refusal(scope, headers):
            await _answer(send, *refusal)
            return
        if self._enters(scope):
            cookie = f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict"
            await _answer(send, 303, "", ((b"location", b"/"), (b"set-cookie", cookie.encode())))
            return
        if not self._knows(headers):
            await _answer(send, 403, _ENTER)
            return
        await self._app(scope, _bounded(receive, scope), _with_headers(send))

    def _refusal(self, scope: Scope, headers: Mapping[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if host not in self._hosts:
            return 403, "this is not the address of the studio"
        origin = headers.get("origin")
        if origin is not None and origin not in {f"http://{name}" for name in self._hosts}:
            return 403, "another site's page may not use the studio"
        # A link elsewhere may open the studio; nothing else may be asked from there.
        opened = headers.get("sec-fetch-mode") == "navigate" and scope["method"] == "GET"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not opened:
            return 403, "another site's page may not use the studio"
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit():
            return 400, "the length of the request is no number"
        if int(length) > _LARGEST_BODY and not _is_upload(scope):
            return 413, f"a request may have {_LARGEST_BODY >> 20} MiB at most"
        return None

    def _enters(self, scope: Scope) -> bool:
        """True for the printed address, with the right token."""
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        token = query.get("token", [""])[0]
        return scope["path"] == "/" and bool(token) and self._is_token(token)

    def _knows(self, headers: Mapping[str, str]) -> bool:
        if self._is_token(headers.get(HEADER, "")):
            return True
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return False
        return self._cookie in cookies and self._is_token(cookies[self._cookie].value)

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), self._token.encode())


def _twice(scope: Scope) -> str:
    """A header that is looked at and stands there more than once; empty where there is none."""
    names = [key.lower() for key, _ in scope["headers"]]
    return next((name.decode() for name in _ONCE if names.count(name) > 1), "")


def _is_upload(scope: Scope) -> bool:
    return scope["method"] == "PUT" and str(scope["path"]) == "/api/upload"


def _bounded(receive: Receive, scope: Scope) -> Receive:
    """`receive` that ends a body which is longer than its kind may be, whatever it announced."""
    if _is_upload(scope):
        return receive
    count = 0

    async def bounded() -> Message:
        nonlocal count
        message = await receive()
        count += len(message.get("body", b""))
        return {"type": "http.disconnect"} if count > _LARGEST_BODY else message

    return bounded


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            names = {name.lower() for name, _ in headers}
            message["headers"] = [*headers, *(pair for pair in _HEADERS if pair[0] not in names)]
        await send(message)

    return sending


async def _answer(
    send: Send, status: int, text: str, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    fields = [(b"content-type", b"text/plain; charset=utf-8"), *_HEADERS, *headers]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": f"{text}\n".encode() if text else b""})
