"""Fetching and verifying, with a stand-in for the hub; nothing here uses a network."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import errors

from animate.errors import ModelError
from animate.models import hub
from animate.models.config import Source
from animate.models.store import ModelFile, cached_digest, recorded_digest
from animate.models.variants import configs_folder

CONTENT = b"weights"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def remote(path: str = "net/model.bin", digest: str | None = None, **changes) -> ModelFile:
    values = {"repository": "someone/model", "revision": "main", "licence": "MIT", **changes}
    return ModelFile(path=path, source=Source(**values), digest=digest)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """A hub cache of our own, with a stand-in download that stores `CONTENT` as the hub does."""

    def locate(repository, filename, revision):
        found = place(repository, filename)
        return str(found) if found.exists() else None

    def place(repository: str, filename: str) -> Path:
        return tmp_path / repository.replace("/", "--") / "snapshots" / "c0" / filename

    def download(repository, filename, revision, force_download):
        link = place(repository, filename)
        blob = tmp_path / repository.replace("/", "--") / "blobs" / DIGEST
        for folder in (link.parent, blob.parent):
            folder.mkdir(parents=True, exist_ok=True)
        if force_download or not blob.exists():
            blob.write_bytes(CONTENT)
        link.unlink(missing_ok=True)
        link.symlink_to(blob)
        return str(link)

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", locate)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return tmp_path


def test_files_are_fetched_once_and_found_again(cache):
    calls = []
    file = remote(digest=DIGEST)
    assert file.locate() is None
    (path,) = hub.fetch_files([file], lambda *seen: calls.append(seen))
    assert calls == [(file, 1, 1)]
    assert path.read_bytes() == CONTENT
    assert file.locate() == path
    assert hub.fetch_files([file]) == (path,)


def test_a_fetched_file_with_another_digest_is_refused(cache):
    with pytest.raises(ModelError, match=r"someone/model/net/model\.bin was fetched but .* remove"):
        hub.fetch_files([remote(digest="0" * 64)])


def test_verify_tells_every_state(cache):
    pinned, unknown = remote(digest=DIGEST), remote("other.bin")
    absent = remote("absent.bin")
    hub.fetch_files([pinned, unknown])
    states = hub.verify_files([pinned, unknown, absent])
    assert [state.state for state in states] == ["ok", "ok", "missing"]
    assert states[0].digest == DIGEST
    pinned.locate().resolve().write_bytes(b"changed")
    states = hub.verify_files([pinned, unknown])
    assert [state.state for state in states] == ["damaged", "damaged"]
    (again,) = hub.fetch_files([pinned])
    assert again.read_bytes() == CONTENT
    assert hub.verify_files([pinned])[0].state == "ok"


def test_own_files_are_verified_by_the_stated_digest(tmp_path):
    (tmp_path / "a.bin").write_bytes(CONTENT)
    states = hub.verify_files(
        ModelFile(path="a.bin", folder=tmp_path, digest=digest)
        for digest in (DIGEST, "0" * 64, None)
    )
    assert [state.state for state in states] == ["ok", "damaged", "unpinned"]


def test_recorded_digests_come_from_the_cache_where_it_has_them(cache, tmp_path):
    (path,) = hub.fetch_files([remote()])
    assert cached_digest(path) == DIGEST
    path.resolve().write_bytes(b"changed")
    assert recorded_digest(path) == DIGEST
    plain = tmp_path / "plain.bin"
    plain.write_bytes(CONTENT)
    assert cached_digest(plain) is None
    assert recorded_digest(plain) == DIGEST


# Which HTTP library the hub's answers come from changes between its versions.
ANSWER = SimpleNamespace(headers={}, request=None)
NO_FILE = getattr(errors, "RemoteEntryNotFoundError", errors.EntryNotFoundError)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            errors.GatedRepoError("no", response=ANSWER),
            r"accept its licence \(MIT\).*HF_TOKEN",
        ),
        (errors.RepositoryNotFoundError("no", response=ANSWER), r"someone/model may not be"),
        (errors.RevisionNotFoundError("no", response=ANSWER), r"has no revision main"),
        (
            NO_FILE("no", response=ANSWER),
            r"has no file net/model\.bin",
        ),
        (errors.LocalEntryNotFoundError("offline"), r"could not be fetched \(offline\).*HF_HOME"),
        (OSError(28, "No space left on device"), r"No space left on device.*disk not full"),
        (ConnectionError(), r"could not be fetched \(ConnectionError\)"),
    ],
)
def test_the_hubs_errors_become_one_sentence(cache, monkeypatch, error, message):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(ModelError, match=message):
        hub.fetch_files([remote()])


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
