"""Files in, clip out: the one class that programs and the command line use."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from animate import files
from animate.clock import Clock, peak_host_bytes
from animate.control import ControlFrames, DrawnSkeletons, Skeletons, is_rendered, take_rendered
from animate.device import choose_device, choose_dtype, peak_device_bytes, precision_of
from animate.errors import MediaError
from animate.files import check_readable, sha256_of
from animate.geometry import place
from animate.media import (
    check_driving,
    check_output,
    open_video,
    open_writer,
    read_image,
    source_digest,
    takes_sound,
)
from animate.media.source import FrameSource
from animate.memory import plan_clip_memory, wants_plan
from animate.models.components import load_components
from animate.models.pose_networks import estimator_options
from animate.models.variants import Resolution, resolve
from animate.options import AnimationRequest, AnimationResult, Precision
from animate.pipeline import Engine, generate
from animate.poses import ClipPoses, clip_poses, driving_poses, reference_pose, selection_of
from animate.progress import Progress, Quiet
from animate.settings import ClipSettings, settle
from animate.sidecar import sidecar_path, versions, write_sidecar
from animate.streams import Behind
from animate.values import Size
from animate.work.run import Work, may_replace, working
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
        self._estimators: dict[tuple[str, Path | None, str], Estimator] = {}

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
        parts = load_components(resolution.variant, choose_dtype(precision, chosen))
        return cls(Engine(components=parts, device=chosen), resolution.reason)

    def __call__(
        self, request: AnimationRequest, progress: Progress | None = None
    ) -> AnimationResult:
        """Make one clip. The request's `model` is not looked at: this animator's is used.

        Raises MediaError, RequestError, PoseError or TemporalError when the request cannot be
        fulfilled, WorkError when its work folder cannot be used; nothing half-written is left
        then. What an earlier run of the same request left in its work folder is not done again.
        """
        progress = progress or Quiet()
        clock = Clock()
        if request.runtime.threads is not None:
            torch.set_num_threads(request.runtime.threads)
        with torch.no_grad():
            return self._animate(request, progress, clock)

    def _animate(
        self, request: AnimationRequest, progress: Progress, clock: Clock
    ) -> AnimationResult:
        check_request(request)
        picture = read_image(request.reference)
        seen = Size(picture.shape[1], picture.shape[0])
        settings = settle(request, self.engine.components.variant, seen)
        check_output(request.output, may_replace(request), codec=request.codec, size=settings.size)
        made = self._made_from(request, settings)
        with working(request, made["digest"], self._conditions(request), progress) as work:
            check_output(request.output, work.replaces, codec=request.codec)
            return self._worked(work, settings, picture, made, progress, clock)

    def _worked(
        self,
        work: Work,
        settings: ClipSettings,
        picture: np.ndarray,
        made: dict[str, Any],
        progress: Progress,
        clock: Clock,
    ) -> AnimationResult:
        request = work.request
        source = open_video(request.driving, images_fps=request.fps)
        with clock("poses"):
            skeletons, poses = self._skeletons(request, settings, source, picture, progress)
        if poses and poses.mismatch is not None:
            progress.note(f"retarget {request.retarget}: mismatch {poses.mismatch:.2f} of 1")
        warnings = (*source.warnings, *(poses.warnings if poses else ()))
        for warning in warnings:
            progress.warn(warning)
        seen = Size(picture.shape[1], picture.shape[0])
        fitted = place(seen, settings.size, request.fit).picture(picture)
        engine = self._planned(request, settings, len(skeletons), progress)
        control = ControlFrames(skeletons)
        frames = generate(engine, settings, fitted, control, progress, work.keeper)
        with clock("generate and write"):
            written = write_clip(work, settings, source, frames, skeletons.fps)
        record = {**made, **self._record(poses, written, clock), "resumed": work.record()}
        record["warnings"] = list(warnings)
        return AnimationResult(
            output=request.output,
            sidecar=write_sidecar(request.output, record),
            frames=written.frames,
            fps=written.fps,
            size=settings.size,
            model=self.engine.components.variant.name,
            seconds=dict(clock.seconds),
            peak_host_bytes=peak_host_bytes(),
            peak_device_bytes=peak_device_bytes(self.engine.device),
            warnings=warnings,
        )

    def _planned(
        self, request: AnimationRequest, settings: ClipSettings, frames: int, progress: Progress
    ) -> Engine:
        """The engine with a memory plan where one was asked for, or where memory is the device's.

        Raises TemporalError when nothing fits.
        """
        device = self.engine.device
        if not wants_plan(request.runtime) and device.type != "cuda":
            return self.engine
        plan = plan_clip_memory(
            self.engine.components.variant,
            settings,
            request.runtime,
            frames=frames,
            device=device,
            components=self.engine.components,
        )
        for line in plan.lines():
            progress.note(f"  {line}")
        return replace(self.engine, plan=plan)

    def _skeletons(
        self,
        request: AnimationRequest,
        settings: ClipSettings,
        source: FrameSource,
        picture: np.ndarray,
        progress: Progress,
    ) -> tuple[Skeletons, ClipPoses | None]:
        """The clip's skeletons, and the poses they are drawn from unless they came rendered."""
        selection = selection_of(request)
        if request.poses is not None and is_rendered(request.poses):
            rendered = take_rendered(request.poses, source, selection, settings.size, progress)
            return rendered, None
        estimator = self._estimator(request) if _needs_estimator(request) else None
        reference = reference_pose(picture, request, estimator)
        driving = driving_poses(request, source, selection, estimator, progress)
        placement = place(Size(*reference.canvas), settings.size, request.fit)
        poses = clip_poses(driving, reference, placement, request)
        style = self.engine.components.variant.pose_style
        return DrawnSkeletons(poses.sequence, settings.size, style), poses

    def _estimator(self, request: AnimationRequest) -> Estimator:
        folder, device = request.runtime.estimator_folder, request.runtime.estimator_device
        key = (request.estimator, folder, device)
        if key not in self._estimators:
            options = estimator_options(request.estimator, folder, device)
            self._estimators[key] = load_estimator(request.estimator, **options)
        return self._estimators[key]

    def _made_from(self, request: AnimationRequest, settings: ClipSettings) -> dict[str, Any]:
        """What the sidecar holds of all that decides the pictures, with a digest of it."""
        parts = self.engine.components
        weights = dict(parts.digests)
        inputs = input_digests(request)
        return {
            "request": request,
            "settings": settings,
            "digest": request.digest(
                size=settings.size,
                sampling=settings,
                model=parts.variant.name,
                inputs=inputs,
                weights=weights,
            ),
            "seed": settings.seed,
            "model": {
                "name": parts.variant.name,
                "why": self.reason,
                "licence": parts.variant.licence,
                "weights_sha256": weights,
            },
            "inputs": inputs,
        }

    def _conditions(self, request: AnimationRequest) -> dict[str, Any]:
        """What the last bits of the numbers may depend on besides."""
        runtime = request.runtime
        return {
            "device": str(self.engine.device),
            "precision": precision_of(self.engine.components.unet),
            "memory": runtime.memory,
            "offload": runtime.offload,
            "versions": versions(),
        }

    def _record(self, poses: ClipPoses | None, written: Written, clock: Clock) -> dict[str, Any]:
        """What the sidecar holds of how the clip was made."""
        return {
            "poses": poses.record() if poses else "rendered skeletons, as they are",
            "output": written,
            "device": str(self.engine.device),
            "precision": precision_of(self.engine.components.unet),
            "threads": torch.get_num_threads(),
            "seconds": dict(clock.seconds),
            "peak_host_bytes": peak_host_bytes(),
            "peak_device_bytes": peak_device_bytes(self.engine.device),
            "versions": versions(),
        }


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written.

    Attributes:
        frames, fps, seconds, size: of the clip, exact.
        sound: what was done with the driving video's sound, in words.
        frames_sha256: over the RGB bytes of all frames in order, before compression.
    """

    frames: int
    fps: Fraction
    seconds: float
    size: Size
    sound: str
    frames_sha256: str


def write_clip(
    work: Work,
    settings: ClipSettings,
    source: FrameSource,
    frames: Iterator[np.ndarray],
    fps: Fraction,
) -> Written:
    """Write frames as they come, while later ones are made; the clip appears when all are there."""
    request = work.request
    audio = None
    if request.audio and takes_sound(request.output):
        audio = source.audio(selection_of(request))
    digest = hashlib.sha256()
    with open_writer(
        request.output,
        size=settings.size,
        fps=fps,
        codec=request.codec,
        quality=request.quality,
        audio=audio,
        overwrite=work.replaces,
    ) as writer:

        def take(frame: np.ndarray) -> None:
            writer.write(frame)
            digest.update(frame.tobytes())

        with Behind(take, depth=settings.decode_chunk, name="writer") as queue:
            for frame in frames:
                queue.put(frame)
        work.close_soon()
    return Written(
        frames=writer.frames,
        fps=fps,
        seconds=float(writer.frames / fps),
        size=settings.size,
        sound=writer.sound,
        frames_sha256=digest.hexdigest(),
    )


def check_request(request: AnimationRequest) -> None:
    """Everything that can be known to be wrong before any work. Raises MediaError."""
    check_readable(request.reference, "reference image", MediaError)
    check_driving(request.driving)
    if request.poses is not None and not request.poses.is_dir():
        check_readable(request.poses, "pose file", MediaError)
    replaces = may_replace(request)
    check_output(request.output, replaces, codec=request.codec)
    record = sidecar_path(request.output)
    files.check_output(record, overwrite=replaces, what="record", error=MediaError)


def input_digests(request: AnimationRequest) -> dict[str, str]:
    """SHA-256 of each input file."""
    named = {"reference": request.reference, "poses": request.poses}
    digests = {name: sha256_of(path) for name, path in named.items() if path is not None}
    return {**digests, "driving": source_digest(request.driving)}


def _needs_estimator(request: AnimationRequest) -> bool:
    return request.poses is None or request.retarget != "none"
