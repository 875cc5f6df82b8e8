"""Each clip has a record of its own."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from animate.clip.claim import claimed_record
from animate.clip.record import (
    ClipFile,
    ClipRecord,
    PosesRecord,
    Resumed,
    find_record,
    sidecar_path,
)
from animate.errors import MediaError
from tests.clip.records import CONDITIONS, some_record


def test_records_stand_beside_clips() -> None:
    assert sidecar_path(Path("a/clip.mp4")) == Path("a/clip.json")
    assert sidecar_path(Path("a/shot/%04d.png")) == Path("a/shot.json")


def test_versions_of_a_folder_have_records_of_their_own() -> None:
    first, second = (sidecar_path(Path(f"shot.v00{n}/%04d.png")) for n in (1, 2))
    assert (first.name, second.name) == ("shot.v001.json", "shot.v002.json")


def test_numbered_images_in_the_current_folder_have_one_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shot").mkdir()
    monkeypatch.chdir(tmp_path / "shot")
    assert sidecar_path(Path("%04d.png")) == tmp_path / "shot.json"


def test_numbered_images_in_the_folder_above_have_one_beside_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shot" / "below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "shot" / "below")
    assert sidecar_path(Path("../%04d.png")) == tmp_path / "shot.json"


def test_the_root_folder_has_no_place_for_one() -> None:
    for clip in ("/%04d.png", "/../%04d.png"):
        with pytest.raises(MediaError, match="root folder"):
            sidecar_path(Path(clip))


def written(folder: Path, name: str) -> Path:
    """A clip and its record, as a run leaves them."""
    clip = folder / name
    clip.write_bytes(name.encode())
    with claimed_record(clip) as path:
        digests = {name: hashlib.sha256(name.encode()).hexdigest()}
        some_record(clip=ClipFile.of(clip, digests, len(name))).write(path)
    return path


def test_clips_that_differ_in_their_suffix_alone_have_records_of_their_own(tmp_path: Path) -> None:
    names = ("a.gif", "a.mp4", "a.mkv")
    records = [written(tmp_path, name) for name in names]
    assert [path.name for path in records] == ["a.json", "a.mp4.json", "a.mkv.json"]
    for name, path in zip(names, records, strict=True):
        assert find_record(tmp_path / name) == path
        assert ClipRecord.read(path).fits(tmp_path / name, verify=True)
        assert written(tmp_path, name) == path  # once more, it is the same


def test_a_record_whose_clip_is_gone_is_in_nobodys_way(tmp_path: Path) -> None:
    written(tmp_path, "a.gif")
    (tmp_path / "a.gif").unlink()
    assert written(tmp_path, "a.mp4").name == "a.json"


def test_a_clip_and_numbered_images_of_one_name_have_records_of_their_own(tmp_path: Path) -> None:
    written(tmp_path, "shot.mp4")
    (tmp_path / "shot").mkdir()
    pattern = tmp_path / "shot" / "%04d.png"
    with claimed_record(pattern) as path:
        assert path.name == "shot.%04d.png.json"
        some_record(clip=ClipFile.of(pattern, {"0001.png": "0" * 64}, 1)).write(path)
    (tmp_path / "shot" / "0001.png").write_bytes(b"x")
    assert find_record(pattern) == path


def test_two_clips_that_are_made_at_once_have_records_of_their_own(tmp_path: Path) -> None:
    with claimed_record(tmp_path / "a.mp4") as first, claimed_record(tmp_path / "a.mkv") as second:
        assert (first.name, second.name) == ("a.json", "a.mkv.json")


def test_a_clip_that_was_changed_does_not_fit_its_record(tmp_path: Path) -> None:
    record = ClipRecord.read(written(tmp_path, "a.mp4"))
    clip = tmp_path / "a.mp4"
    state = clip.stat()
    clip.write_bytes(b"A.mp4")
    os.utime(clip, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert record.fits(clip)
    assert not record.fits(clip, verify=True)
    clip.write_bytes(b"longer")
    assert not record.fits(clip)
    clip.unlink()
    assert not record.fits(clip)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 100_000, "damaged: its values are nested too deep"),
        (b"{", "damaged"),
        (b"\xff", "damaged"),
        (b"[]", "is no record of a clip: settings must hold names"),
        (b'{"schema": 2}', "is no record of a clip: .* is missing"),
        (b'{"schema": 4}', "another version of this program .schema 4, this one reads 1 to 3"),
        (b'{"schema": 2, "digest": 1}', "is no record of a clip"),
    ],
)
def test_records_that_are_none_are_said(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(MediaError, match=message):
        ClipRecord.read(path)
    (tmp_path / "a.mp4").write_bytes(b"x")
    assert find_record(tmp_path / "a.mp4") == path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    record = some_record(
        poses=PosesRecord(estimator="e", mismatch=0.5, frames_without_person=1),
        resumed=Resumed(begun_with=CONDITIONS),
        warnings=("a", "b"),
    )
    assert ClipRecord.read(record.write(tmp_path / "a.json")) == record
    values = json.loads((tmp_path / "a.json").read_text())
    del values["clip"]
    (tmp_path / "a.json").write_text(json.dumps({**values, "schema": 1, "later": 1}))
    assert replace(ClipRecord.read(tmp_path / "a.json"), schema=3) == record
