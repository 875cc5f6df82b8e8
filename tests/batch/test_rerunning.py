"""A batch that ran before: what is kept, made again, or left alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from animate import AnimationRequest
from animate.batch.tasks import ClipReport
from animate.errors import MediaError
from tests.batch.scripted import Scripted, fails, make, request, run, statuses


def test_a_rerun_does_nothing_and_says_so(requests: list[AnimationRequest]) -> None:
    first = run(requests)
    assert statuses(first) == ["done"] * 4
    assert {record.why for record in first.values()} == {"new"}
    again = Scripted()
    second = run(requests, by=again)
    assert statuses(second) == ["kept"] * 4
    assert again.seen == []
    assert second[1].frames == 6
    assert second[1].request["sampling"]["seed"] == 0


def test_what_changed_is_made_again_and_named(
    requests: list[AnimationRequest], tmp_path: Path
) -> None:
    run(requests)
    changed = [
        request(tmp_path, "0.mp4", seed=0, steps=7),
        requests[1],
        request(tmp_path, "2.mp4", seed=2, quality=30),
    ]
    requests[1].output.unlink()
    records = run(changed)
    assert re.fullmatch(r"changed: steps \d+ -> 7", records[1].why)
    assert records[2].why == "its clip is gone"
    assert records[3].why == "changed: quality None -> 30"
    (tmp_path / "dance.mp4").write_bytes(b"another video")
    assert {r.why for r in run(changed).values()} == {"changed: driving"}


def test_names_places_and_threads_change_nothing(
    requests: list[AnimationRequest], tmp_path: Path
) -> None:
    run(requests[:1])
    (tmp_path / "other.png").write_bytes(b"picture")
    same = request(tmp_path, "0.mp4", seed=0, reference=tmp_path / "other.png", threads=1)
    assert run([same])[1].status == "kept"


def test_who_signs_decides_a_clip_and_with_which_key_does_not(
    requests: list[AnimationRequest], tmp_path: Path
) -> None:
    (tmp_path / "chain.pem").write_text("me")
    (tmp_path / "other.pem").write_text("somebody else")

    def signed(files: str) -> AnimationRequest:
        return request(tmp_path, "0.mp4", seed=0, sign=files.replace("@", f"{tmp_path}/"))

    run(requests[:1])
    assert run([signed("@chain.pem:@key.pem")])[1].why == "changed: certificate"
    (tmp_path / "chain.pem").rename(tmp_path / "moved.pem")
    assert run([signed("@moved.pem:@new_key.pem")])[1].status == "kept"
    assert run([signed("@other.pem:@key.pem")])[1].why == "changed: certificate"
    assert run(requests[:1])[1].why == "changed: certificate"


def test_copied_folders_are_known_by_their_content(requests: list[AnimationRequest]) -> None:
    run(requests[:1])
    clip = requests[0].output
    clip.write_bytes(clip.read_bytes())
    assert run(requests[:1])[1].status == "kept"


def test_overwrite_makes_everything_again(requests: list[AnimationRequest]) -> None:
    run(requests)
    assert statuses(run(requests, overwrite=True)) == ["done"] * 4


def test_files_of_others_are_left_alone(requests: list[AnimationRequest]) -> None:
    requests[0].output.write_text("mine")
    records = run(requests[:2])
    assert statuses(records) == ["failed", "done"]
    assert records[1].error_kind == "media"
    assert "--overwrite" in records[1].error
    assert run(requests[:1])[1].status == "failed"
    assert requests[0].output.read_text() == "mine"
    assert run(requests[:1], overwrite=True)[1].status == "done"


@pytest.mark.parametrize("name", ["0.json", "side.mp4"])
def test_a_foreign_file_beside_a_clip_is_left_alone(name: str, tmp_path: Path) -> None:
    wanted = request(tmp_path, "0.mp4", seed=0, side_by_side=tmp_path / "side.mp4")
    (tmp_path / name).write_text("mine")
    for _ in range(2):  # nor is it the batch's own once the job has failed
        record = run([wanted])[1]
        assert record.status == "failed"
        assert f"{tmp_path / name} is there already" in record.error
    assert (tmp_path / name).read_text() == "mine"
    (tmp_path / name).unlink()
    assert run([wanted])[1].status == "done"


def test_a_clip_that_somebody_changed_is_left_alone(requests: list[AnimationRequest]) -> None:
    run(requests[:1])
    requests[0].output.write_text("edited by hand")
    assert run(requests[:1])[1].status == "failed"
    assert requests[0].output.read_text() == "edited by hand"


def test_what_a_killed_program_left_is_made_again(requests: list[AnimationRequest]) -> None:
    def killed(request: AnimationRequest, count: int) -> ClipReport:
        record = request.output.with_name(f"{request.output.name}.job.json")
        assert json.loads(record.read_text())["status"] == "running"
        make(request)
        raise SystemExit

    with pytest.raises(SystemExit):
        run(requests[:1], killed)
    records = run(requests[:1])
    assert (records[1].status, records[1].why) == ("done", "it was interrupted")


def test_a_failure_after_a_success_keeps_the_old_clip_for_the_batchs_own(
    requests: list[AnimationRequest], tmp_path: Path
) -> None:
    run(requests[:1])
    other = request(tmp_path, "0.mp4", seed=99)
    assert run([other], fails(MediaError("full")))[1].status == "failed"
    assert requests[0].output.is_file()
    assert run([other])[1].status == "done"


def test_a_record_of_the_version_before_is_found_by_its_name(
    requests: list[AnimationRequest],
) -> None:
    record = run(requests[:1])[1].record
    assert record.name == "0.mp4.job.json"
    record.rename(record.with_name("0.job.json"))
    assert statuses(run(requests[:1])) == ["kept"]
