"""Records that are given away with their clips."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from animate.clip.record import ClipRecord
from animate.clip.shareable import Shareable
from animate.request.request import AnimationRequest
from animate.request.setting import NONE
from tests.clip.records import some_record


def request(folder: Path, **settings: Any) -> AnimationRequest:
    values = {"reference": folder / "in/a.png", "driving": folder / "in/b.mp4"}
    return AnimationRequest.from_dict({**values, "output": folder / "out/c.mp4", **settings})


def test_nothing_of_the_machine_is_in_a_shared_request(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    asked = request(
        tmp_path, lora=f"{tmp_path}/in/d.safetensors:0.5", model=f"{tmp_path}/out/toy",
        cache=secret, work=secret, sign=f"{secret}/cert:{secret}/key", contact_sheet="e.png",
    )  # fmt: skip
    values = Shareable(folder=tmp_path / "out").request(asked)
    text = json.dumps(values)
    assert str(tmp_path) not in text
    assert "secret" not in text
    assert values["reference"] == "../in/a.png"
    assert values["output"] == "c.mp4"
    assert values["model"] == "./toy"
    assert values["lora"] == [["../in/d.safetensors", 0.5]]


def test_no_folder_stays_no_folder(tmp_path: Path) -> None:
    values: Any = Shareable(folder=tmp_path).request(request(tmp_path, cache=NONE, work=NONE))
    assert values["runtime"]["cache"] == values["runtime"]["work"] == "none"


def test_of_a_file_elsewhere_the_name_alone_is_written() -> None:
    assert Shareable(folder=Path("/home/me")).path(Path("/mnt/secret/a.png")) == Path("a.png")


def test_a_folder_that_is_moved_as_a_whole_stays_whole(tmp_path: Path) -> None:
    (tmp_path / "one/out").mkdir(parents=True)
    asked = request(tmp_path / "one")
    shared = Shareable(folder=asked.output.parent).request(asked)
    replace(some_record(), request=shared).write(tmp_path / "one/out/c.json")
    (tmp_path / "one").rename(tmp_path / "two")
    found = ClipRecord.read(tmp_path / "two/out/c.json").request_in(tmp_path / "two/out")
    assert found.reference.resolve() == tmp_path / "two/in/a.png"
    assert found.output == tmp_path / "two/out/c.mp4"


def test_a_folder_behind_a_link_is_the_folder_itself(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "deep/er/out").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep/er/out")
    shared = Shareable(folder=tmp_path / "link")
    assert shared.path(tmp_path / "in/a.png") == Path("../../../in/a.png")


def test_paths_of_earlier_records_stay_as_they_were_given() -> None:
    values = {"reference": "in/a.png", "driving": "in/b.mp4", "output": "out/c.mp4"}
    old = replace(some_record(), request=values, schema=2)
    assert old.request_in(Path("/elsewhere")).reference == Path("in/a.png")


def test_messages_name_files_as_the_record_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = request(Path())
    shared = Shareable(folder=tmp_path / "out")
    assert shared.text(f"{tmp_path}/in/b.mp4 ends early", asked) == "../in/b.mp4 ends early"
