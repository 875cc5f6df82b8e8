"""A work folder belongs to one request and to one run at a time."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from animate.clip.marker import VERSION, Begun, is_work_folder, read_begun
from animate.clip.work_folder import WorkFolder, closes, work_folder
from animate.errors import MediaError, WorkError
from tests.clip.records import CONDITIONS


def begun(digest: str = "d", **settings: Any) -> Begun:
    request = {"reference": "/a.png", "sampling": {"seed": 1, **settings}, "runtime": {}}
    return Begun(digest=digest, request=request, conditions=CONDITIONS)


def written(clip: Path) -> tuple[Path, dict[str, str]]:
    """A clip at its name, and the digests of its files."""
    clip.write_bytes(b"clip")
    return clip, {clip.name: hashlib.sha256(b"clip").hexdigest()}


def with_work(path: Path) -> None:
    """A folder whose run was killed after it had kept something."""
    folder = WorkFolder.open(path, "/c.mp4", begun())
    (path / "latents-000001-000000").write_bytes(b"x")
    assert folder.leave(done=False)


def test_it_is_beside_the_clip_unless_named() -> None:
    place = work_folder(Path("a/clip.mp4"), None, sequence=False)
    assert place == Path("a/.clip.mp4.work")
    place = work_folder(Path("a/shot/%04d.png"), None, sequence=True)
    assert place == Path("a/.shot.work")
    place = work_folder(Path("%04d.png"), None, sequence=True)
    assert place == Path.cwd().parent / f".{Path.cwd().name}.work"
    assert work_folder(Path(), None, sequence=False) == place  # as `cnx resume .` asks
    assert work_folder(Path("clip.mp4"), Path("w"), sequence=False) == Path("w")
    assert work_folder(Path("clip.mp4"), Path("none"), sequence=False) is None


def test_it_is_beside_the_folder_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shot" / "below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "shot" / "below")
    place = work_folder(Path("../%04d.png"), None, sequence=True)
    assert place == tmp_path / ".shot.work"


def test_it_is_not_beside_the_root_folder() -> None:
    with pytest.raises(MediaError, match="root folder"):
        work_folder(Path("/%04d.png"), None, sequence=True)
    assert work_folder(Path("/%04d.png"), Path("w"), sequence=True) == Path("w")


def test_nothing_is_left_of_work_that_was_not_worth_keeping(tmp_path: Path) -> None:
    for done in (True, False):
        folder = WorkFolder.open(tmp_path / "w", "/c.mp4", begun())
        assert not folder.resumed
        assert not folder.leave(done=done)
        assert not list(tmp_path.iterdir())


def test_work_is_found_again(tmp_path: Path) -> None:
    with_work(tmp_path / "w")
    folder = WorkFolder.open(tmp_path / "w", "/c.mp4", begun())
    assert folder.resumed
    assert not folder.leave(done=True)
    assert not list(tmp_path.iterdir())


def test_it_stays_where_asked(tmp_path: Path) -> None:
    folder = WorkFolder.open(tmp_path / "w", "/c.mp4", begun())
    folder.close_soon(*written(tmp_path / "clip.mp4"))
    assert folder.leave(done=True, keep=True)
    assert is_work_folder(tmp_path / "w")
    again = WorkFolder.open(tmp_path / "w", "/c.mp4", begun())
    assert not closes(
        again.path, tmp_path / "clip.mp4"
    )  # a clip of that name is finished, not half-way
    again.leave(done=True)


def test_a_run_that_closes_is_known_by_its_clip(tmp_path: Path) -> None:
    folder = WorkFolder.open(tmp_path / "w", "/c.mp4", begun())
    folder.close_soon(*written(tmp_path / "clip.mp4"))
    assert closes(folder.path, tmp_path / "clip.mp4")
    assert not closes(folder.path, tmp_path / "another.mp4")  # of a run with the same settings
    folder.leave(done=True)


def test_a_clip_whose_name_is_not_utf8_is_known(tmp_path: Path) -> None:
    folder = WorkFolder.open(tmp_path / "w", "/c.mp4", begun())
    clip, other = (tmp_path / os.fsdecode(name) for name in (b"caf\xe9.mp4", b"caf\xe8.mp4"))
    folder.close_soon(*written(clip))
    assert closes(folder.path, clip)
    assert not closes(folder.path, other)
    folder.leave(done=True)


def test_a_clip_is_known_by_any_path_to_it(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    folder = WorkFolder.open(tmp_path / "w", "/c.mp4", begun())
    folder.close_soon(*written(tmp_path / "link" / "clip.mp4"))
    for path in ("real/clip.mp4", "link/clip.mp4", "w/../real/clip.mp4"):
        assert closes(folder.path, tmp_path / path)
    folder.leave(done=True)


def test_work_that_goes_on_is_of_the_latest_request(tmp_path: Path) -> None:
    with_work(tmp_path / "w")
    other = replace(CONDITIONS, device="cuda")
    later = Begun(digest="d", request={"output": "b"}, conditions=other)
    WorkFolder.open(tmp_path / "w", "/b.mp4", later)
    found = read_begun(tmp_path / "w")
    assert found is not None
    assert found.request == {"output": "b"}
    assert found.conditions == CONDITIONS


def test_work_of_other_settings_goes_where_that_is_asked(tmp_path: Path) -> None:
    with_work(tmp_path / "w")
    folder = WorkFolder.open(tmp_path / "w", "/c.mp4", begun("other"), discard=True)
    assert folder.discarded
    assert not folder.worth


def test_a_file_that_is_still_there_fails_no_finished_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Network file systems keep a removed file that is open, under another name."""
    folder = WorkFolder.open(tmp_path / "w", "/c.mp4", begun())
    removed = os.unlink

    def silly(path: object, **more: Any) -> None:
        if str(path).endswith("lock"):
            raise OSError(errno.EBUSY, "still open")
        removed(path, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("os.unlink", silly)
    assert not folder.leave(done=True)
    assert not (tmp_path / "w").exists()


def test_the_work_of_other_settings_is_never_mixed_in(tmp_path: Path) -> None:
    with_work(tmp_path / "w")
    with pytest.raises(WorkError, match=r"seed 1 instead of 2\. .*cnx resume .*cnx clean"):
        WorkFolder.open(tmp_path / "w", "/c.mp4", begun("other", seed=2))
    with pytest.raises(WorkError, match="other input files or weights"):
        WorkFolder.open(tmp_path / "w", "/c.mp4", begun("other"))
    assert (tmp_path / "w" / "latents-000001-000000").exists()


def test_other_settings_may_follow_where_nothing_was_kept(tmp_path: Path) -> None:
    first = WorkFolder.open(tmp_path / "w", "/c.mp4", begun())
    (tmp_path / "w" / "poses").mkdir()
    first.close_soon(*written(tmp_path / "clip.mp4"))
    first.leave(done=False)
    second = WorkFolder.open(tmp_path / "w", "/c.mp4", begun("other", seed=2))
    assert not second.resumed
    assert not closes(second.path, tmp_path / "clip.mp4")
    assert sorted(file.name for file in (tmp_path / "w").iterdir()) == ["lock", "work.json"]
    second.leave(done=True)


def test_another_version_is_left_alone(tmp_path: Path) -> None:
    with_work(tmp_path / "w")
    path = tmp_path / "w" / "work.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": VERSION + 1}))
    said = r"another version .*layout 4.*cnx clean"
    with pytest.raises(WorkError, match=said):
        WorkFolder.open(tmp_path / "w", "/c.mp4", begun())
    with pytest.raises(WorkError, match=said):
        read_begun(tmp_path / "w")
    assert (tmp_path / "w" / "latents-000001-000000").exists()


def test_the_version_before_is_refused_by_name(tmp_path: Path) -> None:
    with_work(tmp_path / "w")
    marker = {"version": 1, "digest": "0" * 64, "request": {"output": "/c.mp4"}, "conditions": {}}
    (tmp_path / "w" / "work.json").write_text(json.dumps(marker))
    assert is_work_folder(tmp_path / "w")
    with pytest.raises(WorkError, match=r"another version .*layout 1"):
        WorkFolder.open(tmp_path / "w", "/c.mp4", begun())


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 2}', "\xff", "[" * 100_000])
def test_without_a_marker_that_parses_nothing_is_touched(tmp_path: Path, content: str) -> None:
    with_work(tmp_path / "w")
    (tmp_path / "w" / "work.json").write_text(content, encoding="latin-1")
    assert not is_work_folder(tmp_path / "w")
    with pytest.raises(WorkError, match="so it is no work folder"):
        WorkFolder.open(tmp_path / "w", "/c.mp4", begun(), discard=True)
    assert (tmp_path / "w" / "latents-000001-000000").exists()


def test_a_marker_of_ours_with_a_part_missing_means_beginning_anew(tmp_path: Path) -> None:
    with_work(tmp_path / "w")
    path = tmp_path / "w" / "work.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "conditions": None}))
    folder = WorkFolder.open(tmp_path / "w", "/c.mp4", begun())
    assert not folder.resumed
    assert folder.discarded
    assert not folder.worth
    folder.leave(done=True)


@pytest.mark.parametrize("name", ["poses", "lock", "closing", "latents-000001-000000"])
def test_names_alone_make_no_work_folder(tmp_path: Path, name: str) -> None:
    library = tmp_path / "lib"
    (library / name).mkdir(parents=True)
    (library / name / "mine.npz").write_bytes(b"mine")
    assert not is_work_folder(library)
    with pytest.raises(WorkError, match=rf"holds {name} and no work\.json"):
        WorkFolder.open(library, "/c.mp4", begun(), discard=True)
    assert (library / name / "mine.npz").read_bytes() == b"mine"


def test_files_put_into_it_meanwhile_stay(tmp_path: Path) -> None:
    folder = WorkFolder.open(tmp_path / "w", "/c.mp4", begun())
    (tmp_path / "w" / "poses").mkdir()
    (tmp_path / "w" / "poses" / "mine.npz").write_bytes(b"mine")
    (tmp_path / "w" / "notes.txt").write_bytes(b"mine")
    assert folder.leave(done=True)
    left = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert left == ["w/notes.txt", "w/poses/mine.npz"]


@pytest.mark.parametrize("name", ["lock", "closing", "work.json"])
def test_nothing_is_written_through_a_link(tmp_path: Path, name: str) -> None:
    with_work(tmp_path / "w")
    target = tmp_path / "precious"
    target.write_bytes((tmp_path / "w" / "work.json").read_bytes())
    before = target.read_bytes()
    (tmp_path / "w" / name).unlink(missing_ok=True)
    (tmp_path / "w" / name).symlink_to(target)
    with pytest.raises(WorkError, match=rf"holds {name}|{name} is a link|no work\.json"):
        WorkFolder.open(tmp_path / "w", "/c.mp4", begun("other"), discard=True)
    assert target.read_bytes() == before


def test_a_link_planted_during_the_run_is_replaced(tmp_path: Path) -> None:
    folder = WorkFolder.open(tmp_path / "w", "/c.mp4", begun())
    target = tmp_path / "precious"
    target.write_bytes(b"mine")
    (tmp_path / "w" / "closing").symlink_to(target)
    folder.close_soon(*written(tmp_path / "clip.mp4"))
    assert target.read_bytes() == b"mine"
    folder.leave(done=True)
    assert target.read_bytes() == b"mine"


def test_nothing_is_written_to_a_file_of_another_name_or_to_a_long_one(tmp_path: Path) -> None:
    with_work(tmp_path / "w")
    target, lock = tmp_path / "precious", tmp_path / "w" / "lock"
    target.write_bytes(b"mine")
    lock.unlink()
    os.link(target, lock)
    with pytest.raises(WorkError, match="none of this program's files"):
        WorkFolder.open(tmp_path / "w", "/c.mp4", begun())
    assert target.read_bytes() == b"mine"
    lock.unlink()
    lock.write_bytes(b"what somebody has noted in a file of that name")
    with pytest.raises(WorkError, match="none of this program's files"):
        WorkFolder.open(tmp_path / "w", "/c.mp4", begun())
    assert lock.read_bytes() == b"what somebody has noted in a file of that name"


def test_a_folder_that_is_a_link_is_named(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "w").symlink_to("real")
    with pytest.raises(WorkError, match=f"is a link; name .*--work {tmp_path / 'real'}"):
        WorkFolder.open(tmp_path / "w", "/c.mp4", begun())


def test_a_folder_with_other_files_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(WorkError, match=r"holds thesis\.txt"):
        WorkFolder.open(tmp_path, "/c.mp4", begun())
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    assert not is_work_folder(tmp_path)


def test_a_second_run_is_refused_and_told_who_works_there(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path;"
        "from tests.clip.test_work_folder import WorkFolder, begun;"
        "WorkFolder.open(Path(sys.argv[1]), '/c.mp4', begun());"
        "print('locked', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "w")]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "locked\n"
            with pytest.raises(WorkError, match=rf"another run \(process {holder.pid}\)"):
                WorkFolder.open(tmp_path / "w", "/c.mp4", begun())
        finally:
            holder.kill()
    WorkFolder.open(tmp_path / "w", "/c.mp4", begun()).leave(done=True)  # a dead run holds nothing


def test_a_place_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkError, match="--work none"):
        WorkFolder.open(tmp_path / "file" / "w", "/c.mp4", begun())
    with pytest.raises(WorkError, match="--work none"):
        WorkFolder.open(tmp_path / "file", "/c.mp4", begun())
