"""Names, docstrings and messages of a checkout's source, and the words that they use."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

NINE = {"place", "found", "own", "one", "kept", "made", "given", "told", "shown"}
VAGUE = NINE | {
    "thing", "things", "rest", "whole", "then", "said", "some", "other", "others", "same", "again",
    "before", "after", "now", "here", "there", "asked", "wanted", "named", "taken", "held", "done",
    "ready", "what", "which", "who", "much", "many", "ones", "ours", "theirs", "put", "went",
    "came", "gone", "sure",
}  # fmt: skip
"""Words that say nothing as a name: they are no nouns of the field, or stand for anything."""

ANYTHING = "dict[str, Any]"

INDIRECT = ("What", "How", "Whether", "Where", "Of")
"""First words of docstrings that make a reader wait for the noun."""

PROPER = {"Ray", "Slurm", "Python", "Chromium", "Euler", "Heun", "Debian", "Windows", "Linux"}
"""Words that a message may begin with in capitals."""


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
        """Uses of the type of a dictionary of anything by name."""
        return sum(
            isinstance(node, ast.Subscript) and ast.unparse(node) == ANYTHING
            for tree in self.trees.values()
            for node in ast.walk(tree)
        )

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
