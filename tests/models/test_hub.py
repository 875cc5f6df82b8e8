"""Fetching from a small hub on the loopback address, and what it refuses."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from animate.errors import ModelError
from animate.models import download, hub
from animate.models.store import ModelFile
from animate.request.presets import configs_folder
from tests.models.fake_hub import COMMIT
from tests.models.small_repository import DIGEST, NAME, SETTINGS, WEIGHTS, Remarks, parts, remote


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
    with pytest.raises(ModelError, match=r"someone/model has no revision v9 any more; use a newer"):
        hub.fetch_files([remote(revision="v9")])
    with pytest.raises(ModelError, match=r"someone/model at main has no file other\.bin any more"):
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


def test_a_cache_that_is_a_file_is_named(server, tmp_path):
    (tmp_path / "hub").write_text("no folder")
    with pytest.raises(ModelError, match=r"cannot be stored in .*; set HF_HOME"):
        hub.fetch_files([remote()])


def test_a_file_that_another_revision_has_is_linked(server):
    hub.fetch_files([remote()])
    count = len(server.gets(NAME))
    (path,) = hub.fetch_files([remote(revision=COMMIT)])
    assert path.read_bytes() == WEIGHTS
    assert len(server.gets(NAME)) == count


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
    assert "unet/config.json is not here, and HF_HUB_OFFLINE is set" in done.stdout
    assert "copy the cache folder" in done.stdout
    assert len(done.stdout.splitlines()) == 1
