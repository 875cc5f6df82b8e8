"""What a model in training makes of clips that are known: pictures to look at, and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from animate.evaluation import measures as metrics
from animate.files import atomic
from animate.generate.pipeline import Engine
from animate.training.evaluation import animate_poses, sheet
from animate.training.samples import Sample

FOLDER = "validation"


def validate(
    engine: Engine, samples: Sequence[Sample], folder: Path, step: int, steps: int | None
) -> dict[str, float]:
    """Means over clips and frames; a sheet of them goes to `folder/validation/STEP.png`.

    Returns `psnr` (dB) and `ssim` of the generated frames, and `reference_psnr`, what repeating the
    reference would give. `steps`: of denoising; None: the model's own.
    """
    sampling: dict[str, Any] = {} if steps is None else {"steps": steps}
    clips = [
        animate_poses(engine, one.reference, one.points, one.scores, **sampling) for one in samples
    ]
    place = folder / FOLDER / f"{step:06d}.png"
    place.parent.mkdir(exist_ok=True)
    picture = sheet(samples, clips, engine.components.variant.pose_style)
    _, data = cv2.imencode(".png", picture[..., ::-1])
    with atomic(place) as partial:
        partial.write_bytes(data.tobytes())
    pairs = [
        (made, truth, one.reference)
        for one, clip in zip(samples, clips, strict=True)
        for made, truth in zip(clip, one.frames, strict=True)
    ]
    return {
        "psnr": float(np.mean([metrics.psnr(made, truth) for made, truth, _ in pairs])),
        "ssim": float(np.mean([metrics.ssim(made, truth) for made, truth, _ in pairs])),
        "reference_psnr": float(np.mean([metrics.psnr(first, truth) for _, truth, first in pairs])),
    }
