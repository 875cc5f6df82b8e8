"""A Stable Diffusion 1.5 folder of toy size with random weights, and control files for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from animate.models.components import build_control_network
from animate.models.stills import load_still_design
from animate.stills.pipeline import StillPipeline
from tests.toy_still import DESIGN, StillFiles, toy_xl_pipeline, write_still_files

SIZE = (64, 64)


@pytest.fixture(scope="session")
def toy_still(tmp_path_factory: pytest.TempPathFactory) -> StillFiles:
    return write_still_files(tmp_path_factory.mktemp("still"))


@pytest.fixture(scope="session")
def toy_xl(tmp_path_factory: pytest.TempPathFactory) -> StillFiles:
    """The same for SDXL; its UNet file is of increments."""
    folder = tmp_path_factory.mktemp("xl")
    torch.manual_seed(1)
    pipe = toy_xl_pipeline(folder)
    pipe.save_pretrained(folder / "base", safe_serialization=True)
    network = build_control_network(load_still_design("controlnext-sdxl").controlnext)
    save_file(network.state_dict(), folder / "controlnet.safetensors")
    trained = {
        name: torch.full_like(value, 0.01)
        for name, value in pipe.unet.state_dict().items()
        if "attn2.to_out" in name
    }
    save_file(trained, folder / "unet.safetensors")
    return StillFiles(
        base=folder / "base",
        controlnext=folder / "controlnet.safetensors",
        unet=folder / "unet.safetensors",
    )


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    edges = np.zeros((64, 64, 3), np.uint8)
    edges[20:40, 10:50] = 255
    return edges


@pytest.fixture(scope="module")
def pipeline(toy_still: StillFiles) -> StillPipeline:
    return StillPipeline.from_files(
        toy_still.base, design=DESIGN, controlnext=toy_still.controlnext, device="cpu"
    )
