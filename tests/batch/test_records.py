"""Records of jobs: read back whole, in this layout and the one before, or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from animate.batch.records import ClipState, JobRecord, Pictures, read_record
from animate.clip.fingerprint import Fingerprint

KEY = Fingerprint(
    inputs={"reference": "a" * 64},
    settings={"steps": 4, "guidance": "1:3", "size": "64x96", "lora": [0.5], "fps": None},
    weights={"unet": "b" * 64},
)


def record(folder: Path, **changes: Any) -> JobRecord:
    values: dict[str, Any] = {
        "number": 3,
        "label": "row 3 (line 4)",
        "status": "done",
        "record": folder / "clip.job.json",
        "output": folder / "clip.mp4",
        "request": {"reference": "me.png", "sampling": {"seed": 1}},
        "key": KEY,
        "seconds": {"load": 1.5, "poses": 2},
        "wall_seconds": 3.75,
        "peak_host_bytes": 2**29,
        "frames": 12,
        "warnings": ("slow",),
        "clip": ClipState(bytes=7, mtime_ns=8, sha256="c" * 64),
        "pictures": Pictures(reference="AAAA", results=("BBBB", "CCCC")),
    }
    return JobRecord(**{**values, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"key": None, "clip": None, "output": None, "frames": None},
        {"status": "failed", "error_kind": "pose", "error": "nobody", "pictures": Pictures()},
    ],
)
def test_a_record_is_read_back_whole(tmp_path: Path, changes: dict[str, Any]) -> None:
    original = record(tmp_path, **changes)
    original.write()
    assert read_record(original.record) == original


def test_a_record_of_the_layout_before_is_read(tmp_path: Path) -> None:
    original = record(tmp_path)
    values = {**original.to_dict(), "schema": 1}
    values["place"] = values.pop("label")
    original.record.write_text(json.dumps(values))
    assert read_record(original.record) == replace(original, key=None)
    failed = record(tmp_path, status="failed", key=None, clip=None, pictures=Pictures())
    values = {**failed.to_dict(), "schema": 1, "clip": {}, "pictures": {}}
    values["place"] = values.pop("label")
    original.record.write_text(json.dumps(values))
    assert read_record(original.record) == failed


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": 3},
        {"schema": None},
        {"status": "finished"},
        {"status": ["done"]},
        {"number": "3"},
        {"number": True},
        {"label": None},
        {"output": "a\0b"},
        {"seconds": {"load": "long"}},
        {"wall_seconds": float("nan")},
        {"warnings": "slow"},
        {"clip": {"bytes": "7"}},
        {"clip": {}},
        {"key": "0" * 64},
        {"key_parts": {"inputs": {}}},
        {"key_parts": []},
        {"pictures": {"results": [1]}},
        {"error_kind": "bad luck"},
    ],
)
def test_a_record_that_was_tampered_with_counts_as_none(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    original = record(tmp_path)
    original.record.write_text(json.dumps({**original.to_dict(), **changes}))
    assert read_record(original.record) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"null", b"1e999"],
)
def test_what_is_no_record_counts_as_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.job.json"
    path.write_bytes(content)
    assert read_record(path) is None
    assert read_record(tmp_path) is None
    assert read_record(tmp_path / "gone") is None
