"""Rows of stills: what `cnx still` takes, and what a batch knows of it before it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from animate.batch.keys import Keys
from animate.batch.paths import RECORD_SUFFIX, stem
from animate.batch.records import JobRecord, Products
from animate.batch.tasks import Maker
from animate.clip.fingerprint import Fingerprint
from animate.clip.shareable import Shareable
from animate.errors import MediaError, RequestError
from animate.files import real_path
from animate.models.stills import split_name, still_design_names
from animate.request.schema import build, plain
from animate.request.setting_paths import with_paths
from animate.request.still import StillRequest


@dataclass(frozen=True, kw_only=True)
class StillRows:
    """See `RowKind`. A series counts as numbered images; its finished pictures are not made
    again."""

    name: str = "still"
    settings: type[StillRequest] = StillRequest
    several: tuple[str, ...] = ("control", "control_from", "seed")
    usual_name: str = "still-{row:04}.png"
    remote: bool = False
    copies: bool = False

    def template_values(self, number: int, values: Mapping[str, object]) -> dict[str, object]:
        """See `RowKind`; the control picture, or its photo, by its name without suffix."""
        return {
            "row": number,
            "control": stem(values.get("control") or values.get("control_from")),
            "seed": values.get("seed", 0),
            "model": Path(str(values.get("model", "auto"))).name,
        }

    def output_name(self, template: str) -> str:
        """See `RowKind`: a template for clips with the suffix of pictures."""
        return str(Path(template).with_suffix(".png"))

    def request(self, values: Mapping[str, object]) -> StillRequest:
        """See `RowKind`."""
        return build(StillRequest, values)

    def check_model(self, request: StillRequest, roots: tuple[Path, ...]) -> None:
        """See `RowKind`. Models that are known by name lie where this installation put them, and
        folders are looked into with all other inputs."""
        name = split_name(str(request.model))[0]
        known = name in ("auto", *still_design_names()) or "/" in request.model
        if not known:  # a folder or file below the current one
            path = Path(request.model)
            if not any(real_path(path).is_relative_to(root) for root in roots):
                allowed = ", ".join(map(str, roots))
                raise RequestError(f"model {path} lies outside the allowed --root {allowed}")

    def products(self, request: StillRequest) -> Products:
        """See `RowKind`."""
        from animate.stills.make import picture_paths
        from animate.stills.record import record_path

        output, files = request.output, tuple(picture_paths(request))
        if request.count > 1:
            output = output.with_name(f"{output.stem}-%04d{output.suffix}")
        besides = {}
        if request.control_from is not None:
            name = f"{request.output.stem}-{request.control_kind}.png"
            besides["control_picture"] = request.output.with_name(name)
        return Products(
            output=output,
            record=request.output.with_name(request.output.name + RECORD_SUFFIX),
            files=files,
            besides=besides,
            sidecars=(record_path(request),),
        )

    def key(self, request: StillRequest, keys: Keys) -> Fingerprint:
        """See `RowKind`."""
        from animate.stills.make import check_still
        from animate.stills.record import input_digests

        model = check_still(request)
        try:
            digests = input_digests(request, model)
        except OSError as reason:
            raise MediaError(
                f"{reason.filename} cannot be read: {(reason.strerror or str(reason)).lower()}"
            ) from reason
        weights = ("base", "controlnext", "unet", "control_model", "depth_model", "ip_encoder")
        return Fingerprint(
            inputs={name: digest for name, digest in digests.items() if name not in weights},
            settings={**request.look(), "count": request.count, "model": model.design.name},
            weights={name: digest for name, digest in digests.items() if name in weights},
        )

    def order(self, request: StillRequest) -> tuple[str, ...]:
        """See `RowKind`: model and device, then what is loaded beside it."""
        parts = (request.base, request.controlnext, request.unet, request.control_model)
        device = f"{request.device} {request.precision}"
        return str(request.model), device, *map(str, parts), str(request.lora)

    def maker(self, worker: int) -> Maker:
        """See `RowKind`."""
        from animate.batch.stills import StillsMaker

        return StillsMaker(worker)

    def shared(self, request: StillRequest, folder: Path) -> Mapping[str, object]:
        """See `RowKind`."""
        values: dict[str, object] = plain(with_paths(request, Shareable(folder=folder).path))
        return values

    def captions(self) -> tuple[str, str, str]:
        """See `RowKind`."""
        return "control picture", "picture to begin from", ""

    def amount(self, record: JobRecord) -> str:
        """See `RowKind`."""
        if not record.frames:
            return ""
        return f"{record.frames} picture" + ("s" if record.frames > 1 else "")


STILLS = StillRows()
