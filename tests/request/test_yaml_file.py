from __future__ import annotations

from pathlib import Path

import pytest

from animate.errors import RequestError
from animate.request.yaml_file import read_yaml


def read(folder: Path, text: str) -> dict[str, object]:
    (folder / "f.yaml").write_text(text)
    return read_yaml(folder / "f.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1:30", "1:30"), ("no", "no"), ("012", "012"), ("0", 0), ("-3", -3), ("1e-4", 1e-4),
        ("2.5", 2.5), ("true", True), ("null", None), ("96x144", "96x144"), ("[1, 2]", [1, 2]),
    ],
)  # fmt: skip
def test_values_mean_what_people_mean(tmp_path: Path, text: str, value: object) -> None:
    assert read(tmp_path, f"a: {text}") == {"a": value}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "line 3: 'a' is given twice"),
        ("a: [1", r"line \d"),
        ("- 1", "names with values"),
        ("a: !!python/object/apply:os.system ['true']", "could not determine"),
        ("? [1]\n: 2", "line 1"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        read(tmp_path, text)


def test_an_empty_file_is_empty(tmp_path: Path) -> None:
    assert read(tmp_path, "") == {}


def test_what_is_not_text_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RequestError, match=r"b\.yaml"):
        read_yaml(tmp_path / "b.yaml")
    with pytest.raises(RequestError, match="does not exist"):
        read_yaml(tmp_path / "c.yaml")
