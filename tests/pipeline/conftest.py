from __future__ import annotations

from pathlib import Path

import pytest

from animate import ControlNeXtVideoPipeline
from tests.scene import write_scene
from tests.toy import toy_model


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with random weights."""
    folder = tmp_path_factory.mktemp("pipeline") / "toy"
    toy_model(folder)
    return folder


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_scene(tmp_path_factory.mktemp("scene"), 7)


@pytest.fixture
def pipe(toy: Path) -> ControlNeXtVideoPipeline:
    pipe = ControlNeXtVideoPipeline.from_pretrained(toy, device="cpu")
    pipe.set_progress_bar_config(disable=True)
    return pipe
