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
# From low to high; a file imports from its own floor and from the floors above it in this list.
FLOORS = (
    ("errors", "streams"),
    ("values", "files", "progress", "farm_progress"),
    ("options",),
    ("yaml_file", "geometry", "clock", "device"),
    ("media",),
    ("figure", "interpolation", "montage"),
    ("background", "colour"),
    ("models",),
    ("settings",),
    ("memory",),
    ("pose_cache",),
    ("sampling", "poses", "control"),
    ("work",),
    ("pipeline", "pose_tools", "finish"),
    ("executors",),
    ("sidecar", "provenance"),
    ("checks", "animator"),
    ("batch",),
    ("parity", "metrics"),
    ("training",),
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


def floor(module: str) -> int | None:
    """Index of the floor of `animate.X...`, None for the package itself."""
    parts = module.split(".")
    if parts[0] != "animate" or len(parts) < 2:
        return None
    return next((i for i, names in enumerate(FLOORS) if parts[1] in names), None)


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


def test_every_file_of_animate_has_a_floor() -> None:
    names = {p.stem if p.parent.name == "animate" else p.relative_to(ROOT / "animate").parts[0]
             for p in modules("animate")} - {"__init__"}  # fmt: skip
    known = {name for names in FLOORS for name in names}
    assert names <= known, f"give these a floor: {sorted(names - known)}"


def test_animate_imports_downwards_only() -> None:
    wrong = []
    for path in modules("animate"):
        relative = path.relative_to(ROOT).with_suffix("")
        own = floor(".".join(relative.parts))
        if own is None:  # the package's own lazy surface
            continue
        for name, line in imports(path):
            other = floor(name)
            if other is not None and other > own:
                wrong.append(f"{relative}.py:{line} imports {name}, which stands above it")
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
