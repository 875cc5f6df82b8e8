"""Validation of a model in training on known clips: pictures to look at, and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from animate.driving.limb_warp import LimbWarp
from animate.driving.skeletons import ControlFrames, DrawnSkeletons
from animate.evaluation import measures as metrics
from animate.files import atomic
from animate.generate.pipeline import Engine, generate
from animate.generate.settings import settle
from animate.progress import Quiet
from animate.request.request import AnimationRequest, SamplingOptions
from animate.request.values import Size
from animate.training.samples import Sample, draw_control
from pose.sequence import PoseSequence

FOLDER = "validation"

Picture = NDArray[np.uint8]


def validate(
    engine: Engine, samples: Sequence[Sample], folder: Path, step: int, steps: int | None
) -> dict[str, float]:
    """Means over clips and frames; a sheet of them goes to `folder/validation/STEP.png`.

    Returns `psnr` (dB) and `ssim` of the generated frames, and `reference_psnr`, what repeating the
    reference would give. `steps`: of denoising; None: the model's own.
    """
    sampling: dict[str, Any] = {} if steps is None else {"steps": steps}
    clips = [
        animate_poses(
            engine,
            sample.reference,
            sample.points,
            sample.scores,
            (sample.reference_points, sample.reference_scores),
            **sampling,
        )
        for sample in samples
    ]
    path = folder / FOLDER / f"{step:06d}.png"
    path.parent.mkdir(exist_ok=True)
    picture = sheet(samples, clips, engine.components.variant.pose_style)
    _, data = cv2.imencode(".png", picture[..., ::-1])
    with atomic(path) as partial:
        partial.write_bytes(data.tobytes())
    pairs = [
        (frame, truth, sample.reference)
        for sample, clip in zip(samples, clips, strict=True)
        for frame, truth in zip(clip, sample.frames, strict=True)
    ]
    return {
        "psnr": float(np.mean([metrics.psnr(frame, truth) for frame, truth, _ in pairs])),
        "ssim": float(np.mean([metrics.ssim(frame, truth) for frame, truth, _ in pairs])),
        "reference_psnr": float(np.mean([metrics.psnr(first, truth) for _, truth, first in pairs])),
    }


def poses_of(points: NDArray[np.float32], scores: NDArray[np.float32], size: Size) -> PoseSequence:
    """One person's points (F,134,2) and scores (F,134) on pictures of a size, as they are."""
    count = len(points)
    return PoseSequence(
        points=points[:, None],
        scores=scores[:, None],
        canvas=(size.width, size.height),
        fps=Fraction(12),
        times=np.arange(count) / 12,
        estimator="as given",
    )


def animate_poses(
    engine: Engine,
    reference: Picture,
    points: NDArray[np.float32],
    scores: NDArray[np.float32],
    known: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
    **sampling: Any,
) -> Picture:
    """The clip (F,h,w,3) of a reference (h,w,3) in poses that lie on pictures of its size.

    known: points (134,2) and scores (134,) of the reference's person, for models whose image
        latents are warped; None leaves the reference as it is
    """
    variant = engine.components.variant
    height, width = reference.shape[:2]
    size = Size(width, height)
    nowhere = Path("procedural")
    request = AnimationRequest(
        reference=nowhere,
        driving=nowhere,
        output=nowhere,
        size=size,
        sampling=SamplingOptions(**sampling),
    )
    settings = settle(request, variant, size)
    poses = poses_of(points, scores, size)
    skeletons = DrawnSkeletons(poses, size, variant.pose_style)
    picture_of = None
    if known is not None and variant.image_latents == "warped":
        picture_of = LimbWarp(reference, *known).follow(poses)
    frames = generate(
        engine, settings, reference, ControlFrames(skeletons), Quiet(), picture_of=picture_of
    )
    return np.stack(list(frames))


class PosedClip(Protocol):
    """A true clip with its reference and poses; shapes as in `Sample`."""

    @property
    def reference(self) -> Picture: ...
    @property
    def frames(self) -> Picture: ...
    @property
    def points(self) -> NDArray[np.float32]: ...
    @property
    def scores(self) -> NDArray[np.float32]: ...


def sheet(
    truths: Sequence[PosedClip], clips: Sequence[Picture], style: str, columns: int = 4
) -> Picture:
    """A picture: a row a clip, the reference, then (skeleton, generated, truth) several times."""
    rows = []
    for truth, clip in zip(truths, clips, strict=True):
        height, width = truth.reference.shape[:2]
        numbers = np.linspace(0, len(clip) - 1, min(columns, len(clip))).round().astype(int)
        drawn = draw_control(truth.points[numbers], truth.scores[numbers], (width, height), style)
        parts = [truth.reference]
        for column, number in enumerate(numbers):
            parts += [drawn[column], clip[number], truth.frames[number]]
        rows.append(np.concatenate(parts, 1))
    widest = max(row.shape[1] for row in rows)
    return np.concatenate(
        [np.pad(row, ((0, 0), (0, widest - row.shape[1]), (0, 0))) for row in rows]
    )
