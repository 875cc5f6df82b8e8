"""Files of a run: every step's loss, summaries, a plot, and accelerate's trackers.

`steps.jsonl` holds a line for every step, `log.jsonl` one for every checkpoint. A run that is taken
up again drops the lines behind its checkpoint first, so no step is listed twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from animate.files import atomic, write_text
from animate.progress import Progress

STEPS = "steps.jsonl"
SUMMARIES = "log.jsonl"
VALIDATIONS = "validation.jsonl"
PLOT = "loss.png"
_SMOOTH = 50  # most steps that the plotted mean goes over


class Log:
    """The files of one run; only the main process writes."""

    def __init__(self, folder: Path, accelerator: Any) -> None:
        self.folder, self._accelerator = folder, accelerator
        self._warned = False

    def begin(self, step: int) -> None:
        """Forget what was written behind `step`, and start the trackers."""
        if self._accelerator.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in (STEPS, SUMMARIES, VALIDATIONS):
                trim(self.folder / name, step)
        if self._accelerator.log_with:
            self._accelerator.init_trackers("cnx")

    def step(self, step: int, loss: float, rate: float) -> None:
        """Note one finished step."""
        if self._accelerator.is_main_process:
            append(self.folder / STEPS, {"step": step, "loss": loss, "rate": rate})
        self._accelerator.log({"loss": loss, "rate": rate}, step=step)

    def validated(self, step: int) -> bool:
        """True when the validation of a step was noted."""
        return any(line["step"] == step for line in read_lines(self.folder / VALIDATIONS))

    def values(self, step: int, values: dict[str, float]) -> None:
        """Numbers of a validation, for the trackers and `validation.jsonl`."""
        append(self.folder / VALIDATIONS, {"step": step, **values})
        self._accelerator.log({f"validation/{k}": v for k, v in values.items()}, step=step)

    def summary(self, progress: Progress, step: int, losses: list[float], pace: float) -> None:
        """A line for people, and the plot."""
        if not self._accelerator.is_main_process:
            return
        mean = sum(losses) / len(losses)
        line = {"step": step, "loss": round(mean, 4), "seconds_a_step": round(pace, 3)}
        append(self.folder / SUMMARIES, line)
        progress.note(f"training {step}: loss {mean:.4f}, {pace:.2f} s a step")
        try:
            plot(self.folder)
        except ImportError:
            if not self._warned:
                progress.note("no loss curve: pip install 'cnx-animate[train]' for the plot")
            self._warned = True

    def close(self) -> None:
        """End the trackers."""
        self._accelerator.end_training()


def append(path: Path, line: Mapping[str, object]) -> None:
    """Add one JSON line; Python writes floats so that they read back to the bit."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; a last one that was cut off is left out."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines


def trim(path: Path, step: int) -> None:
    """Drop the lines of steps behind `step`."""
    if not path.exists():
        return
    rows = [line for line in read_lines(path) if line["step"] <= step]
    write_text(path, "".join(json.dumps(line) + "\n" for line in rows))


def plot(folder: Path) -> Path:
    """Draw the losses of a run's folder into `loss.png`: each step, and their running mean.

    Raises ImportError where matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = read_lines(folder / STEPS)
    steps = np.array([line["step"] for line in lines])
    losses = np.array([line["loss"] for line in lines])
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot(steps, losses, linewidth=0.5, alpha=0.4, label="each step")
    width = min(_SMOOTH, len(losses) // 4)
    if width > 1:
        mean = np.convolve(losses, np.ones(width) / width, "valid")
        axes.plot(steps[width - 1 :], mean, linewidth=1.5, label=f"mean of {width} steps")
    if len(losses) and losses.min() > 0:
        axes.set_yscale("log")
    axes.set(xlabel="step", ylabel="loss")
    axes.legend()
    path = folder / PLOT
    with atomic(path) as partial:
        figure.savefig(partial, format="png", dpi=100)
    return path
