"""What can be known of a request before any work: what is wrong with it, and its inputs."""

from __future__ import annotations

from pathlib import Path

from animate import files
from animate.clip.provenance import check_signing
from animate.clip.record import sidecar_path
from animate.clip.work import may_replace
from animate.errors import MediaError, RequestError
from animate.files import check_readable, is_sequence
from animate.finish.montage import check_sheet_name
from animate.media import check_driving, check_output
from animate.media.numbered import image_files, is_numbered
from animate.media.sequences import sequence_files
from animate.models.lora import check_adapters
from animate.request.request import AnimationRequest
from animate.request.values import Size


def check_request(request: AnimationRequest) -> None:
    """Everything that can be known to be wrong before any work.

    Raises MediaError, ModelError or RequestError.
    """
    check_names(request)
    check_readable(request.reference, "reference image", MediaError)
    check_driving(request.driving)
    if request.poses is not None and not request.poses.is_dir():
        check_readable(request.poses, "pose file", MediaError)
    check_adapters(request.lora)
    check_apart(request)
    replaces = may_replace(request)
    check_output(request.output, replaces, codec=request.codec)
    check_beside(request, replaces)
    if request.runtime.sign is not None:
        check_signing(request.runtime.sign, request.output)
    record = sidecar_path(request.output)
    files.check_output(record, overwrite=replaces, what="record", error=MediaError)


def check_beside(request: AnimationRequest, overwrite: bool, size: Size | None = None) -> None:
    """Everything that can be wrong with the files beside the clip, before any work.

    Raises MediaError or RequestError.
    """
    names = {"output": request.output}
    if request.side_by_side is not None:
        wide = (3 * size.width, size.height) if size else None
        check_output(request.side_by_side, overwrite, size=wide)
        names["side by side"] = request.side_by_side
    if request.contact_sheet is not None:
        check_sheet_name(request.contact_sheet)
        files.check_output(
            request.contact_sheet, overwrite=overwrite, what="contact sheet", error=MediaError
        )
        names["contact sheet"] = request.contact_sheet
    places = {path.resolve() for path in names.values()}
    if len(places) < len(names):
        raise RequestError(f"{' and '.join(names)} name the same file; give each its own")


def check_names(request: AnimationRequest) -> None:
    """Raise MediaError for a file name that the record, which is UTF-8, cannot hold."""
    paths = (request.output, request.reference, request.driving, request.poses)
    for path in filter(None, (*paths, request.side_by_side, request.contact_sheet)):
        try:
            str(path).encode()
        except UnicodeEncodeError:
            shown = str(path).encode(errors="replace").decode()
            raise MediaError(f"the name {shown} is not UTF-8; rename the file") from None


def check_apart(request: AnimationRequest) -> None:
    """Raise RequestError where a file that is written, or thrown away, is one of those read."""
    inputs = [
        ("the reference image", request.reference),
        ("the driving video", request.driving),
        *((("the pose file", request.poses),) if request.poses is not None else ()),
        *((f"the adapter {one.path.name}", one.path) for one in request.lora),
    ]
    if is_numbered(request.driving):
        inputs += [("a driving image", image) for image in image_files(request.driving)]
    read = {path.resolve(): name for name, path in inputs}
    written = {
        "output": request.output,
        "record": sidecar_path(request.output),
        "side by side": request.side_by_side,
        "contact sheet": request.contact_sheet,
    }
    for what, path in written.items():
        for place in _places(path):
            if place in read:
                raise RequestError(
                    f"{what} {path} would overwrite {read[place]}; choose another name for it"
                )


def _places(path: Path | None) -> list[Path]:
    """Where files are written; of numbered images also their folder, and older ones, which go."""
    if path is None:
        return []
    place = path.resolve()
    if not is_sequence(path):
        return [place]
    return [place, place.parent, *(older.resolve() for older in sequence_files(path))]
