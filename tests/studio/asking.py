"""Requests to an application in this process, as a browser sends them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

TOKEN, PORT = "the-token", 8484
HOME = {"host": f"127.0.0.1:{PORT}", "x-studio-token": TOKEN}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def values(self) -> Any:
        return json.loads(self.body)


def ask(
    app: Any,
    path: str,
    *,
    method: str = "GET",
    body: object = b"",
    headers: Mapping[str, str] | None = None,
    **query: object,
) -> Answer:
    """The answer to one request; `body` is bytes, or a value to send as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {**(HOME if headers is None else headers)}
    fields.setdefault("content-length", str(len(data)))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": urlencode(query).encode(),
        "headers": [(key.encode(), value.encode()) for key, value in fields.items()],
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", PORT),
    }
    return asyncio.run(_asked(app, scope, data))


async def _asked(app: Any, scope: dict[str, Any], data: bytes) -> Answer:
    sent: list[dict[str, Any]] = []
    messages = [{"type": "http.request", "body": data, "more_body": False}]

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return Answer(
        status=sent[0]["status"],
        headers={k.decode().lower(): v.decode() for k, v in sent[0]["headers"]},
        body=b"".join(message.get("body", b"") for message in sent[1:]),
    )
