"""The queue of clips: its records are the truth, before and after a restart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from animate.batch.paths import record_path
from animate.batch.records import read_record
from animate.errors import RequestError
from animate.studio.clips import STOPPED, ClipQueue
from animate.studio.desk import Studio
from animate.studio.project import Project
from tests.studio.asking import ask

SETTINGS = {"reference": "me.png", "driving": "dance.mp4"}


def again(folder: Path) -> ClipQueue:
    queue = ClipQueue(Project(folder), lambda: None)
    queue.find()
    return queue


def statuses(queue: ClipQueue) -> dict[str, str]:
    return {view.output: view.status for view in queue.views()}


def test_clips_wait_in_order_and_survive_a_restart(studio: Studio, folder: Path) -> None:
    names = studio.submit(SETTINGS, {"seed": ["1", "2"]})
    clips = ("me_dance.mp4", "me_dance-2.mp4")
    assert names == [record_path(folder / clip).name for clip in clips]
    assert read_record(folder / names[0]).status == "waiting"  # type: ignore[union-attr]
    queue = again(folder)
    assert [view.output for view in queue.views()] == ["me_dance-2.mp4", "me_dance.mp4"]
    assert statuses(queue) == {"me_dance-2.mp4": "waiting", "me_dance.mp4": "waiting"}
    assert queue.views()[1].settings["seed"] == 1


def test_a_stopped_clip_stays_stopped_and_goes_on_when_asked(studio: Studio, folder: Path) -> None:
    [name] = studio.submit(SETTINGS, {})
    studio.clips.stop(name)
    queue = again(folder)
    assert statuses(queue) == {"me_dance.mp4": "stopped"}
    queue.resume(name)
    assert statuses(again(folder)) == {"me_dance.mp4": "waiting"}


def test_a_clip_whose_program_was_killed_goes_on_first(studio: Studio, folder: Path) -> None:
    first, second = studio.submit(SETTINGS, {"seed": ["1", "2"]})
    record = read_record(folder / second)
    assert record is not None
    replace(record, status="running", why="new").write()
    queue = again(folder)
    assert statuses(queue)["me_dance-2.mp4"] == "waiting"
    assert queue.next_job() == folder / second
    assert first != second


def test_a_failed_clip_is_shown_tried_again_or_removed(studio: Studio, folder: Path) -> None:
    [name] = studio.submit(SETTINGS, {})
    record = read_record(folder / name)
    assert record is not None
    replace(record, status="failed", error="nobody was seen", error_kind="pose").write()
    queue = again(folder)
    assert queue.views()[0].error == "nobody was seen"
    queue.resume(name)
    assert queue.views()[0].error == ""
    queue.remove(name)
    assert queue.views() == []
    assert not (folder / name).exists()
    assert (folder / "me.png").exists()


def test_a_finished_clip_is_neither_stopped_nor_removed(studio: Studio, folder: Path) -> None:
    [name] = studio.submit(SETTINGS, {})
    record = read_record(folder / name)
    assert record is not None
    replace(record, status="done").write()
    queue = again(folder)
    for action in (queue.stop, queue.resume, queue.remove):
        with pytest.raises(RequestError):
            action(name)
    assert (folder / name).exists()


def test_records_that_are_damaged_or_links_are_left_alone(folder: Path) -> None:
    (folder / "bad.job.json").write_text("{")
    (folder / "link.job.json").symlink_to("/etc/hosts")
    assert again(folder).views() == []


def test_answers_to_actions(app: Any, studio: Studio) -> None:
    [name] = ask(app, "/api/clips", method="POST", body={"settings": SETTINGS}).values["clips"]

    def act(action: str, clip: str) -> int:
        return ask(app, f"/api/clips/{action}", method="POST", body={"clip": clip}).status

    assert act("stop", name) == 200
    assert studio.clips.records()[0].why == STOPPED
    assert act("resume", name) == 200
    assert act("explode", name) == 404
    assert act("stop", "nothing.job.json") == 404
    assert ask(app, "/api/clips/picture", clip=name, number=0).status == 404
    assert ask(app, "/api/clips", method="POST", body={"settings": {}}).status == 422
    state = ask(app, "/api/state").values
    assert [clip["status"] for clip in state["clips"]] == ["waiting"]
