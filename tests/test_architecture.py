"""The arrows between the rooms, and within `animate`, point one way."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "pose": {"pose"},
    "temporal": {"temporal"},
    "animate": {"animate", "pose", "temporal"},
    "scripts": {"scripts", "animate", "pose", "temporal"},
}
HEAVY = {
    "pose": {"torch", "diffusers", "transformers", "av", "decord"},
    "temporal": {"av", "cv2", "decord", "onnxruntime", "imageio"},
}
# "animate reads as a sentence": from low to high. A file imports from its own room and from those
# that stand before it here; rooms of one line do not know each other.
ROOMS = (
    ("errors", "progress"),
    ("files",),
    ("request",),
    ("device",),
    ("media",),
    ("models",),
    ("driving",),
    ("generate", "finish", "stills"),
    ("clip",),
    ("evaluation",),
    ("training",),
    ("animator",),
    ("pipeline",),
    ("batch", "nodes"),
    ("studio",),
    ("cli",),
)


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> list[tuple[str, int]]:
    """Every absolute module name that a file imports, wherever in it, with its line."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            found.append((node.module or "", node.lineno))
            found += [(f"{node.module}.{alias.name}", node.lineno) for alias in node.names]
    return found


def room(module: str) -> str | None:
    """The room of `animate.X...`; None for the package itself."""
    parts = module.split(".")
    return parts[1] if parts[0] == "animate" and len(parts) > 1 else None


def floor(name: str) -> int:
    return next(index for index, names in enumerate(ROOMS) if name in names)


@pytest.mark.parametrize("package", ALLOWED)
def test_packages_import_only_what_stands_below_them(package: str) -> None:
    ours = {"pose", "temporal", "animate", "scripts", "tests"}
    forbidden = (ours - ALLOWED[package]) | HEAVY.get(package, set())
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules(package)
        for name, line in imports(path)
        if name.split(".")[0] in forbidden
    ]
    assert not wrong, "\n".join(wrong)


def test_the_rooms_are_those_of_the_house() -> None:
    there = {path.stem if path.is_file() else path.name for path in (ROOT / "animate").iterdir()
             if path.suffix == ".py" or (path / "__init__.py").exists()} - {"__init__"}  # fmt: skip
    assert there == {name for names in ROOMS for name in names}


def test_animate_imports_downwards_only() -> None:
    wrong = []
    for path in modules("animate"):
        relative = path.relative_to(ROOT).with_suffix("")
        own = room(".".join(relative.parts))
        if own is None or own == "__init__":  # the package's own lazy surface
            continue
        for name, line in imports(path):
            other = room(name)
            if other in (None, own) or name == "animate.__version__":
                continue
            assert other is not None
            if not any(other in names for names in ROOMS):
                continue  # `from animate import NAME`
            if floor(other) >= floor(own):
                wrong.append(f"{relative}.py:{line} imports {name}, which does not stand below it")
    assert not wrong, "\n".join(sorted(set(wrong)))


def test_nothing_is_named_like_the_package() -> None:
    assert not (ROOT / "scripts" / "animate.py").exists()


@pytest.mark.parametrize("module", ["animate", "animate.cli.main", "pose", "temporal"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    heavy = {"torch", "diffusers", "transformers", "cv2", "av", "onnxruntime", "numpy"}
    code = f"import sys, {module}; print(*sorted(set(sys.modules) & {heavy!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


def test_the_files_that_are_run_first_are_there() -> None:
    from tests.conftest import LONGEST

    assert [name for name in LONGEST if not (ROOT / "tests" / name).is_file()] == []
