"""The notebook of the guides, cell by cell."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parent.parent.parent / "docs" / "pipeline.ipynb"


def cells(kind: str) -> list[str]:
    values = json.loads(NOTEBOOK.read_text())
    assert values["nbformat"] == 4
    return ["".join(cell["source"]) for cell in values["cells"] if cell["cell_type"] == kind]


def run(cell: str, names: dict[str, Any]) -> Any:
    """Run a cell; the value of its last expression, as a notebook shows it."""
    tree = ast.parse(cell)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    if last is None:
        return None
    assert isinstance(last, ast.Expr)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


def test_every_cell_runs_and_shows_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    shown = [run(cell, names) for cell in cells("code")]
    assert shown[1][:2] == (6, (96, 144))
    assert [picture.size[0] for picture in shown if hasattr(picture, "size")] == [640, 480, 480]
    assert shown[-1] is True
    assert not list(tmp_path.iterdir())
