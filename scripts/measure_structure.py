"""Count how the product is built, beside the bars that it is held to: files, names, words, calls.

    python scripts/measure_structure.py            # everything; one small clip is made (seconds)
    python scripts/measure_structure.py --no-run   # what the source alone tells
    python scripts/measure_structure.py --list     # every vague name, docstring and message
    python scripts/measure_structure.py --root DIR # another checkout

`tests/test_language.py` holds the shares of words to what was reached. The figures at the start
were counted before this script was; its walk along `request` follows fewer calls than theirs did.
Nothing is judged: the exit code is 0.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a file, python puts scripts/ there and not its parent
    sys.path.insert(0, str(ROOT))

PRODUCT = ("animate", "pose", "temporal")

NINE = {"place", "found", "own", "one", "kept", "made", "given", "told", "shown"}
VAGUE = NINE | {
    "thing", "things", "rest", "whole", "then", "said", "some", "other", "others", "same", "again",
    "before", "after", "now", "here", "there", "asked", "wanted", "named", "taken", "held", "done",
    "ready", "what", "which", "who", "much", "many", "ones", "ours", "theirs", "put", "went",
    "came", "gone", "sure",
}  # fmt: skip
"""Words that say nothing as a name: they are no nouns of the field, or stand for anything."""

INDIRECT = ("What", "How", "Whether", "Where", "Of")
"""First words of docstrings that make a reader wait for the noun."""

PROPER = {"Ray", "Slurm", "Python", "Chromium", "Euler", "Heun", "Debian", "Windows", "Linux"}
"""Words that a message may begin with in capitals."""

CARRIERS = ("request", "requested", "asked", "work", "finish", "runtime", "sampling")
"""Names of arguments that are a request, a part of one, or hold one."""

SENTENCE = (
    "errors", "progress", "files", "request", "device", "media", "models", "driving", "evaluation",
    "finish", "generate", "clip", "training", "animator", "batch", "studio", "cli",
)  # fmt: skip
"""Rooms of `animate` from the lowest to the highest."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One name or text at a line."""

    path: Path
    line: int
    text: str


@dataclass(frozen=True)
class Source:
    """The python files of some packages of a checkout, parsed."""

    root: Path
    packages: tuple[str, ...]

    @cached_property
    def trees(self) -> dict[Path, ast.Module]:
        """Syntax tree of every file, by its path below the root."""
        files = [
            file for name in self.packages for file in sorted((self.root / name).rglob("*.py"))
        ]
        return {
            file.relative_to(self.root): ast.parse(file.read_text(encoding="utf-8"))
            for file in files
        }

    @cached_property
    def names(self) -> list[Finding]:
        """Every binding of a name: variables, parameters, attributes, functions, classes."""
        return [
            Finding(path=path, line=line, text=name)
            for path, tree in self.trees.items()
            for name, line in bound_names(tree)
        ]

    @cached_property
    def docstrings(self) -> list[Finding]:
        """Every docstring, those of attributes included."""
        return [
            Finding(path=path, line=line, text=text)
            for path, tree in self.trees.items()
            for text, line in docstrings(tree)
        ]

    @cached_property
    def messages(self) -> list[Finding]:
        """Every text that is raised, noted or warned of."""
        return [
            Finding(path=path, line=line, text=text)
            for path, tree in self.trees.items()
            for text, line in messages(tree)
        ]

    def vague(self, words: Collection[str] = VAGUE) -> list[Finding]:
        """Bindings of words that say nothing."""
        return [name for name in self.names if name.text.strip("_") in words]

    def indirect(self) -> list[Finding]:
        """Docstrings that begin with a question word."""
        return [text for text in self.docstrings if first_word(text.text) in INDIRECT]

    def loud(self) -> list[Finding]:
        """Messages with a capital at the start or a full stop at the end."""
        return [message for message in self.messages if is_loud(message.text)]

    @cached_property
    def anything(self) -> int:
        """Annotations `dict[str, Any]`."""
        pattern = re.compile(r"\bdict\[str, Any\]")
        return sum(len(pattern.findall((self.root / path).read_text())) for path in self.trees)

    @cached_property
    def lines(self) -> int:
        """Lines of all files."""
        return sum(len((self.root / path).read_text().splitlines()) for path in self.trees)


def bound_names(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Names and lines of everything that a module binds."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.alias) and node.asname:
            yield node.asname, node.lineno
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name, node.lineno


def docstrings(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Texts and lines of strings that stand alone as a statement."""
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield text, node.lineno


def messages(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Texts and lines of what is raised, and of what is given to `note` and `warn`.

    A value that is put in stands as a zero character.
    """
    for node in ast.walk(tree):
        call = node.exc if isinstance(node, ast.Raise) else node
        if not isinstance(call, ast.Call) or not call.args:
            continue
        shown_text = isinstance(call.func, ast.Attribute) and call.func.attr in ("note", "warn")
        if isinstance(node, ast.Raise) or shown_text:
            text = _text(call.args[0])
            if text:
                yield text, call.lineno


def _text(node: ast.expr) -> str:
    """The words of a string or f-string; empty for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(value) or "\0" for value in node.values)
    return ""


def first_word(text: str) -> str:
    """The first word of a text, without what stands around it."""
    words = text.split(maxsplit=1)
    return words[0].strip("`\"'(,.:;") if words else ""


def is_loud(message: str) -> bool:
    """True for a capital at the start that is no name's, and for a full stop at the end."""
    word = first_word(message)
    capital = bool(re.fullmatch(r"[A-Z][a-z]+", word)) and word not in PROPER
    return capital or (message.endswith(".") and not message.endswith("..."))


def share(findings: Sequence[Finding], of: Sequence[Finding]) -> float:
    """Per cent."""
    return 100 * len(findings) / max(len(of), 1)


# Imports and calls.


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
    functions = _functions(source)
    start = (Path("animate/animator.py"), "Animator.__call__")
    visited: set[tuple[Path, str]] = set()
    order: list[Path] = []

    def visit(key: tuple[Path, str]) -> None:
        if key in visited or key not in functions:
            return
        visited.add(key)
        if not order or order[-1] != key[0]:
            order.append(key[0])
        for call in _calls_in_order(functions[key]):
            if any(_is_request(argument) for argument in _arguments(call)):
                for target in _targets(call, key, source, functions):
                    visit(target)

    visit(start)
    return Walk(files=tuple(order))


def _functions(source: Source) -> dict[tuple[Path, str], ast.AST]:
    functions: dict[tuple[Path, str], ast.AST] = {}
    for path, tree in source.trees.items():
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                functions[path, node.name] = node
            elif isinstance(node, ast.ClassDef):
                for method in node.body:
                    if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
                        functions[path, f"{node.name}.{method.name}"] = method
    return functions


def _calls_in_order(function: ast.AST) -> list[ast.Call]:
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    return sorted(calls, key=lambda call: (call.end_lineno or 0, call.end_col_offset or 0))


def _arguments(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def _is_request(node: ast.expr) -> bool:
    name = node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")
    return name in CARRIERS


def _targets(
    call: ast.Call,
    caller: tuple[Path, str],
    source: Source,
    functions: dict[tuple[Path, str], ast.AST],
) -> list[tuple[Path, str]]:
    """Functions that a call may mean: of the same file or class, or imported by name."""
    path, name = caller
    if isinstance(call.func, ast.Attribute):
        owner = name.rpartition(".")[0]
        if isinstance(call.func.value, ast.Name) and call.func.value.id in ("self", "cls"):
            return [(path, f"{owner}.{call.func.attr}")]
        methods = [key for key in functions if key[1].endswith(f".{call.func.attr}")]
        return methods if len(methods) == 1 else []
    if not isinstance(call.func, ast.Name):
        return []
    called = call.func.id
    for node in ast.walk(source.trees[path]):
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        if any((alias.asname or alias.name) == called for alias in node.names):
            stem = Path(*node.module.split("."))
            files = [stem.with_suffix(".py"), stem / "__init__.py"]
            return [(file, name) for file in files for name in (called, f"{called}.__init__")]
    return [(path, called), (path, f"{called}.__init__")]


# A run.


def frames_to_unet() -> int:
    """Calls of the product's own functions between the shell and the UNet's, in a run of `cnx`."""
    import tempfile

    from diffusers import UNetSpatioTemporalConditionModel

    from animate.cli.main import main

    deepest: list[int] = []
    packages = tuple(str(ROOT / name) for name in PRODUCT)
    forward = UNetSpatioTemporalConditionModel.forward

    def counted(*arguments: object, **keywords: object) -> object:
        frame, depth = sys._getframe(1), 0
        while frame is not None:
            depth += frame.f_code.co_filename.startswith(packages)
            frame = frame.f_back  # type: ignore[assignment]
        deepest.append(depth)
        return forward(*arguments, **keywords)

    UNetSpatioTemporalConditionModel.forward = counted
    try:
        with tempfile.TemporaryDirectory() as folder:
            command = ["run", *_small_clip(Path(folder)), "--model", "tiny", "--quiet"]
            code = main([*command, "--max-frames", "2", "--size", "96x96", "--retarget", "none"])
    finally:
        UNetSpatioTemporalConditionModel.forward = forward
    if code or not deepest:
        raise RuntimeError(f"the run that counts frames ended with {code}")
    return max(deepest)


def _small_clip(folder: Path) -> list[str]:
    from fractions import Fraction

    from animate.media import open_writer, write_png
    from scripts.tiny.characters import render_clip

    take = render_clip(5, 4, (96, 96), shot="full")
    write_png(folder / "reference.png", take.reference)
    with open_writer(folder / "driving.mp4", size=(96, 96), fps=Fraction(12)) as writer:
        for frame in take.frames:
            writer.write(frame)
    files = {"reference": "reference.png", "driving": "driving.mp4", "output": "clip.mp4"}
    return [part for name, file in files.items() for part in (f"--{name}", str(folder / file))]


def rows(source: Source, frames: int | None) -> list[tuple[str, str, str, str]]:
    """(figure, at the start, now, bar) of everything that is counted."""
    walk = walk_request(source)
    everything = Source(source.root, (*PRODUCT, "scripts"))
    loose = len(list((source.root / "animate").glob("*.py")))
    return [
        ("loose files in animate/", "30", str(loose), "7 or fewer"),
        ("lines / files of the product", "31,106 / 232",
         f"{source.lines:,} / {len(source.trees)}", "about 26,000 / 185"),
        ("files that request comes to; climbs", "102; 35",
         f"{len(walk.files)}; {walk.climbs}", "-; 8 or fewer"),
        ("circles of rooms", "3", str(len(circles(source))), "0"),
        ("own frames between shell and UNet", "14", "-" if frames is None else str(frames),
         "8 or fewer"),
        ("dict[str, Any], scripts too", "191", str(everything.anything), "under 60"),
        ("bound names: the nine words", "3.4 %", f"{share(source.vague(NINE), source.names):.2f} %",
         "1 %"),
        (f"bound names: all {len(VAGUE)} words", "6.2 %",
         f"{share(source.vague(), source.names):.2f} %", "-"),
        ("docstrings beginning " + "/".join(INDIRECT), "12.2 %",
         f"{share(source.indirect(), source.docstrings):.2f} %", "2 %"),
        ("messages with a capital or a full stop", "-",
         f"{share(source.loud(), source.messages):.2f} %", "0 %"),
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=ROOT, help="checkout to read")
    parser.add_argument("--no-run", action="store_true", help="count no frames of a run")
    parser.add_argument("--list", action="store_true", help="print every finding")
    options = parser.parse_args(arguments)
    source = Source(options.root.resolve(), PRODUCT)
    frames = None if options.no_run or source.root != ROOT else frames_to_unet()
    table = [("", "at the start", "now", "bar"), *rows(source, frames)]
    widths = [max(len(row[column]) for row in table) for column in range(4)]
    for row in table:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    counts = Counter(name.text.strip("_") for name in source.vague())
    print("\nvague names: " + ", ".join(f"{name} {count}" for name, count in counts.most_common()))
    if options.list:
        for finding in [*source.vague(), *source.indirect(), *source.loud()]:
            print(f"{finding.path}:{finding.line}: {' '.join(finding.text.split())[:90]}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
