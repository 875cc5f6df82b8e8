"""Names of files: below the folder, and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from animate.errors import RequestError
from animate.studio.desk import Studio
from animate.studio.project import OutsideError, Project, clean_name
from tests.studio.asking import ask

OUTSIDE = (
    "../secret.png",
    "/etc/passwd",
    "a/../../secret.png",
    "..",
    ".",
    "",
    ".hidden.png",
    "a/.git/config",
    "a\\..\\b.png",
    "a\x00b.png",
    "a\nb.png",
    "//etc/passwd",
)


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutsideError):
        Project(tmp_path).path(name)


@pytest.mark.parametrize("name", [name for name in OUTSIDE if name])
def test_no_address_reads_outside_the_folder(app: Any, folder: Path, name: str) -> None:
    (folder.parent / "secret.png").write_bytes((folder / "me.png").read_bytes())
    for path, query in (
        ("/api/file", {"file": name}),
        ("/api/photo", {"file": name}),
        ("/api/video", {"file": name}),
        ("/api/frames", {"file": name, "block": 0, "size": 120}),
        ("/api/motion", {"poses": name}),
        ("/api/clips/files", {"file": name}),
    ):
        assert ask(app, path, **query).status == 403
    for path, body in (
        ("/api/poses", {"video": name}),
        ("/api/motion/edit", {"poses": name}),
        ("/api/clips/stop", {"clip": name}),
    ):
        # A zero byte is refused before it is taken for a name.
        assert ask(app, path, method="POST", body=body).status == (422 if "\0" in name else 403)


def test_links_that_lead_out_are_neither_listed_nor_followed(app: Any, folder: Path) -> None:
    secret = folder.parent / "secret.png"
    secret.write_bytes((folder / "me.png").read_bytes())
    (folder / "link.png").symlink_to(secret)
    (folder / "sub").symlink_to(folder.parent)
    (folder / "inside.png").symlink_to(folder / "me.png")
    names = {entry["name"] for entry in ask(app, "/api/state").values["files"]}
    assert names == {"me.png", "dance.mp4", "dance.npz", "inside.png"}
    assert ask(app, "/api/file", file="link.png").status == 403
    assert ask(app, "/api/file", file="sub/secret.png").status == 403
    assert ask(app, "/api/photo", file="inside.png").status == 200


def test_nothing_is_written_through_a_link_that_leads_out(app: Any, folder: Path) -> None:
    """A folder that somebody else has made may hold any link, also to what is not there yet."""
    away = folder.parent / "away"
    away.mkdir()
    names = ("dance.edits.json", "dance.edited.npz", "me_dance.mp4", "me_dance-2.json",
             "me_dance-3.mp4.job.json", "new.png")  # fmt: skip
    for name in names:
        (folder / name).symlink_to(away / name)
    poses = {"poses": "dance.npz", "revision": 0}
    edit = {"kind": "hold", "first": 0, "last": 3, "person": 0}
    assert ask(app, "/api/motion/edit", method="POST", body={**poses, "edit": edit}).status == 200
    saved = {**poses, "revision": 1}
    assert ask(app, "/api/motion/save", method="POST", body=saved).status == 200
    settings = {"reference": "me.png", "driving": "dance.mp4"}
    made = ask(app, "/api/clips", method="POST", body={"settings": settings})
    assert made.values == {"clips": ["me_dance-4.mp4.job.json"]}
    data = (folder / "me.png").read_bytes()
    sent = ask(app, "/api/upload", method="PUT", body=data, name="new.png")
    assert sent.values == {"name": "new-2.png"}
    (folder / "dance.npz").rename(folder / "kept.npz")
    (folder / "dance.npz").symlink_to(away / "dance.npz")
    assert ask(app, "/api/poses", method="POST", body={"video": "dance.mp4"}).status == 403
    assert list(away.iterdir()) == []


def test_a_name_longer_than_any_file_has_is_refused(app: Any) -> None:
    for name in ("a" * 300, "ä" * 130):
        assert ask(app, "/api/file", file=name).status == 403


@pytest.mark.parametrize(
    "values",
    [
        {"reference": "../secret.png"},
        {"reference": "/etc/passwd"},
        {"driving": "../dance.mp4"},
        {"poses": "../dance.npz"},
        {"output": "../clip.mp4"},
        {"output": "/tmp/clip.mp4"},
        {"side_by_side": "../beside.mp4"},
        {"side_by_side": "/tmp/beside.mp4"},
        {"contact_sheet": "../sheet.png"},
        {"cache": "/tmp"},
        {"work": "../work"},
        {"lora": ["../lora.safetensors"]},
        {"estimator_folder": "/etc"},
        {"model": "../model"},
        {"sign": "/etc/a.pem:/etc/b.pem"},
    ],
)
def test_no_setting_names_a_file_outside(app: Any, studio: Studio, values: dict[str, Any]) -> None:
    settings = {"reference": "me.png", "driving": "dance.mp4", **values}
    for path in ("/api/clips", "/api/outlook"):
        assert ask(app, path, method="POST", body={"settings": settings}).status == 403
    assert studio.clips.views() == []


def test_a_missing_file_is_missing_and_no_path_is_told(app: Any, folder: Path) -> None:
    answer = ask(app, "/api/file", file="nothing.png")
    assert answer.status == 404
    assert str(folder) not in answer.body.decode()


def test_new_files_get_names_that_no_file_has(tmp_path: Path) -> None:
    project = Project(tmp_path)
    (tmp_path / "a.mp4").touch()
    (tmp_path / "a-2.json").touch()  # a record of a clip that was moved away
    assert project.free_path("a.mp4").name == "a-3.mp4"
    assert project.free_path("../../x/b c?.mp4").name == "b c_.mp4"


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [("C:\\me\\photo.JPG", "photo.JPG"), ("a%04d.png", "a_04d.png"), ("é 人.png", "é 人.png")],
)
def test_names_of_other_systems_become_names_of_files(name: str, cleaned: str) -> None:
    assert clean_name(name) == cleaned


def test_a_folder_that_is_not_there_or_not_writable_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="mkdir"):
        Project(tmp_path / "no")
    if os.geteuid():
        tmp_path.chmod(0o500)
        with pytest.raises(RequestError, match="written"):
            Project(tmp_path)
