"""The two formulas of cross normalisation in numbers, on features of the bundled model.

The paper's equation 10 divides the control by the deviation of the main branch; the published code
standardises the control by its own statistics first and then gives it those of the main branch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from animate.clip.fingerprint import FileDigests
from animate.generate.conditioning import encode_reference
from animate.models.components import build_control_network, load_components
from animate.models.controlnext import ControlNetwork
from animate.models.injection import cross_normalise
from animate.models.variants import bundled_folder, load_variant
from animate.training.objective import precondition
from scripts.paper.figures import FormulaRow, Formulas
from scripts.paper.laboratory import HELD_OUT
from scripts.paper.normalise import paper_normalise
from scripts.tiny.characters import render_clip
from scripts.tiny.data import draw_control

FORMULAS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "published code": cross_normalise,
    "equation 10": paper_normalise,
}
SIGMAS = (0.7, 3.0, 15.0)
SCALES = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Factors of the control features, as another initialisation or rate would give them."""


@torch.no_grad()
def measure(model: str = "tiny", *, frames: int = 4, characters: int = 4) -> Formulas:
    """Statistics of what each formula adds, relative to the features that it is added to."""
    torch.set_num_threads(1)
    parts = load_components(load_variant(model))
    torch.manual_seed(0)
    fresh = build_control_network(parts.variant.control_network).eval()
    rows: list[FormulaRow] = []
    totals: list[float] = []
    for number in range(characters):
        for sigma in SIGMAS:
            features, controls, changed = _trial(parts, fresh, number, sigma, frames)
            totals.append(changed)
            for network, control in controls.items():
                rows += _statistics(network, control, features)
    return Formulas(
        model=model,
        digest=FileDigests().of(bundled_folder() / "unet")[:12],
        frames=frames,
        characters=characters,
        rows=_means([row for row in rows if row.scale == 1.0]),
        scaled=_means([row for row in rows if row.network == "trained"]),
        output_change=round(float(np.mean(totals)), 4),
    )


def _trial(
    parts: Any, fresh: ControlNetwork, number: int, sigma: float, frames: int
) -> tuple[Tensor, dict[str, Tensor], float]:
    """UNet features (F,C,h,w) at the place of injection, control features of the trained and of a
    fresh network, and how far equation 10 changes the trained UNet's output."""
    size = parts.variant.sizes[0]
    take = render_clip(HELD_OUT + number, frames, (size.width, size.height))
    drawn = draw_control(
        take.points, take.scores, (size.width, size.height), parts.variant.pose_style
    )
    control = torch.from_numpy(drawn).permute(0, 3, 1, 2)[None].float() / 255
    noise = torch.randn(1, 3, size.height, size.width)
    known = encode_reference(
        take.reference, image_encoder=parts.image_encoder, vae=parts.vae,
        feature_mean=parts.variant.feature_mean, feature_std=parts.variant.feature_std,
        micro_conditions=tuple(parts.variant.micro_conditions), noise=noise,
    )  # fmt: skip
    pixels = torch.from_numpy(take.frames).permute(0, 3, 1, 2).float() / 127.5 - 1
    clean = parts.vae.encode(pixels).latent_dist.mode()[None] * parts.vae.config.scaling_factor
    constants = precondition(torch.tensor([sigma]))
    noisy = clean + sigma * torch.randn(clean.shape)
    image = known.latents[:, None].expand(-1, frames, -1, -1, -1)
    sample = torch.cat([constants.input * noisy, image], 2)
    outputs: dict[str, Tensor] = {}

    def output(formula: Callable[[Tensor, Tensor], Tensor], weight: float) -> Tensor:
        def hook(_block: Any, _args: Any, out: tuple[Tensor, Any]) -> Any:
            outputs["features"] = out[0]
            return out[0] + weight * formula(features, out[0]), out[1]

        handle = parts.unet.down_blocks[0].register_forward_hook(hook)
        try:
            result: Tensor = parts.unet(
                sample,
                constants.timestep,
                encoder_hidden_states=known.embedding,
                added_time_ids=known.micro,
                return_dict=False,
            )[0]
            return result
        finally:
            handle.remove()

    features = parts.controlnext(control, constants.timestep)
    weight = parts.variant.injection.weight
    right = output(cross_normalise, weight)
    wrong = output(paper_normalise, weight)
    controls = {"trained": features, "fresh": fresh(control, constants.timestep)}
    return outputs["features"], controls, float((wrong - right).norm() / right.norm())


def _statistics(network: str, control: Tensor, features: Tensor) -> list[FormulaRow]:
    spread = features.std((1, 2, 3))
    rows = []
    for name, formula in FORMULAS.items():
        for scale in SCALES:
            added = formula(control * scale, features)
            offset = (added.mean((1, 2, 3)) - features.mean((1, 2, 3))) / spread
            rows.append(
                FormulaRow(
                    network=network,
                    formula=name,
                    scale=scale,
                    deviation=float((added.std((1, 2, 3)) / spread).mean()),
                    offset=float(offset.mean()),
                    features=float(spread.mean()),
                )
            )
    return rows


def _means(rows: Sequence[FormulaRow]) -> tuple[FormulaRow, ...]:
    """Means over characters and noise levels by network, formula and scale."""
    grouped: dict[tuple[str, str, float], list[FormulaRow]] = {}
    for row in rows:
        grouped.setdefault((row.network, row.formula, row.scale), []).append(row)
    return tuple(
        FormulaRow(
            network=network,
            formula=formula,
            scale=scale,
            deviation=round(float(np.mean([row.deviation for row in members])), 4),
            offset=round(float(np.mean([row.offset for row in members])), 4),
            features=round(float(np.mean([row.features for row in members])), 4),
        )
        for (network, formula, scale), members in grouped.items()
    )
