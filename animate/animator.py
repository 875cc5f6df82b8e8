"""Files in, clip out: the one class that programs and the command line use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from animate.clip.fingerprint import FileDigests
from animate.clip.make import OnSkeletons, make_clip
from animate.clip.preflight import check_identity, check_request
from animate.device import (
    choose_device,
    computing_dtype,
    precision_of,
    precision_remark,
    queued,
    unused_card,
    without_autocast,
)
from animate.driving.estimators import estimator_options
from animate.driving.face import FaceReader
from animate.errors import adopted_errors, raises_ours
from animate.generate.memory import check_precision
from animate.generate.pipeline import Engine
from animate.generate.precision import model_dtype
from animate.generate.preview import OnPreview
from animate.generate.settings import settle
from animate.generate.workers.protocol import WindowExecutor
from animate.generate.workers.ray_windows import ray_workers
from animate.models.components import load_components
from animate.models.config import FaceConfig
from animate.models.variants import Resolution, resolve
from animate.progress import Progress, Quiet, Remembering
from animate.request.request import AnimationRequest, AnimationResult, Precision, RuntimeOptions
from animate.request.values import Size
from pose.estimators import load_estimator
from pose.estimators.base import Estimator
from temporal.offload import send_home

WorkersKey = tuple[int, str | None, float, int | None]


class Animator:
    """A loaded model variant; call it with requests, as many as there are.

    Pose estimators and workers that a request names are opened once and kept. It may be loaded
    and called from any thread: calls of all animators of a process queue, since they share networks
    and the number of processor threads. Several cards at once take a process each.
    """

    def __init__(self, engine: Engine, reason: str) -> None:
        """Use networks that are loaded already; `reason` says why this variant was taken."""
        self.engine = engine
        self.reason = reason
        self.executor: WindowExecutor | None = None
        """Workers of clips whose request names none; None: this process."""
        self._dtype = next(engine.components.vae.parameters()).dtype
        self._eight_bit = False
        self._workers: dict[WorkersKey, WindowExecutor] = {}
        self._estimators: dict[tuple[str, Path | None, str, Path | None], Estimator] = {}
        self._face_readers: dict[Path | None, FaceReader] = {}
        self._checked: AnimationRequest | None = None
        """The request that `for_request` has checked, so that it is not checked twice."""

    @classmethod
    @raises_ours
    def from_pretrained(
        cls, name: str | Path = "auto", *, device: str = "auto", precision: Precision = "auto"
    ) -> Animator:
        """Load a variant by name, or a model folder.

        `precision` is that of every clip whose request leaves it open.

        Raises ModelError when it is unknown, not on this machine, or damaged; RequestError when
        the device is not there.
        """
        animator = cls._load(resolve(name), device, precision, Quiet())
        animator._eight_bit = precision == "int8"
        return animator

    @classmethod
    @raises_ours
    def for_request(cls, request: AnimationRequest, progress: Progress | None = None) -> Animator:
        """The animator that a request asks for; what can be wrong with its files is checked first.

        Raises MediaError, ModelError or RequestError.
        """
        check_request(request)
        resolution = resolve(request.model)
        settle(request, resolution.variant, Size(*resolution.variant.sizes[0]))
        check_identity(request, resolution.variant)
        progress = progress or Quiet()
        progress.note(f"model: {resolution.variant.name} ({resolution.reason})")
        animator = cls._load(
            resolution, request.runtime.device, request.runtime.precision, progress
        )
        animator._checked = request
        return animator

    @classmethod
    def _load(
        cls, resolution: Resolution, device: str, precision: Precision, progress: Progress
    ) -> Animator:
        chosen = choose_device(device)
        dtype = model_dtype(resolution.variant, precision, chosen)
        remarks = unused_card(device, chosen), precision_remark(precision, dtype, chosen)
        for remark in filter(None, remarks):
            progress.note(remark)
        parts = load_components(resolution.variant, dtype)
        return cls(Engine(components=parts, device=chosen), resolution.reason)

    def __call__(
        self,
        request: AnimationRequest,
        progress: Progress | None = None,
        *,
        digests: FileDigests | None = None,
        on_skeletons: OnSkeletons | None = None,
        on_preview: OnPreview | None = None,
    ) -> AnimationResult:
        """Make one clip. The request's `model` is not looked at: this animator's is used.

        digests: those of files that were read already, for many clips of the same files
        on_skeletons: called with the clip's skeletons before any frame is generated
        on_preview: called with small RGB pictures of some frames after every step
            (`animate.generate.preview.Preview`), whether or not the request keeps a `preview`

        Raises MediaError, RequestError, MotionError or WindowError when the request cannot be
        fulfilled, WorkError when its work folder cannot be used; nothing half-written is left
        then. What an earlier run of the same request left in its work folder is not done again.
        """
        checked, self._checked = request is self._checked, None
        request = self.in_own_precision(request)
        with adopted_errors(), self.computing(request.runtime):
            return make_clip(
                self,
                request,
                Remembering(progress or Quiet()),
                digests or FileDigests(),
                on_skeletons,
                on_preview=on_preview,
                checked=checked,
            )

    @contextmanager
    def computing(self, runtime: RuntimeOptions) -> Iterator[None]:
        """Hold the process's queue of calls in the block, with this number of threads and the
        networks in this precision. Raises RequestError for a precision they are not loaded in."""
        with queued(), _threads(runtime.threads), torch.no_grad(), without_autocast():
            self._undo_eight_bit(runtime)
            yield

    def to(self, device: str | None = None, dtype: torch.dtype | None = None) -> Animator:
        """Compute on another device, or with other numbers; returns the animator.

        Weights that were made coarser stay so. Raises RequestError when the device is not there.
        """
        target = self.engine.device if device is None else choose_device(device)
        with self.computing(RuntimeOptions()):
            networks = self.engine.components.networks()
            if target != self.engine.device:
                send_home(networks)
            for network in networks if dtype is not None else ():
                torch.nn.Module.to(network, dtype)
            self._dtype = dtype or self._dtype
            self.engine = replace(self.engine, device=target)
        return self

    def estimator(self, request: AnimationRequest) -> Estimator:
        """The pose estimator that a request names: opened once, kept for the next."""
        runtime = request.runtime
        folder, device = runtime.estimator_folder, str(runtime.estimator_device)
        if device == "cuda" and self.engine.device.type == "cuda":
            device = str(self.engine.device)  # the same card as the clip
        key = (request.estimator, folder, device, runtime.estimator_network)
        if key not in self._estimators:
            options = estimator_options(request.estimator, folder, device, key[-1])
            self._estimators[key] = load_estimator(request.estimator, **options)
        return self._estimators[key]

    def face_reader(self, config: FaceConfig, folder: Path | None) -> FaceReader:
        """The face networks in a folder: opened once, kept for the next."""
        if folder not in self._face_readers:
            self._face_readers[folder] = FaceReader(config, folder)
        return self._face_readers[folder]

    def workers(self, runtime: RuntimeOptions) -> WindowExecutor | None:
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

    def in_own_precision(self, request: AnimationRequest) -> AnimationRequest:
        """The request in the precision of the animator, where it leaves that open."""
        if not self._eight_bit or request.runtime.precision != "auto":
            return request
        return replace(request, runtime=replace(request.runtime, precision="int8"))

    def _undo_eight_bit(self, runtime: RuntimeOptions) -> None:
        """Load the networks anew where an earlier clip made their weights 8-bit for want of memory,
        or wider for numbers that were not finite: what a clip looks like must not depend on those
        before it.

        Raises RequestError for a precision other than the loaded one.
        """
        parts = self.engine.components
        wider = any(computing_dtype(network) != self._dtype for network in parts.networks())
        eight_bit = precision_of(parts.unet) == "int8" and runtime.precision != "int8"
        if wider or eight_bit:
            parts = load_components(parts.variant, self._dtype)
            self.engine = replace(self.engine, components=parts)
        check_precision(runtime, parts)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Compute with `count` threads in the block; None leaves the number as it is."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
