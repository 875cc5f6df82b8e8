"""Everything that can be refused is refused here: before a frame is read or a file hashed.

`check_request` looks at the settings first, then at names and states of files, and opens them last.
`check_sizes` and `check_windows` follow when the model has filled in what was left open and the
length is known.
"""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import torch

from animate import files
from animate.clip.motion import comes_rendered
from animate.clip.provenance import check_signable, check_signing
from animate.clip.record import is_of_another, record_paths, sidecar_path
from animate.clip.restyle import check_restyle
from animate.clip.work import may_replace
from animate.driving.face import face_files
from animate.driving.skeletons import FULL
from animate.errors import MediaError, RequestError
from animate.files import check_readable, is_sequence, probe_folder, real_path
from animate.finish.enlarge import check_enlargement
from animate.finish.montage import check_sheet_name
from animate.generate.settings import ClipSettings, plan_clip, unshareable
from animate.media import check_driving, check_output
from animate.media.numbered import image_files, is_numbered
from animate.media.sequences import sequence_files
from animate.models.lora import check_adapters
from animate.models.tiny_decoder import tiny_decoder_files
from animate.models.variants import ModelVariant
from animate.request.request import USUAL_PANELS, AnimationRequest
from animate.request.values import Size

_INPUTS = {
    "reference": "the reference image",
    "driving": "the driving video",
    "poses": "the pose file",
    "identity": "the picture of the face",
    "upscale": "an upscaler's weights",
    "lora": "an adapter",
    "sign": "a file that signs",
}
"""Words for the settings that name files which are read."""

_HANDLES = 24
"""Files that a run has open at once at most, with some to spare: its clips and those beside it,
locks on them and their records, pipes of its threads."""


def check_request(request: AnimationRequest) -> None:
    """Refuse everything that can be known to be wrong before any work.

    Raises MediaError, ModelError or RequestError.
    """
    check_handles()
    check_options(request)
    check_names(request)
    replaces = may_replace(request)
    check_outputs(request, replaces)
    check_apart(request)
    check_inputs(request)
    if request.restyle is not None:
        check_restyle(request)
    for role, path in {**_written(request), "record": _record(request)}.items():
        check_replaceable(path, role)
    for path in _one_a_folder(_written(request)):
        probe_folder(path, error=MediaError)


def check_handles() -> None:
    """Raise RequestError where this process may not open as many files as a run has open."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        opened = len(os.listdir("/dev/fd"))
    except OSError as reason:
        opened = limit if reason.errno == errno.EMFILE else 0
    if limit != resource.RLIM_INFINITY and limit - opened < _HANDLES:
        raise RequestError(
            f"this process may have {limit} files open at once, and has {opened}; a run needs "
            f"{_HANDLES} more; allow them, as with ulimit -n {max(256, 2 * limit)}"
        )


def check_options(request: AnimationRequest) -> None:
    """Raise RequestError for settings that contradict each other, whatever the model."""
    for message in _contradictions(request):
        raise RequestError(message)
    for role, picture in (("contact sheet", request.contact_sheet), ("preview", request.preview)):
        if picture is not None:
            check_sheet_name(picture, role)
    if request.runtime.sign is not None:
        check_signable(request.output)


def _contradictions(request: AnimationRequest) -> Iterator[str]:
    sampling, runtime = request.sampling, request.runtime
    if runtime.workers is not None:
        yield from unshareable(sampling)
    if sampling.keep_features > 1:
        if runtime.compile:
            yield "--compile does not go with --keep-features; leave out one of them"
        if sampling.schedule == "shifting":
            yield features_of_schedule("shifting")
    if runtime.compile and runtime.offload == "stream":
        yield _COMPILE_STREAM
    if runtime.compile and runtime.pack_weights:
        yield "--compile does not go with --pack-weights; leave out one of them"
    if runtime.device == "cpu" and runtime.offload not in (None, "none"):
        yield _offload_of_host(runtime.offload)
    if request.fill != "edge" and request.fit != "pad":
        yield (
            f"--fill {request.fill} is for --fit pad, which shows the whole reference; --fit "
            f"{request.fit} leaves nothing to fill"
        )
    if request.side_by_side is None and request.panels != USUAL_PANELS:
        yield "--panels is for --side-by-side, which is not there; give it, or leave it out"
    yield from _contradictions_of_shot(request)
    if request.keep_face and comes_rendered(request):
        yield (
            "--keep-face needs the poses of the face, and rendered skeletons hold none; give a "
            "driving video, or a pose file"
        )
    if request.strength != FULL and comes_rendered(request):
        yield (
            f"--strength is for skeletons that are drawn here; those of {request.poses} are taken "
            "as they were rendered"
        )
    if request.interpolate and request.stride == 1 and request.fps is None:
        yield (
            "--interpolate fills in what a stride or a lower fps leaves out; nothing is left out "
            "here: give --stride or --fps, or leave it out"
        )


def _contradictions_of_shot(request: AnimationRequest) -> Iterator[str]:
    """Messages that refuse a person in the driving shot beside other wishes."""
    if not request.place_in_driving:
        return
    flags = {"--lock-background": request.lock_background, "--alpha": request.alpha}
    for flag, chosen in flags.items():
        if chosen:
            yield (
                f"--place-in-driving puts the driving shot behind the person, {flag} something "
                "else; leave out one of them"
            )
    if comes_rendered(request) or request.driving == request.poses:
        yield (
            "--place-in-driving needs the driving video and its poses; rendered skeletons, or a "
            "pose file alone, do not show the shot"
        )


_COMPILE_STREAM = (
    "--compile does not go with weights that are streamed block by block; leave it out, or allow "
    "more --memory"
)


def _offload_of_host(offload: str) -> str:
    return (
        f"--offload {offload} keeps weights on the host, where a CPU computes anyway; that saves "
        "nothing; leave it out"
    )


def features_of_schedule(schedule: str) -> str:
    """The message that refuses kept features of windows that move at every step."""
    return (
        f"features are kept by window, but those of the {schedule} schedule move at every step; "
        "use the static or the anchored schedule"
    )


def check_sizes(request: AnimationRequest, settings: ClipSettings) -> None:
    """Refuse a clip of a size that its files cannot have. Raises MediaError or RequestError."""
    check_enlargement(request, settings.size)
    size = request.enlarge_to or settings.size
    codec, alpha = request.codec, request.alpha
    check_output(request.output, True, codec=codec, size=size, probe=False, alpha=alpha)
    if request.side_by_side is not None:
        wide = Size(len(request.panels) * size.width, size.height)
        check_output(request.side_by_side, True, size=wide, probe=False)
    if request.mask_output is not None:
        check_output(request.mask_output, True, size=size, probe=False)


def check_windows(settings: ClipSettings, frames: int, *, shared: bool) -> None:
    """Refuse windows of a clip of `frames` frames that cannot be, or whose features cannot be kept.

    shared: True if workers compute its windows
    Raises RequestError for settings that do not go together, TemporalError for windows.
    """
    plan = plan_clip(settings, frames=frames, steps=settings.steps)
    for message in unshareable(settings) if shared else ():
        raise RequestError(message)
    if settings.keep_features > 1 and len(plan.cycle) > 1:
        raise RequestError(features_of_schedule(plan.schedule))


def check_identity(request: AnimationRequest, variant: ModelVariant) -> None:
    """Refuse a face for a model that is given none, and missing networks of one that is.

    Raises RequestError or ModelError.
    """
    weight = request.sampling.identity_weight
    if variant.face is None:
        if request.identity is not None or weight != 1:
            flag = "--identity-weight" if request.identity is None else "--identity"
            raise RequestError(
                f"{flag} is for models that are given a face, and {variant.name} is not; leave it "
                "out, or choose --model stableanimator"
            )
    elif weight == 0:
        if request.identity is not None:
            raise RequestError(
                "--identity counts for nothing with --identity-weight 0; leave one out"
            )
    else:
        face_files(variant.face, request.runtime.identity_folder)


def check_compilable(request: AnimationRequest, offload: str) -> None:
    """Raise RequestError where a memory plan streams weights through a UNet that is compiled."""
    if request.runtime.compile and offload == "stream":
        raise RequestError(_COMPILE_STREAM)


def check_packing(request: AnimationRequest, device: torch.device, dtype: torch.dtype) -> None:
    """Raise RequestError where weights would be packed that no float32 product on a CPU reads."""
    if request.runtime.pack_weights and (device.type, dtype) != ("cpu", torch.float32):
        precision = str(dtype).removeprefix("torch.")
        raise RequestError(
            f"--pack-weights is for float32 on a processor, and the UNet computes in {precision} "
            f"on {device}; leave it out, or give --device cpu --precision float32"
        )


def check_offload(request: AnimationRequest, device: torch.device) -> None:
    """Raise RequestError where weights would be kept on the host that computes."""
    if device.type == "cpu" and request.runtime.offload not in (None, "none"):
        raise RequestError(_offload_of_host(request.runtime.offload))


def check_names(request: AnimationRequest) -> None:
    """Raise MediaError for a file name that the record, which is UTF-8, cannot hold, and for an
    output whose record would have a name that is too long."""
    record, _ = record_paths(request.output)
    if len(os.fsencode(record.name)) > files.LONGEST_NAME:
        raise MediaError(
            f"the output's name is too long: that of its record has {len(os.fsencode(record.name))}"
            f" bytes, and file systems take {files.LONGEST_NAME}; shorten it"
        )
    for _, path in request.paths("input", "output"):
        try:
            str(path).encode()
        except UnicodeEncodeError:
            readable = str(path).encode(errors="replace").decode()
            raise MediaError(f"the name {readable} is not UTF-8; rename the file") from None


def check_outputs(request: AnimationRequest, replaces: bool) -> None:
    """Refuse files that cannot be written, by their names and what is there; nothing is opened.

    replaces: True if what is there may be replaced
    """
    codec, alpha = request.codec, request.alpha
    check_output(request.output, replaces, codec=codec, probe=False, alpha=alpha)
    for path in (request.side_by_side, request.mask_output):
        if path is not None:
            check_output(path, replaces, probe=False)
    pictures = {"contact sheet": request.contact_sheet, "preview": request.preview}
    for role, path in (*pictures.items(), ("record", _record(request))):
        if path is not None:
            files.check_output(path, overwrite=replaces, role=role, error=MediaError, probe=False)
    written = _written(request)
    if len({real_path(path) for path in written.values()}) < len(written):
        names = " and ".join(name for name in written if name != "record")
        raise RequestError(f"{names} name the same file; give each its own")


def check_replaceable(path: Path, role: str) -> None:
    """Raise MediaError for another user's file in a folder such as /tmp, where only owners may
    replace theirs: the run would learn of it at its end."""
    real = files.real_path(path)
    try:
        owner, folder = real.lstat().st_uid, real.parent.stat()
    except OSError:  # nothing is there
        return
    if folder.st_mode & stat.S_ISVTX and os.geteuid() not in (0, owner, folder.st_uid):
        raise MediaError(
            f"{role} {path} belongs to another user, and its folder lets only owners replace "
            "files; choose another name"
        )


def check_apart(request: AnimationRequest) -> None:
    """Raise RequestError where a file that is written, or thrown away, is one of those read."""
    read = {
        real_path(path): _INPUTS[name]
        for name, path in request.paths("input", "place")
        if name in _INPUTS
    }
    if is_numbered(request.driving):
        read |= {real_path(image): "a driving image" for image in image_files(request.driving)}
    if request.poses is not None and is_sequence(request.poses):
        read |= {real_path(image): "a skeleton" for image in image_files(request.poses)}
    for role, path in _written(request).items():
        for written in _touched(path):
            if written in read:
                raise RequestError(
                    f"{role} {path} would overwrite {read[written]}; choose another name for it"
                )


def check_inputs(request: AnimationRequest) -> None:
    """Refuse files that cannot be read; each is opened, and no more than its head is read."""
    check_readable(request.reference, "reference image", MediaError)
    check_driving(request.driving)
    if request.poses is not None and not request.poses.is_dir():
        for file in image_files(request.poses) if is_sequence(request.poses) else [request.poses]:
            check_readable(file, "pose file", MediaError)
    if request.identity is not None:
        check_readable(request.identity, "identity picture", MediaError)
    networks = {
        "upscaler's weights": request.upscale,
        "estimator's network": request.runtime.estimator_network,
    }
    for role, path in networks.items():
        if path is not None:
            check_readable(path, role, MediaError)
    if (folder := request.runtime.identity_folder) is not None and not os.path.isdir(folder):
        raise MediaError(f"identity folder {folder} is not there; check the path")
    if request.runtime.preview_decoder is not None:
        tiny_decoder_files(request.runtime.preview_decoder)
    check_adapters(request.lora)
    if request.runtime.sign is not None:
        check_signing(request.runtime.sign, request.output)


def _record(request: AnimationRequest) -> Path:
    """The path that the record will have, unless another run takes it in between."""
    usual, longer = record_paths(request.output)
    return longer if usual.is_file() and is_of_another(usual, request.output) else usual


def _written(request: AnimationRequest) -> dict[str, Path]:
    besides = {name.replace("_", " "): path for name, path in request.besides().items()}
    return {"output": request.output, "record": sidecar_path(request.output), **besides}


def _touched(path: Path) -> list[Path]:
    """Files that are written; of numbered images also their folder, and older ones, which go."""
    if not is_sequence(path):
        return [real_path(path)]
    older = (real_path(file) for file in sequence_files(path))
    return [real_path(path), real_path(path).parent, *older]


def _one_a_folder(written: dict[str, Path]) -> list[Path]:
    """The first file of each folder; a folder of numbered images may not be there yet."""
    paths = [path.parent if is_sequence(path) and not path.parent.exists() else path
             for path in written.values()]  # fmt: skip
    return list({real_path(path.parent): path for path in reversed(paths)}.values())
