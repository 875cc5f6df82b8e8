"""What people install is complete: built as a wheel, unpacked far from the checkout, and run."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT],
        check=True,
        capture_output=True,
    )
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_holds_weights_configurations_and_types(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tiny = ROOT / "animate" / "models" / "tiny"
    files = [path for path in tiny.rglob("*") if path.is_file()]
    files += (ROOT / "pose" / "networks").glob("*.onnx")
    files += (ROOT / "animate" / "evaluation" / "networks").iterdir()
    files += (ROOT / "animate" / "evaluation").glob("*.html")
    assert any(path.suffix == ".safetensors" for path in files)
    missing = {path.relative_to(ROOT).as_posix() for path in files} - names
    assert not missing
    assert {f"{package}/py.typed" for package in ("animate", "pose", "temporal")} <= names
    configs = {p.relative_to(ROOT).as_posix() for p in (ROOT / "configs").rglob("*.yaml")}
    assert {f"animate/{name}" for name in configs} <= names
    assert not [name for name in names if name.startswith(("tests/", "scripts/"))]


def test_the_unpacked_wheel_runs_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1));"
        "import animate; assert sys.path[0] in animate.__file__, animate.__file__;"
        "from animate.cli.main import main; sys.exit(main(['models', 'list']))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, tmp_path / "site"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "tiny" in done.stdout
    assert "svd-v2" in done.stdout
