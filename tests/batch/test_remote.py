"""Batches whose files lie in a bucket: staged, put up whole, resumed; a store that fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from animate.batch.clips import ClipMaker
from animate.batch.manifest import load_manifest
from animate.batch.records import JobRecord
from animate.batch.runner import run_batch
from animate.batch.staging import Staging, make_private
from animate.batch.storage import (
    StorageError,
    check_url,
    fetch_file,
    join_url,
    put_file,
    remote_matches,
    remote_state,
)
from animate.cli.main import main
from animate.errors import ManifestError, MediaError, RequestError
from tests.scene import write_scene
from tests.toy import toy_model

s3fs = pytest.importorskip("s3fs")
moto_server = pytest.importorskip("moto.server")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(botocore|aiobotocore|moto)")

SECRET = "very-secret-key"


class Bucket:
    """An S3 server of this process, with a bucket of the name `clips`."""

    def __init__(self) -> None:
        self._server = moto_server.ThreadedMotoServer(port=0, verbose=False)
        self._server.start()
        self.port = self._server.get_host_and_port()[1]

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server = moto_server.ThreadedMotoServer(port=self.port, verbose=False)
        self._server.start()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    server = Bucket()
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}"),
        ("AWS_ACCESS_KEY_ID", "somebody"),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_MAX_ATTEMPTS", "1"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("clips")
    yield server
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()
    from moto.backends import get_backend

    for regions in get_backend("s3").values():
        for backend in regions.values():
            backend.reset()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "toy"
    toy_model(folder)
    return folder


@pytest.fixture
def manifest(bucket: Bucket, tmp_path: Path, model: Path) -> str:
    """The URL of a manifest with two rows, whose inputs are beside it."""
    write_scene(tmp_path, 4)
    files = {"reference": "a picture.png", "driving": "moves/dance 1.mp4", "poses": "poses.npz"}
    for name, goal in zip(
        ("reference.png", "driving.mp4", "poses.npz"), files.values(), strict=True
    ):
        put_file(tmp_path / name, f"s3://clips/in puts/{goal}")
    common = {**files, "model": str(model), "retarget": "none", "steps": 1}
    rows = [{**common, "seed": seed, "output": f"take {seed}.mp4"} for seed in (1, 2)]
    path = tmp_path / "jobs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    put_file(path, "s3://clips/in puts/jobs.jsonl")
    return "s3://clips/in puts/jobs.jsonl"


def run(manifest: str, staging: Path, **options: Any) -> list[JobRecord]:
    limit = options.pop("limit", None)
    loaded = load_manifest(manifest, "s3://clips/out put", staging=staging, staging_limit=limit)
    records = run_batch(loaded, executor="serial", **options)
    return sorted(records, key=lambda record: record.number)


def names() -> set[str]:
    return {path.removeprefix("clips/") for path in s3fs.S3FileSystem().find("clips/out put")}


def test_clips_are_made_in_a_bucket_and_kept_until_an_input_changes(
    manifest: str, tmp_path: Path
) -> None:
    staging = tmp_path / "stage"
    options = ["--output-dir", "s3://clips/out put", "--staging", str(staging), "--quiet"]
    assert main(["batch", manifest, *options, "--executor", "serial"]) == 0
    clips = {f"out put/take {n}{end}" for n in (1, 2) for end in (".mp4", ".json", ".mp4.job.json")}
    assert names() == {*clips, "out put/report.html", "out put/report.json"}
    assert not list(staging.glob("job-*"))
    assert not list(staging.rglob("*.mp4"))
    fetch_file("s3://clips/out put/take 1.mp4.job.json", tmp_path / "record.json")
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["request"]["reference"] == "s3://clips/in puts/a picture.png"
    assert record["request"]["output"] == "s3://clips/out put/take 1.mp4"
    for name in names():
        assert SECRET.encode() not in s3fs.S3FileSystem().cat_file(f"clips/{name}")

    # Elsewhere, nothing is made again; a changed input is seen, and nothing else is done.
    assert [r.status for r in run(manifest, tmp_path / "other")] == ["kept", "kept"]
    (tmp_path / "new").mkdir()
    write_scene(tmp_path / "new", 5)
    put_file(tmp_path / "new" / "driving.mp4", "s3://clips/in puts/moves/dance 1.mp4")
    put_file(tmp_path / "new" / "poses.npz", "s3://clips/in puts/poses.npz")
    s3fs.S3FileSystem().rm("clips/out put/take 2.mp4")
    again = run(manifest, tmp_path / "other")
    assert [r.status for r in again] == ["done", "done"]
    assert again[0].why.startswith("changed: ")
    assert again[1].why == "its clip is gone"


def test_a_server_that_stops_fails_the_job_and_the_same_command_goes_on(
    manifest: str, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = ClipMaker._make

    def stopping(self: ClipMaker, task: Any, request: Any, send: Any) -> Any:
        report = make(self, task, request, send)
        if request.sampling.seed == 2:
            bucket.stop()
        return report

    monkeypatch.setattr(ClipMaker, "_make", stopping)
    records = run(manifest, tmp_path / "stage", retries=0)
    assert [record.status for record in records] == ["done", "failed"]
    assert records[1].error_kind == "io"
    assert "does not answer" in records[1].error
    monkeypatch.undo()
    bucket.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{bucket.port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert "out put/take 2.mp4" not in names()  # nothing half-written
    assert [record.status for record in run(manifest, tmp_path / "stage")] == ["kept", "done"]


def test_a_bucket_that_refuses_is_named_with_the_way_out(
    manifest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_manifest(manifest, "s3://clips/out put", staging=tmp_path / "stage")
    import moto.settings

    monkeypatch.setattr(moto.settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0.0)
    records = list(run_batch(loaded, executor="serial", retries=0))
    assert {record.status for record in records} == {"failed"}
    assert "refuses access" in records[0].error
    assert "credentials" in records[0].error


def test_a_job_may_take_only_so_much_of_the_local_disk(manifest: str, tmp_path: Path) -> None:
    records = run(manifest, tmp_path / "stage", limit=1000)
    assert {record.error_kind for record in records} == {"request"}
    assert "--staging-limit" in records[0].error
    assert not list((tmp_path / "stage").glob("job-*"))


def test_rows_are_checked_before_any_work(bucket: Bucket, tmp_path: Path) -> None:
    path = tmp_path / "jobs.jsonl"

    def refused(row: dict[str, Any], message: str, output: str = "s3://clips/out") -> None:
        path.write_text(json.dumps({"reference": "a.png", "driving": "b.mp4", **row}) + "\n")
        with pytest.raises((ManifestError, RequestError), match=message):
            load_manifest(path, output)

    refused({"reference": f"s3://me:{SECRET}@clips/a.png"}, "credentials in it")
    refused({"reference": "https://host/a.png?X-Amz-Signature=1"}, "signed or queried")
    refused({"reference": "s4://clips/a.png"}, "s4")
    refused({"output": "frames/%04d.png"}, "numbered images cannot go to a URL")
    refused({"lora": "s3://clips/a.safetensors"}, "adapters are read here")
    refused({"driving": "s3://clips/*.mov"}, "fits no file")
    same = {"driving": "s3://clips/out/b.mp4", "output": "b.mp4"}
    refused(same, "is an input and would be written over")
    path.write_text('{"reference": "s3://clips/a.png", "driving": "b.mp4"}\n')
    with pytest.raises(ManifestError, match="outside the allowed --root"):
        load_manifest(path, tmp_path / "out", roots=[tmp_path])


def test_any_store_of_fsspec_will_do(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"12345")
    url = f"memory://{tmp_path.name}/some folder/a.bin"
    assert remote_state(url) is None
    with pytest.raises(MediaError, match="does not exist"):
        fetch_file(url, tmp_path / "b.bin")
    assert not (tmp_path / "b.bin").exists()
    first = put_file(file, url)
    assert first.bytes == 5
    assert put_file(file, url).version != first.version  # the store knows times alone
    fetch_file(url, tmp_path / "b.bin")
    assert (tmp_path / "b.bin").read_bytes() == b"12345"
    pattern = f"memory://{tmp_path.name}/some folder/*.bin"
    assert remote_matches(pattern) == [url.replace("//", "///")] or remote_matches(pattern) == [url]
    local = f"file://{tmp_path}/deep/down/a.bin"  # a store that shows half-written files
    assert put_file(file, local).bytes == 5
    assert sorted(path.name for path in (tmp_path / "deep/down").iterdir()) == ["a.bin"]


@pytest.mark.parametrize("kind", ["new", "own", "open", "link"])
def test_the_usual_staging_folder_is_this_users_alone(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    usual = Staging().folder
    assert usual.parent == tmp_path
    if kind == "link":
        (tmp_path / "theirs").mkdir(mode=0o700)
        usual.symlink_to(tmp_path / "theirs")
    elif kind != "new":
        usual.mkdir()
        usual.chmod(0o700 if kind == "own" else 0o755)
    if kind in ("open", "link"):
        with pytest.raises(RequestError, match="open to others or not yours"):
            make_private(usual / "manifests" / "jobs.jsonl")
    else:
        make_private(usual / "manifests" / "jobs.jsonl")
        assert usual.stat().st_mode & 0o777 == 0o700


def test_a_staging_folder_that_was_named_is_the_users_business(tmp_path: Path) -> None:
    make_private(tmp_path / "stage" / "job-1")
    assert not (tmp_path / "stage").exists()


@pytest.mark.parametrize(
    "url", ["zip://a.png::file:///secret.zip", "simplecache://a::b", "reference://a", "tar://a"]
)
def test_a_file_within_another_is_refused(url: str) -> None:
    with pytest.raises(RequestError, match=r"within another|cannot be used"):
        check_url(url, "reference")


def test_urls_are_joined_without_leaving_the_bucket() -> None:
    assert join_url("s3://bucket/in", "a b.png") == "s3://bucket/in/a b.png"
    assert join_url("s3://bucket/in", "../other/a.png") == "s3://bucket/other/a.png"
    assert join_url("s3://bucket/in", "s3://else/a.png") == "s3://else/a.png"
    with pytest.raises(RequestError, match="above"):
        join_url("s3://bucket", "../../a.png")
    with pytest.raises(RequestError, match="credentials"):
        check_url("s3://key:secret@bucket/a", "reference")


def test_models_by_url_stay_for_the_jobs_that_follow(
    bucket: Bucket, tmp_path: Path, model: Path
) -> None:
    for path in model.rglob("*"):
        if path.is_file():
            put_file(path, f"s3://clips/models/mine/{path.relative_to(model).as_posix()}")
    staging = Staging(tmp_path / "stage", output_url="s3://clips/out")
    values = {
        "model": "s3://clips/models/mine",
        "reference": "/here/a.png",
        "driving": "/here/b.mp4",
    }
    changed, files = staging.job_files(1, values, "")
    assert files is not None
    with files.staged():
        here = Path(changed["model"])
        assert (here / "variant.yaml").read_bytes() == (model / "variant.yaml").read_bytes()
    assert here.is_dir()
    assert not files.folder.exists()
    s3fs.S3FileSystem().rm("clips/models/mine", recursive=True)
    with files.staged():  # which asks nothing of the store
        assert here.is_dir()


def test_a_store_that_is_not_there_is_a_failure_that_passes(
    monkeypatch: pytest.MonkeyPatch, bucket: Bucket
) -> None:
    from animate.batch.failures import failure_of

    bucket.stop()
    with pytest.raises(StorageError) as caught:
        remote_state("s3://clips/a.png")
    bucket.start()
    failure = failure_of(caught.value)
    assert failure.kind == "io"
    assert failure.passing


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ray_workers_stage_from_a_bucket_and_put_clips_into_it(
    manifest: str, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    loaded = load_manifest(manifest, "s3://clips/out put", staging=tmp_path / "stage")
    records = list(run_batch(loaded, executor="ray", jobs=1, retries=0))
    assert [record.status for record in records] == ["done", "done"], records[0].error
    assert all(record.worker.startswith("ray 0 ") for record in records)
    assert {f"out put/take {n}.mp4" for n in (1, 2)} < names()
    assert not list((tmp_path / "stage").glob("job-*"))
    again = run(manifest, tmp_path / "other")  # another machine, without Ray
    assert [record.status for record in again] == ["kept", "kept"]
