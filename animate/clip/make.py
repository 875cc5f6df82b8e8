"""The order of work of one clip, from the files of a request to the clip and its record.

Follow `make_clip`: everything is checked, the frames and the memory are planned, the inputs are
hashed, the motion is found, frames are generated, finished and written, and the record is put
beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from animate.clip.claim import claimed, claimed_record
from animate.clip.clock import Clock, peak_host_bytes
from animate.clip.fingerprint import FileDigests, Fingerprint, picture_settings
from animate.clip.motion import ClipInputs, clip_finish, clip_motion
from animate.clip.paces import ClipPace
from animate.clip.preflight import (
    check_compilable,
    check_identity,
    check_offload,
    check_outputs,
    check_packing,
    check_request,
    check_sizes,
    check_windows,
)
from animate.clip.preview import live_preview
from animate.clip.provenance import ShortCopy
from animate.clip.record import (
    AdapterRecord,
    ClipRecord,
    Conditions,
    ModelRecord,
    versions,
)
from animate.clip.restyle import restyle, seen_in
from animate.clip.shareable import Shareable
from animate.clip.work import working
from animate.clip.write import Written, write_clip
from animate.device import computing_dtype, peak_device_bytes, precision_of
from animate.driving.face import FaceReader
from animate.driving.poses import selection_of
from animate.driving.skeletons import Skeletons
from animate.finish.chain import find_tempo
from animate.finish.enlarge import Enlargement, find_enlargement
from animate.generate.decoding import decode
from animate.generate.memory import plan_clip_memory, wants_plan
from animate.generate.pipeline import Engine, sample
from animate.generate.preview import OnPreview
from animate.generate.settings import ClipSettings, settle, unusual_size
from animate.generate.workers.protocol import WindowExecutor
from animate.media import FrameSource, open_video, read_image
from animate.media.info import Image
from animate.models.adapter_files import adapter_file
from animate.models.components import Components
from animate.models.config import FaceConfig
from animate.models.lora import Weighed, merged, open_adapters
from animate.models.variants import lookup_name
from animate.progress import RESTYLED, Progress, Remembering
from animate.request.request import AnimationRequest, AnimationResult, RuntimeOptions
from animate.request.schema import plain
from animate.request.values import Size
from pose.estimators.base import Estimator
from temporal.memory_plan import MemoryPlan

OnSkeletons = Callable[[Skeletons], None]
"""Called with the clip's skeletons as soon as they are known, before any frame is generated."""


class Loaded(Protocol):
    """Networks, estimators and workers that are kept from one clip to the next."""

    engine: Engine
    executor: WindowExecutor | None
    """Workers of clips whose request names none; None: this process."""
    reason: str
    """Reason for which this model variant was taken."""

    def estimator(self, request: AnimationRequest) -> Estimator:
        """The pose estimator that a request names."""

    def face_reader(self, config: FaceConfig, folder: Path | None) -> FaceReader:
        """The face networks in a folder."""

    def workers(self, runtime: RuntimeOptions) -> WindowExecutor | None:
        """Workers that compute the windows; None: this process."""


def make_clip(
    loaded: Loaded,
    request: AnimationRequest,
    progress: Remembering,
    digests: FileDigests,
    on_skeletons: OnSkeletons | None = None,
    *,
    on_preview: OnPreview | None = None,
    checked: bool = False,
) -> AnimationResult:
    """Make the clip of a request and its record. Raises as `Animator.__call__`.

    checked: True if `check_request` has passed it just now
    """
    clock = Clock()
    parts, variant = loaded.engine.components, loaded.engine.components.variant
    if not checked:
        check_request(request)
    original = request
    if request.restyle is not None:
        progress.expect(RESTYLED)
        with clock("restyle"):
            request, _ = restyle(
                request, variant, lambda: loaded.estimator(request), digests, progress
            )
    picture = read_image(request.reference, warn=progress.warn)
    settings = settle(request, variant, Size(picture.shape[1], picture.shape[0]))
    check_identity(request, variant)
    source = open_video(request.driving, stated_fps=request.fps)
    check_sizes(request, settings)
    prepared = prepare(loaded, loaded.engine, request, settings, source, progress)

    fingerprint = fingerprint_of(request, settings, loaded.engine, prepared.adapters, digests)
    inputs = ClipInputs(picture=picture, source=source, digests=fingerprint.inputs)
    conditions = conditions_of(request, loaded.engine)
    with (
        claimed_outputs(request) as record_path,
        working(request, fingerprint.digest, lookup_name(variant), conditions, progress) as work,
        merged(parts.unet, prepared.adapters),
    ):
        check_outputs(request, work.replaces)
        with clock("poses"), seen_in(original, request.reference):
            motion = clip_motion(
                work.request,
                inputs,
                variant,
                settings,
                lambda: loaded.estimator(request),
                progress,
            )
        face = face_of(loaded, request, picture, progress)
        if on_skeletons is not None:
            on_skeletons(motion.skeletons)

        engine = engine_for(loaded, request, prepared.memory, progress)
        finish = clip_finish(request, settings, motion, inputs, prepared.enlargement, progress)
        paths = Shareable(folder=record_path.parent)
        reason = paths.text(loaded.reason, request)
        model = model_record(loaded.engine.components, reason, prepared.adapters, paths)
        copy = ShortCopy.of(model, settings.seed, fingerprint)
        with clock("generate and write"):
            latents = sample(
                engine,
                settings,
                motion.picture,
                motion.control,
                progress,
                work.keeper,
                picture_of=motion.picture_of,
                face=face,
                live=live_preview(engine, request, on_preview, progress),
            )
            generated = decode(
                engine, settings, latents, progress, work.keeper, leading=int(motion.leading)
            )
            written = write_clip(
                work, finish, source, generated, ahead=settings.decode_chunk, copy=copy
            )
        for name in digests.changed_inputs(request, fingerprint.inputs):
            progress.warn(
                f"the file of {name} was changed while the clip was made, which may show either; "
                "make it again to be sure"
            )
        record = ClipRecord(
            request=paths.request(request),
            settings=plain(settings),
            digest=fingerprint.digest,
            seed=settings.seed,
            model=model,
            inputs=fingerprint.inputs,
            poses=motion.record,
            output=written.record(paths),
            leading=motion.leading,
            clip=written.file,
            device=conditions.device,
            precision=precision_of(parts.unet),
            threads=torch.get_num_threads(),
            windows="this process" if engine.executor is None else engine.executor.describe(),
            seconds=dict(clock.seconds),
            peak_host_bytes=peak_host_bytes(),
            peak_device_bytes=peak_device_bytes(engine.device),
            versions=conditions.versions,
            resumed=work.resumed,
            credentials=written.credentials,
            warnings=tuple(paths.text(warning, request) for warning in progress.warnings),
        )
        record.write(record_path)
    prepared.pace.keep(progress.paces)
    return result_of(record, record_path, request, written, progress.warnings)


def face_of(
    loaded: Loaded, request: AnimationRequest, reference: Image, progress: Progress
) -> np.ndarray | None:
    """The face vector (I) of the request's identity, or of the reference; None where the model is
    given no face, or none is seen, which is said."""
    config = loaded.engine.components.variant.face
    if config is None or request.sampling.identity_weight == 0:
        return None
    picture, path = reference, request.reference
    if request.identity is not None:
        path = request.identity
        picture = read_image(path, warn=progress.warn)
    face = loaded.face_reader(config, request.runtime.identity_folder)(picture)
    if face.vector is None:
        progress.warn(
            f"no face is seen in {path}: the clip is made without one; name a picture that shows "
            "it with --identity"
        )
    if face.faces > 1:
        progress.note(f"identity: the largest of {face.faces} faces in {path}")
    if face.from_the_side:
        progress.warn(
            f"the face in {path} is seen from the side, which tells less of who it is; name a "
            "picture of it from the front with --identity"
        )
    return face.vector


@contextmanager
def claimed_outputs(request: AnimationRequest) -> Iterator[Path]:
    """Hold every file that the run writes; yields the path of the record. Raises as `claimed`."""
    with ExitStack() as stack:
        stack.enter_context(claimed(request.output))
        for name, path in request.besides().items():
            stack.enter_context(claimed(path, name.replace("_", " ")))
        yield stack.enter_context(claimed_record(request.output))


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """Everything of a clip that is settled before its motion is looked for."""

    enlargement: Enlargement | None
    memory: MemoryPlan | None
    adapters: tuple[Weighed, ...]
    pace: ClipPace


def prepare(
    loaded: Loaded,
    engine: Engine,
    request: AnimationRequest,
    settings: ClipSettings,
    source: FrameSource,
    progress: Progress,
) -> Preparation:
    """Check windows and tempo, and find what enlarges the frames, the memory plan and adapters.

    engine: the loaded one, or the same with other constants
    Raises MediaError, ModelError, RequestError or TemporalError for what cannot be.
    """
    frames = len(source.sampling(selection_of(request)).frames)
    shared = request.runtime.workers is not None or loaded.executor is not None
    check_windows(settings, frames, shared=shared)
    if caution := unusual_size(settings, engine.components.variant):
        progress.warn(caution)
    enlargement = find_enlargement(request, settings.size, engine.device)
    find_tempo(request, source, frames)
    memory = plan_memory(engine, request, settings, frames, progress)
    adapters = open_adapters(engine.components.unet, request.lora)
    pace = ClipPace.of(request, settings, engine, source, frames)
    progress.expect(pace.course)
    return Preparation(enlargement=enlargement, memory=memory, adapters=adapters, pace=pace)


def plan_memory(
    engine: Engine,
    request: AnimationRequest,
    settings: ClipSettings,
    frames: int,
    progress: Progress,
) -> MemoryPlan | None:
    """A memory plan where one was asked for, or where memory is the device's.

    Raises TemporalError when nothing fits, RequestError for a plan that cannot be followed.
    """
    check_offload(request, engine.device)
    check_packing(request, engine.device, computing_dtype(engine.components.unet))
    if not wants_plan(request.runtime) and engine.device.type != "cuda":
        return None
    plan = plan_clip_memory(
        engine.components.variant,
        settings,
        request.runtime,
        frames=frames,
        device=engine.device,
        components=engine.components,
    )
    check_compilable(request, plan.offload)
    for line in plan.lines():
        progress.note(f"  {line}")
    return plan


def engine_for(
    loaded: Loaded, request: AnimationRequest, memory: MemoryPlan | None, progress: Progress
) -> Engine:
    """The engine with the request's workers, memory plan and compiler."""
    engine = replace(loaded.engine, executor=loaded.workers(request.runtime), plan=memory)
    if engine.executor is not None:
        progress.note(f"windows: {engine.executor.describe()}")
    if request.lora:  # other weights: workers that have this model must take it up anew
        engine = replace(engine, components=replace(engine.components))
    compiler = "inductor" if request.runtime.compile else None
    return replace(engine, compiler=compiler, packed=request.runtime.pack_weights)


def fingerprint_of(
    request: AnimationRequest,
    settings: ClipSettings,
    engine: Engine,
    adapters: tuple[Weighed, ...],
    digests: FileDigests,
) -> Fingerprint:
    """Everything that decides the pictures of this clip, with each input file read once."""
    for weighed in adapters:
        digests.remember(adapter_file(weighed.adapter.path), weighed.adapter.sha256)
    parts = engine.components
    return Fingerprint(
        inputs=digests.of_inputs(request),
        settings=picture_settings(request, settings, parts.variant.name),
        weights=dict(parts.digests),
    )


def conditions_of(request: AnimationRequest, engine: Engine) -> Conditions:
    """Conditions that may change rounding."""
    return Conditions(
        device=str(engine.device),
        precision=precision_of(engine.components.unet),
        memory=request.runtime.memory,
        offload=request.runtime.offload,
        versions=versions(),
        threads=torch.get_num_threads(),
    )


def model_record(
    parts: Components, reason: str, adapters: tuple[Weighed, ...], paths: Shareable
) -> ModelRecord:
    """The record of the networks that make a clip."""
    return ModelRecord(
        name=parts.variant.name,
        why=reason,
        licence=parts.variant.licence,
        weights_sha256=dict(parts.digests),
        lora=tuple(
            AdapterRecord(
                file=str(paths.path(weighed.adapter.path)),
                sha256=weighed.adapter.sha256,
                weight=weighed.weight,
                layers=len(weighed.adapter.layers),
            )
            for weighed in adapters
        ),
    )


def result_of(
    record: ClipRecord,
    record_path: Path,
    request: AnimationRequest,
    written: Written,
    warnings: Sequence[str],
) -> AnimationResult:
    """The result of a finished clip, for the caller."""
    return AnimationResult(
        output=request.output,
        sidecar=record_path,
        frames=written.frames,
        fps=written.fps,
        size=written.size,
        model=record.model.name,
        seconds=dict(record.seconds),
        peak_host_bytes=record.peak_host_bytes,
        peak_device_bytes=record.peak_device_bytes,
        warnings=tuple(warnings),
    )
