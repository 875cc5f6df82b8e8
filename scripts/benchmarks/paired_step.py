"""Time of a denoising step against the published loop's, which take turns block by block.

The same networks and clip as `denoising_step`. There a turn is a whole step, so a neighbour that
works for a minute is measured with it. Here both ways run in one process, a thread each, of which
only one runs at a time: after every block of the UNet, and after the control network, the turn goes
to the other. Both see the same machine within seconds. The rounds' own ratios are given by their
median and quartiles, by the clock and in processor time. This is float32; `paired_step_packed` is
the same with packed weights, `paired_step_bfloat16` in bfloat16, and `paired_step_busy` beside a
process that keeps a core at work.
"""

from __future__ import annotations

import copy
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from animate.request.values import Size
from scripts.benchmarks._networks import make_unet
from scripts.benchmarks.control_overhead import make_toy_unet
from scripts.benchmarks.denoising_step import (
    FRAMES,
    SIZE,
    PipelineStep,
    PublishedLoop,
    Scene,
    make_scene,
)
from scripts.benchmarks.rows import Row

ROUNDS = 3


def run(toy: bool = False) -> list[Row]:
    """The rows; with `toy`, of a network and a clip that a test can run."""
    if toy:
        return measure(2, Size(64, 64), 2, torch.float32, make_toy_unet)
    return measure(FRAMES, SIZE, ROUNDS, torch.float32)


@torch.no_grad()
def measure(
    frames: int,
    size: Size,
    rounds: int,
    dtype: torch.dtype,
    make: Callable[[], Any] = make_unet,
    *,
    busy: bool = False,
    packed: bool = False,
    warm: int = 1,
) -> list[Row]:
    """The pipeline's step in a type against the published loop's in float32, after `warm` rounds
    that are not counted; with `busy`, beside another process that keeps a core at work; with
    `packed`, its weights packed (`--pack-weights`)."""
    published = make_scene(frames, size, torch.float32, make)
    ours = (
        with_twins(published) if dtype == torch.float32 else make_scene(frames, size, dtype, make)
    )
    loop, step = PublishedLoop(published), PipelineStep(ours, packed=packed)
    times: list[tuple[Spent, Spent]] = []
    with ExitStack() as stack:
        stack.enter_context(step.prepared())
        if busy:
            stack.enter_context(neighbour())
        for number in range(rounds + warm):
            turns = Turns()
            ways = [turns.way(0, loop.step, published), turns.way(1, step.step, ours)]
            both = in_turn(turns, ways, first=number % 2)
            if number >= warm:
                times.append(both)
    difference = float((step.guided - loop.guided).abs().max() / loop.guided.abs().max())
    name = str(dtype).removeprefix("torch.") + (", packed" if packed else "")
    name += " beside a busy process" if busy else ""
    note = (
        f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}, "
        f"outputs differ by {difference:.1e} of the largest"
    )
    walls, cpus = [], []
    for theirs, mine in times:
        walls += list(zip(theirs.walls, mine.walls, strict=True))
        cpus += list(zip(theirs.cpus, mine.cpus, strict=True))
    return [
        ratio_row(
            f"step by blocks, {name}, clock",
            [(a.wall, b.wall) for a, b in times],
            f"{block_note(walls)}; {note}",
        ),
        ratio_row(
            f"step by blocks, {name}, processor",
            [(a.cpu, b.cpu) for a, b in times],
            f"{block_note(cpus)}; {note}",
        ),
    ]


@contextmanager
def neighbour() -> Iterator[None]:
    """Another process that multiplies matrices on one thread all the time."""
    work = "import numpy as n; a = n.ones((700, 700), n.float32)\nwhile True: a @ a"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", work], env=environment)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def block_note(pairs: list[tuple[float, float]]) -> str:
    """Median and quartiles of the ratios of single turns: blocks of all rounds, and the rest of a
    step after the last of them."""
    low, middle, high = statistics.quantiles((b / a for a, b in pairs if a), n=4)
    return f"{len(pairs)} blocks {middle:.3f}, quartiles {low:.3f} and {high:.3f}"


def ratio_row(name: str, pairs: list[tuple[float, float]], note: str) -> Row:
    """A row whose ratio is the median of the rounds' own, with their quartiles."""
    ratios = [ours / published for published, ours in pairs]
    spread = (
        statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    )
    return Row(
        name=name,
        value=statistics.median(ours for _, ours in pairs),
        unit="s",
        baseline=statistics.median(published for published, _ in pairs),
        ratio=statistics.median(ratios),
        note=f"{len(ratios)} rounds, quartiles {spread[0]:.3f} and {spread[-1]:.3f}; {note}",
    )


def with_twins(scene: Scene) -> Scene:
    """The scene with modules of its own: what one way wraps, the other must not see. The UNet's
    weights are shared; the control network's are not, since their layout is changed."""
    control = copy.deepcopy(scene.parts.controlnext)
    parts = replace(scene.parts, unet=twin(scene.parts.unet), controlnext=control)
    return replace(scene, parts=parts)


def twin(network: nn.Module) -> Any:
    """A copy of the modules over the same memory, which either can let go of."""
    shared: dict[int, Any] = {
        id(weight): nn.Parameter(weight.data, requires_grad=False)
        for weight in network.parameters()
    }
    shared |= {id(buffer): buffer for buffer in network.buffers()}
    return copy.deepcopy(network, shared)


def blocks(scene: Scene) -> list[nn.Module]:
    """The parts after which the turn goes to the other way."""
    unet = scene.parts.unet
    return [scene.parts.controlnext, *unet.down_blocks, unet.mid_block, *unet.up_blocks]


@dataclass(kw_only=True)
class Spent:
    """Time of one way's turns in one round."""

    walls: list[float] = field(default_factory=list)
    """Seconds of each turn by the clock."""
    cpus: list[float] = field(default_factory=list)
    """Seconds of each turn of all threads of the process; the other way's wait."""

    @property
    def wall(self) -> float:
        """Seconds of the round by the clock."""
        return sum(self.walls)

    @property
    def cpu(self) -> float:
        """Seconds of the round of the processor."""
        return sum(self.cpus)


class Turns:
    """Lets one of two threads run at a time."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running, self._there = 0, {0, 1}
        self.failures: list[BaseException] = []

    def begin(self, first: int) -> None:
        """Let this thread run first."""
        self._running = first

    def wait(self, me: int) -> None:
        """Wait for one's turn."""
        with self._changed:
            self._changed.wait_for(lambda: self._running == me)

    def pass_on(self, me: int, *, leaving: bool = False) -> None:
        """Give the turn to the other, if it is still there."""
        with self._changed:
            self._there -= {me} if leaving else set()
            if 1 - me in self._there:
                self._running = 1 - me
            self._changed.notify_all()

    def way(self, me: int, call: Callable[[], None], scene: Scene) -> Way:
        """One of the two ways."""
        return Way(self, me, call, scene)


class Way:
    """A call that gives the turn away after each of its blocks, and measures its own turns."""

    def __init__(self, turns: Turns, me: int, call: Callable[[], None], scene: Scene) -> None:
        self._turns, self._me, self._call, self._scene = turns, me, call, scene
        self.spent = Spent()
        self._began = (0.0, 0.0)

    def run(self) -> None:
        """The body of the way's thread."""
        self._take_turn()
        try:
            with torch.no_grad(), self._hooks():
                self._call()
        except BaseException as failure:
            self._turns.failures.append(failure)
        finally:
            self._count()
            self._turns.pass_on(self._me, leaving=True)

    @contextmanager
    def _hooks(self) -> Iterator[None]:
        hooks = [block.register_forward_hook(self._at_the_end) for block in blocks(self._scene)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _at_the_end(self, *_: Any) -> None:
        self._count()
        self._turns.pass_on(self._me)
        self._take_turn()

    def _take_turn(self) -> None:
        self._turns.wait(self._me)
        self._began = time.perf_counter(), time.process_time()

    def _count(self) -> None:
        self.spent.walls.append(time.perf_counter() - self._began[0])
        self.spent.cpus.append(time.process_time() - self._began[1])


def in_turn(turns: Turns, ways: list[Way], *, first: int) -> tuple[Spent, Spent]:
    """Time of both ways, run together by turns. Raises what one of them raised."""
    turns.begin(first)
    threads = [threading.Thread(target=way.run) for way in ways]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if turns.failures:
        raise turns.failures[0]
    return ways[0].spent, ways[1].spent
