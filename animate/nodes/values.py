"""ComfyUI's values brought to ours and back, without any of its modules.

IMAGE is a tensor (B,H,W,3) of floats in [0,1], MASK (B,H,W), AUDIO a waveform (B,C,samples) and its
sample rate, POSE_KEYPOINT a list of OpenPose frames.
"""

from __future__ import annotations

import json
import wave
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from animate.errors import RequestError
from pose.formats.comfyui import comfyui_bytes, parse_comfyui
from pose.sequence import PoseSequence


def frames_of(images: Any, name: str) -> np.ndarray:
    """(F,H,W,3) float32 in [0,1] of an IMAGE. Raises RequestError for one that cannot be used."""
    if not isinstance(images, Tensor) or images.ndim != 4:
        shape = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise RequestError(f"{name} is {shape}; expected an IMAGE (pictures, height, width, 3)")
    if len(images) == 0:
        raise RequestError(f"{name} is an empty batch; connect at least one picture")
    if images.shape[-1] == 4:
        raise RequestError(
            f"{name} has 4 channels; expected RGB: take the alpha away with Split Image with Alpha"
        )
    if images.shape[-1] != 3:
        raise RequestError(f"{name} has {images.shape[-1]} channels; expected RGB")
    if not bool(torch.isfinite(images).all()):
        raise RequestError(f"{name} has values that are not finite")
    # Neighbours sharpen and scale a little beyond the range.
    return images.detach().float().clamp(0, 1).cpu().numpy()


def single_frame(images: Any, name: str) -> np.ndarray:
    """(H,W,3) of an IMAGE of one picture. Raises RequestError for several."""
    frames = frames_of(images, name)
    if len(frames) > 1:
        raise RequestError(f"{name} is a batch of {len(frames)} pictures; choose one of them")
    return np.asarray(frames[0])


def image_of(frames: Any) -> Tensor:
    """The IMAGE of frames (F,H,W,3), uint8 or floats in [0,1]."""
    array = np.asarray(frames)
    values = array.astype(np.float32) / 255 if array.dtype == np.uint8 else array
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def mask_of(mask: Any) -> np.ndarray | None:
    """(H,W) in [0,1] of a MASK of one picture; None of none. Raises RequestError for several."""
    if mask is None:
        return None
    values = mask[None] if mask.ndim == 2 else mask
    if values.ndim != 3 or len(values) != 1:
        raise RequestError(f"background is {tuple(mask.shape)}; expected a MASK of one picture")
    return np.asarray(values[0].detach().float().clamp(0, 1).cpu().numpy())


def rate_of(value: float | Fraction) -> Fraction:
    """The frame rate that is meant by a rounded one: 29.97 is 30000/1001."""
    rate = Fraction(value)
    for standard in (Fraction(n * 1000, 1001) for n in (24, 30, 48, 60, 120)):
        if abs(rate - standard) < Fraction(5, 1000):
            return standard
    return rate.limit_denominator(1000)


def keypoints_of(poses: PoseSequence) -> list[dict[str, object]]:
    """The POSE_KEYPOINT of poses: everybody's 18 body points, hands and face, in pixels."""
    frames: list[dict[str, object]] = json.loads(comfyui_bytes(poses))
    for frame in frames:
        del frame["fps"]  # which nodes hand on beside it
    return frames


def poses_of(keypoints: Any, rate: Fraction) -> PoseSequence:
    """The poses of a POSE_KEYPOINT. Raises PoseError for one that cannot be read."""
    return parse_comfyui(keypoints, "the POSE_KEYPOINT", fps=rate)


def write_wave(audio: Mapping[str, Any], path: Path) -> Path:
    """Write an AUDIO as 16-bit WAV; returns the path. Raises RequestError for one without sound."""
    waveform: Tensor = audio["waveform"]
    if waveform.ndim != 3 or 0 in waveform.shape:
        raise RequestError(f"audio is {tuple(waveform.shape)}; expected (1, channels, samples)")
    samples = (waveform[0].detach().float().clamp(-1, 1) * 32767).round().to(torch.int16)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[0])
        file.setsampwidth(2)
        file.setframerate(int(audio["sample_rate"]))
        file.writeframes(samples.T.contiguous().cpu().numpy().tobytes())
    return path


def metadata_of(prompt: Any, extra: Mapping[str, Any] | None) -> dict[str, str]:
    """The graph that made a clip, as ComfyUI's own nodes write it into files."""
    values = {**(extra or {}), **({"prompt": prompt} if prompt is not None else {})}
    return {name: json.dumps(value) for name, value in values.items()}


def one_of(first: Any, second: Any, names: Sequence[str]) -> None:
    """Raise RequestError unless one of two inputs is connected."""
    if (first is None) == (second is None):
        raise RequestError(f"connect {names[0]} or {names[1]}, one of them")
