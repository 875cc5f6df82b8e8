"""Measure a clip of a real reference and driving video:
`python scripts/evaluate_pair.py REFERENCE DRIVING [--model tiny] [--stride 2]`.

There is no true picture, so two things are measured. Outside both people (2.3 body units from the
reference's skeleton and the frame's) the clip should be the reference: its PSNR there, and of the
reference through the autoencoder alone, which no denoiser can beat. And the person should stand as
the skeleton says: poses are estimated again on the enlarged result.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from animate.animator import Animator
from animate.driving.limb_warp import LimbWarp
from animate.driving.poses import (
    clip_poses,
    driving_poses,
    reference_placement,
    reference_pose,
    selection_of,
)
from animate.driving.skeletons import ControlFrames, DrawnSkeletons
from animate.evaluation import measures as metrics
from animate.finish.body import body_unit, distance
from animate.generate.pipeline import generate
from animate.generate.settings import settle
from animate.media import open_video, read_image
from animate.progress import Quiet
from animate.request.request import AnimationRequest
from animate.request.values import Size
from pose.draw import draw
from pose.estimators import load_estimator
from pose.layout import BODY, SEEN

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a file, python puts scripts/ there and not its parent
    sys.path.insert(0, str(ROOT))

from scripts.tiny.evaluation import through_autoencoder  # noqa: E402

AWAY = 2.3
"""Body units from both skeletons at which a pixel is surely background."""
NEAR = 0.2
"""A joint is right within this share of the trunk's length."""
_ENLARGED = 768
"""Short side on which poses are estimated again."""


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
    request = AnimationRequest(
        reference=options.reference,
        driving=options.driving,
        output=Path("nowhere.mp4"),
        model=options.model,
        stride=options.stride,
        max_frames=options.max_frames,
    )
    with torch.no_grad():
        print(json.dumps(evaluate(request), indent=2))


def evaluate(request: AnimationRequest) -> dict[str, Any]:
    """Figures of the clip that a request makes."""
    animator = Animator.from_pretrained(request.model)
    engine, variant = animator.engine, animator.engine.components.variant
    picture = read_image(request.reference)
    settings = settle(request, variant, Size(picture.shape[1], picture.shape[0]))
    estimator = load_estimator(request.estimator)
    known = reference_pose(picture, request, estimator)
    placement = reference_placement(known, settings.size, request.fit)
    source = open_video(request.driving)
    driving = driving_poses(request, source, selection_of(request), estimator, Quiet())
    poses = clip_poses(driving, known, placement, request).sequence
    skeletons = DrawnSkeletons(poses, settings.size, variant.pose_style)
    still = placement.picture(picture)
    points = placement.points(known.points[0])
    control, picture_of = ControlFrames(skeletons), None
    if variant.image_latents == "warped":
        picture_of = LimbWarp(still, points[0], known.scores[0, 0]).follow(poses)
    frames = list(generate(engine, settings, still, control, Quiet(), picture_of=picture_of))
    drawn = [skeletons.picture(number) for number in range(len(frames))]
    canvas = (settings.size.width, settings.size.height)
    own = draw(points, known.scores[0], canvas, canvas, variant.pose_style)
    unit = body_unit([own, *drawn])
    decoded = through_autoencoder(engine, np.repeat(still[None], len(frames), 0))
    kept, possible = [], []
    for frame, skeleton, best in zip(frames, drawn, decoded, strict=True):
        away = np.minimum(distance(own, unit), distance(skeleton, unit)) > AWAY
        kept.append(metrics.psnr(frame, still, away))
        possible.append(metrics.psnr(best, still, away))
    return {
        "frames": len(frames),
        "size": f"{settings.size.width}x{settings.size.height}",
        "background_psnr": round(float(np.nanmean(kept)), 2),
        "background_psnr_through_autoencoder": round(float(np.nanmean(possible)), 2),
        **estimated_again(frames, poses.points[:, 0], poses.scores[:, 0], estimator),
    }


def estimated_again(
    frames: list[np.ndarray], points: np.ndarray, scores: np.ndarray, estimator: Any
) -> dict[str, Any]:
    """How the people of frames (h,w,3) stand, against points (F,134,2) with scores (F,134)."""
    found, right, far = 0, [], []
    estimator.reset()
    for frame, wanted, sure in zip(frames, points, scores, strict=True):
        scale = _ENLARGED / min(frame.shape[:2])
        large = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        people, seen = estimator(large)
        if not len(people):
            continue
        found += 1
        body = wanted[BODY]
        trunk = np.linalg.norm(body[1] - (body[8] + body[11]) / 2)
        joints = (sure[BODY] >= SEEN) & (seen[0][BODY] >= SEEN)
        away = np.linalg.norm(people[0][BODY] / scale - body, axis=-1) / max(trunk, 1e-6)
        right += list(away[joints] < NEAR)
        far += list(away[joints])
    return {
        "person_found_percent": round(100 * found / len(frames), 1),
        "joints_right_percent": round(100 * float(np.mean(right)), 1) if right else None,
        "joint_distance_trunks": round(float(np.median(far)), 3) if far else None,
    }


if __name__ == "__main__":
    main()
