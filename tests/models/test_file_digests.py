"""Digests of fetched and own files, and the states that verifying tells."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from animate.models import hub
from animate.models.store import ModelFile, hub_digest, recorded_digest
from tests.models.small_repository import DIGEST, SETTINGS, WEIGHTS, remote


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
