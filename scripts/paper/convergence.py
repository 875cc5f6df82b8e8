"""Ways of control trained against each other: validation losses over steps, for several seeds.

A base is trained without poses once; every run starts from it (or from nothing, where its name
says so), and is one JSON file when it is done, so what was measured is not measured again.
"""

from __future__ import annotations

import copy
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from animate.errors import UserError
from animate.files import write_text
from animate.request.schema import plain, read_value
from animate.training.checkpoints import load_checkpoint, save_checkpoint
from scripts.paper.figures import Convergence, Run
from scripts.paper.laboratory import SHRINK, Laboratory, ParameterGroup, Setting
from scripts.paper.methods import (
    AdapterStage,
    Condition,
    Learned,
    Method,
    MultiStage,
    NoControl,
    SingleStage,
    copied,
    trained_of_base,
)
from scripts.paper.normalise import Formula

_CONDITION_CHANNELS = (16, 32, 96)
"""Channels of ControlNet's control encoder: two halvings, to these latents' size."""
_BASE_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way of control and what of the base is trained with it."""

    stage: str
    """"single" (ControlNeXt), "multi" (ControlNet), "adapter" (T2I-Adapter), "none"."""
    learned: Learned
    formula: Formula = "code"
    """Adapter that brings a single stage to the UNet's features."""
    weight: float = 1.0
    """Weight of a single stage's features: that of the bundled model, and about the published -S's
    (1.3 times the sigmoid of a scale that starts at 1); the published -F's is 0.2."""
    scratch: bool = False
    """True where there is no base: everything starts from nothing."""

    def build(self, setting: Setting, unet: Any) -> Method:
        """The networks, from torch's current random state."""
        if self.stage == "single":
            config = setting.networks().controlnext
            return SingleStage(config, self.formula, self.weight)
        if self.stage == "multi":
            return MultiStage(unet, _CONDITION_CHANNELS)
        if self.stage == "adapter":
            return AdapterStage(unet, SHRINK)
        return NoControl()


WAYS: dict[str, Way] = {
    "cross normalisation, -S": Way(stage="single", learned="selective"),
    "zero convolution, -S": Way(stage="single", learned="selective", formula="zero"),
    "cross normalisation, -F": Way(stage="single", learned="full"),
    "ControlNet, base frozen": Way(stage="multi", learned="none"),
    "zero convolution, -F": Way(stage="single", learned="full", formula="zero"),
    "modulation per position, -S": Way(stage="single", learned="selective", formula="film"),
    "modulation per position, -F": Way(stage="single", learned="full", formula="film"),
    "modulation per channel, -S": Way(stage="single", learned="selective", formula="film-channel"),
    "modulation per channel, -F": Way(stage="single", learned="full", formula="film-channel"),
    "equation 10, -S": Way(stage="single", learned="selective", formula="paper"),
    "equation 10, -F": Way(stage="single", learned="full", formula="paper"),
    "plain addition, -S": Way(stage="single", learned="selective", formula="plain"),
    "T2I-Adapter, base frozen": Way(stage="adapter", learned="none"),
    "cross normalisation at weight 0.2, -S": Way(stage="single", learned="selective", weight=0.2),
    "no control, -F": Way(stage="none", learned="full"),
    "from nothing: cross normalisation": Way(stage="single", learned="full", scratch=True),
    "from nothing: zero convolution": Way(
        stage="single", learned="full", formula="zero", scratch=True
    ),
    "from nothing: ControlNet": Way(stage="multi", learned="full", scratch=True),
}


def measure(
    setting: Setting,
    folder: Path,
    seeds: Sequence[int],
    *,
    ways: Sequence[str] | None = None,
    train: bool = True,
    former: Convergence | None = None,
    say: Callable[[str], None] = print,
) -> Convergence:
    """Run what is missing in `folder` and return all records of this setting; without `train`,
    those that are there, and `UserError` when there is none.

    ways: names among `WAYS`; None: all
    former: figures of the last time, whose runs stand beside these if they had the same base
    """
    ways = tuple(WAYS) if ways is None else ways
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        (seed, name): record_file(folder, setting, name, seed) for seed in seeds for name in ways
    }
    laboratory: Laboratory | None = None
    for (seed, name), file in files.items():
        if train and not file.exists():
            laboratory = laboratory or Laboratory(setting, folder / "clips")
            record = run(laboratory, folder, WAYS[name], name, seed)
            write_text(file, json.dumps(plain(record)) + "\n")
            say(f"{name}, seed {seed}: {record.losses[-1]} ({record.seconds} s)")
    records: list[Run] = [
        read_value(Run, json.loads(file.read_bytes()), file.name)
        for file in files.values()
        if file.exists()
    ]
    if not records:
        raise UserError(f"no training run is done in {folder}; measure without --no-train")
    if former is not None and former.setting == setting:
        records += _of_the_same_base(records, former.runs, say)
    order = {name: number for number, name in enumerate(WAYS)}
    return Convergence(
        setting=setting,
        seeds=tuple(sorted({record.seed for record in records})),
        runs=tuple(sorted(records, key=lambda record: (record.seed, order[record.name]))),
    )


def _of_the_same_base(
    records: Sequence[Run], former: Sequence[Run], say: Callable[[str], None]
) -> list[Run]:
    """Former runs that are not among the records, if one that is among both has equal losses.

    The base is trained once in a folder. Where it was trained anew, runs that start from it can be
    told by their losses, and runs of two bases are not compared.
    """
    losses = {(record.name, record.seed): record.losses for record in records}
    both = [
        run
        for run in former
        if (run.name, run.seed) in losses and run.name in WAYS and not WAYS[run.name].scratch
    ]
    others = [run for run in former if run.name in WAYS and (run.name, run.seed) not in losses]
    if both and all(run.losses == losses[run.name, run.seed] for run in both):
        return others
    if others:
        say(
            f"{len(others)} runs of the last time are left out: "
            + ("they started from another base" if both else "no run was done again to compare")
        )
    return []


def run(laboratory: Laboratory, folder: Path, way: Way, name: str, seed: int) -> Run:
    """One run's record: losses (one for each noise level) after the steps of `measured_at`."""
    setting = laboratory.setting
    if way.scratch:
        base = laboratory.make_base(100 + seed)
    else:
        base = copy.deepcopy(trained_base(laboratory, folder))
    torch.manual_seed(seed)
    method = way.build(setting, base["unet"])
    groups = list(_groups(setting, base, way, method))
    losses, last = [], min(setting.steps, max(setting.measured_at))
    mismatched: list[float] = []

    def on_step(step: int, condition: Condition) -> None:
        if step in setting.measured_at:
            losses.append(laboratory.validate(base, condition))
        if step == last:
            mismatched.extend(laboratory.validate(base, condition, swapped=True))

    began = time.process_time()
    laboratory.train(base, method, groups, seed=seed, steps=last, on_step=on_step)
    return Run(
        name=name,
        seed=seed,
        steps=tuple(step for step in setting.measured_at if step <= last),
        losses=tuple(tuple(round(value, 5) for value in row) for row in losses),
        with_others_poses=tuple(round(value, 5) for value in mismatched),
        new_parameters=sum(p.numel() for p in method.parameters()),
        learned_parameters=sum(p.numel() for group in groups for p in group.parameters),
        seconds=round(time.process_time() - began, 1),
    )


def _groups(
    setting: Setting, base: nn.ModuleDict, way: Way, method: Method
) -> Iterator[ParameterGroup]:
    """Parameter groups: what is new learns ten times as fast as what came from the base."""
    if way.scratch:
        everything = [*base.parameters(), *method.parameters()]
        yield ParameterGroup(parameters=everything, rate=setting.scratch_rate)
        return
    tensors = [*copied(method), *trained_of_base(base["unet"], way.learned)]
    known = {id(parameter) for parameter in tensors}
    new = [p for p in method.parameters() if id(p) not in known]
    if tensors:
        yield ParameterGroup(parameters=tensors, rate=setting.kept_rate)
    if new:
        yield ParameterGroup(parameters=new, rate=setting.new_rate)


def trained_base(laboratory: Laboratory, folder: Path) -> nn.ModuleDict:
    """The base that knows reference and time but no poses, trained once."""
    setting = laboratory.setting
    base = laboratory.make_base(_BASE_SEED)
    digest = setting.base_digest()
    file = folder / f"base-{digest}.pt"
    state = load_checkpoint(file, digest)
    if state is None:
        groups = [ParameterGroup(parameters=list(base.parameters()), rate=setting.base_rate)]
        laboratory.train(
            base, NoControl(), groups, seed=10_000, steps=setting.base_steps,
            on_step=lambda step, condition: None, fall=True,
        )  # fmt: skip
        save_checkpoint(file, {"digest": digest, "networks": base.state_dict()})
    else:
        base.load_state_dict(state["networks"])
    return base


def record_file(folder: Path, setting: Setting, name: str, seed: int) -> Path:
    """The file of a run's record."""
    safe = re.sub("[^a-zA-Z0-9]+", "-", name)
    return folder / f"{safe}.{seed}.{setting.digest(asdict(WAYS[name]))}.json"
