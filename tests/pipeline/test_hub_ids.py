"""Models by the names of their repositories."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from animate import ControlNeXtVideoPipeline
from animate.errors import ModelError
from animate.pipeline import hub_ids
from animate.pipeline.bars import TqdmBars
from animate.pipeline.hub_ids import model_of
from tests.toy import toy_model


def chosen(name: str | Path, *, local: bool = True) -> str | Path:
    return model_of(name, local_files_only=local, progress=TqdmBars({}))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, with one repository of two commits, and the user's own."""
    snapshots = tmp_path / "hub" / "models--me--walker" / "snapshots"
    for commit in ("1" * 40, "2" * 40):
        (snapshots / commit).mkdir(parents=True)
    refs = snapshots.parent / "refs"
    refs.mkdir()
    (refs / "main").write_text("1" * 40)
    monkeypatch.setattr(hub_ids, "cache_root", lambda: tmp_path / "hub")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    return snapshots


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("Pbihao/ControlNeXt", "svd-v2"),
        ("stabilityai/stable-video-diffusion-img2vid-xt", "svd-v2"),
        ("stabilityai/stable-video-diffusion-img2vid-xt-1-1", "svd-v2"),
        ("tencent/MimicMotion", "mimicmotion-1-1"),
        ("FrancisRing/StableAnimator", "stableanimator"),
        ("TMElyralab/MusePose", "musepose"),
        ("svd-v1", "svd-v1"),
        ("auto", "auto"),
        ("nonsense", "nonsense"),
    ],
)
def test_a_repository_of_a_known_variant_is_that_variant(name: str, variant: str) -> None:
    assert chosen(name) == variant


def test_a_model_folder_in_the_hubs_cache_is_loaded(cache: Path) -> None:
    folder = cache / ("1" * 40)
    folder.rmdir()
    toy_model(folder)
    assert chosen("me/walker") == folder
    pipe = ControlNeXtVideoPipeline.from_pretrained("me/walker", device="cpu")
    assert pipe.animator.engine.components.variant.name == "toy"


def test_networks_of_another_layout_are_linked_once_for_each_commit(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def linked(source: str, folder: Path) -> None:
        calls.append(source)
        folder.mkdir()

    monkeypatch.setattr(hub_ids, "import_model", linked)
    first = chosen("me/walker")
    assert chosen("me/walker") == first
    assert calls == [str(cache / ("1" * 40))]
    assert isinstance(first, Path)
    assert first.name == "me--walker-" + "1" * 12
    (cache.parent / "refs" / "main").write_text("2" * 40)
    assert chosen("me/walker") != first


def test_a_repository_that_is_not_here_is_fetched_when_that_is_asked_for(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match="`hf download me/runner` brings it"):
        chosen("me/runner")

    def download(name: str) -> str:
        if name == "me/gone":
            raise OSError("404\nnot found")
        toy_model(cache.parent / "runner")
        return str(cache.parent / "runner")

    library = SimpleNamespace(
        snapshot_download=download, errors=SimpleNamespace(HfHubHTTPError=OSError)
    )
    monkeypatch.setattr(hub_ids, "hub_library", lambda: library)
    assert chosen("me/runner", local=False) == cache.parent / "runner"
    with pytest.raises(ModelError, match="me/gone cannot be fetched from the model hub: 404 not"):
        chosen("me/gone", local=False)
    fetched: list[Any] = []
    monkeypatch.setattr(hub_ids.hub, "fetch", lambda variant, progress: fetched.append(variant))
    assert chosen("Pbihao/ControlNeXt", local=False) == "svd-v2"
    assert chosen("svd-v1", local=False) == "svd-v1"
    assert [variant.name for variant in fetched] == ["svd-v2", "svd-v1"]
