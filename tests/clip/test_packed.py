"""`--pack-weights`: the same clip but for rounding, and weights that are there once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from animate import AnimationRequest, Animator
from animate.clip.preflight import check_packing
from animate.errors import RequestError
from animate.generate.memory import parameters
from animate.media import open_video
from tests.scene import write_scene
from tests.small_models import small_model
from tests.toy import toy_model

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "options"),
    [("toy", {}), ("toy", {"keep_features": 2, "memory": "1GiB"}), ("animate-anyone", {})],
    ids=str,
)
def test_packed_weights_change_frames_by_rounding_alone(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    toy_model(tmp_path / name) if name == "toy" else small_model(name, tmp_path / name)
    animator = Animator.from_pretrained(tmp_path / name, device="cpu")
    values: dict[str, Any] = {**write_scene(tmp_path), "model": str(tmp_path / name), **options}
    values |= {"codec": "ffv1", "retarget": "none", "max_frames": 3, "steps": 2}
    unet = animator.engine.components.unet
    weights = parameters(unet)
    left: list[int] = []
    unet.register_forward_pre_hook(lambda *_: left.append(parameters(unet)))
    frames = []
    for pack in (False, True):
        request = {**values, "output": tmp_path / f"{pack}.mkv", "pack_weights": pack}
        result = animator(AnimationRequest.from_dict(request))
        assert json.loads(result.sidecar.read_text())["request"]["runtime"]["pack_weights"] is pack
        frames.append(np.stack([f.image for f in open_video(result.output).read()]).astype(int))
        assert parameters(unet) == weights
    assert left[0] == weights
    assert left[-1] < 0.1 * weights, "packed weights take the place of the others"
    assert np.abs(frames[0] - frames[1]).max() <= 1


def test_other_types_and_devices_are_refused() -> None:
    request = AnimationRequest(reference="a.png", driving="b.mp4", output="c.mp4")
    check_packing(request, torch.device("cuda"), torch.float16)
    asked = AnimationRequest.from_dict(
        {"reference": "a.png", "driving": "b.mp4", "output": "c.mp4", "pack_weights": True}
    )
    check_packing(asked, CPU, torch.float32)
    with pytest.raises(RequestError, match=r"in bfloat16 on cpu; .* --precision float32"):
        check_packing(asked, CPU, torch.bfloat16)
    with pytest.raises(RequestError, match="in float32 on cuda"):
        check_packing(asked, torch.device("cuda"), torch.float32)
