"""Poses under correction: kept at once, taken back, saved whole, and safe between windows."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from animate.errors import MediaError, RequestError
from animate.studio import motion as motion_file
from animate.studio.desk import Studio
from animate.studio.motion import ConflictError, MotionDesk, edited_path, edits_path
from pose.clean import clean
from pose.errors import PoseError
from pose.layout import LEFT_WRIST
from pose.sequence import PoseSequence
from scripts.benchmarks._dancer import dancer
from tests.studio.asking import ask
from tests.studio.conftest import FRAMES

MOVE = {"kind": "move", "first": 7, "last": 7, "points": [[LEFT_WRIST, 12.0, 34.0]]}


def desk() -> MotionDesk:
    return MotionDesk(lambda path: path.name)


def test_an_edit_changes_its_frame_alone_and_the_estimate_stays(folder: Path) -> None:
    poses = folder / "dance.npz"
    before = poses.read_bytes()
    cleaned = clean(PoseSequence.load(poses))
    state = desk().edit(poses, 0, MOVE)
    assert state.changed == (7, 8)
    assert state.people[0].edited == (7,)
    assert not state.saved
    motion = desk()
    motion.save(poses)
    edited = PoseSequence.load(edited_path(poses), source=cleaned.source)
    assert edited.points[7, 0, LEFT_WRIST].tolist() == [12, 34]
    others = np.arange(FRAMES) != 7
    np.testing.assert_array_equal(edited.points[others], cleaned.points[others])
    np.testing.assert_array_equal(edited.scores[others], cleaned.scores[others])
    assert poses.read_bytes() == before


def test_edits_survive_the_program_with_what_was_taken_back(folder: Path) -> None:
    poses = folder / "dance.npz"
    first = desk()
    first.edit(poses, 0, MOVE)
    first.edit(poses, 1, {"kind": "hold", "first": 2, "last": 5})
    first.undo(poses, 2)
    again = desk()
    state = again.state(poses)
    assert (state.edits, state.undone, state.saved) == (1, 1, False)
    assert again.points(poses, "edited", 0, FRAMES) == first.points(poses, "edited", 0, FRAMES)
    state = again.redo(poses, state.revision)
    assert state.people[0].edited == (3, 4, 5, 7)
    assert again.undo(poses, state.revision).changed == (2, 6)


def test_a_new_edit_forgets_what_was_taken_back(folder: Path) -> None:
    poses, motion = folder / "dance.npz", desk()
    motion.edit(poses, 0, MOVE)
    motion.undo(poses, 1)
    motion.edit(poses, 2, MOVE)
    with pytest.raises(RequestError, match="make again"):
        motion.redo(poses, 3)


def test_two_windows_cannot_overwrite_each_other(folder: Path) -> None:
    poses, motion = folder / "dance.npz", desk()
    motion.edit(poses, 0, MOVE)
    with pytest.raises(ConflictError, match="another window"):
        motion.edit(poses, 0, {"kind": "hold", "first": 2, "last": 5})
    assert motion.state(poses).edits == 1


def test_a_save_that_fails_leaves_the_old_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poses, motion = folder / "dance.npz", desk()
    motion.edit(poses, 0, MOVE)
    motion.save(poses)
    saved = edited_path(poses).read_bytes()
    motion.edit(poses, 1, {"kind": "hold", "first": 2, "last": 5})

    def full(path: Path, data: bytes, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(motion_file, "write_bytes", full)
    with pytest.raises(MediaError, match="No space left"):
        motion.save(poses)
    assert edited_path(poses).read_bytes() == saved
    assert not motion.state(poses).saved


def test_edits_of_other_poses_are_put_aside(folder: Path) -> None:
    poses = folder / "dance.npz"
    desk().edit(poses, 0, MOVE)
    sequence = PoseSequence.load(poses)
    replace(sequence, points=sequence.points + 1).save(poses)
    assert desk().state(poses).edits == 0
    assert edits_path(poses).with_name("dance.edits.json.old").is_file()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 9, "edits": []}'])
def test_a_damaged_file_of_edits_is_put_aside(folder: Path, text: str) -> None:
    edits_path(folder / "dance.npz").write_text(text)
    assert desk().state(folder / "dance.npz").edits == 0


def test_an_edited_file_is_not_edited_again(folder: Path) -> None:
    motion = desk()
    motion.edit(folder / "dance.npz", 0, MOVE)
    motion.save(folder / "dance.npz")
    with pytest.raises(RequestError, match=r"open .* dance\.npz"):
        motion.state(folder / "dance.edited.npz")


def test_points_come_as_triples_of_both_layers(app: Any, folder: Path) -> None:
    ask(app, "/api/motion/edit", method="POST",
        body={"poses": "dance.npz", "revision": 0, "edit": MOVE})  # fmt: skip
    query = {"poses": "dance.npz", "first": 7, "stop": 8}
    raw = PoseSequence.load(folder / "dance.npz")
    layers = {
        layer: np.frombuffer(ask(app, "/api/motion/points", layer=layer, **query).body, "<f4")
        for layer in ("edited", "estimated")
    }
    assert layers["edited"].reshape(1, 134, 3)[0, LEFT_WRIST, :2].tolist() == [12, 34]
    triples = layers["estimated"].reshape(1, 134, 3)
    np.testing.assert_array_equal(triples[..., :2], raw.points[7])
    np.testing.assert_array_equal(triples[..., 2], raw.scores[7])


def test_a_motion_is_laid_onto_the_photo_once_for_each_state(
    app: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long motion is asked for in parts, and not worked out again for each."""
    person = dancer(1)
    monkeypatch.setattr(MotionDesk, "reference", lambda *_: person)
    calls = []
    original = motion_file.retarget

    def counted(*given: Any, **named: Any) -> Any:
        calls.append(1)
        return original(*given, **named)

    monkeypatch.setattr(motion_file, "retarget", counted)

    def fitted(first: int, stop: int) -> bytes:
        values = {"poses": "dance.npz", "reference": "me.png", "first": first, "stop": stop}
        answer = ask(app, "/api/motion/fitted", **values)
        assert answer.status == 200
        return answer.body

    whole = fitted(0, FRAMES)
    frame = len(whole) // FRAMES
    assert fitted(5, 9) == whole[5 * frame : 9 * frame]
    assert len(calls) == 1
    edit = {"poses": "dance.npz", "revision": 0, "edit": MOVE}
    assert ask(app, "/api/motion/edit", method="POST", body=edit).status == 200
    assert fitted(7, 8) != whole[7 * frame : 8 * frame]
    assert len(calls) == 2


def test_mistakes_have_answers(app: Any) -> None:
    def change(action: str, **body: object) -> int:
        body = {"poses": "dance.npz", **body}
        return ask(app, f"/api/motion/{action}", method="POST", body=body).status

    assert change("edit", revision=5, edit=MOVE) == 409
    assert change("edit", edit={"kind": "explode"}) == 422
    assert change("edit", edit={**MOVE, "first": 99, "last": 99}) == 422
    assert change("undo") == 422
    assert change("dance") == 404
    assert change("edit", poses="me.png", edit=MOVE) == 422
    assert change("edit", edit=MOVE, nonsense=1) == 422
    for first, stop in ((0, FRAMES + 1), (5, 5), (9, 3)):
        query = {"poses": "dance.npz", "first": first, "stop": stop}
        assert ask(app, "/api/motion/points", **query).status == 422
    assert ask(app, "/api/motion/edit", method="POST", body=b"[" * 5000).status == 422


def test_everybody_learns_of_a_change(studio: Studio, folder: Path) -> None:
    heard: list[tuple[str, object]] = []
    studio.hub.publish = lambda topic, state: heard.append((topic, state))  # type: ignore[method-assign]

    class Change:
        revision = 0
        edit = MOVE

    studio.change_motion("edit", folder / "dance.npz", Change())
    assert heard == [("motion", {"poses": "dance.npz", "revision": 1, "saved": False})]


def test_poses_of_a_version_that_cannot_be_read_are_a_mistake(folder: Path) -> None:
    (folder / "bad.npz").write_bytes(b"PK garbage")
    with pytest.raises(PoseError):
        desk().state(folder / "bad.npz")


def test_the_file_of_edits_says_what_it_is_of(folder: Path) -> None:
    desk().edit(folder / "dance.npz", 0, MOVE)
    values = json.loads(edits_path(folder / "dance.npz").read_text())
    assert values["poses"] == PoseSequence.load(folder / "dance.npz").digest
    assert values["edits"][0]["kind"] == "move"


def test_an_edit_that_cannot_be_kept_is_not_made(
    app: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: object, data: bytes, **options: object) -> None:
        raise OSError(28, "No space left on device")

    def edit(revision: int) -> Any:
        body = {"poses": "dance.npz", "revision": revision, "edit": MOVE}
        return ask(app, "/api/motion/edit", method="POST", body=body)

    first = edit(0).values
    monkeypatch.setattr("animate.studio.motion.write_bytes", full)
    answer = edit(first["revision"])
    assert answer.status in (422, 507)
    assert "No space left" in answer.values["error"]
    monkeypatch.undo()
    state = ask(app, "/api/motion", poses="dance.npz").values
    assert (state["edits"], state["revision"]) == (1, first["revision"])
    assert edit(state["revision"]).status == 200


KILLED = """
import os, signal, sys
from pathlib import Path
import animate.files
from animate.studio.motion import MotionDesk

desk = MotionDesk(lambda path: path.name)
poses = Path(sys.argv[1])
desk.edit(poses, 1, {"kind": "erase", "first": 5, "last": 5})
animate.files._rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
desk.save(poses)
"""


def test_a_server_that_is_killed_in_a_save_leaves_the_old_file_and_every_edit(
    folder: Path,
) -> None:
    poses, first = folder / "dance.npz", desk()
    first.edit(poses, 0, MOVE)
    first.save(poses)
    old = edited_path(poses).read_bytes()
    killed = subprocess.run([sys.executable, "-c", KILLED, str(poses)], timeout=300, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert edited_path(poses).read_bytes() == old
    again = desk()
    state = again.state(poses)
    assert (state.edits, state.saved) == (2, False)
    assert again.save(poses).saved
    assert edited_path(poses).read_bytes() != old
    assert not [path for path in folder.iterdir() if path.name.startswith(".dance")]
