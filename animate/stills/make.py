"""The order of work of stills, from the files of a request to the pictures and their record.

Everything is checked before anything is loaded; a series goes on where an earlier run has stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from animate import __version__, files
from animate.errors import MediaError
from animate.media.image import read_image, write_png
from animate.models.stills import StillDesign, StillModel
from animate.progress import Progress, Remembering
from animate.request.setting_paths import paths_of
from animate.request.still import StillRequest
from animate.request.values import Size
from animate.stills.base import choose_model
from animate.stills.control_pictures import MAKERS, ControlSource
from animate.stills.pipeline import StillPipeline, Tensors
from animate.stills.record import (
    MadePicture,
    StillRecord,
    finished_pictures,
    input_digests,
    record_path,
    series_digest,
)
from animate.stills.sizes import chosen_size


@dataclass(frozen=True, kw_only=True)
class StillResult:
    """Pictures that were made."""

    outputs: tuple[Path, ...]
    record: Path
    """JSON file with every setting, digest and time."""
    kept: int
    """Pictures of an earlier run of the same series, which were not made again."""
    model: str = ""
    """Name of the design."""
    size: Size | None = None
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Pictures that a still is made from, (H,W,3) uint8 RGB each."""

    control: np.ndarray | None
    init: np.ndarray | None
    prompt_image: np.ndarray | None
    size: Size
    """Size of the still."""


class StillMaker:
    """Makes stills of requests; the pipeline of the last one is kept for the next of its model."""

    def __init__(self) -> None:
        self._pipeline: StillPipeline | None = None
        self._loaded: tuple[object, ...] = ()

    def __call__(
        self, request: StillRequest, progress: Progress, *, keep_finished: bool | None = None
    ) -> StillResult:
        """Make the pictures of a request; those of a series that are there already are kept.

        keep_finished: keep them although other files may be replaced; None: unless they may
        Raises MediaError, ModelError, PoseError or RequestError; nothing half-written is left.
        """
        keep = not request.overwrite if keep_finished is None else keep_finished
        return _make(request, Remembering(progress), self._pipeline_for, keep)

    def _pipeline_for(self, request: StillRequest, model: StillModel) -> StillPipeline:
        key = (model, request.method, request.control_model, request.device, request.precision,
                  request.ip_adapter, request.ip_encoder)  # fmt: skip
        if self._pipeline is None or self._loaded != key:
            self._pipeline, self._loaded = None, ()
            self._pipeline = _loaded(request, model)
            self._loaded = key
        self._pipeline.load_lora(request.lora)
        return self._pipeline


Load = Callable[[StillRequest, StillModel], StillPipeline]


def make_stills(request: StillRequest, progress: Progress) -> StillResult:
    """Make the pictures of one request. Raises as `StillMaker`."""
    return StillMaker()(request, progress)


def check_still(request: StillRequest) -> StillModel:
    """The model of a request, once all its files are known to be there.

    Raises MediaError or ModelError.
    """
    for setting, path in paths_of(request, "input"):
        if setting.name != "model" and not path.is_dir():
            files.check_readable(path, setting.name.replace("_", " "), MediaError)
    return choose_model(
        request.model,
        base=request.base,
        controlnext=request.controlnext,
        unet=request.unet,
        controlled=request.controlled and request.method == "controlnext",
    )


def _make(request: StillRequest, progress: Remembering, load: Load, keep: bool) -> StillResult:
    model = check_still(request)
    digests = input_digests(request, model)
    digest = series_digest(request, digests, model.design.name)
    outputs, path = list(picture_paths(request)), record_path(request)
    finished = finished_pictures(path, digest) if keep else {}
    missing = [output for output in outputs if output.name not in finished]
    _check_outputs(request, missing, path, own_record=bool(finished))
    if not missing:
        return StillResult(outputs=tuple(outputs), record=path, kept=len(outputs))

    progress.note(f"model: {model.design.name} ({model.reason})")
    inputs = _inputs(request, model.design, progress)
    pipeline = load(request, model)
    for text in (request.prompt, request.negative):
        if remark := pipeline.check_prompt(text):
            progress.note(remark)
    design = model.design
    record = StillRecord(
        program=f"cnx-animate {__version__}",
        request=request.settings(),
        model=design.name,
        reason=model.reason,
        size=str(inputs.size),
        steps=design.steps if request.steps is None else request.steps,
        guidance=design.guidance if request.guidance is None else request.guidance,
        inputs=digests,
        digest=digest,
        pictures=finished,
    )
    began = time.monotonic()
    with progress.stage("denoise stills", _steps(request, record.steps) * len(missing)) as stage:
        for output in missing:
            seed = request.seed + outputs.index(output)
            pixels = _picture(pipeline, request, inputs, seed, stage.advance)
            write_png(output, pixels)
            entry = MadePicture(seed=seed, sha256=files.sha256(output))
            record = replace(
                record,
                pictures={**record.pictures, output.name: entry},
                seconds=round(time.monotonic() - began, 3),
                warnings=tuple(progress.warnings),
            )
            record.write(path)
    return StillResult(
        outputs=tuple(outputs),
        record=path,
        kept=len(outputs) - len(missing),
        model=design.name,
        size=inputs.size,
        seconds=record.seconds,
        warnings=record.warnings,
    )


def picture_paths(request: StillRequest) -> Iterator[Path]:
    """The paths of a request's pictures."""
    if request.count == 1:
        yield request.output
        return
    stem, suffix = request.output.stem, request.output.suffix
    for number in range(request.count):
        yield request.output.with_name(f"{stem}-{number:04}{suffix}")


def _check_outputs(
    request: StillRequest, missing: Sequence[Path], record: Path, *, own_record: bool
) -> None:
    """Raise MediaError where a file is in the way of what is to be made."""
    for path in missing:
        files.check_output(path, overwrite=request.overwrite, role="picture", error=MediaError)
    if missing:
        replaced = request.overwrite or own_record
        files.check_output(record, overwrite=replaced, role="record", error=MediaError)


def _steps(request: StillRequest, steps: int) -> int:
    """Denoising steps of one picture: one that begins from a picture takes a share of them."""
    return steps if request.init is None else max(1, min(int(steps * request.strength), steps))


def _loaded(request: StillRequest, model: StillModel) -> StillPipeline:
    pipeline = StillPipeline.from_model(
        model,
        method=request.method,
        control_model=request.control_model,
        device=request.device,
        precision=request.precision,
    )
    if request.ip_adapter and request.ip_encoder is not None:
        pipeline.load_ip_adapter(request.ip_adapter[0], request.ip_encoder)
    return pipeline


def _inputs(request: StillRequest, design: StillDesign, progress: Progress) -> Inputs:
    control, init = _read(request.control), _read(request.init)
    photo = _read(request.control_from)
    natural = next((image for image in (control, photo, init) if image is not None), None)
    size = chosen_size(request.size, natural, design, progress)
    if photo is not None:
        control = _control_picture(request, photo, size, design, progress)
    return Inputs(control=control, init=init, prompt_image=_read(request.ip_image), size=size)


def _read(path: Path | None) -> np.ndarray | None:
    return None if path is None else read_image(path)


def _control_picture(
    request: StillRequest, photo: np.ndarray, size: Size, design: StillDesign, progress: Progress
) -> np.ndarray:
    """The control picture (H,W,3) uint8 RGB of a photo, which is written beside the result."""
    source = ControlSource(
        photo=photo,
        name=str(request.control_from),
        size=size,
        pose_style=design.pose_style,
        depth_model=request.depth_model,
        fit=request.fit,
    )
    picture = MAKERS[request.control_kind](source)
    path = request.output.with_name(f"{request.output.stem}-{request.control_kind}.png")
    files.check_output(path, overwrite=True, role="control picture", error=MediaError)
    write_png(path, picture)
    progress.note(f"control: {path}")
    return picture


def _picture(
    pipeline: StillPipeline, request: StillRequest, inputs: Inputs, seed: int, advance: Any
) -> np.ndarray:
    """One picture (H,W,3) uint8 RGB; `advance` is called after each step."""

    def after_step(pipe: Any, step: int, timestep: Tensor, tensors: Tensors) -> None:
        advance()

    picture = pipeline(
        request.prompt,
        inputs.control,
        negative_prompt=request.negative,
        size=inputs.size,
        fit=request.fit,
        steps=request.steps,
        guidance_scale=request.guidance,
        seed=seed,
        control_weight=request.control_weight,
        control_range=request.control_range,
        scheduler=request.scheduler,
        init=inputs.init,
        strength=request.strength,
        ip_image=inputs.prompt_image,
        callback_on_step_end=after_step if pipeline.reports_steps else None,
    )
    return np.asarray(picture.convert("RGB"))
