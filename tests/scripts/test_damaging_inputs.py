"""A short form of `scripts/damage.py`: some cases of every kind, and that it would see a fault."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from animate.files import hidden_name
from scripts import _damage, damage

CASES = 40


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Whole inputs, an unfinished run's work, and what its clip must show."""
    folder = tmp_path_factory.mktemp("damage")
    from animate import animator

    before = animator.load_components
    damage._load_models_once()
    home, place = folder / "home", folder / "case"
    _damage.build(home)
    place.mkdir()
    _damage.unfinished(home, place / "clip.mp4")
    kept = Path(shutil.move(place / ".clip.mp4.work", folder / "kept"))
    assert _damage.main(_damage._run(home, place / "clip.mp4")) == 0
    frames = json.loads((place / "clip.json").read_text())["output"]["frames_sha256"]
    yield {"home": home, "place": place, "kept": kept, "frames": frames}
    animator.load_components = before


def test_damaged_inputs_end_in_a_message_or_a_whole_clip(studio: dict[str, Any]) -> None:
    place = studio["place"]
    kinds, wrong = set(), []
    for number in range(CASES):
        shutil.rmtree(place)
        place.mkdir()
        case = _damage.prepare(number, 77, **studio)
        result = damage.meet(case, place)
        kinds.add(case.kind)
        if result["wrong"]:
            wrong.append((number, case.kind, case.file, result))
    assert not wrong
    assert kinds >= {"video", "image", "poses", "work"}


def test_a_case_is_the_same_for_the_same_numbers() -> None:
    data = bytes(range(256)) * 8
    first = [_damage.hurt(data, random.Random(f"0 {n}")) for n in range(50)]
    again = [_damage.hurt(data, random.Random(f"0 {n}")) for n in range(50)]
    assert first == again
    assert all(hurt != data or data[:0] == hurt for hurt in first)
    assert len({len(hurt) for hurt in first}) > 5


@pytest.mark.parametrize(
    ("code", "said", "files", "wrong"),
    [
        (2, "cnx: it is damaged", (), ""),
        (0, "", ("clip.mp4", "clip.json"), "partial output"),  # no video, if one looks into it
        (1, "cnx: a fault of the program", (), "fault"),
        (2, "Traceback (most recent call last)", (), "fault"),
        (2, "", (), "silent failure"),
        (2, "cnx: no", ("clip.mp4",), "partial output"),
        (2, "cnx: no", (hidden_name(Path("clip.mp4")).name,), "partial output"),
        (0, "", ("clip.mp4",), "partial output"),
    ],
)
def test_it_would_see_what_is_wrong(
    tmp_path: Path, code: int, said: str, files: tuple[str, ...], wrong: str
) -> None:
    for name in files:
        (tmp_path / name).write_text("x")
    outputs = (str(tmp_path / "clip.mp4"), str(tmp_path / "clip.json"))
    case = _damage.Case(kind="image", file="a.png", argv=(), outputs=outputs)
    assert damage.fault(code, said, case, tmp_path) == wrong


def test_other_frames_from_hurt_work_are_seen(studio: dict[str, Any]) -> None:
    place = studio["place"]
    shutil.rmtree(place)
    place.mkdir()
    assert _damage.main(_damage._run(studio["home"], place / "clip.mp4")) == 0
    outputs = (str(place / "clip.mp4"), str(place / "clip.json"))
    case = _damage.Case(kind="work", file="x", argv=(), outputs=outputs, frames_sha256="0" * 64)
    assert damage.fault(0, "", case, place) == "other frames"
