from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from animate.generate.workers.packing import pack, unpack
from animate.generate.workers.worker import SerialWindows, first_uses
from temporal.windows import plan_windows
from tests.generate.workers.contract import CHECKS, Scene, make_scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    torch.set_num_threads(1)
    return make_scene(tmp_path_factory.mktemp("model") / "toy")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_contract(check: Callable[..., None], scene: Scene) -> None:
    executor = SerialWindows()
    check(executor, scene)
    executor.close()
    executor.close()


def test_every_frame_is_first_used_once() -> None:
    plan = plan_windows(30, window=12, overlap=5, steps=1)
    groups = first_uses(plan.at(0), 8)
    assert [frame for window in groups for group in window for frame in group] == list(range(30))
    assert all(len(group) <= 8 for window in groups for group in window)
    assert groups[0] == (tuple(range(8)), tuple(range(8, 12)))


def test_networks_come_out_as_they_went_in(scene: Scene) -> None:
    network = scene.parts.unet
    again = unpack(pack(network))
    theirs, ours = again.state_dict(), network.state_dict()
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)
    assert not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_shared_empty_and_odd_tensors_travel() -> None:
    shared = torch.arange(6, dtype=torch.bfloat16).view(2, 3)
    values = {"a": shared, "b": shared, "none": torch.empty(0, 4), "one": torch.tensor(True),
              "turned": torch.arange(6).view(2, 3).T}  # fmt: skip
    packed = pack(values)
    again = unpack(packed)
    assert len(packed.arrays) == 4
    assert again["a"] is again["b"]
    for name, value in values.items():
        assert torch.equal(again[name], value)
        assert again[name].dtype == value.dtype
