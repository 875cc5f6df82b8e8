"""Files in, clip out: the one class that programs and the command line use."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from animate import files
from animate.clock import Clock, peak_host_bytes
from animate.control import ControlFrames
from animate.device import choose_device, choose_dtype, peak_device_bytes
from animate.errors import MediaError
from animate.files import check_readable, sha256
from animate.geometry import place
from animate.media import check_output, open_video, open_writer, read_image, takes_sound
from animate.media.source import FrameSource
from animate.models.components import load_components
from animate.models.variants import Resolution, resolve
from animate.options import AnimationRequest, AnimationResult, Precision
from animate.pipeline import Engine, generate
from animate.poses import ClipPoses, clip_poses, driving_poses, reference_pose, selection_of
from animate.progress import Progress, Quiet
from animate.settings import resolve_request
from animate.sidecar import sidecar_path, versions, write_sidecar
from animate.values import Size
from pose.estimators import load_estimator
from pose.estimators.base import Estimator


class Animator:
    """A loaded model variant; call it with requests, as many as there are.

    Pose estimators that a request names are opened once and kept. Not for several threads.
    """

    def __init__(self, engine: Engine, reason: str) -> None:
        """Use networks that are loaded already; `reason` says why this variant was taken."""
        self.engine = engine
        self.reason = reason
        self._estimators: dict[str, Estimator] = {}

    @classmethod
    def from_pretrained(
        cls, name: str | Path = "auto", *, device: str = "auto", precision: Precision = "auto"
    ) -> Animator:
        """Load a variant by name, or a model folder.

        Raises ModelError when it is unknown, not on this machine, or damaged; RequestError when
        the device is not there.
        """
        return cls._load(resolve(name), device, precision)

    @classmethod
    def for_request(cls, request: AnimationRequest, progress: Progress | None = None) -> Animator:
        """The animator that a request asks for; what can be wrong with its files is checked first.

        Raises MediaError, ModelError or RequestError.
        """
        check_request(request)
        resolution = resolve(request.model)
        (progress or Quiet()).note(f"model: {resolution.variant.name} ({resolution.reason})")
        return cls._load(resolution, request.runtime.device, request.runtime.precision)

    @classmethod
    def _load(cls, resolution: Resolution, device: str, precision: Precision) -> Animator:
        chosen = choose_device(device)
        parts = load_components(resolution.variant, choose_dtype(precision, chosen), chosen)
        return cls(Engine(components=parts, device=chosen), resolution.reason)

    def __call__(
        self, request: AnimationRequest, progress: Progress | None = None
    ) -> AnimationResult:
        """Make one clip. The request's `model` is not looked at: this animator's is used.

        Raises MediaError, RequestError, PoseError or TemporalError when the request cannot be
        fulfilled; nothing half-written is left then.
        """
        progress = progress or Quiet()
        clock = Clock()
        with torch.no_grad():
            return self._animate(request, progress, clock)

    def _animate(
        self, request: AnimationRequest, progress: Progress, clock: Clock
    ) -> AnimationResult:
        check_request(request)
        parts = self.engine.components
        picture = read_image(request.reference)
        seen = Size(picture.shape[1], picture.shape[0])
        resolved = resolve_request(request, parts.variant, seen)
        source = open_video(request.driving)
        with clock("poses"):
            poses = self._poses(resolved, source, picture, progress)
        for warning in poses.warnings:
            progress.warn(warning)
        placement = place(seen, _size(resolved), resolved.fit)
        control = ControlFrames(poses.sequence, _size(resolved), parts.variant.pose_style)
        frames = generate(self.engine, resolved, placement.picture(picture), control, progress)
        written = self._write(resolved, source, frames, poses.sequence.fps, clock)
        record = self._record(request, resolved, poses, written, clock)
        return AnimationResult(
            output=request.output,
            sidecar=write_sidecar(request.output, record),
            frames=written.frames,
            fps=poses.sequence.fps,
            size=_size(resolved),
            model=parts.variant.name,
            seconds=dict(clock.seconds),
            peak_host_bytes=peak_host_bytes(),
            peak_device_bytes=peak_device_bytes(self.engine.device),
            warnings=poses.warnings,
        )

    def _poses(
        self,
        request: AnimationRequest,
        source: FrameSource,
        picture: np.ndarray,
        progress: Progress,
    ) -> ClipPoses:
        """Driving poses on the clip's canvas."""
        estimator = self._estimator(request) if _needs_estimator(request) else None
        reference = None
        if request.retarget != "none" and estimator is not None:
            reference = reference_pose(picture, request.reference, estimator)
        driving = driving_poses(request, source, selection_of(request), estimator, progress)
        canvas = reference.canvas if reference is not None else driving.canvas
        placement = place(Size(*canvas), _size(request), request.fit)
        return clip_poses(driving, reference, placement, request)

    def _estimator(self, request: AnimationRequest) -> Estimator:
        if request.estimator not in self._estimators:
            self._estimators[request.estimator] = load_estimator(request.estimator)
        return self._estimators[request.estimator]

    def _write(
        self,
        request: AnimationRequest,
        source: FrameSource,
        frames: Iterator[np.ndarray],
        fps: Fraction,
        clock: Clock,
    ) -> Written:
        """Write frames as they come; the clip appears when the last is there."""
        audio = None
        if request.audio and takes_sound(request.output):
            audio = source.audio(selection_of(request))
        digest = hashlib.sha256()
        count = 0
        with (
            clock("generate and write"),
            open_writer(
                request.output,
                size=_size(request),
                fps=fps,
                codec=request.codec,
                quality=request.quality,
                audio=audio,
                overwrite=request.overwrite,
            ) as writer,
        ):
            for frame in frames:
                writer.write(frame)
                digest.update(frame.tobytes())
                count += 1
        return Written(frames=count, digest=digest.hexdigest(), audio=audio is not None)

    def _record(
        self,
        request: AnimationRequest,
        resolved: AnimationRequest,
        poses: ClipPoses,
        written: Written,
        clock: Clock,
    ) -> dict[str, Any]:
        """What the sidecar holds."""
        parts = self.engine.components
        inputs = {"reference": request.reference, "driving": request.driving}
        if request.poses is not None:
            inputs["poses"] = request.poses
        digests = {name: sha256(path) for name, path in inputs.items()}
        return {
            "request": request,
            "resolved": resolved,
            "digest": resolved.digest(inputs=digests, weights=dict(parts.digests)),
            "seed": request.sampling.seed,
            "model": {
                "name": parts.variant.name,
                "why": self.reason,
                "licence": parts.variant.licence,
                "weights_sha256": dict(parts.digests),
            },
            "inputs": {
                name: {"path": path, "sha256": digests[name]} for name, path in inputs.items()
            },
            "poses": {
                "estimator": poses.sequence.estimator,
                "mismatch": poses.mismatch,
                "frames_without_person": poses.absent,
            },
            "output": {
                "path": request.output,
                "frames": written.frames,
                "fps": poses.sequence.fps,
                "seconds": float(written.frames / poses.sequence.fps),
                "size": _size(resolved),
                "audio": written.audio,
                "frames_sha256": written.digest,
            },
            "device": str(self.engine.device),
            "precision": str(parts.unet.dtype).removeprefix("torch."),
            "seconds": dict(clock.seconds),
            "peak_host_bytes": peak_host_bytes(),
            "peak_device_bytes": peak_device_bytes(self.engine.device),
            "versions": versions(),
            "warnings": list(poses.warnings),
        }


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written: number of frames, SHA-256 over their RGB bytes, whether there is sound."""

    frames: int
    digest: str
    audio: bool


def check_request(request: AnimationRequest) -> None:
    """Everything that can be known to be wrong before any work. Raises MediaError, PoseError."""
    check_readable(request.reference, "reference image", MediaError)
    check_readable(request.driving, "driving video", MediaError)
    if request.poses is not None:
        check_readable(request.poses, "pose file", MediaError)
    check_output(request.output, request.overwrite, codec=request.codec, size=request.size)
    record = sidecar_path(request.output)
    files.check_output(record, overwrite=request.overwrite, what="record", error=MediaError)


def _needs_estimator(request: AnimationRequest) -> bool:
    return request.poses is None or request.retarget != "none"


def _size(request: AnimationRequest) -> Size:
    assert request.size is not None, "a resolved request has a size"
    return request.size
