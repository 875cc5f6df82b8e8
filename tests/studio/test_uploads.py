"""Files from a browser: whole and usable, or not at all."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from tests.studio.asking import HOME, Answer, ask


def send(app: Any, name: str, body: bytes, **headers: str) -> Answer:
    fields = {**HOME, **{key.replace("_", "-"): value for key, value in headers.items()}}
    return ask(app, "/api/upload", method="PUT", body=body, headers=fields, name=name)


def test_a_photo_a_video_and_poses_are_taken_in(app: Any, folder: Path) -> None:
    for name in ("me.png", "dance.mp4", "dance.npz"):
        answer = send(app, name, (folder / name).read_bytes())
        assert answer.status == 201, answer.body
        stem, _, suffix = name.partition(".")
        assert answer.values["name"] == f"{stem}-2.{suffix}"
        assert (folder / f"{stem}-2.{suffix}").read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("photo.png", b"not a picture at all"),
        ("photo.png", b""),
        ("photo.jpg", b"\xff\xd8\xff\xe0" + bytes(200)),
        ("video.mp4", b"garbage" * 100),
        ("video.mp4", b""),
        ("poses.npz", b"PK\x03\x04garbage"),
        ("page.html", b"<script>"),
        ("drawing.svg", b"<svg/>"),
        ("noending", b"x"),
        (".png", b"x"),
    ],
)
def test_garbage_is_refused_in_words_and_nothing_stays(
    app: Any, folder: Path, name: str, body: bytes
) -> None:
    before = sorted(folder.iterdir())
    answer = send(app, name, body)
    assert answer.status in (403, 422)
    assert answer.values["error"]
    assert str(folder) not in answer.values["error"]
    assert sorted(folder.iterdir()) == before


def test_an_upload_that_is_too_large_is_ended_whatever_it_announced(app: Any, folder: Path) -> None:
    before = sorted(folder.iterdir())
    large = bytes((1 << 20) + 1)
    assert send(app, "a.png", large).status == 413
    assert send(app, "a.png", large, content_length="10").status == 413
    assert send(app, "a.png", b"", content_length=str(1 << 50)).status == 413
    assert sorted(folder.iterdir()) == before


def test_an_upload_that_breaks_off_leaves_nothing(app: Any, folder: Path) -> None:
    before = sorted(folder.iterdir())
    answer = send(app, "a.png", (folder / "me.png").read_bytes(), content_length="100000")
    assert answer.status == 422
    assert "cut off" in answer.values["error"]
    assert sorted(folder.iterdir()) == before


def test_a_picture_of_too_many_pixels_is_refused_by_its_size(app: Any, folder: Path) -> None:
    PIL.Image.fromarray(np.zeros((13_000, 13_000), np.uint8)).save(folder / "huge.png")
    data = (folder / "huge.png").read_bytes()
    assert len(data) < 1 << 20
    answer = send(app, "huge.png", data)
    assert answer.status == 422
    assert "too large" in answer.values["error"]


def test_a_full_disk_is_said_and_nothing_stays(
    app: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(100, 100, 0))
    before = sorted(folder.iterdir())
    answer = send(app, "a.png", (folder / "me.png").read_bytes())
    assert answer.status == 413
    assert "no room" in answer.values["error"]
    assert sorted(folder.iterdir()) == before
