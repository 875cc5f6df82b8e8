"""Kinds of rows: clips and stills, by the word that a manifest's `kind` gives them.

Everything that a batch has to know of one kind of request stands in its `RowKind`. A new kind is
one more class in a file of its own, and one more line in `KINDS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from animate.batch.clip_rows import CLIPS
from animate.batch.executor import Send
from animate.batch.keys import Keys
from animate.batch.paths import check_paths_inside
from animate.batch.records import JobRecord, Products, Request
from animate.batch.still_rows import STILLS
from animate.batch.tasks import ClipReport, ClipTask, Maker, forget_peaks
from animate.clip.fingerprint import Fingerprint
from animate.errors import RequestError
from animate.request.request import AnimationRequest
from animate.request.still import StillRequest
from animate.request.wording import nearest, quoted

Asked = TypeVar("Asked", AnimationRequest, StillRequest)


class RowKind(Protocol[Asked]):
    """Everything that a batch knows of one kind of request."""

    @property
    def name(self) -> str:
        """Word of a manifest's `kind`."""

    @property
    def settings(self) -> type[Asked]:
        """Class of its requests."""

    @property
    def several(self) -> tuple[str, ...]:
        """Settings that a row may give several values of."""

    @property
    def usual_name(self) -> str:
        """Template of outputs that a row does not name."""

    @property
    def remote(self) -> bool:
        """True where inputs and outputs may lie in a store."""

    @property
    def copies(self) -> bool:
        """True where a job with the key of another is copied from it, not made again."""

    def template_values(self, number: int, values: Mapping[str, object]) -> dict[str, object]:
        """The values that a template may use of one job."""

    def output_name(self, template: str) -> str:
        """A batch's template of outputs as it is for this kind."""

    def request(self, values: Mapping[str, object]) -> Asked:
        """The request of plain values. Raises RequestError."""

    def check_model(self, request: Asked, roots: tuple[Path, ...]) -> None:
        """Raise RequestError for a model with files outside all of the resolved `roots`."""

    def products(self, request: Asked) -> Products:
        """The files that the request's job leaves."""

    def key(self, request: Asked, keys: Keys) -> Fingerprint:
        """The fingerprint of what the request makes.

        Raises MediaError, RequestError or ModelError where the job cannot work.
        """

    def order(self, request: Asked) -> tuple[str, ...]:
        """Words by which jobs are sorted, so that what is loaded serves the next."""

    def maker(self, worker: int) -> Maker:
        """The part of a worker that makes jobs of this kind."""

    def shared(self, request: Asked, folder: Path) -> Mapping[str, object]:
        """Plain values of a request with paths as they lead from a folder on."""

    def captions(self) -> tuple[str, str, str]:
        """Words under the pictures of inputs in the report: of `Pictures.reference` and
        `Pictures.driving`; and on the order of results, empty where there is none."""

    def amount(self, record: JobRecord) -> str:
        """The size of what was made, in words; empty where the record does not say."""


KINDS: Mapping[str, RowKind[Any]] = {kind.name: kind for kind in (CLIPS, STILLS)}
"""Every kind by its word, the usual first."""


def kind_named(name: object) -> RowKind[Any]:
    """The kind that a row names. Raises RequestError for any other word."""
    if not isinstance(name, str) or name not in KINDS:
        hint = nearest(name, list(KINDS)) if isinstance(name, str) else ""
        raise RequestError(f"kind {quoted(name)} is not one of {', '.join(KINDS)}{hint}")
    return KINDS[name]


def kind_of(request: Request) -> RowKind[Any]:
    """The kind of a request."""
    return next(kind for kind in KINDS.values() if isinstance(request, kind.settings))


def products_of(request: Request) -> Products:
    """The files that a request's job leaves."""
    return kind_of(request).products(request)


def start_makers(worker: int) -> JobMaker:
    """A worker's handler of `ClipTask`s; `worker` decides which GPU it takes."""
    return JobMaker(worker)


class JobMaker:
    """Makes jobs of any kind; what one kind has loaded goes before another loads its own."""

    def __init__(self, worker: int) -> None:
        self._worker = worker
        self._kind: RowKind[Any] | None = None
        self._maker: Maker | None = None

    def __call__(self, payload: ClipTask[Request], send: Send) -> ClipReport:
        """Make one job; whatever goes wrong is in the report."""
        kind = kind_of(payload.request)
        if self._maker is None or kind is not self._kind:
            self.close()
            self._kind, self._maker = kind, kind.maker(self._worker)
        forget_peaks()
        return self._maker(payload, send)

    def close(self) -> None:
        """See `Handler`."""
        maker, self._maker, self._kind = self._maker, None, None
        if maker is not None:
            maker.close()


def check_inside(request: Request, roots: Sequence[Path]) -> None:
    """Raise RequestError for a file that a request reads or uses outside all of the resolved
    `roots`: its model's files and the contents of folders included, links resolved."""
    if roots:
        check_paths_inside(request, tuple(roots))
        kind_of(request).check_model(request, tuple(roots))
