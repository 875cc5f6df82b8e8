from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from animate.errors import RequestError
from animate.request import yaml_file
from animate.request.yaml_file import read_yaml


@pytest.fixture(params=["libyaml", "python"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both of PyYAML's parsers: libyaml's is not in every build of it."""
    if request.param == "python":
        monkeypatch.setattr(yaml_file, "_PARSER", yaml.SafeLoader)
    elif not hasattr(yaml, "CSafeLoader"):
        pytest.skip("this PyYAML was built without libyaml")


def read(folder: Path, text: str) -> dict[str, object]:
    (folder / "f.yaml").write_text(text)
    return read_yaml(folder / "f.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1:30", "1:30"), ("no", "no"), ("012", "012"), ("0", 0), ("-3", -3), ("1e-4", 1e-4),
        ("2.5", 2.5), ("true", True), ("null", None), ("~", None), ("", None), ("96x144", "96x144"),
        ("[1, 2]", [1, 2]), ('"1"', "1"), ("'true'", "true"), ("2026-11-28", "2026-11-28"),
        ("!!str 5", "5"), ("!!int 5", 5), ("! 5", "5"), ("-.inf", -math.inf),
        ("{b: {c: 1}}", {"b": {"c": 1}}),
        ("|\n  x\n  y\n", "x\ny\n"), ("[&x 1, *x]", [1, 1]), ("[]", []),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("parser")
def test_values_mean_what_people_mean(tmp_path: Path, text: str, value: object) -> None:
    assert read(tmp_path, f"a: {text}") == {"a": value}


def test_names_are_the_text_that_is_written(tmp_path: Path) -> None:
    text = "1: a\ntrue: b\nnull: c\n<<: {d: e}\nx: &k name\n*k : 2\n"
    assert read(tmp_path, text) == {
        "1": "a", "true": "b", "null": "c", "<<": {"d": "e"}, "x": "name", "name": 2
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "line 3: 'a' is given twice"),
        ("a: [1", r"line \d"),
        ("- 1", "names with values"),
        ("text", "names with values"),
        ("a: !!python/object/apply:os.system ['true']", "line 1: the tag .*os.system' is unknown"),
        ("a: !!binary aGVsbG8=", "the tag .*binary' is unknown"),
        ("a: !!timestamp 2026-11-28", "the tag .*timestamp' is unknown"),
        ("a: !!set {x, y}", "the tag .*set' is unknown"),
        ("a: !!int x", "the tag .*int' is unknown"),
        ("? [1]\n: 2", "line 1: a name must be text"),
        ("a: &a [*a]", r"\*a holds itself"),
        ("a: *b", "line 1: .*b"),
        ("a: 1\n---\nb: 2", "line 2: a second document"),
        (f"a: {'9' * 5000}", "a number of 5000 digits"),
        ("a: \a", "control characters|special characters"),
        ('a: "\\ud800"', "line 1"),
    ],
)
@pytest.mark.usefixtures("parser")
def test_mistakes_are_named_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "f.yaml"))
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    for level in range(1, levels):
        again = ",".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} [{again}]")
    return "\n".join(lines)


def names(count: int, twice: str = "") -> str:
    return "{" + ", ".join(f"k{number}: 1" for number in range(count)) + twice + "}"


BOMBS: dict[str, Any] = {
    "aliases of aliases": bomb(12),
    "open brackets": "a: " + "[" * 100_000,
    "brackets": "a: " + "[" * 100_000 + "]" * 100_000,
    "lists of lists": "- " * 100_000,
    "names within names": "{a: " * 100_000,
    "steps": "".join(" " * level + "a:\n" for level in range(2000)),
    "30,000 names": names(30_000),
    "a doubled name in a line of 1 MB": names(90_000, ", k7: 2"),
    "a name of 1 MB": "? " + "x" * 1_000_000 + "\n: 1",
    "question marks": "? " * 100_000,
    "a quote that stays open": 'a: "' + "\\n" * 500_000,
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_a_file_beyond_all_bounds_is_one_error_at_once(tmp_path: Path, text: str) -> None:
    (tmp_path / "f.yaml").write_text(text)
    begun = time.perf_counter()
    with pytest.raises(RequestError, match=r"f\.yaml"):
        read_yaml(tmp_path / "f.yaml")
    assert time.perf_counter() - begun < 5


def test_an_alias_that_repeats_little_is_no_bomb(tmp_path: Path) -> None:
    values = read(tmp_path, bomb(4))
    assert values["a1"] == [["x"] * 10] * 10


def test_a_file_too_large_for_settings_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yaml_file, "MOST_BYTES", 2**20)
    with pytest.raises(RequestError, match="larger than 1 MiB"):
        read(tmp_path, "#" * (2**20 + 1))


# PyYAML's own writer folds rare line ends, such as \x85, wrongly.
TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"]) | st.just(" "), max_size=8
)


@given(st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | TEXT
    | st.floats(allow_nan=False),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(TEXT, part, max_size=3),
    max_leaves=12,
))  # fmt: skip
def test_what_pyyaml_writes_comes_back(
    tmp_path_factory: pytest.TempPathFactory, value: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.yaml"
    path.write_text(yaml.safe_dump({"a": value}, allow_unicode=True), encoding="utf-8")
    assert read_yaml(path) == {"a": value}


def test_an_empty_file_is_empty(tmp_path: Path) -> None:
    assert read(tmp_path, "") == {}
    assert read(tmp_path, "# nothing\n") == {}


def test_a_byte_order_mark_is_no_name(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_bytes(b"\xef\xbb\xbfa: 1")
    assert read_yaml(tmp_path / "f.yaml") == {"a": 1}


def test_what_is_not_text_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RequestError, match=r"b\.yaml: not UTF-8 at byte 0"):
        read_yaml(tmp_path / "b.yaml")
    with pytest.raises(RequestError, match="does not exist"):
        read_yaml(tmp_path / "c.yaml")
    with pytest.raises(RequestError, match="cannot be read"):
        read_yaml(tmp_path)
    with pytest.raises(RequestError, match="cannot be read"):
        read_yaml("a\0b")
