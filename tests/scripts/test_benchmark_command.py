from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from scripts import benchmark
from scripts.benchmarks import (
    block_ways,
    denoising_step,
    paired_step,
    paired_step_bfloat16,
    paired_step_busy,
    paired_step_packed,
)
from scripts.benchmarks.rows import Row, Seconds, both_clocks, interleaved


def test_ratio_is_against_the_baseline() -> None:
    assert Row(name="step", value=3.0, unit="s", baseline=4.0).ratio == 0.75
    assert Row(name="step", value=3.0).ratio is None
    assert Row(name="step", value=3.0, baseline=0.0).ratio is None


def test_calls_take_turns_and_warm_up() -> None:
    order: list[str] = []
    seconds = interleaved(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repeats=3, warmup=1
    )
    assert order == ["a", "b"] * 4
    assert set(seconds) == {"a", "b"}


def test_what_is_set_up_for_a_call_is_left_after_it_and_not_timed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order: list[str] = []
    seconds_now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: seconds_now)

    @contextmanager
    def ready() -> Iterator[None]:
        nonlocal seconds_now
        seconds_now += 100
        order.append("in")
        yield
        order.append("out")

    def call() -> None:
        nonlocal seconds_now
        seconds_now += 2
        order.append("b")

    seconds = both_clocks(
        {"a": lambda: order.append("a"), "b": call},
        repeats=1,
        warmup=1,
        within={"b": ready},
    )
    assert order == ["a", "in", "b", "out"] * 2
    assert (seconds["a"].wall, seconds["b"].wall) == (0, 2)


def test_the_pipeline_takes_the_published_step() -> None:
    exact, half = denoising_step.run(toy=True)
    assert exact.name == "denoising step, float32"
    assert differs(exact) < 1e-5
    assert 1e-4 < differs(half) < 0.1


def test_both_ways_take_turns_block_by_block() -> None:
    clock, processor = paired_step.run(toy=True)
    assert differs(clock) < 1e-4
    for row in (clock, processor):
        assert row.baseline
        assert "2 rounds, quartiles" in row.note
    turns, order = paired_step.Turns(), []

    class Block(torch.nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def forward(self) -> None:
            order.append(self.name)

    ways = []
    for me, names in ((0, "abc"), (1, "xy")):
        blocks = [Block(name) for name in names]
        unet = SimpleNamespace(down_blocks=blocks[1:], mid_block=Block("-"), up_blocks=[])
        scene: Any = SimpleNamespace(parts=SimpleNamespace(unet=unet, controlnext=blocks[0]))
        ways.append(turns.way(me, lambda b=blocks: [block() for block in b], scene))  # type: ignore[misc]
    paired_step.in_turn(turns, ways, first=1)
    assert order == ["x", "a", "y", "b", "c"]


def test_other_ways_of_the_pipeline_take_turns_with_the_published_loop_as_it_is() -> None:
    clock, _ = paired_step_packed.run(toy=True)
    assert "float32, packed" in clock.name
    assert differs(clock) < 1e-4
    clock, _ = paired_step_bfloat16.run(toy=True)
    assert "bfloat16" in clock.name
    assert 1e-4 < differs(clock) < 0.1


def test_a_busy_process_beside_both_ways_ends_with_them() -> None:
    clock, _ = paired_step_busy.run(toy=True)
    assert "beside a busy process" in clock.name
    assert differs(clock) < 1e-4


def test_ways_that_are_tried_on_a_block_change_none_of_its_numbers() -> None:
    rows = block_ways.run(toy=True)
    assert [row.name.partition(", ")[2] for row in rows] == list(block_ways.ways(compiling=False))
    for row in rows:
        assert row.baseline
        assert differs(row) < 1e-4


def test_what_one_way_raises_is_raised() -> None:
    turns = paired_step.Turns()
    part = torch.nn.Identity()
    unet = SimpleNamespace(down_blocks=[part], mid_block=part, up_blocks=[])
    scene: Any = SimpleNamespace(parts=SimpleNamespace(unet=unet, controlnext=part))

    def fail() -> None:
        raise ValueError("a fault")

    ways = [turns.way(0, fail, scene), turns.way(1, lambda: None, scene)]
    with pytest.raises(ValueError, match="a fault"):
        paired_step.in_turn(turns, ways, first=0)


def differs(row: Row) -> float:
    """The difference that a row's note tells."""
    return float(row.note.split(" by ")[1].split()[0])


def test_every_benchmark_says_what_it_measures() -> None:
    found = benchmark.available()
    assert {"denoising_step", "unet_memory", "vae_memory"} <= set(found)
    assert "rows" not in found
    assert all(found.values())


def test_table_and_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [Row(name="step", value=3.0, unit="s", baseline=4.0, note="two cores")]
    modules = {"scripts.benchmarks.denoising_step": SimpleNamespace(run=lambda: rows)}
    monkeypatch.setattr(benchmark.importlib, "import_module", modules.__getitem__)
    file = tmp_path / "figures.json"
    assert benchmark.main(["denoising_step", "--json", str(file)]) == 0
    assert "3 s" in (text := capsys.readouterr().out)
    assert "0.750" in text
    row = json.loads(file.read_text())["benchmarks"]["denoising_step"]["rows"][0]
    assert (row["value"], row["baseline"], row["ratio"]) == (3.0, 4.0, 0.75)


def test_a_benchmark_that_fails_is_reported_and_the_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> list[Row]:
        raise RuntimeError("no room")

    modules = {
        "scripts.benchmarks.denoising_step": SimpleNamespace(run=fail),
        "scripts.benchmarks.vae_memory": SimpleNamespace(run=lambda: [Row(name="peak", value=1)]),
    }
    monkeypatch.setattr(benchmark.importlib, "import_module", modules.__getitem__)
    file = tmp_path / "figures.json"
    assert benchmark.main(["denoising_step", "vae_memory", "--json", str(file)]) == 1
    assert "no room" in capsys.readouterr().err
    record = json.loads(file.read_text())["benchmarks"]
    assert record["denoising_step"] == {"error": "RuntimeError: no room"}
    assert record["vae_memory"]["rows"][0]["name"] == "peak"


def test_unknown_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["nothing"]) == 2
    assert "there are" in capsys.readouterr().err


def test_a_ratio_over_rounds_is_of_what_ran_side_by_side() -> None:
    slow = Seconds(wall=2.0, cpu=2.0, rounds=(1.0, 2.0, 8.0))
    fast = Seconds(wall=1.0, cpu=1.0, rounds=(0.5, 1.0, 8.0))
    row = fast.against(slow, "step", "as a test")
    assert (row.value, row.baseline, row.ratio) == (1.0, 2.0, 0.5)
    assert row.note == "3 rounds, 0.50 to 1.00; as a test"
