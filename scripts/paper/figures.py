"""Figures that the page and the plots read, part by part, as evidence.json holds them."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from animate.errors import UserError
from animate.files import write_text
from animate.request.schema import plain, read_value
from scripts.benchmarks.rows import Row
from scripts.paper.laboratory import Setting


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Date and machine of a measurement."""

    date: str
    torch: str
    python: str
    machine: str
    cores: int
    capability: str
    """Vector instructions that torch uses."""


def this_machine() -> Machine:
    """Today, here."""
    import torch

    return Machine(
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        torch=torch.__version__,
        python=platform.python_version(),
        machine=platform.machine(),
        cores=os.cpu_count() or 1,
        capability=torch.backends.cpu.get_cpu_capability(),
    )


@dataclass(frozen=True, kw_only=True)
class Count:
    """One line of the table of parameters."""

    base: str
    method: str
    network: str
    """Generation of the control network; empty where there is none."""
    total: int
    learned: int
    published: tuple[int, int] | None
    """(total, learned) in millions."""

    @property
    def equal(self) -> bool:
        """True where both come out to the million, fractions cut off."""
        return (self.total // 10**6, self.learned // 10**6) == self.published


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Parameters of the published models."""

    counts: tuple[Count, ...]
    control_networks: dict[str, int]
    """Sizes by generation."""
    published_bases: dict[str, int]
    """The paper's sizes of the bases, in millions."""
    made: Machine | None = None


@dataclass(frozen=True, kw_only=True)
class StepSize:
    """Work of one step."""

    width: int
    """Size of the picture in pixels."""
    height: int
    frames: int = 1

    def __str__(self) -> str:
        return f"{self.width}x{self.height}" + (f", {self.frames} frames" * (self.frames > 1))


@dataclass(frozen=True, kw_only=True)
class StepArithmetic:
    """Arithmetic of one step."""

    tflop: float
    percent: float
    """Excess over the base's."""


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """Products and convolutions of a step."""

    sizes: dict[str, StepSize]
    """By base."""
    steps: dict[str, dict[str, StepArithmetic]]
    """By base and method."""
    made: Machine | None = None


@dataclass(frozen=True, kw_only=True)
class TimedStep:
    """Medians of one way of control: seconds, and the excess over the base's in per cent."""

    base: str
    width: int
    height: int
    frames: int
    method: str
    rounds: int
    cpu: float
    wall: float
    cpu_percent: float
    wall_percent: float

    @property
    def size(self) -> StepSize:
        """Size of the step that was timed."""
        return StepSize(width=self.width, height=self.height, frames=self.frames)

    def percent(self, clock: str) -> float:
        """The excess by the clock `cpu` or `wall`."""
        return self.cpu_percent if clock == "cpu" else self.wall_percent


@dataclass(frozen=True, kw_only=True)
class Times:
    """Time of a step at full size."""

    rows: tuple[TimedStep, ...]
    mean_percent: dict[str, dict[str, float]]
    """Mean excess over the bases, by clock and method."""
    published_percent: dict[str, float]
    """The paper's, by method."""
    precision: str
    overhead: tuple[Row, ...] = ()
    """Control beside a guided step, as the product runs it."""
    made: Machine | None = None


@dataclass(frozen=True, kw_only=True)
class StillMethod:
    """One way to control a still, and its step: seconds, and the excess over the base's."""

    method: str
    total: int
    """Parameters, the base's included."""
    learned: int
    """Parameters that training changes."""
    in_step: int
    """Parameters of networks that run at every step beside the base."""
    cpu: float
    wall: float
    cpu_percent: float
    peak_bytes: int
    """Weights, and what is allocated at the widest moment of a step."""


@dataclass(frozen=True, kw_only=True)
class Stills:
    """Ways to control a still, measured in one process."""

    rows: tuple[StillMethod, ...]
    """The base without control first."""
    size: StepSize
    rounds: int
    precision: str
    made: Machine | None = None


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run."""

    name: str
    """Way of control."""
    seed: int
    steps: tuple[int, ...]
    """Steps after which it was validated."""
    losses: tuple[tuple[float, ...], ...]
    """Validation losses after each of these, one for each noise level."""
    with_others_poses: tuple[float, ...]
    """The last losses when every character is given another one's poses."""
    new_parameters: int
    learned_parameters: int
    seconds: float
    """Processor time."""


@dataclass(frozen=True, kw_only=True)
class Convergence:
    """Ways of control trained against each other."""

    setting: Setting
    seeds: tuple[int, ...]
    runs: tuple[Run, ...]
    made: Machine | None = None


@dataclass(frozen=True, kw_only=True)
class FormulaRow:
    """Statistics of what a formula adds, in deviations of the features that it is added to."""

    network: str
    """`trained` or `fresh`."""
    formula: str
    scale: float = 1.0
    """Factor of the control features."""
    deviation: float
    offset: float
    """Change of the mean."""
    features: float
    """Deviation of the features."""


@dataclass(frozen=True, kw_only=True)
class Formulas:
    """The two formulas of cross normalisation."""

    model: str
    digest: str
    frames: int
    characters: int
    rows: tuple[FormulaRow, ...]
    """At scale 1."""
    scaled: tuple[FormulaRow, ...]
    """The trained network's, at every scale."""
    output_change: float
    """Change of the UNet's output by the other formula, as a share of its norm."""
    made: Machine | None = None


Part = Counts | Arithmetic | Times | Stills | Convergence | Formulas


@dataclass(frozen=True, kw_only=True)
class Figures:
    """All parts that were measured."""

    quick: bool
    """True for toy sizes."""
    counts: Counts | None = None
    arithmetic: Arithmetic | None = None
    times: Times | None = None
    stills: Stills | None = None
    convergence: Convergence | None = None
    formulas: Formulas | None = None

    def write(self, path: Path) -> None:
        """Write the parts that there are as JSON."""
        values = {name: value for name, value in plain(self).items() if value is not None}
        write_text(path, json.dumps(values, indent=1) + "\n")


def read_figures(path: Path, quick: bool) -> Figures:
    """The figures of the last time; none where there is no file.

    Raises `UserError` when the file is damaged or of the other kind (toy or full size).
    """
    if not path.exists():
        return Figures(quick=quick)
    try:
        figures: Figures = read_value(Figures, json.loads(path.read_bytes()), path.name)
    except (ValueError, UserError) as reason:
        raise UserError(f"{path} cannot be read ({reason}); remove it to measure anew") from reason
    if figures.quick != quick:
        kind = "full" if quick else "toy"
        raise UserError(f"{path} holds figures of {kind} size; choose another --output")
    return figures
