"""Measure a model on held-out procedural characters: `python -m scripts.tiny.evaluate [FOLDER]`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import torch

from animate.evaluation import measures as metrics
from animate.generate.pipeline import Engine
from animate.models.components import load_components
from animate.models.variants import load_variant
from animate.request.values import Guidance, Size
from animate.training.validation import sheet
from scripts.tiny import evaluation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="tiny", help="variant or model folder")
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--steps", type=int, help="denoising steps (default: the variant's)")
    parser.add_argument("--guidance", type=float, help="guidance scale (default: the variant's)")
    parser.add_argument("--size", type=Size.parse, help="one size (default: the variant's in turn)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sheet", type=Path, help="PNG to write: skeletons, generated, truth")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(json.dumps(evaluate(options), indent=2))


def evaluate(options: argparse.Namespace) -> dict[str, str | int | dict[str, float]]:
    """Scores of generated clips, of the reference repeated and warped, and of the autoencoder."""
    variant = load_variant(options.model)
    engine = Engine(components=load_components(variant), device=torch.device("cpu"))
    sizes = [options.size] if options.size else list(variant.sizes)
    takes = evaluation.held_out(options.clips, options.frames, sizes)
    scale = options.guidance
    guidance = None if scale is None else Guidance(scale, scale)
    clips = [
        evaluation.animate_take(engine, take, seed=number, steps=options.steps, guidance=guidance)
        for number, take in enumerate(takes)
    ]
    kinds = {
        "generated": clips,
        "reference repeated": [evaluation.repeated(take) for take in takes],
        "reference warped": [evaluation.warped(take) for take in takes],
        "truth through the autoencoder": [
            evaluation.through_autoencoder(engine, take.frames) for take in takes
        ],
    }
    if options.sheet:
        picture = sheet(takes[:12], clips[:12], variant.pose_style)
        cv2.imwrite(str(options.sheet), picture[..., ::-1])
    rows = {kind: evaluation.figures(clips, takes).as_row() for kind, clips in kinds.items()}
    window, overlap = variant.defaults.window, variant.defaults.overlap
    if options.frames > window:
        borders = evaluation.window_borders(options.frames, window, overlap)
        for kind in ("generated", "truth through the autoencoder"):
            seams = [metrics.seam_score(clip, borders) for clip in kinds[kind]]
            rows[kind]["seam_score"] = round(sum(seams) / len(seams), 4)
    return {"model": variant.name, "clips": len(takes), "frames": options.frames, **rows}


if __name__ == "__main__":
    main()
