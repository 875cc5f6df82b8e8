"""Jobs whose files lie in a store: staged in a local folder for as long as each job runs.

Every remote file of a job has a path here, below the staging folder, and a job's request names
these paths. The worker fetches the inputs, makes the clip, puts the clip, its sidecar and other
outputs at their URLs, and removes the job's folder; the record follows last, from the process that
runs the batch. Model folders stay, for the jobs that follow.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from animate.batch.outputs import Plan, decide
from animate.batch.records import ClipState, JobRecord, Products, read_record
from animate.batch.storage import (
    StorageError,
    check_url,
    fetch_file,
    is_url,
    join_url,
    put_file,
    remote_files,
    remote_state,
)
from animate.clip.fingerprint import Fingerprint
from animate.clip.record import find_record
from animate.errors import MediaError, RequestError
from animate.files import atomic_folder, is_sequence
from animate.models.download import size_text
from animate.request.request import AnimationRequest
from animate.request.schema import plain, settings_of

_NAME_LENGTH = 80
_USUAL = "cnx-staging-"
"""Beginning of the name of a user's staging folder among the system's temporary ones."""


def make_private(path: Path) -> None:
    """Make the usual staging folder above `path`, or see that it is this user's alone: others could
    put a model or an input there. A folder that the user has named is the user's own business.

    Raises RequestError where somebody else has it.
    """
    for folder in (path, *path.parents):
        if folder.name != f"{_USUAL}{os.getuid()}":
            continue
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        state = folder.lstat()
        if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid() or state.st_mode & 0o077:
            raise RequestError(
                f"{folder} is open to others or not yours, so no file is fetched into it; make it "
                "yours alone (chmod 700), remove it, or name another with --staging"
            )


@dataclass(frozen=True, kw_only=True)
class JobFiles:
    """The remote files of one job, by their paths here; it travels to a worker."""

    folder: Path
    """Folder of the job alone, removed when the job ends."""
    inputs: Mapping[Path, str] = field(default_factory=dict)
    """URLs of inputs."""
    models: Mapping[Path, str] = field(default_factory=dict)
    """URLs of model folders, which stay."""
    outputs: Mapping[Path, str] = field(default_factory=dict)
    """URLs of the clip and of files that are written beside it; empty for local outputs."""
    limit: int | None = None
    """Bytes that the inputs may take at most."""

    @contextmanager
    def staged(self) -> Iterator[None]:
        """Bring the inputs here; remove the job's folder at the end.

        Raises MediaError, RequestError or StorageError.
        """
        try:
            make_private(self.folder)
            self._check_room()
            for path, url in self.models.items():
                _fetch_folder(url, path)
            for path, url in self.inputs.items():
                fetch_file(url, path)
            yield
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def put(self, output: Path) -> ClipState | None:
        """Put a finished clip and its files at their URLs, the sidecar last; returns its marks.

        None where outputs are local. Local copies are removed.
        """
        if not self.outputs:
            return None
        states = {path: put_file(path, url) for path, url in self.outputs.items() if path.exists()}
        sidecar = find_record(output)
        if sidecar is not None:
            put_file(sidecar, join_url(_folder_url(self.outputs[output]), sidecar.name))
        for path in (*states, *([sidecar] if sidecar else [])):
            path.unlink(missing_ok=True)
        return ClipState(bytes=states[output].bytes, version=states[output].version)

    def _check_room(self) -> None:
        states = {url: remote_state(url) for url in self.inputs.values()}
        for url, state in states.items():
            if state is None:
                raise MediaError(f"{url} does not exist; check the bucket and the name")
        needed = sum(state.bytes for state in states.values() if state is not None)
        needed += sum(
            state.bytes
            for path, url in self.models.items()
            if not path.exists()
            for state in remote_files(url).values()
        )
        if self.limit is not None and needed > self.limit:
            raise RequestError(
                f"the job's files take {size_text(needed)}, and a job may stage "
                f"{size_text(self.limit)}; raise --staging-limit, or use fewer --jobs"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise RequestError(
                f"the job's files take {size_text(needed)}, and {self.folder} has "
                f"{size_text(free)} free; name another disk with --staging"
            )


def _folder_url(url: str) -> str:
    return url.rpartition("/")[0]


def _fetch_folder(url: str, path: Path) -> None:
    """Bring a model folder here, unless an earlier job did."""
    if path.exists():
        return
    files = remote_files(url)
    if not files:
        raise MediaError(f"the model folder {url} does not exist or is empty; check the name")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with atomic_folder(path) as partial:
            for name in files:
                fetch_file(join_url(url, name), partial / name)
    except FileExistsError:  # another worker was first
        pass


class Staging:
    """The staging folder of a batch: gives remote files their paths here, and knows them again."""

    def __init__(
        self, folder: Path | None = None, *, limit: int | None = None, output_url: str = ""
    ) -> None:
        """
        folder: of the local disk; None: one of this user in the system's folder for such files
        limit: bytes that staged inputs take at most, over all jobs at a time
        output_url: folder that clips go to; empty for local outputs
        """
        digest = hashlib.sha256(output_url.encode()).hexdigest()[:12]
        usual = Path(tempfile.gettempdir()) / f"{_USUAL}{os.getuid()}"
        self.folder = (folder or usual).absolute()
        self.output_dir = self.folder / f"out-{digest}"
        self.output_url = output_url
        self.limit = limit

    def job_files(
        self, number: int, values: Mapping[str, object], folder_url: str
    ) -> tuple[dict[str, object], JobFiles | None]:
        """A row's values with paths here in place of URLs, and the job's remote files.

        Relative inputs are below `folder_url`, the manifest's own folder, where that is remote.
        Raises RequestError for a URL that cannot be used.
        """
        if not (folder_url or self.output_url or any(map(_names_url, values.values()))):
            return dict(values), None
        job_folder = self.folder / f"job-{number:06}-{self.output_dir.name[4:]}"
        inputs: dict[Path, str] = {}
        models: dict[Path, str] = {}
        changed = dict(values)
        for name, value in values.items():
            setting = settings_of(AnimationRequest).get(name)
            if setting is None or setting.role != "input" or not setting.holds_paths:
                continue
            if name == "lora" and any(is_url(item) for item in [value, *_items(value)]):
                raise RequestError(f"lora {value}: adapters are read here; copy the file to a disk")
            url = None if name == "lora" else self._url(name, value, folder_url)
            if url is None:
                continue
            if name == "model":
                path = self.folder / "models" / hashlib.sha256(url.encode()).hexdigest()[:16]
                models[path] = url
            else:
                path = job_folder / name / _file_name(url)
                inputs[path] = url
            changed[name] = str(path)
        if not (inputs or models or self.output_url):
            return changed, None
        return changed, JobFiles(folder=job_folder, inputs=inputs, models=models, limit=self.limit)

    def _url(self, name: str, value: Any, folder_url: str) -> str | None:
        """The URL that a value means; None for what is not remote."""
        if is_url(value):
            return check_url(value, name)
        if not folder_url or not isinstance(value, str | Path) or Path(str(value)).is_absolute():
            return None
        if name == "model" and "/" not in str(value):
            return None
        return join_url(folder_url, str(value))

    def with_outputs(self, files: JobFiles | None, request: AnimationRequest) -> JobFiles | None:
        """The job's files with the URLs of what it writes. Raises RequestError."""
        if not self.output_url or files is None:
            return files
        if is_sequence(request.output):
            raise RequestError("numbered images cannot go to a URL; name a video file as output")
        paths = [request.output, *request.besides().values()]
        return replace(files, outputs={path: self.url_of(path) for path in paths})

    def url_of(self, path: Path) -> str:
        """The URL of a file below the output folder."""
        return join_url(self.output_url, path.relative_to(self.output_dir).as_posix())


def _names_url(value: object) -> bool:
    if isinstance(value, str):
        return is_url(value)
    return isinstance(value, list | tuple) and any(map(is_url, value))


def _items(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _file_name(url: str) -> str:
    name = url.rstrip("/").rpartition("/")[2]
    return name[-_NAME_LENGTH:].lstrip(".") or "file"


def remote_key(request: AnimationRequest, files: JobFiles) -> Fingerprint:
    """The key of a job by what its stores say of its inputs, and its settings as given.

    Raises MediaError or StorageError.
    """
    inputs: dict[str, str] = {}
    for path, url in files.inputs.items():
        state = remote_state(url)
        if state is None:
            raise MediaError(f"{url} does not exist; check the bucket and the name")
        inputs[path.parent.name] = state.version
    weights = {
        f"{url}/{name}": state.version
        for url in files.models.values()
        for name, state in remote_files(url).items()
    }
    roles = ("look", "output")
    settings = {
        setting.name: plain(setting.value(request))
        for setting in settings_of(AnimationRequest).values()
        if setting.role in roles and not setting.holds_paths
    }
    model = "" if files.models else str(request.model)
    local = {
        name: str(path)
        for name, path in request.paths("input")
        if path not in files.inputs and path not in files.models
    }
    return Fingerprint(
        inputs={**local, **inputs}, settings={**settings, "model": model}, weights=weights
    )


class RemoteOutputs:
    """Clips and records in a store, with a copy of each record here for the report."""

    copies = False
    """Clips with one key are made one by one, not copied."""

    def __init__(self, staging: Staging) -> None:
        self._staging = staging

    def plan(self, products: Products, key: Fingerprint | None, *, overwrite: bool) -> Plan:
        """See `LocalOutputs`."""
        earlier = self._fetched(products.record)
        state = remote_state(self._staging.url_of(products.output))
        clip = earlier.clip if earlier is not None else None
        recorded = state is not None and clip is not None and state.version == clip.version
        missing = [
            name
            for name, file in products.besides.items()
            if remote_state(self._staging.url_of(file)) is None
        ]
        plan = decide(earlier, key, exists=state is not None, recorded=recorded,
                      missing=missing, overwrite=overwrite)  # fmt: skip
        return replace(plan, foreign=products.output) if plan.in_the_way else plan

    def write(self, record: JobRecord) -> None:
        """Write a record here, then put it at its URL."""
        record.write()
        put_file(record.record, self._staging.url_of(record.record))

    def state(self, output: Path) -> ClipState | None:
        """Marks of a clip; None where there is none."""
        state = remote_state(self._staging.url_of(output))
        return ClipState(bytes=state.bytes, version=state.version) if state else None

    def put_report(self, files: list[Path]) -> str:
        """Put the report's files beside the clips; returns the last one's URL."""
        for path in files:
            put_file(path, self._staging.url_of(path))
        return self._staging.url_of(files[-1])

    def _fetched(self, path: Path) -> JobRecord | None:
        url = self._staging.url_of(path)
        if remote_state(url) is None:
            path.unlink(missing_ok=True)
            return None
        fetch_file(url, path)
        return read_record(path)


__all__ = ["JobFiles", "RemoteOutputs", "Staging", "StorageError", "remote_key"]
