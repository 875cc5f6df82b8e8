"""Rows of clips: what `cnx run` takes, and what a batch knows of it before it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from animate.batch.keys import Keys
from animate.batch.paths import check_variant, record_path, stem
from animate.batch.records import JobRecord, Products
from animate.batch.tasks import Maker
from animate.clip.fingerprint import Fingerprint
from animate.clip.record import record_paths
from animate.clip.shareable import Shareable
from animate.request.request import AnimationRequest


@dataclass(frozen=True, kw_only=True)
class ClipRows:
    """See `RowKind`."""

    name: str = "clip"
    settings: type[AnimationRequest] = AnimationRequest
    several: tuple[str, ...] = ("reference", "driving", "seed")
    usual_name: str = "{reference}_{driving}.mp4"
    remote: bool = True
    copies: bool = True

    def template_values(self, number: int, values: Mapping[str, object]) -> dict[str, object]:
        """See `RowKind`; files by their names without suffix."""
        return {
            "row": number,
            "reference": stem(values.get("reference")),
            "driving": stem(values.get("driving")),
            "seed": values.get("seed", 0),
            "model": Path(str(values.get("model", "auto"))).name,
        }

    def output_name(self, template: str) -> str:
        """See `RowKind`."""
        return template

    def request(self, values: Mapping[str, object]) -> AnimationRequest:
        """See `RowKind`."""
        return AnimationRequest.from_dict(values)

    def check_model(self, request: AnimationRequest, roots: tuple[Path, ...]) -> None:
        """See `RowKind`."""
        check_variant(str(request.model), roots)

    def products(self, request: AnimationRequest) -> Products:
        """See `RowKind`."""
        return Products(
            output=request.output,
            record=record_path(request.output),
            files=(request.output,),
            besides=request.besides(),
            sidecars=record_paths(request.output),
        )

    def key(self, request: AnimationRequest, keys: Keys) -> Fingerprint:
        """See `RowKind`."""
        return keys.of(request)

    def order(self, request: AnimationRequest) -> tuple[str, ...]:
        """See `RowKind`: model, then size, driving video and reference."""
        device = f"{request.runtime.device} {request.runtime.precision}"
        files = (str(request.driving), str(request.reference))
        return str(request.model), device, str(request.size), *files

    def maker(self, worker: int) -> Maker:
        """See `RowKind`."""
        from animate.batch.clips import ClipMaker

        return ClipMaker(worker)

    def shared(self, request: AnimationRequest, folder: Path) -> Mapping[str, object]:
        """See `RowKind`."""
        return Shareable(folder=folder).request(request)

    def captions(self) -> tuple[str, str, str]:
        """See `RowKind`."""
        return "reference", "driving frame", "from first frame to last"

    def amount(self, record: JobRecord) -> str:
        """See `RowKind`."""
        return f"{record.frames} frames" if record.frames else ""


CLIPS = ClipRows()
