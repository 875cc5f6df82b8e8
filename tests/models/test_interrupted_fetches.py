"""Fetches that break off, stop or meet another, and go on where they were."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

import pytest

from animate.errors import ModelError
from animate.models import download, hub
from animate.request.presets import configs_folder
from tests.models.small_repository import NAME, WEIGHTS, Remarks, parts, remote


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
        "def stop(count, earlier=False): fetched.present() and os._exit(9)\n"
        "download.download(fetched, stop)\n"
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

    def interrupt(self, count: int, *, earlier: bool = False) -> None:
        seen.append(count)
        if sum(seen) > 2_000_000:
            raise KeyboardInterrupt

    monkeypatch.setattr(hub._Count, "__call__", interrupt)
    with pytest.raises(KeyboardInterrupt) as caught:
        hub.fetch_files([remote()])
    assert caught.value.__notes__ == ["what came is kept; the same command goes on from there"]
    assert [part.stat().st_size for part in parts(tmp_path)] == [sum(seen)]


def test_a_hub_without_ranges_sends_everything_again(server, tmp_path):
    server.ranges = False
    server.drop_after[NAME] = [3_000_000]
    (path,) = hub.fetch_files([remote()])
    assert path.read_bytes() == WEIGHTS


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


def test_two_fetches_at_once_take_the_bytes_once(server, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(lambda number: hub.fetch_files([remote()])[0], range(2)))
    assert paths[0] == paths[1]
    assert paths[0].read_bytes() == WEIGHTS
    assert not parts(tmp_path)
    assert len(server.gets(NAME)) <= 2


def test_part_files_that_nobody_continues_go_after_a_week(server, tmp_path):
    hub.fetch_files([remote("config.json")])
    blobs = tmp_path / "hub" / "models--someone--model" / "blobs"
    old, new = blobs / f"{'a' * 64}{download.PART}", blobs / f"{'b' * 64}{download.PART}"
    for part in (old, new):
        part.write_bytes(b"x")
    os.utime(old, (time.time() - 8 * 24 * 3600,) * 2)
    hub.fetch_files([remote()])
    assert parts(tmp_path) == [new]
