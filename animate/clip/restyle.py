"""The reference of a clip made anew before it is animated: in the driving video's first pose, and
as a prompt says.

The given reference, brought limb by limb into that pose, is the picture that a still begins from,
and the pose's skeleton controls it. What comes out is a picture beside the clip with a record of
its own (`animate.stills.record`); the clip then has it for its reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

from animate.clip.fingerprint import FileDigests
from animate.clip.motion import ClipInputs, find_motion
from animate.driving.estimators import estimator_options
from animate.errors import MotionError, RequestError
from animate.generate.settings import settle
from animate.media import open_video, read_image
from animate.media.image import write_png
from animate.models.stills import StillDesign
from animate.models.variants import ModelVariant, resolve
from animate.progress import Progress, Quiet, Remembering, Stage
from animate.request.request import AnimationRequest
from animate.request.still import StillRequest
from animate.request.values import Size
from animate.stills.make import StillResult, check_still, make_stills
from animate.stills.sizes import size_like
from pose.errors import PoseError
from pose.estimators import load_estimator
from pose.estimators.base import Estimator


class OneStage(Remembering):
    """Shows the making of the still as one stage of the clip, whatever stages it has of its own."""

    def stage(self, name: str, total: int | None) -> AbstractContextManager[Stage]:
        """See `Progress`."""
        return super().stage("restyle", total)


def restyle_path(request: AnimationRequest) -> Path:
    """The picture that a request's reference is made into, beside the clip."""
    stem = request.output.stem.partition("%")[0].rstrip("._-") or "clip"
    return request.output.with_name(f"{stem}-reference.png")


def check_restyle(request: AnimationRequest) -> StillDesign:
    """The design that a restyled reference is made with. Raises ModelError or MediaError where its
    files are not here."""
    still = _still_request(request, size=None, control=request.reference, init=request.reference)
    return check_still(still).design


def restyle(
    request: AnimationRequest,
    variant: ModelVariant,
    estimator: Callable[[], Estimator],
    digests: FileDigests,
    progress: Progress,
) -> tuple[AnimationRequest, StillResult]:
    """The request with its reference made anew, and the report on that picture.

    variant: of the model that animates it, which decides the clip's size
    estimator: opens the pose estimator that the request names
    Raises as `find_motion` and `make_stills`.
    """
    if request.restyle is None:
        raise RequestError("restyle is missing: say what the reference is to become")
    design = check_restyle(request)
    picture = read_image(request.reference, warn=progress.warn)
    size = settle(request, variant, Size(picture.shape[1], picture.shape[0])).size
    source = open_video(request.driving, stated_fps=request.fps)
    motion = find_motion(
        replace(request, max_frames=1),
        ClipInputs(picture=picture, source=source, digests=digests.of_inputs(request)),
        replace(
            variant,
            pose_style=design.pose_style,
            image_latents="warped",
            leading_reference=False,
        ),
        size,
        estimator,
        progress,
    )
    path = restyle_path(request)
    control, init = (path.with_name(f"{path.stem}-{part}.png") for part in ("pose", "begin"))
    write_png(control, motion.skeletons.picture(0))
    write_png(init, motion.picture if motion.picture_of is None else motion.picture_of(0))
    still = _still_request(request, size=size_like(size, design), control=control, init=init)
    result = make_stills(still, OneStage(progress))
    progress.note(f"reference, made anew: {path}")
    return replace(request, reference=path, restyle=None), result


@contextmanager
def seen_in(request: AnimationRequest, reference: Path) -> Iterator[None]:
    """Within it, nobody seen in the reference that a request had made anew is a MotionError that
    names what to change; other requests and errors pass.

    request: as it was given
    reference: picture that is animated
    """
    try:
        yield
    except PoseError as reason:
        if request.restyle is None or str(reference) not in str(reason):
            raise
        raise MotionError(
            f"no person was found in {reference}, the reference that was made anew; keep more of "
            f"the given one with --restyle-strength below {request.restyle_strength:g}, or name "
            "another --still-model"
        ) from reason


def restyle_reference(request: AnimationRequest, progress: Progress | None = None) -> StillResult:
    """Make the reference of a request anew and stop there. Raises as `restyle`."""
    check_restyle(request)
    variant = resolve(request.model).variant

    def estimator() -> Estimator:
        runtime = request.runtime
        options = estimator_options(
            request.estimator, runtime.estimator_folder, runtime.estimator_device
        )
        return load_estimator(request.estimator, **options)

    return restyle(request, variant, estimator, FileDigests(), progress or Quiet())[1]


def _still_request(
    request: AnimationRequest, *, size: Size | None, control: Path, init: Path
) -> StillRequest:
    precision = request.runtime.precision
    return StillRequest(
        prompt=request.restyle or "",
        output=restyle_path(request),
        model=request.still_model,
        lora=request.still_lora,
        control=control,
        init=init,
        strength=request.restyle_strength,
        size=size,
        seed=min(request.sampling.seed, 2**63 - 1),
        overwrite=request.overwrite,
        device=request.runtime.device,
        precision="auto" if precision == "int8" else precision,
    )
