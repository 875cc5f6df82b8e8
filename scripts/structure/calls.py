"""Rooms that import each other, and the files that a request comes to, call by call."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from scripts.structure.words import Source

CARRIERS = ("request", "requested", "asked", "work", "finish", "runtime", "sampling")
"""Names of arguments that are a request, a part of one, or hold one."""

SENTENCE = (
    "errors", "progress", "files", "request", "device", "media", "models", "driving", "evaluation",
    "finish", "generate", "clip", "training", "animator", "batch", "studio", "cli",
)  # fmt: skip
"""Rooms of `animate` from the lowest to the highest."""


def circles(source: Source) -> list[tuple[str, ...]]:
    """Groups of rooms of `animate` that import each other, wherever in a file."""
    arrows: dict[str, set[str]] = {}
    for path, tree in source.trees.items():
        start = room_of(path)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and start:
                stop = room_of(Path(*node.module.split(".")))
                if stop and stop != start:
                    arrows.setdefault(start, set()).add(stop)
    reach = {room: _reached(room, arrows) for room in arrows}
    groups = {
        tuple(sorted({room, *(x for x in reach[room] if room in reach.get(x, ()))}))
        for room in reach
    }
    return sorted(group for group in groups if len(group) > 1)


def _reached(start: str, arrows: dict[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        for room in arrows.get(waiting.pop(), set()) - reached:
            reached.add(room)
            waiting.append(room)
    return reached


def room_of(path: Path) -> str | None:
    """The room of `animate` that a file stands in; None outside."""
    parts = path.with_suffix("").parts
    return parts[1] if len(parts) > 1 and parts[0] == "animate" and parts[1] in SENTENCE else None


@dataclass(frozen=True, kw_only=True)
class Walk:
    """The files that `request` comes to, in the order of the calls that take it there."""

    files: tuple[Path, ...]

    @property
    def climbs(self) -> int:
        """Calls after which the next file stands in a higher room than the one before it."""
        floors = [SENTENCE.index(room) for room in map(room_of, self.files) if room]
        return sum(next_floor > floor for floor, next_floor in itertools.pairwise(floors))


def walk_request(source: Source) -> Walk:
    """Follow `request` from `Animator.__call__` through every call that is given it.

    Calls are followed as they stand in the source, each function once, by their imported names.
    """
    calls = _Calls(source)
    visited: set[Function] = set()
    order: list[Path] = []

    def visit(function: Function) -> None:
        if function in visited or function not in calls.functions:
            return
        visited.add(function)
        if not order or order[-1] != function.path:
            order.append(function.path)
        for call in calls.of(function):
            for target in calls.targets(call, function):
                visit(target)

    visit(Function(Path("animate/animator.py"), "Animator.__call__"))
    return Walk(files=tuple(order))


@dataclass(frozen=True)
class Function:
    """A function or method of a file."""

    path: Path
    name: str
    """With its class before it, where it is a method."""


@dataclass(frozen=True)
class _Calls:
    """The calls of a source that are given a request."""

    source: Source

    @cached_property
    def functions(self) -> dict[Function, ast.AST]:
        """Every function and method at the top of a file or class."""
        return {
            Function(path, name): node
            for path, tree in self.source.trees.items()
            for name, node in _functions(tree)
        }

    def of(self, function: Function) -> list[ast.Call]:
        """Calls with a request among their arguments, in the order in which they are made."""
        calls = [
            node
            for node in ast.walk(self.functions[function])
            if isinstance(node, ast.Call)
            and any(map(_is_request, [*node.args, *(word.value for word in node.keywords)]))
        ]
        return sorted(calls, key=lambda call: (call.end_lineno or 0, call.end_col_offset or 0))

    def targets(self, call: ast.Call, caller: Function) -> list[Function]:
        """Functions that a call may mean: of the same file or class, or imported by name."""
        match call.func:
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=method):
                return [Function(caller.path, f"{caller.name.rpartition('.')[0]}.{method}")]
            case ast.Attribute(attr=method):
                methods = [known for known in self.functions if known.name.endswith(f".{method}")]
                return methods if len(methods) == 1 else []
            case ast.Name(id=name):
                files = self._files_of(name, caller.path)
                return [Function(file, called) for file in files for called in _calls_of(name)]
        return []

    def _files_of(self, name: str, path: Path) -> list[Path]:
        """Files that a name of a file may come from."""
        for node in ast.walk(self.source.trees[path]):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            if any((alias.asname or alias.name) == name for alias in node.names):
                stem = Path(*node.module.split("."))
                return [stem.with_suffix(".py"), stem / "__init__.py"]
        return [path]


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield f"{node.name}.{method.name}", method


def _calls_of(name: str) -> tuple[str, str]:
    """Names of the function that a call by this name runs, if it is a function or a class."""
    return name, f"{name}.__init__"


def _is_request(node: ast.expr) -> bool:
    name = node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")
    return name in CARRIERS
