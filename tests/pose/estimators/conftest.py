"""Estimators that several tests share; opening the networks takes the time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pose.estimators import load_estimator
from pose.estimators.base import Estimator
from tests.pose.estimators import stand_ins


@pytest.fixture(scope="session")
def blazepose() -> Estimator:
    return load_estimator("blazepose")


@pytest.fixture(scope="session")
def dwpose_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return stand_ins.write_networks(tmp_path_factory.mktemp("dwpose"))


@pytest.fixture(scope="session")
def dwpose(dwpose_files: tuple[Path, Path]) -> Estimator:
    detector, pose = dwpose_files
    return load_estimator("dwpose", detector=detector, pose=pose, verify=False)


@pytest.fixture
def controlnet_aux(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Estimator]:
    """Opens the estimator on a stand-in of the library, on the given device."""
    for name, module in stand_ins.controlnet_aux_modules().items():
        monkeypatch.setitem(__import__("sys").modules, name, module)
    files = {}
    for option in ("detector", "pose"):
        files[option] = tmp_path / f"{option}.pth"
        files[option].write_bytes(option.encode())

    def opened(device: str = "cpu") -> Estimator:
        return load_estimator("controlnet-aux", **files, device=device)

    return opened
