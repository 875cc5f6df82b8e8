"""Files in, clip out: the one class that programs and the command line use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from animate.clip.clock import Clock, peak_host_bytes
from animate.clip.preflight import check_beside, check_request, comes_rendered, input_digests
from animate.clip.provenance import container_metadata, sign_clip
from animate.clip.record import versions, write_sidecar
from animate.clip.work import Work, may_replace, working
from animate.clip.write import Written, write_clip
from animate.device import choose_device, choose_dtype, peak_device_bytes, precision_of
from animate.driving.estimators import estimator_options
from animate.driving.placement import Placement
from animate.driving.poses import (
    ClipPoses,
    clip_poses,
    driving_poses,
    nobody,
    reference_placement,
    reference_pose,
    selection_of,
)
from animate.driving.skeletons import ControlFrames, DrawnSkeletons, Skeletons, take_rendered
from animate.finish.chain import Finish, find_tempo, needs_reference_pose
from animate.generate.memory import check_precision, plan_clip_memory, wants_plan
from animate.generate.pipeline import Engine, generate
from animate.generate.settings import ClipSettings, cautions, settle
from animate.generate.workers.choose import ray_workers
from animate.generate.workers.protocol import WindowExecutor
from animate.media import check_output, open_video, read_image
from animate.media.source import FrameSource
from animate.models.components import load_components
from animate.models.lora import Weighed, merged, open_adapters
from animate.models.variants import Resolution, lookup_name, resolve
from animate.progress import Progress, Quiet, Remembering
from animate.request.request import AnimationRequest, AnimationResult, Precision, RuntimeOptions
from animate.request.values import Size
from pose.draw import draw
from pose.estimators import load_estimator
from pose.estimators.base import Estimator
from pose.sequence import PoseSequence


class Animator:
    """A loaded model variant; call it with requests, as many as there are.

    Pose estimators that a request names are opened once and kept. Not for several threads.
    """

    def __init__(self, engine: Engine, reason: str) -> None:
        """Use networks that are loaded already; `reason` says why this variant was taken."""
        self.engine = engine
        self.reason = reason
        self._dtype = next(engine.components.vae.parameters()).dtype
        self._eight_bit = False
        self.executor: WindowExecutor | None = None
        """Who computes the windows of clips whose request names no workers; None: this process."""
        self._workers: dict[tuple[Any, ...], WindowExecutor] = {}
        self._estimators: dict[tuple[str, Path | None, str], Estimator] = {}

    @classmethod
    def from_pretrained(
        cls, name: str | Path = "auto", *, device: str = "auto", precision: Precision = "auto"
    ) -> Animator:
        """Load a variant by name, or a model folder.

        `precision` is that of every clip whose request leaves it open.

        Raises ModelError when it is unknown, not on this machine, or damaged; RequestError when
        the device is not there.
        """
        animator = cls._load(resolve(name), device, precision)
        animator._eight_bit = precision == "int8"
        return animator

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
        threads = torch.get_num_threads()
        if request.runtime.threads is not None:
            torch.set_num_threads(request.runtime.threads)
        try:
            with torch.no_grad():
                return self._animate(request, Remembering(progress or Quiet()), Clock())
        finally:
            torch.set_num_threads(threads)

    def _animate(
        self, request: AnimationRequest, progress: Remembering, clock: Clock
    ) -> AnimationResult:
        if self._eight_bit and request.runtime.precision == "auto":
            request = replace(request, runtime=replace(request.runtime, precision="int8"))
        check_request(request)
        self._undo_eight_bit(request)
        picture = read_image(request.reference)
        seen = Size(picture.shape[1], picture.shape[0])
        settings = settle(request, self.engine.components.variant, seen)
        check_output(request.output, may_replace(request), codec=request.codec, size=settings.size)
        check_beside(request, may_replace(request), settings.size)
        adapters = open_adapters(self.engine.components.unet, request.lora)
        made = self._made_from(request, settings, adapters)
        model = lookup_name(self.engine.components.variant)
        with (
            working(request, made["digest"], model, self._conditions(request), progress) as work,
            merged(self.engine.components.unet, adapters),
        ):
            check_output(request.output, work.replaces, codec=request.codec)
            return self._worked(work, settings, picture, made, progress, clock)

    def _worked(
        self,
        work: Work,
        settings: ClipSettings,
        picture: np.ndarray,
        made: dict[str, Any],
        progress: Remembering,
        clock: Clock,
    ) -> AnimationResult:
        request = work.request
        source = open_video(request.driving, images_fps=request.fps)
        with clock("poses"):
            reference = self._reference(request, picture)
            placement = reference_placement(reference, settings.size, request.fit)
            skeletons, poses = self._skeletons(request, source, reference, placement, progress)
        if poses and poses.mismatch is not None:
            progress.note(f"retarget {request.retarget}: mismatch {poses.mismatch:.2f} of 1")
        doubtful = cautions(settings, self.engine.components.variant)
        for warning in (*source.warnings, *(poses.warnings if poses else ()), *doubtful):
            progress.warn(warning)
        finish = Finish(
            request=request,
            picture=placement.picture(picture),
            skeletons=skeletons,
            reference=self._reference_skeleton(request, reference, placement),
            cuts=frozenset(poses.sequence.cuts) if poses else frozenset(),
            tempo=find_tempo(request, source, len(skeletons)),
            window=settings.window,
        )
        engine = self._planned(request, settings, len(skeletons), progress)
        control = ControlFrames(skeletons)
        frames = generate(engine, settings, finish.picture, control, progress, work.keeper)
        with clock("generate and write"):
            written = write_clip(
                work,
                finish,
                source,
                frames,
                ahead=settings.decode_chunk,
                metadata=container_metadata(made),
            )
        sign = request.runtime.sign
        signed = None if sign is None else sign_clip(request.output, sign, made)
        record = {**made, **self._record(request, poses, written, clock), "resumed": work.record()}
        record["credentials"] = signed
        warnings = tuple(progress.warnings)
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
        engine = replace(self.engine, executor=self._executor(request.runtime))
        if engine.executor is not None:
            progress.note(f"windows: {engine.executor.describe()}")
        if request.lora:  # other weights: workers that have this model must take it up anew
            engine = replace(engine, components=replace(engine.components))
        if request.runtime.compile:
            engine = replace(engine, compiler="inductor")
        if not wants_plan(request.runtime) and device.type != "cuda":
            return engine
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
        return replace(engine, plan=plan)

    def _undo_eight_bit(self, request: AnimationRequest) -> None:
        """Load the networks anew where an earlier clip made their weights 8-bit for want of memory:
        what a clip looks like must not depend on those before it.

        Raises RequestError for a precision other than the loaded one.
        """
        parts = self.engine.components
        check_precision(request.runtime, parts)
        eight_bit = precision_of(parts.unet) == "int8"
        if eight_bit and request.runtime.precision != "int8":
            parts = load_components(parts.variant, self._dtype)
            self.engine = replace(self.engine, components=parts)

    def _executor(self, runtime: RuntimeOptions) -> WindowExecutor | None:
        """The workers that a request names: started once, kept for the next."""
        if runtime.workers is None:
            return self.executor
        key = (runtime.workers, runtime.ray_address, runtime.worker_limit, runtime.threads)
        if key not in self._workers:
            self.close()
            self._workers[key] = ray_workers(runtime, self.engine.device)
        return self._workers[key]

    def close(self) -> None:
        """Let workers go that were started for requests; the next such request starts others."""
        for workers in self._workers.values():
            workers.close()
        self._workers = {}

    def _skeletons(
        self,
        request: AnimationRequest,
        source: FrameSource,
        reference: PoseSequence,
        placement: Placement,
        progress: Progress,
    ) -> tuple[Skeletons, ClipPoses | None]:
        """The clip's skeletons, and the poses they are drawn from unless they came rendered."""
        selection, size = selection_of(request), placement.canvas
        if comes_rendered(request):
            assert request.poses is not None
            return take_rendered(request.poses, source, selection, size, progress), None
        estimator = self._estimator(request) if request.poses is None else None
        driving = driving_poses(request, source, selection, estimator, progress)
        poses = clip_poses(driving, reference, placement, request)
        return DrawnSkeletons(poses.sequence, size, self._pose_style), poses

    def _reference(self, request: AnimationRequest, picture: np.ndarray) -> PoseSequence:
        """The reference's person on its picture; nobody where that is not needed.

        Raises PoseError when nobody is seen.
        """
        fitted = request.retarget != "none" and not comes_rendered(request)
        if not fitted and not needs_reference_pose(request):
            return nobody(picture)
        return reference_pose(picture, request, self._estimator(request))

    def _reference_skeleton(
        self, request: AnimationRequest, reference: PoseSequence, placement: Placement
    ) -> np.ndarray | None:
        """(H,W,3): the skeleton of the reference's person on the clip's canvas, if it is needed."""
        if not needs_reference_pose(request):
            return None
        points = placement.points(reference.points[0])
        size = placement.canvas
        return draw(points, reference.scores[0], (size.width, size.height), size, self._pose_style)

    @property
    def _pose_style(self) -> str:
        return self.engine.components.variant.pose_style

    def _estimator(self, request: AnimationRequest) -> Estimator:
        folder, device = request.runtime.estimator_folder, request.runtime.estimator_device
        key = (request.estimator, folder, device)
        if key not in self._estimators:
            options = estimator_options(request.estimator, folder, device)
            self._estimators[key] = load_estimator(request.estimator, **options)
        return self._estimators[key]

    def _made_from(
        self, request: AnimationRequest, settings: ClipSettings, adapters: tuple[Weighed, ...]
    ) -> dict[str, Any]:
        """What the sidecar holds of all that decides the pictures, with a digest of it."""
        parts = self.engine.components
        weights = dict(parts.digests)
        inputs = input_digests(request)
        for number, one in enumerate(adapters):
            inputs[f"lora {number}"] = one.adapter.sha256
        return {
            "request": request,
            "settings": settings,
            "digest": request.digest(
                size=settings.size,
                sampling=settings,
                model=parts.variant.name,
                inputs=inputs,
                weights=weights,
                eight_bit=request.runtime.precision == "int8",
            ),
            "seed": settings.seed,
            "model": {
                "name": parts.variant.name,
                "why": self.reason,
                "licence": parts.variant.licence,
                "weights_sha256": weights,
                "lora": [one.record() for one in adapters],
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

    def _record(
        self, request: AnimationRequest, poses: ClipPoses | None, written: Written, clock: Clock
    ) -> dict[str, Any]:
        """What the sidecar holds of how the clip was made."""
        executor = self._executor(request.runtime)
        return {
            "poses": poses.record() if poses else "rendered skeletons, as they are",
            "output": written,
            "device": str(self.engine.device),
            "precision": precision_of(self.engine.components.unet),
            "threads": torch.get_num_threads(),
            "windows": "this process" if executor is None else executor.describe(),
            "seconds": dict(clock.seconds),
            "peak_host_bytes": peak_host_bytes(),
            "peak_device_bytes": peak_device_bytes(self.engine.device),
            "versions": versions(),
        }
