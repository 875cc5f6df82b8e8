"""Models load from any thread, several at a time, and leave torch as it was."""

from __future__ import annotations

import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
import torch
from torch import nn

from animate.models.components import Components, load_components, without_memory
from animate.models.variants import load_variant
from animate.models.weight_files import read_weights
from tests.toy import toy_model

THREADS = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("threads") / "toy"
    toy_model(path)
    return path


def weights_of(parts: Components) -> list[torch.Tensor]:
    return [value for net in parts.networks() for value in net.state_dict().values()]


def test_eight_threads_load_at_once_and_every_network_is_complete(folder):
    start = Barrier(THREADS)

    def load(number: int) -> Components:
        start.wait()
        return load_components(load_variant(folder))

    reference = weights_of(load_components(load_variant(folder)))
    with ThreadPoolExecutor(THREADS) as pool:
        loaded = list(pool.map(load, range(THREADS)))
    for parts in loaded:
        for tensor, wanted in zip(weights_of(parts), reference, strict=True):
            assert torch.equal(tensor, wanted)
    assert not nn.Linear(2, 2).weight.is_meta  # as other programs in this process make networks
    assert nn.Linear.__init__.__module__ == "torch.nn.modules.linear"


def test_a_network_without_memory_in_one_thread_leaves_others_alone():
    inside, outside = Barrier(2), Barrier(2)

    def build() -> nn.Module:
        inside.wait()
        network = nn.Sequential(nn.Linear(2, 3), nn.GroupNorm(1, 3))
        network.register_parameter("drawn", nn.Parameter(torch.randn(3)))
        outside.wait()
        return network

    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(without_memory, build)
        inside.wait()
        here = nn.Linear(2, 3)
        outside.wait()
    assert not here.weight.is_meta
    assert all(parameter.is_meta for parameter in made.result().parameters())


def test_the_first_loads_of_a_process_may_be_in_threads(folder):
    """Libraries are imported by the first load: none may be seen half imported."""
    code = (
        "import sys\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "def load(number):\n"
        "    from animate import Animator\n"
        "    return Animator.from_pretrained(sys.argv[1]).engine.components.variant.name\n"
        "with ThreadPoolExecutor(4) as pool: print(*pool.map(load, range(4)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent.parent,
    )
    assert done.stdout.split() == ["toy"] * 4, done.stderr


def test_pickles_read_in_threads_leave_the_filters_of_warnings_as_they_were(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "a.bin", pickle_protocol=3)
    before = list(warnings.filters)
    with ThreadPoolExecutor(THREADS) as pool:
        read = list(pool.map(lambda number: read_weights(tmp_path / "a.bin"), range(40)))
    assert all(torch.equal(content["a"], torch.ones(2)) for content in read)
    assert list(warnings.filters) == before
