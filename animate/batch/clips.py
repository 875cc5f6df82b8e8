"""The work of a batch's worker: it makes clips, and keeps what is loaded from one to the next."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from animate.batch.executor import Send
from animate.batch.failures import Failure, failure_of
from animate.batch.records import ClipState, Pictures
from animate.batch.staging import JobFiles
from animate.clip.fingerprint import FileDigests
from animate.progress import Stage
from animate.request.request import AnimationRequest, RuntimeOptions
from animate.request.schema import NONE

if TYPE_CHECKING:
    from animate.animator import Animator
    from animate.driving.skeletons import Skeletons
    from animate.generate.preview import Preview
    from animate.request.request import AnimationResult


@dataclass(frozen=True, kw_only=True)
class ClipTask:
    """One clip to make, as it travels to a worker."""

    request: AnimationRequest
    digests: FileDigests = field(default_factory=FileDigests)
    """Digests of inputs that were read already."""
    pictures: bool = True
    """Small pictures for a report are wanted."""
    previews: bool = False
    """Pictures of the unfinished clip are sent, as `PreviewMessage`s."""
    files: JobFiles | None = None
    """Files that lie in a store; None where all are here."""


@dataclass(frozen=True, kw_only=True)
class ClipReport:
    """A worker's account of one clip: how it was made, or the failure."""

    failure: Failure | None = None
    """The reason why there is no clip."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall time of each stage, `load` of the model among them."""
    peak_host_bytes: int | None = None
    """The most resident memory of the worker during this clip."""
    peak_device_bytes: int | None = None
    """Largest allocation on the accelerator; None on a CPU."""
    model: str = ""
    """Name of the variant that made the clip."""
    size: str = ""
    """Of the clip, WIDTHxHEIGHT."""
    frames: int | None = None
    """Frames of the clip."""
    fps: str = ""
    """Rate of the clip, a fraction."""
    warnings: tuple[str, ...] = ()
    """Remarks on the clip that a person should act on."""
    pictures: Pictures = field(default_factory=Pictures)
    """Small pictures for the report."""
    clip: ClipState | None = None
    """Marks of a clip that was put into a store."""


@dataclass(frozen=True, kw_only=True)
class StageMessage:
    """Progress of a clip, as it travels from a worker."""

    event: Literal["begin", "advance", "end"]
    stage: str
    steps: int | None = None
    """Of `begin` the stage's number, if it is known; of `advance` those that were finished."""


@dataclass(frozen=True, kw_only=True)
class PreviewMessage:
    """A picture of an unfinished clip, as it travels from a worker."""

    jpeg: bytes
    step: int
    """Steps that were done."""


def start_clips(worker: int) -> ClipMaker:
    """A worker's handler of `ClipTask`s; `worker` decides which GPU it takes."""
    return ClipMaker(worker)


class ClipMaker:
    """Makes clips with the animator of the last one where that is of the same model."""

    def __init__(self, worker: int) -> None:
        self._worker = worker
        self._animator: Animator | None = None
        self._loaded: tuple[str, ...] = ()
        self._skeletons: Skeletons | None = None

    def __call__(self, payload: ClipTask, send: Send) -> ClipReport:
        """Make one clip; whatever goes wrong is in the report."""
        _forget_peaks()
        self._skeletons = None
        request = replace(payload.request, runtime=self._runtime(payload.request))
        try:
            if payload.files is None:
                return self._make(payload, request, send)
            with payload.files.staged():
                report = self._make(payload, request, send)
                return replace(report, clip=payload.files.put(request.output))
        except Exception as error:
            # Staged inputs are gone by now, which says nothing of the failure.
            failure = failure_of(error) if payload.files else _failure(error, request)
            return self._failed(payload, failure)

    def _make(self, task: ClipTask, request: AnimationRequest, send: Send) -> ClipReport:
        began = time.perf_counter()
        _make_room(request)
        animator = self._animator_for(request)
        loading = round(time.perf_counter() - began, 4)
        result = animator(
            request,
            Relay(send),
            digests=task.digests,
            on_skeletons=self._take_skeletons,
            on_preview=partial(_send_preview, send) if task.previews else None,
        )
        return self._finished(task, result, {"load": loading, **result.seconds})

    def close(self) -> None:
        """See `Handler`."""
        self._release()

    def _runtime(self, request: AnimationRequest) -> RuntimeOptions:
        """The request's options, with a GPU of the worker's own where there are several."""
        if request.runtime.device != "auto":
            return request.runtime
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        device = f"cuda:{self._worker % count}" if count > 1 else "auto"
        return replace(request.runtime, device=device)

    def _animator_for(self, request: AnimationRequest) -> Animator:
        """The animator in hand, or the request's own in its place: two would need the memory of
        both, and jobs come sorted."""
        from animate.animator import Animator
        from animate.clip.preflight import check_request

        check_request(request)
        wanted = (request.model, request.runtime.device, request.runtime.precision)
        if self._animator is None or self._loaded != wanted:
            self._release()
            self._animator = Animator.for_request(request)
            self._loaded = wanted
        return self._animator

    def _release(self) -> None:
        """Give back the memory of a model and of the attempt before, and its own workers."""
        animator, self._animator, self._loaded = self._animator, None, ()
        try:
            if animator is not None:
                animator.close()
        finally:
            del animator
            gc.collect()
            import torch

            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _failed(self, task: ClipTask, failure: Failure) -> ClipReport:
        pictures = Pictures()
        if failure.kind == "out-of-memory":
            with suppress(Exception):  # what failed first is what is reported
                self._release()
        elif task.pictures:
            from animate.batch.pictures import input_pictures

            pictures = input_pictures(task.request)
        return ClipReport(failure=failure, pictures=pictures, peak_host_bytes=_peak_host())

    def _take_skeletons(self, skeletons: Skeletons) -> None:
        self._skeletons = skeletons

    def _finished(
        self, task: ClipTask, result: AnimationResult, seconds: Mapping[str, float]
    ) -> ClipReport:
        peak = _peak_host()
        pictures = Pictures()
        if task.pictures and self._skeletons is not None:
            from animate.batch.pictures import clip_pictures

            pictures = clip_pictures(task.request, self._skeletons)
        return ClipReport(
            seconds=seconds,
            peak_host_bytes=peak,
            peak_device_bytes=result.peak_device_bytes,
            model=result.model,
            size=str(result.size),
            frames=result.frames,
            fps=str(result.fps),
            warnings=tuple(result.warnings),
            pictures=pictures,
        )


def _send_preview(send: Send, preview: Preview) -> None:
    from animate.batch.pictures import jpeg_bytes
    from animate.generate.preview import sheet

    send(PreviewMessage(jpeg=jpeg_bytes(sheet(preview)), step=preview.step))


def _make_room(request: AnimationRequest) -> None:
    """Make the folder that holds the work of many clips: a scratch disk may be empty."""
    work = request.runtime.work
    if work is not None and work != NONE:
        with suppress(OSError):  # the work folder itself says what is wrong, and what to do
            work.parent.mkdir(parents=True, exist_ok=True)


def _failure(error: Exception, request: AnimationRequest) -> Failure:
    """The failure of an error; an input that is not there has a kind of its own."""
    failure = failure_of(error)
    if failure.kind != "media":
        return failure
    files = [f for f in (request.reference, request.driving, request.poses) if f is not None]
    # Numbered images are named by a pattern, which no file has.
    missing = [f for f in files if not f.exists() and not {"%", "#"} & set(f.name)]
    return replace(failure, kind="missing-file") if missing else failure


class Relay:
    """Progress that goes to whoever listens to the worker, as `StageMessage`s."""

    def __init__(self, send: Send, interval: float = 0.5) -> None:
        """Steps are gathered for `interval` seconds, so that messages cost nothing."""
        self._send, self._interval = send, interval

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Stage]:
        self._send(StageMessage(event="begin", stage=name, steps=total))
        steps = _Steps(name, self._send, self._interval)
        try:
            yield steps
        finally:
            steps.flush()
            self._send(StageMessage(event="end", stage=name))

    def note(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        pass  # the result has them


class _Steps:
    def __init__(self, stage: str, send: Send, interval: float) -> None:
        self._stage, self._send, self._interval = stage, send, interval
        self._gathered, self._sent = 0, time.monotonic()

    def advance(self, steps: int = 1) -> None:
        self._gathered += steps
        if time.monotonic() - self._sent >= self._interval:
            self.flush()

    def flush(self) -> None:
        if self._gathered:
            self._send(StageMessage(event="advance", stage=self._stage, steps=self._gathered))
        self._gathered, self._sent = 0, time.monotonic()


def _forget_peaks() -> None:
    """Let the peaks begin anew, so that they are this clip's and not an earlier one's."""
    with suppress(OSError):  # not Linux, or not allowed: the process's own peak stays
        Path("/proc/self/clear_refs").write_text("5")
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _peak_host() -> int:
    """The most resident memory since `_forget_peaks`."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    from animate.clip.clock import peak_host_bytes

    return peak_host_bytes()
