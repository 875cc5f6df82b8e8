"""Measure a model on a real reference and driving video:
`python scripts/evaluate_pair.py REFERENCE DRIVING [--model tiny] [--stride 2]`.

There is no true picture: pose, background, identity, flicker and drift are measured by
`animate.evaluate` (docs/evaluation.md). Beside the clip stands the reference through the
autoencoder alone, standing still: no denoiser can keep a background better.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a file, python puts scripts/ there and not its parent
    sys.path.insert(0, str(ROOT))

from animate.animator import Animator  # noqa: E402
from animate.driving.poses import reference_placement, reference_pose  # noqa: E402
from animate.evaluation.evaluate import evaluate  # noqa: E402
from animate.evaluation.scores import ClipScores, Evaluation  # noqa: E402
from animate.media import open_writer, read_image  # noqa: E402
from animate.request.request import AnimationRequest  # noqa: E402
from pose.estimators import load_estimator  # noqa: E402
from scripts.tiny.evaluation import through_autoencoder  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reference", type=Path)
    parser.add_argument("driving", type=Path)
    parser.add_argument("--model", default="tiny", help="variant or model folder")
    parser.add_argument("--stride", type=int, default=2)
    parser.add_argument("--max-frames", type=int)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        request = AnimationRequest(
            reference=options.reference,
            driving=options.driving,
            output=Path(folder) / "clip.mkv",
            codec="ffv1",
            model=options.model,
            stride=options.stride,
            max_frames=options.max_frames,
        )
        clip, still = measure(request).clips
    print(
        json.dumps(
            {"clip": figures(clip), "still through the autoencoder": figures(still)}, indent=2
        )
    )


def figures(clip: ClipScores) -> dict[str, float]:
    """Figures by the names of their measures."""
    return {score.measure: round(score.value, 4) for score in clip.scores}


def measure(request: AnimationRequest) -> Evaluation:
    """Scores of the clip that a request makes, and of the still reference beside it."""
    animator = Animator.from_pretrained(request.model)
    result = animator(request)
    picture = read_image(request.reference)
    pose = reference_pose(picture, request, load_estimator(request.estimator))
    still = reference_placement(pose, result.size, request.fit).picture(picture)
    path = request.output.with_name("still.mkv")
    with torch.no_grad():
        frames = through_autoencoder(animator.engine, np.repeat(still[None], result.frames, 0))
    with open_writer(path, size=result.size, fps=result.fps, codec="ffv1") as writer:
        for frame in frames:
            writer.write(frame)
    return evaluate(
        [request.output, path],
        reference=request.reference,
        driving=request.driving,
        protocol="clean",
    )


if __name__ == "__main__":
    main()
