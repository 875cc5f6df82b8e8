"""Names, docstrings and messages keep to the words that were reached: shares may only fall."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from scripts.measure_structure import PRODUCT
from scripts.structure.calls import Walk, circles, walk_request
from scripts.structure.words import (
    VAGUE,
    Finding,
    Source,
    bound_names,
    docstrings,
    first_word,
    is_loud,
    messages,
    share,
)

ROOT = Path(__file__).parent.parent

# Per cent, as measured by scripts/measure_structure.py; lower them when they fall.
MOST = {
    "product": {"vague": 1.2, "indirect": 0.3, "loud": 0.0},
    "scripts": {"vague": 0.9, "indirect": 0.1, "loud": 0.0},
}


@pytest.fixture(scope="module")
def sources() -> dict[str, Source]:
    return {"product": Source(ROOT, PRODUCT), "scripts": Source(ROOT, ("scripts",))}


def listed(findings: list[Finding]) -> str:
    return "\n".join(f"{f.path}:{f.line}: {f.text[:80]}" for f in findings)


@pytest.mark.parametrize("part", MOST)
def test_names_say_something(sources: dict[str, Source], part: str) -> None:
    source = sources[part]
    found = share(source.vague(), source.names)
    print(f"{part}: {found:.2f} % of {len(source.names)} names")
    assert found <= MOST[part]["vague"], listed(source.vague())


@pytest.mark.parametrize("part", MOST)
def test_docstrings_begin_with_a_verb_or_a_noun(sources: dict[str, Source], part: str) -> None:
    source = sources[part]
    found = share(source.indirect(), source.docstrings)
    print(f"{part}: {found:.2f} % of {len(source.docstrings)} docstrings")
    assert found <= MOST[part]["indirect"], listed(source.indirect())


@pytest.mark.parametrize("part", MOST)
def test_messages_have_no_capital_and_no_full_stop(sources: dict[str, Source], part: str) -> None:
    source = sources[part]
    found = share(source.loud(), source.messages)
    print(f"{part}: {found:.2f} % of {len(source.messages)} messages")
    assert found <= MOST[part]["loud"], listed(source.loud())


def test_no_two_rooms_import_each_other(sources: dict[str, Source]) -> None:
    assert circles(sources["product"]) == []


def test_request_goes_down_the_rooms(sources: dict[str, Source]) -> None:
    walk = walk_request(sources["product"])
    assert Path("animate/clip/make.py") in walk.files  # the walk reaches the order of work
    assert walk.climbs <= 8


def parsed(text: str) -> ast.Module:
    return ast.parse(text)


def test_every_kind_of_binding_is_counted() -> None:
    tree = parsed(
        "import numpy as np\n"
        "def run(first, *rest, last=0, **named):\n"
        "    place: int = 1\n"
        "    self.own = [x for x in rest]\n"
        "    with open(place) as file, file as other: pass\n"
        "    try: pass\n"
        "    except ValueError as reason: pass\n"
        "    if (n := 1): pass\n"
        "class Kind: pass\n"
    )
    assert sorted(name for name, _ in bound_names(tree)) == sorted(
        ["np", "run", "first", "rest", "last", "named", "place", "own", "x", "file", "other",
         "reason", "n", "Kind"]
    )  # fmt: skip
    assert {"place", "own", "rest", "other", "named"} <= VAGUE


def test_docstrings_of_attributes_count_and_other_strings_do_not() -> None:
    tree = parsed('"""What it is."""\nA = 1\n"""How many."""\nprint("Where")\n')
    assert [first_word(text) for text, _ in docstrings(tree)] == ["What", "How"]


@pytest.mark.parametrize(
    ("code", "loud"),
    [
        ('raise UserError("the file is missing")', False),
        ('raise UserError(f"{path}: is missing; name another")', False),
        ('raise UserError("The file is missing")', True),
        ('raise UserError("the file is missing.")', True),
        ('progress.warn(f"Nobody is in {frame}")', True),
        ('progress.note("waiting...")', False),
        ('raise UserError("Ray is not installed")', False),
        ('raise UserError("CUDA is not there")', False),
    ],
)
def test_a_loud_message_is_told_from_a_quiet_one(code: str, loud: bool) -> None:
    [(text, _)] = messages(parsed(code))
    assert is_loud(text) == loud


def test_rooms_that_import_each_other_are_a_circle(tmp_path: Path) -> None:
    for room, other in (("clip", "media"), ("media", "models"), ("models", "media")):
        (tmp_path / "animate" / room).mkdir(parents=True, exist_ok=True)
        text = f"def f():\n    from animate.{other} import x\n"
        (tmp_path / "animate" / room / "a.py").write_text(text)
    assert circles(Source(tmp_path, ("animate",))) == [("media", "models")]


def test_a_climb_is_a_call_into_a_higher_room() -> None:
    files = [f"animate/{room}/a.py" for room in ("clip", "media", "request", "generate", "clip")]
    assert Walk(files=tuple(map(Path, files))).climbs == 2
