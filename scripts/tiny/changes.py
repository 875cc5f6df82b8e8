"""Compare single changes of a recipe at equal processor time, on characters that none trains on.

    python -m scripts.tiny.changes                          # scripts/tiny/changes.yaml, two seeds
    python -m scripts.tiny.changes FILE.yaml --folder runs/changes --json FIGURES.json
    python -m scripts.tiny.changes --no-train               # the table of the runs that are done

The file names a recipe, settings for all runs, and changes, each a run beside the recipe as it is.
A run's clock is processor time of its training steps alone: rendering, loading and measuring do not
count. Rates fall and stages follow each other by the share of the time. Every run is a JSON file
when it is done, so what was stopped goes on with the next one. Exit code 2 for a file that cannot
be used.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch

from animate.errors import TrainingError, user_mistakes
from animate.files import write_text
from animate.generate.pipeline import Engine
from animate.request.schema import build, plain, read_value
from animate.request.values import Size
from animate.request.yaml_file import read_yaml
from animate.training.checkpoints import digest_of
from scripts.tiny import evaluation
from scripts.tiny.autoencoder_trainer import open_sets
from scripts.tiny.evaluation import Figures
from scripts.tiny.recipe import TrainingConfig
from scripts.tiny.start import Start, open_start
from scripts.tiny.trainer import Trainer

CHANGES = Path(__file__).with_name("changes.yaml")
AS_IT_IS = "the recipe as it is"
FRAMES = 8
"""Frames of a clip that is measured."""

Values = Mapping[str, Any]
"""Settings of a recipe as its YAML has them."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change of the recipe."""

    name: str
    settings: Values = field(default_factory=dict)
    """Settings in place of the recipe's, by name; those of parts by the part's name."""
    stage: Values = field(default_factory=dict)
    """Settings in place of those of every stage."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A file of changes. Raises `TrainingError` for one that compares nothing."""

    recipe: Path
    """Recipe that is changed; a relative path is that from the file."""
    minutes: float
    """Processor time of each run's training."""
    clips: int = 12
    """Held-out characters that each run is measured on."""
    settings: Values = field(default_factory=dict)
    """Settings of all runs in place of the recipe's."""
    changes: tuple[Change, ...]

    def __post_init__(self) -> None:
        names = [AS_IT_IS, *(change.name for change in self.changes)]
        if not self.minutes > 0 or self.clips < 1:
            raise TrainingError("minutes must be above 0, and clips at least 1")
        if len(set(names)) < len(names):
            raise TrainingError("two changes have one name")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One trained and measured run."""

    name: str
    seed: int
    steps: int
    seconds: float
    """Processor time of the steps."""
    figures: Figures


def read_comparison(path: Path) -> Comparison:
    """The comparison of a YAML file. Raises `TrainingError` naming the file."""
    comparison = build(Comparison, read_yaml(path, TrainingError), str(path), TrainingError)
    return replace(comparison, recipe=path.parent / comparison.recipe)


def config_of(comparison: Comparison, change: Change, seed: int, folder: Path) -> TrainingConfig:
    """The recipe with a change, for one seed. Raises `TrainingError` naming the change."""
    values = merged(read_yaml(comparison.recipe, TrainingError), comparison.settings)
    values = merged(values, change.settings)
    stages = [merged(stage, change.stage) for stage in values.get("stages", [])]
    values = {**values, "stages": stages, "seed": seed, "folder": str(folder / "run")}
    where = f"{comparison.recipe}, changed by {change.name!r}"
    return build(TrainingConfig, values, where, TrainingError)


def merged(values: Values, changes: Values) -> Values:
    """Values with others in their place; those of parts one by one."""
    together = dict(values)
    for name, value in changes.items():
        part = together.get(name)
        if isinstance(part, Mapping) and isinstance(value, Mapping):
            value = merged(part, value)
        together[name] = value
    return together


class TimedTrainer(Trainer):
    """A run that ends when its processor time is spent."""

    def __init__(self, config: TrainingConfig, start: Start, seconds: float) -> None:
        super().__init__(config, start)
        self._seconds, self.spent = seconds, 0.0

    def position(self) -> float:
        """See `Trainer`: by the share of the time."""
        return self.config.steps * min(self.spent / self._seconds, 1 - 1e-6)

    def train(self) -> None:
        """Train until the time is spent, at least one step."""
        for stage in self.config.stages:
            open_sets(self.config, stage.sets)  # rendered before the clock begins
        with self.session():
            began = process_time()
            while self.spent < self._seconds:
                self.train_step()
                self.spent = process_time() - began


def train_and_measure(comparison: Comparison, config: TrainingConfig) -> tuple[int, float, Figures]:
    """Steps, processor time and figures of one run."""
    torch.set_num_threads(config.threads)
    config.folder.mkdir(parents=True, exist_ok=True)
    trainer = TimedTrainer(config, open_start(config), 60 * comparison.minutes)
    trainer.train()
    last = config.stages[-1]
    sizes = [Size(*clip_set.size) for clip_set in last.sets]
    takes = evaluation.held_out(comparison.clips, FRAMES, sizes)
    with trainer.averaged():
        engine = Engine(components=trainer.start.components(), device=torch.device("cpu"))
        clips = [evaluation.animate_take(engine, take, window=last.frames) for take in takes]
    return trainer.step, trainer.spent, evaluation.figures(clips, takes)


def compare(
    comparison: Comparison,
    folder: Path,
    seeds: Sequence[int],
    *,
    train: bool = True,
    say: Callable[[str], None] = print,
) -> list[Run]:
    """Every run, those that are missing in `folder` made first where `train` says so.

    Raises `TrainingError` for impossible changes, before anything is trained.
    """
    changes = [Change(name=AS_IT_IS), *comparison.changes]
    configs = {
        (change.name, seed): config_of(comparison, change, seed, folder)
        for seed in seeds
        for change in changes
    }
    folder.mkdir(parents=True, exist_ok=True)
    runs = []
    for (name, seed), config in configs.items():
        file = folder / f"{_digest(comparison, config)}.json"
        if not file.exists() and train:
            steps, seconds, figures = train_and_measure(comparison, config)
            run = Run(name=name, seed=seed, steps=steps, seconds=round(seconds, 1), figures=figures)
            write_text(file, json.dumps(plain(run)) + "\n")
            say(f"{name}, seed {seed}: {steps} steps, {figures.scores.psnr:.2f} dB")
        if file.exists():
            made: Run = read_value(Run, json.loads(file.read_bytes()), file.name)
            runs.append(replace(made, name=name))
    return runs


def _digest(comparison: Comparison, config: TrainingConfig) -> str:
    """Names the run of a recipe under a comparison."""
    values = {name: value for name, value in plain(config).items() if name != "folder"}
    return digest_of([values, comparison.minutes, comparison.clips])[:16]


COLUMNS: dict[str, Callable[[Run], float]] = {
    "PSNR": lambda run: run.figures.scores.psnr,
    "figure": lambda run: run.figures.scores.figure_psnr,
    "SSIM": lambda run: run.figures.scores.ssim,
    "mask IoU": lambda run: run.figures.scores.iou,
    "retrieval %": lambda run: run.figures.retrieval,
    "sharpness": lambda run: run.figures.sharpness,
    "flicker": lambda run: run.figures.flicker,
    "s a step": lambda run: run.seconds / run.steps,
}
DIGITS = {"PSNR": 2, "figure": 2, "retrieval %": 0}


def table(runs: Sequence[Run]) -> str:
    """Means over seeds in Markdown, with half of what the seeds differ by; a row a change."""
    lines = [["", "seeds", *COLUMNS], ["---", *["---:"] * (1 + len(COLUMNS))]]
    for name in dict.fromkeys(run.name for run in runs):
        rows = [run for run in runs if run.name == name]
        cells = [name, str(len(rows))]
        for column, value_of in COLUMNS.items():
            values, digits = [value_of(run) for run in rows], DIGITS.get(column, 3)
            spread = f" ± {np.ptp(values) / 2:.{digits}f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.{digits}f}{spread}")
        lines.append(cells)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare and print the table; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("changes", type=Path, nargs="?", default=CHANGES, metavar="CHANGES.yaml")
    parser.add_argument("--folder", type=Path, default=Path("runs/changes"), help="kept runs")
    parser.add_argument("--seeds", type=int, default=2, help="seeds of each change (default 2)")
    parser.add_argument("--no-train", action="store_true", help="start no run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args(arguments)
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: E731
    try:
        comparison = read_comparison(options.changes)
        seeds = range(options.seeds)
        runs = compare(comparison, options.folder, seeds, train=not options.no_train, say=say)
        if not runs:
            raise TrainingError(f"no run is done in {options.folder}; leave out --no-train")
    except user_mistakes() as reason:
        print(reason, file=sys.stderr)
        return 2
    print(table(runs))
    if options.json:
        write_text(options.json, json.dumps([plain(run) for run in runs], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
