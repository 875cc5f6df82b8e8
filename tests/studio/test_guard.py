"""Who may talk to the studio, and what nobody may do."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from animate.errors import RequestError
from animate.studio.server import LOOPBACK, alone_in, listening
from tests.studio.asking import HOME, PORT, TOKEN, ask

HOST = {"host": f"127.0.0.1:{PORT}"}


def test_nobody_comes_in_without_the_token(app: Any) -> None:
    for path in ("/", "/api/state", "/static/main.js", "/api/file"):
        assert ask(app, path, headers=HOST).status == 403
    assert ask(app, "/", headers=HOST, token="wrong").status == 403
    assert ask(app, "/api/state", headers={**HOST, "x-studio-token": "wrong"}).status == 403
    cookie = {**HOST, "cookie": f"cnx_studio_{PORT}=wrong"}
    assert ask(app, "/api/state", headers=cookie).status == 403


def test_the_printed_address_gives_a_cookie_that_no_script_and_no_other_site_has(app: Any) -> None:
    entered = ask(app, "/", headers=HOST, token=TOKEN)
    assert entered.status == 303
    assert entered.headers["location"] == "/"
    cookie = entered.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    known = {**HOST, "cookie": cookie.partition(";")[0]}
    assert ask(app, "/api/state", headers=known).status == 200
    assert ask(app, "/", headers=known).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": f"http://127.0.0.1:{PORT + 1}"},
        {"origin": f"https://127.0.0.1:{PORT}"},
        {"host": "evil.example"},
        {"host": f"evil.example:{PORT}"},
        {"host": f"127.0.0.1:{PORT + 1}"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_a_foreign_origin_is_refused_even_with_the_token(app: Any, headers: dict[str, str]) -> None:
    for method, path in (("GET", "/api/state"), ("POST", "/api/clips"), ("PUT", "/api/upload")):
        assert ask(app, path, method=method, headers={**HOME, **headers}).status == 403


@pytest.mark.parametrize("name", ["Origin", "Host", "X-Studio-Token", "Content-Length"])
def test_a_header_that_stands_there_twice_is_refused(app: Any, name: str) -> None:
    """The one that is looked at must be the one that counts."""
    mine = {**HOME, "origin": f"http://127.0.0.1:{PORT}", "content-length": "0"}
    assert ask(app, "/api/state", headers=mine).status == 200
    assert ask(app, "/api/state", headers={name: "http://evil.example", **mine}).status == 400


def test_its_own_origin_is_taken(app: Any) -> None:
    mine = {**HOME, "origin": f"http://127.0.0.1:{PORT}", "sec-fetch-site": "same-origin"}
    assert ask(app, "/api/state", headers=mine).status == 200


def test_pages_load_nothing_from_elsewhere_and_no_kind_is_guessed(app: Any) -> None:
    headers = ask(app, "/").headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "script-src 'self';" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert ask(app, "/api/state").headers["x-content-type-options"] == "nosniff"


def test_the_page_names_no_other_address() -> None:
    static = Path("animate/studio/static")
    for file in static.iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text, file
        assert "https://" not in text, file


def test_requests_are_bounded_whatever_they_announce(app: Any) -> None:
    large = b"x" * ((1 << 20) + 1)
    assert ask(app, "/api/clips", method="POST", body=large).status == 413
    lying = {**HOME, "content-length": "10"}
    assert ask(app, "/api/clips", method="POST", body=large, headers=lying).status == 400
    for length in ("-1", "1e3", "²", ""):
        odd = {**HOME, "content-length": length}
        assert ask(app, "/api/state", headers=odd).status == 400


def test_a_port_that_is_taken_is_named_with_the_way_out() -> None:
    with listening(0) as listener:
        assert listener.getsockname()[0] == LOOPBACK
        port = listener.getsockname()[1]
        with pytest.raises(RequestError, match=f"port {port} is in use; .* --port"):
            listening(port).__enter__()
        with socket.create_connection((LOOPBACK, port), timeout=5):
            pass


def test_one_folder_has_one_studio(tmp_path: Path) -> None:
    with alone_in(tmp_path), pytest.raises(RequestError, match="another studio"):
        alone_in(tmp_path).__enter__()
    with alone_in(tmp_path):
        pass


def test_a_page_of_the_folder_is_shut_off_from_the_studio(app: Any, folder: Path) -> None:
    (folder / "compare.html").write_text("<script>fetch('/api/state')</script>")
    assert "compare.html" in [f["name"] for f in ask(app, "/api/state").values["files"]]
    answer = ask(app, "/api/page", file="compare.html")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts; default-src 'none';")
    assert "connect-src" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert ask(app, "/api/page", file="me.png").status == 404
    assert (
        ask(app, "/api/file", file="compare.html")
        .headers["content-disposition"]
        .startswith("attachment")
    )
