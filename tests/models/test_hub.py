"""Fetching and verifying, from a small hub on the loopback address."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import pytest

from animate.errors import ModelError
from animate.models import download, hub
from animate.models.config import Source
from animate.models.store import ModelFile, hub_digest, recorded_digest
from animate.progress import Remembering
from animate.request.presets import configs_folder
from tests.models.fake_hub import COMMIT, FakeHub, use_hub

WEIGHTS = bytes(range(256)) * 20_000
SETTINGS = b'{"layers": 2}'
DIGEST = hashlib.sha256(WEIGHTS).hexdigest()
NAME = "someone/model/net/model.bin"


def remote(path: str = "net/model.bin", digest: str | None = None, **changes) -> ModelFile:
    values = {"repository": "someone/model", "revision": "main", "licence": "MIT", **changes}
    return ModelFile(path=path, source=Source(**values), digest=digest)


@pytest.fixture
def server(tmp_path, monkeypatch) -> Iterator[FakeHub]:
    fake = FakeHub(files={NAME: WEIGHTS, "someone/model/config.json": SETTINGS})
    use_hub(fake, tmp_path / "hub", monkeypatch)
    yield fake
    fake.stop()


def parts(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.endswith((download.PART, "incomplete"))]


class Remarks(Remembering):
    """Notes and the largest total of a stage."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.totals: list[int | None] = []
        self.steps = 0

    def stage(self, name, total):
        from contextlib import nullcontext

        self.totals.append(total)
        return nullcontext(self)

    def advance(self, steps: int = 1) -> None:
        self.steps += steps

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_files_are_fetched_once_and_found_again(server, tmp_path):
    files, progress = [remote(digest=DIGEST), remote("config.json")], Remarks()
    assert files[0].locate() is None
    paths = hub.fetch_files(files, progress)
    assert [path.read_bytes() for path in paths] == [WEIGHTS, SETTINGS]
    assert [file.locate() for file in files] == list(paths)
    assert progress.notes[0] == "2 files to fetch, 5.1 MB"
    assert progress.steps == progress.totals[0] == 5
    count = len(server.requests)
    assert hub.fetch_files(files) == paths
    assert len(server.requests) == count
    assert not parts(tmp_path)


def test_verify_tells_every_state_and_fetching_mends_it(server):
    pinned, config, absent = remote(digest=DIGEST), remote("config.json"), remote("absent.bin")
    hub.fetch_files([pinned, config])
    states = hub.verify_files([pinned, config, absent])
    assert [state.state for state in states] == ["ok", "ok", "missing"]
    assert states[0].digest == DIGEST
    for file in (pinned, config):
        file.locate().resolve().write_bytes(b"changed")
    unstated = remote()
    states = hub.verify_files([pinned, unstated, config])
    assert [state.state for state in states] == ["damaged"] * 3
    paths = hub.fetch_files([unstated, config])
    assert [path.read_bytes() for path in paths] == [WEIGHTS, SETTINGS]
    assert [state.state for state in hub.verify_files([pinned, config])] == ["ok", "ok"]


def test_own_files_are_verified_by_the_stated_digest(tmp_path):
    (tmp_path / "a.bin").write_bytes(WEIGHTS)
    states = hub.verify_files(
        ModelFile(path="a.bin", folder=tmp_path, digest=digest)
        for digest in (DIGEST, "0" * 64, None)
    )
    assert [state.state for state in states] == ["ok", "damaged", "unpinned"]


def test_a_broken_connection_goes_on_where_it_broke(server, tmp_path):
    server.drop_after[NAME] = [3_000_000, 1_000_000]
    server.status[NAME] = []
    (path,) = hub.fetch_files([remote()])
    assert path.read_bytes() == WEIGHTS
    assert server.gets(NAME) == [None, "bytes=3000000-", "bytes=4000000-"]


def test_what_came_before_the_end_is_kept_for_the_next_fetch(server, tmp_path):
    server.drop_after[NAME] = [3_000_000, 0, 0, 0]
    with pytest.raises(ModelError, match=r"net/model\.bin could not be fetched .*ended early"):
        hub.fetch_files([remote()])
    assert [part.stat().st_size for part in parts(tmp_path)] == [3_000_000]
    assert remote().locate() is None
    progress = Remarks()
    (path,) = hub.fetch_files([remote()], progress)
    assert path.read_bytes() == WEIGHTS
    assert server.gets(NAME)[-1] == "bytes=3000000-"
    assert progress.notes[0] == "1 files to fetch, 2.1 MB"
    assert not parts(tmp_path)


def test_a_killed_fetch_is_continued(server, tmp_path, monkeypatch):
    """A process that ends in the midst leaves its part file, and its lock goes with it."""
    code = (
        "import os, sys\n"
        "from huggingface_hub import constants\n"
        "from animate.models import hub\n"
        "from animate.models.config import Source\n"
        "from animate.models.store import ModelFile\n"
        "source = Source(repository='someone/model', revision='main', licence='MIT')\n"
        "file = ModelFile(path='net/model.bin', source=source)\n"
        "from animate.models import download\n"
        "fetched = download.describe(file)\n"
        "download.download(fetched, lambda count: os._exit(9) if fetched.present() else None)\n"
    )
    from huggingface_hub import constants

    environment = {
        **os.environ,
        "HF_ENDPOINT": constants.ENDPOINT,
        "HF_HUB_CACHE": constants.HF_HUB_CACHE,
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=configs_folder().parent
    )
    assert done.returncode == 9
    (part,) = parts(tmp_path)
    before = part.stat().st_size
    assert 0 < before < len(WEIGHTS)
    (path,) = hub.fetch_files([remote()])
    assert path.read_bytes() == WEIGHTS
    assert server.gets(NAME)[-1] == f"bytes={before}-"
    assert not parts(tmp_path)


def test_ctrl_c_keeps_what_came(server, tmp_path, monkeypatch):
    seen = []

    def interrupt(self, count: int) -> None:
        seen.append(count)
        if sum(seen) > 2_000_000:
            raise KeyboardInterrupt

    monkeypatch.setattr(hub._Count, "__call__", interrupt)
    with pytest.raises(KeyboardInterrupt):
        hub.fetch_files([remote()])
    assert [part.stat().st_size for part in parts(tmp_path)] == [sum(seen)]


def test_a_hub_without_ranges_sends_everything_again(server, tmp_path):
    server.ranges = False
    server.drop_after[NAME] = [3_000_000]
    (path,) = hub.fetch_files([remote()])
    assert path.read_bytes() == WEIGHTS


def test_bytes_that_the_hub_does_not_state_are_thrown_away(server, tmp_path):
    server.corrupt.add(NAME)
    with pytest.raises(ModelError, match=r"model\.bin came with other bytes than .* states"):
        hub.fetch_files([remote()])
    assert remote().locate() is None
    assert not parts(tmp_path)
    server.corrupt.clear()
    assert hub.fetch_files([remote()])[0].read_bytes() == WEIGHTS


def test_a_file_that_the_hub_has_changed_is_refused_before_a_byte_comes(server):
    with pytest.raises(
        ModelError, match=r"changed on the hub: .* states 000000000000\.\.\.; nothing"
    ):
        hub.fetch_files([remote("config.json"), remote(digest="0" * 64)])
    assert not server.gets(NAME)
    assert not server.gets("someone/model/config.json")
    with pytest.raises(ModelError, match=r"changed on the hub: .* it will not be used"):
        hub.fetch_files([remote("config.json", digest="0" * 64)])


@pytest.mark.parametrize(
    ("token", "status", "message"),
    [
        ("", 0, r"someone/model asks for an account: accept its licence \(MIT\) at http.*hf auth"),
        ("old", 0, r"does not take your token: it is wrong or has expired; .*settings/tokens"),
        ("stranger", 0, r"your account has no access to someone/model: accept its licence"),
        ("narrow", 0, r"your token may not read someone/model \(Please enable.*settings/tokens"),
        ("good", 429, r"too many requests from here \(429\): wait some minutes"),
        ("", 429, r"or run `hf auth login`, which allows more"),
        ("good", 503, r"is out of order \(503\): wait and run the same command again"),
        ("good", 418, r"refuses someone/model/net/model\.bin \(418"),
    ],
)
def test_each_refusal_says_what_it_is_and_what_to_do(server, monkeypatch, token, status, message):
    monkeypatch.setenv("HF_TOKEN", token)
    server.gated.add("someone/model")
    server.status[NAME] = [status] * 9 if status else []
    with pytest.raises(ModelError, match=message) as caught:
        hub.fetch_files([remote("config.json") if not status else remote()])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("token", ["", "good"])
def test_an_absent_repository_is_not_a_licence_to_accept(server, monkeypatch, token):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(ModelError, match="there is no repository nobody/nothing at") as caught:
        hub.fetch_files([remote(repository="nobody/nothing", gated=True)])
    assert "licence" not in str(caught.value)
    assert ("hf auth login" in str(caught.value)) == (not token)


def test_absent_revisions_and_files_are_named(server):
    with pytest.raises(ModelError, match="someone/model has no revision v9"):
        hub.fetch_files([remote(revision="v9")])
    with pytest.raises(ModelError, match=r"someone/model at main has no file other\.bin"):
        hub.fetch_files([remote("other.bin")])


def test_a_busy_hub_is_asked_again(server):
    server.status[NAME] = [503, 429]
    assert hub.fetch_files([remote()])[0].read_bytes() == WEIGHTS


def test_a_hub_that_hangs_is_given_up(server, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    server.silent = threading.Event()
    try:
        with pytest.raises(ModelError, match=r"could not be fetched .*timed out"):
            hub.fetch_files([remote()])
    finally:
        server.silent.set()


def test_a_hub_that_hangs_before_it_says_anything_is_given_up(server, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    server.silent, server.silent_to = threading.Event(), ("HEAD", "GET")
    try:
        with pytest.raises(ModelError, match=r"could not be fetched .*timed out"):
            hub.fetch_files([remote()])
    finally:
        server.silent.set()


def test_a_hub_out_of_reach_gets_one_message(server, monkeypatch):
    from huggingface_hub import constants

    template = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    with pytest.raises(ModelError, match=r"could not be fetched from .*HF_HOME") as caught:
        hub.fetch_files([remote()])
    assert "\n" not in str(caught.value)


def test_room_on_the_disk_is_looked_at_before_the_first_byte(server, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=5_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ModelError, match=r"5\.1 MB are still to be fetched, .* has 5\.0 MB free"):
        hub.fetch_files([remote()])
    assert not server.gets(NAME)


def test_a_cache_that_is_read_only_is_named_before_a_byte_comes(server, tmp_path, monkeypatch):
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: access(path, mode) and Path(path) != tmp_path
    )
    with pytest.raises(ModelError, match=r"hub cannot be written to: .*read-only.*set HF_HOME"):
        hub.fetch_files([remote()])
    assert not server.gets(NAME)


class FullDisk:
    """A part file on a disk that takes so many bytes more."""

    def __init__(self, file: IO[bytes], room: int) -> None:
        self._file, self._room = file, room

    def __enter__(self) -> FullDisk:
        return self

    def __exit__(self, *problem: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: bytes) -> int:
        self._room -= len(data)
        if self._room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._file.write(data)


def test_a_disk_that_fills_at_80_percent_keeps_what_came(server, tmp_path, monkeypatch):
    opened = os.fdopen
    with monkeypatch.context() as full:
        room = len(WEIGHTS) * 8 // 10
        full.setattr(download.os, "fdopen", lambda *a: FullDisk(opened(*a), room))
        with pytest.raises(ModelError, match=r"no room left in .*what came is kept: make room"):
            hub.fetch_files([remote()])
    (part,) = parts(tmp_path)
    kept = part.stat().st_size
    assert 0 < kept <= room
    assert hub.fetch_files([remote()])[0].read_bytes() == WEIGHTS
    assert server.gets(NAME) == [None, f"bytes={kept}-"]
    assert not parts(tmp_path)


def test_a_cache_that_is_a_file_is_named(server, tmp_path):
    (tmp_path / "hub").write_text("no folder")
    with pytest.raises(ModelError, match=r"cannot be stored in .*; set HF_HOME"):
        hub.fetch_files([remote()])


def test_two_fetches_at_once_take_the_bytes_once(server, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(lambda number: hub.fetch_files([remote()])[0], range(2)))
    assert paths[0] == paths[1]
    assert paths[0].read_bytes() == WEIGHTS
    assert not parts(tmp_path)
    assert len(server.gets(NAME)) <= 2


def test_a_file_that_another_revision_has_is_linked(server):
    hub.fetch_files([remote()])
    count = len(server.gets(NAME))
    (path,) = hub.fetch_files([remote(revision=COMMIT)])
    assert path.read_bytes() == WEIGHTS
    assert len(server.gets(NAME)) == count


def test_part_files_that_nobody_continues_go_after_a_week(server, tmp_path):
    hub.fetch_files([remote("config.json")])
    blobs = tmp_path / "hub" / "models--someone--model" / "blobs"
    old, new = blobs / f"{'a' * 64}{download.PART}", blobs / f"{'b' * 64}{download.PART}"
    for part in (old, new):
        part.write_bytes(b"x")
    os.utime(old, (time.time() - 8 * 24 * 3600,) * 2)
    hub.fetch_files([remote()])
    assert parts(tmp_path) == [new]


def shared_store(file: ModelFile) -> Path:
    """Move a blob where the hub library puts those with a Xet hash: a store of all repositories."""
    path = file.locate()
    assert path is not None
    blob = path.parent / os.readlink(path)
    name = hashlib.sha256(b"another sum").hexdigest()
    store = blob.resolve().parents[2] / "blobs" / name[:2] / name
    store.parent.mkdir(parents=True)
    os.rename(blob, store)
    os.symlink(os.path.relpath(store, blob.resolve().parent), blob)
    return store


def test_digests_come_from_the_caches_own_layout(server, tmp_path):
    (path, config) = hub.fetch_files([remote(), remote("config.json")])
    assert hub_digest(path) == DIGEST
    assert recorded_digest(config) == hashlib.sha256(SETTINGS).hexdigest()
    path.resolve().write_bytes(b"changed")
    assert recorded_digest(path) == DIGEST  # it was checked when it came; verify reads it


def test_files_in_the_store_that_repositories_share_keep_their_digest(server):
    (path,) = hub.fetch_files([remote()])
    store = shared_store(remote())
    assert path.read_bytes() == WEIGHTS
    assert hub_digest(path) == DIGEST
    assert [state.state for state in hub.verify_files([remote()])] == ["ok"]
    store.write_bytes(b"changed")
    assert [state.state for state in hub.verify_files([remote()])] == ["damaged"]
    (path,) = hub.fetch_files([remote()])
    assert path.read_bytes() == WEIGHTS
    assert store.read_bytes() == b"changed"  # nothing is written through a link


def test_a_name_outside_the_caches_layout_proves_nothing(server, tmp_path):
    forged = "f" * 64
    for folder in ("x/blobs", "hub/models--a--b/other", "hub/blobs", "hub/models--a--b/blobs"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / forged).write_bytes(WEIGHTS)
    links = {
        "x/model.bin": "blobs/" + forged,
        "hub/models--a--b/model.bin": "blobs/" + forged,  # not among the snapshots
        "hub/models--a--b/snapshots/c/a.bin": "../../other/" + forged,
        "hub/models--a--b/snapshots/c/b.bin": "../../../blobs/" + forged,
        "hub/models--a--b/snapshots/c/c.bin": str(tmp_path / "x/blobs" / forged),
    }
    for name, target in links.items():
        link = tmp_path / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
        assert link.read_bytes() == WEIGHTS
        assert hub_digest(link) is None, name
        assert recorded_digest(link) == DIGEST
    outside = tmp_path / "hub/models--a--b/blobs" / ("e" * 64)
    outside.symlink_to(tmp_path / "x/blobs" / forged)
    link = tmp_path / "hub/models--a--b/snapshots/c/d.bin"
    link.symlink_to("../../blobs/" + "e" * 64)
    assert hub_digest(link) is None


def test_other_files_are_read_once_unless_they_change(tmp_path, monkeypatch):
    path, reads = tmp_path / "a.bin", []
    path.write_bytes(WEIGHTS)
    from animate.files import sha256

    monkeypatch.setattr("animate.models.store.sha256", lambda p: reads.append(p) or sha256(p))
    assert recorded_digest(path) == recorded_digest(path) == DIGEST
    assert len(reads) == 1
    path.write_bytes(b"changed")
    assert recorded_digest(path) == hashlib.sha256(b"changed").hexdigest()


def test_own_files_cannot_be_fetched(tmp_path):
    file = ModelFile(path="a.bin", folder=tmp_path, digest=DIGEST)
    with pytest.raises(ModelError, match=r"a\.bin is missing and comes from no repository"):
        hub.fetch_files([file])
    (tmp_path / "a.bin").write_bytes(b"changed")
    with pytest.raises(ModelError, match=r"a\.bin is damaged and comes from no repository"):
        hub.fetch_files([file])


def test_a_machine_that_is_offline_gets_one_message(tmp_path):
    code = (
        "from animate.errors import ModelError\n"
        "from animate.models import hub, variants\n"
        "try: hub.fetch(variants.load_variant('svd-v1'))\n"
        "except ModelError as reason: print(reason)\n"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=configs_folder().parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "HF_HUB_OFFLINE" in done.stdout
    assert "copy its cache folder" in done.stdout
    assert len(done.stdout.splitlines()) == 1
