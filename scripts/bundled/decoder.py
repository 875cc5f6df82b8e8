"""Training of an autoencoder's decoder; its encoder is a patch basis, which is known at once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from animate.errors import TrainingError
from animate.progress import Progress
from animate.training.checkpoints import load_checkpoint, save_checkpoint
from animate.training.speed import channels_last, fast_on_cpu
from scripts.tiny.autoencoder import PatchBasis

STATE = "autoencoder.pt"


@dataclass(frozen=True, kw_only=True)
class DecoderRun:
    """A run of the decoder."""

    folder: Path
    digest: str
    """SHA-256 of all that decides the autoencoder."""
    seed: int
    cycles: Sequence[int]
    """Steps of each cycle of the learning rate; it starts again at each."""
    rate: float
    """Highest learning rate; it warms up over a twentieth of a cycle and falls as a cosine."""
    checkpoint_every: int
    fast: bool = False
    """Compute with the product's faster ways on processors."""

    @property
    def path(self) -> Path:
        """The checkpoint."""
        return self.folder / STATE


Losses = Callable[[PatchBasis, Generator], tuple[Tensor, Tensor]]
"""The loss of a step and its mean squared error, with the draws of a generator."""


def train_decoder(
    run: DecoderRun, vae: Any, fit: Callable[[], PatchBasis], losses: Losses, progress: Progress
) -> PatchBasis:
    """Train `vae`'s decoder, from its checkpoint where there is one; returns the encoder's basis.

    fit: makes the basis and writes it into the encoder
    """
    state = load_checkpoint(run.path, run.digest)
    if state is None:
        basis, state = fit(), {"step": 0}
    else:
        vae.load_state_dict(state["vae"])
        basis = PatchBasis(**state["basis"])
    vae.requires_grad_(False)
    vae.decoder.requires_grad_(True)
    first, steps = state["step"], sum(run.cycles)
    if first == steps:
        return basis
    channels_last(vae)
    parameters = list(vae.decoder.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=run.rate, betas=(0.9, 0.98), fused=True)
    if "optimiser" in state:
        optimiser.load_state_dict(state["optimiser"])
    began, recent = time.monotonic(), 0.0
    with ExitStack() as stack:
        if run.fast:
            stack.enter_context(fast_on_cpu(vae))
        stage = stack.enter_context(progress.stage("autoencoder", steps - first))
        for step in range(first, steps):
            for group in optimiser.param_groups:
                group["lr"] = run.rate * _share(step, run.cycles)
            loss, squared = losses(basis, np.random.default_rng([run.seed, 11, step]))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            recent = squared.item() if not recent else 0.95 * recent + 0.05 * squared.item()
            stage.advance()
            if (step + 1) % run.checkpoint_every == 0 or step + 1 == steps:
                _save(run, vae, basis, optimiser, step + 1)
                pace = (time.monotonic() - began) / (step + 1 - first)
                decibel = 10 * math.log10(4 / recent)
                progress.note(f"autoencoder {step + 1}: {decibel:.2f} dB, {pace:.2f} s a step")
    return basis


def _share(step: int, cycles: Sequence[int]) -> float:
    """Share of the highest rate: in each cycle a short rise, then a cosine."""
    for steps in cycles:
        if step < steps:
            break
        step -= steps
    warm = max(steps // 20, 1)
    return min((step + 1) / warm, 1) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def _save(run: DecoderRun, vae: Any, basis: PatchBasis, optimiser: Any, step: int) -> None:
    state = {
        "digest": run.digest,
        "step": step,
        "vae": vae.state_dict(),
        "basis": {"components": basis.components, "mean": basis.mean, "gain": basis.gain},
        "optimiser": optimiser.state_dict(),
    }
    save_checkpoint(run.path, state)


def trained_basis(folder: Path, digest: str) -> PatchBasis:
    """A trained autoencoder's encoder as the one convolution that it is: the same latents to
    rounding, hundreds of times faster. Raises `TrainingError` where none is trained."""
    return PatchBasis(**_state(folder, digest)["basis"])


def trained_autoencoder(folder: Path, digest: str, vae: Any) -> Any:
    """`vae` with the trained weights, which stay as they are. Raises `TrainingError` where none is
    trained."""
    vae.load_state_dict(_state(folder, digest)["vae"])
    return vae.eval().requires_grad_(False)


def _state(folder: Path, digest: str) -> Any:
    state = load_checkpoint(folder / STATE, digest)
    if state is None:
        raise TrainingError(f"{folder / STATE} is not there: train the autoencoder first")
    return state
