"""The making of a batch's stills in a worker, with the pipeline kept from one to the next."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from animate.batch.executor import Send
from animate.batch.failures import failure_of
from animate.batch.pictures import RESULTS, picture_of
from animate.batch.records import Pictures
from animate.batch.tasks import ClipReport, ClipTask, Relay, device_of, peak_host
from animate.clip.claim import claimed
from animate.media import read_image
from animate.request.still import StillRequest
from animate.stills.make import StillMaker


class StillsMaker:
    """See `Maker`: the pictures of one request after another."""

    def __init__(self, worker: int) -> None:
        self._worker = worker
        self._maker = StillMaker()

    def __call__(self, payload: ClipTask[StillRequest], send: Send) -> ClipReport:
        """Make the pictures of a request; those that an earlier run has finished stay, unless all
        are to be made anew."""
        request = payload.request
        device = device_of(self._worker, request.device)
        began = time.monotonic()
        try:
            with claimed(request.output):
                result = self._maker(
                    replace(request, device=device), Relay(send), keep_finished=not payload.anew
                )
        except Exception as error:
            pictures = input_pictures(request) if payload.pictures else Pictures()
            return ClipReport(
                failure=failure_of(error), pictures=pictures, peak_host_bytes=peak_host()
            )
        pictures = Pictures()
        if payload.pictures:
            pictures = replace(input_pictures(request), results=result_pictures(result.outputs))
        denoising = round(result.seconds, 4)
        loading = round(max(0.0, time.monotonic() - began - denoising), 4)
        return ClipReport(
            seconds={"load": loading, "denoise": denoising},
            peak_host_bytes=peak_host(),
            model=result.model,
            size="" if result.size is None else str(result.size),
            frames=len(result.outputs),
            warnings=result.warnings,
            pictures=pictures,
        )

    def close(self) -> None:
        """Give back the pipeline."""
        self._maker = StillMaker()


def input_pictures(request: StillRequest) -> Pictures:
    """The control picture, or the photo that it is made from, and the picture to begin from."""
    control = request.control or request.control_from
    return Pictures(
        reference="" if control is None else picture_of(partial(read_image, control)),
        driving="" if request.init is None else picture_of(partial(read_image, request.init)),
    )


def result_pictures(outputs: tuple[Path, ...]) -> tuple[str, ...]:
    """The first pictures of a series."""
    pictures = [picture_of(partial(read_image, path)) for path in outputs[:RESULTS]]
    return tuple(filter(None, pictures))
