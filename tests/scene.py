"""Small files of a scene: a reference picture, a driving video with sound, and poses for it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from animate.files import sha256
from pose.sequence import PoseSequence

# A standing figure's eighteen body joints in [0,1] of the picture, OpenPose order.
BODY = np.array(
    [
        (0.50, 0.15), (0.50, 0.25), (0.42, 0.25), (0.36, 0.38), (0.34, 0.50), (0.58, 0.25),
        (0.64, 0.38), (0.66, 0.50), (0.45, 0.52), (0.44, 0.70), (0.43, 0.88), (0.55, 0.52),
        (0.56, 0.70), (0.57, 0.88), (0.48, 0.13), (0.52, 0.13), (0.46, 0.14), (0.54, 0.14),
    ]
)  # fmt: skip
_DRAWN = ((1, 8), (1, 11), (8, 9), (9, 10), (11, 12), (12, 13), (2, 3), (3, 4), (5, 6), (6, 7))


def picture(size: tuple[int, int] = (64, 64), shift: float = 0.0) -> np.ndarray:
    """(H,W,3) uint8 RGB: the figure, `shift` of the width to the right."""
    image = np.full((size[1], size[0], 3), (90, 120, 90), np.uint8)
    places = (np.add(BODY, (shift, 0)) * size).astype(int).tolist()
    for a, b in _DRAWN:
        cv2.line(image, places[a], places[b], (200, 60, 40), max(1, size[0] // 16))
    cv2.circle(image, places[0], size[0] // 12, (230, 190, 160), -1)
    return image


def poses(
    frames: int,
    *,
    size: tuple[int, int] = (64, 64),
    fps: Fraction = Fraction(29),
    source: str = "",
) -> PoseSequence:
    """The figure walking to the right, every joint seen; hands and face absent."""
    points = np.zeros((frames, 1, 134, 2), np.float32)
    scores = np.zeros((frames, 1, 134), np.float32)
    for frame in range(frames):
        points[frame, 0, :18] = np.add(BODY, (0.01 * frame, 0)) * size
    scores[:, :, :18] = 0.9
    return PoseSequence(
        points=points,
        scores=scores,
        canvas=size,
        fps=fps,
        times=np.arange(frames) / float(fps),
        source=source,
        estimator="scene",
    )


def write_video(
    path: Path,
    frames: int,
    *,
    size: tuple[int, int] = (64, 64),
    fps: Fraction = Fraction(29),
    sound: bool = False,
    person: bool = True,
) -> Path:
    """The figure walking, H.264, with a tone if asked."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=fps)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        track = container.add_stream("aac", rate=48000) if sound else None
        for frame in range(frames):
            image = picture(size, 0.01 * frame) if person else np.zeros((*size[::-1], 3), np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(video.encode(None))
        if track is not None:
            samples = int(48000 * frames / fps)
            tone = np.sin(np.arange(samples) * 440 * 2 * np.pi / 48000).astype(np.float32)
            block = av.AudioFrame.from_ndarray(tone[None], "fltp", "mono")
            block.sample_rate = 48000
            container.mux(track.encode(block))
            container.mux(track.encode(None))
    return path


def write_scene(folder: Path, frames: int = 12, *, sound: bool = False) -> dict[str, Path]:
    """`reference`, `driving` and `poses` of a scene, as a request names them."""
    reference = folder / "reference.png"
    cv2.imwrite(str(reference), picture()[..., ::-1])
    driving = write_video(folder / "driving.mp4", frames, sound=sound)
    kept = poses(frames, source=sha256(driving)).save(folder / "poses.npz")
    return {"reference": reference, "driving": driving, "poses": kept}
