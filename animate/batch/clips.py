"""The making of a batch's clips in a worker, with the animator kept from one to the next."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from animate.batch.executor import Send
from animate.batch.failures import Failure, failure_of
from animate.batch.records import Pictures
from animate.batch.tasks import ClipReport, ClipTask, PreviewMessage, Relay, device_of, peak_host
from animate.request.request import AnimationRequest, RuntimeOptions
from animate.request.setting import NONE

if TYPE_CHECKING:
    from animate.animator import Animator
    from animate.driving.skeletons import Skeletons
    from animate.generate.preview import Preview
    from animate.request.request import AnimationResult


class ClipMaker:
    """Makes clips with the animator of the last one where that is of the same model."""

    def __init__(self, worker: int) -> None:
        self._worker = worker
        self._animator: Animator | None = None
        self._loaded: tuple[str, ...] = ()
        self._skeletons: Skeletons | None = None

    def __call__(self, payload: ClipTask, send: Send) -> ClipReport:
        """Make one clip; whatever goes wrong is in the report."""
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
        device = device_of(self._worker, request.runtime.device)
        return replace(request.runtime, device=device)

    def _animator_for(self, request: AnimationRequest) -> Animator:
        """The animator in hand, or the request's own in its place: two would need the memory of
        both, and jobs come sorted."""
        from animate.animator import Animator
        from animate.clip.preflight import check_request

        check_request(request)
        key = (request.model, request.runtime.device, request.runtime.precision)
        if self._animator is None or self._loaded != key:
            self._release()
            self._animator = Animator.for_request(request)
            self._loaded = key
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
        return ClipReport(failure=failure, pictures=pictures, peak_host_bytes=peak_host())

    def _take_skeletons(self, skeletons: Skeletons) -> None:
        self._skeletons = skeletons

    def _finished(
        self, task: ClipTask, result: AnimationResult, seconds: Mapping[str, float]
    ) -> ClipReport:
        peak = peak_host()
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
