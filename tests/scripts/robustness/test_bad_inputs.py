"""A short form of `scripts/robustness/bad_inputs.py`, and that it would see a fault."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from animate.cli.main import main as cnx
from animate.files import hidden_name
from scripts.robustness.bad_inputs import fault, load_models_once, meet
from scripts.robustness.cases import SHARES, Case, damaged, prepare
from scripts.robustness.inputs import Studio, open_studio

CASES = 24


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    from animate import animator

    before = animator.load_components
    load_models_once()
    yield open_studio(tmp_path_factory.mktemp("bad-inputs"))
    animator.load_components = before


def test_bad_inputs_end_in_a_message_or_a_right_clip(studio: Studio) -> None:
    kinds, wrong = set(), []
    for number in range(CASES):
        studio.empty()
        case = prepare(number, 77, studio)
        result = meet(number, case, studio.folder)
        kinds.add(case.kind)
        if result.wrong:
            wrong.append(result.describe())
    assert not wrong, "".join(wrong)
    assert len(kinds) > len(SHARES) - 3


def test_a_case_is_the_same_for_the_same_numbers() -> None:
    data = bytes(range(256)) * 8
    first = [damaged(data, random.Random(f"0 {n}")) for n in range(50)]
    again = [damaged(data, random.Random(f"0 {n}")) for n in range(50)]
    assert first == again
    assert all(result != data for result in first)
    assert len({len(result) for result in first}) > 5


@pytest.mark.parametrize(
    ("code", "text", "files", "wrong"),
    [
        (2, "cnx: it is damaged", (), ""),
        (0, "", ("clip.mp4", "clip.json"), "partial output"),  # no video, if one looks into it
        (1, "cnx: a fault of the program", (), "fault"),
        (2, "Traceback (most recent call last)", (), "fault"),
        (3, "cnx: 1 of 2 jobs failed", (), "wrong exit code"),
        (2, "", (), "silent failure"),
        (2, "cnx: no", ("clip.mp4",), "partial output"),
        (2, "cnx: no", (hidden_name(Path("clip.mp4")).name,), "partial output"),
        (0, "", ("clip.mp4",), "partial output"),
    ],
)
def test_it_would_see_a_fault(
    tmp_path: Path, code: int, text: str, files: tuple[str, ...], wrong: str
) -> None:
    for name in files:
        (tmp_path / name).write_text("x")
    outputs = (str(tmp_path / "clip.mp4"), str(tmp_path / "clip.json"))
    case = Case(kind="image", file="a.png", argv=(), outputs=outputs, codes=(0, 2))
    assert fault(code, text, case, tmp_path) == wrong


def test_changed_bytes_of_others_are_seen(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_bytes(b"ours now")
    foreign = ((str(tmp_path / "theirs"), b"theirs"),)
    case = Case(kind="link", file="lock", argv=(), outputs=(), foreign=foreign)
    assert fault(2, "cnx: no", case, tmp_path) == "foreign bytes changed"


def test_other_frames_from_damaged_work_are_seen(studio: Studio) -> None:
    studio.empty()
    assert cnx(studio.run_command()) == 0
    outputs = (str(studio.clip), str(studio.clip.with_suffix(".json")))
    case = Case(kind="work", file="x", argv=(), outputs=outputs, frames_sha256="0" * 64)
    assert fault(0, "", case, studio.folder) == "other frames"
