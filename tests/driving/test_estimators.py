from __future__ import annotations

from pathlib import Path

import pytest

from animate.driving.estimators import dwpose_files, estimator_options
from animate.errors import ModelError


def test_dwpose_comes_from_a_folder_or_the_hubs_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert estimator_options("dwpose", tmp_path, "cuda") == {"folder": tmp_path, "device": "cuda"}
    monkeypatch.setattr("animate.models.store.ModelFile.locate", lambda file: tmp_path / file.path)
    found = estimator_options("dwpose", None, "cpu")
    assert found["detector"] == tmp_path / "yolox_l.onnx"
    assert found["pose"] == tmp_path / "dw-ll_ucoco_384.onnx"


def test_what_was_not_fetched_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("animate.models.store.ModelFile.locate", lambda file: None)
    with pytest.raises(ModelError, match="cnx models fetch dwpose"):
        estimator_options("dwpose", None, "cpu")


def test_dwposes_files_are_pinned_and_their_licence_is_said() -> None:
    for file in dwpose_files():
        assert file.digest is not None
        assert file.source is not None
        assert "non-commercial" in file.source.licence


def test_controlnet_aux_needs_its_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="yolox_l"):
        estimator_options("controlnet-aux", tmp_path, "cpu")
    for name in ("yolox_l_8x8_300e_coco_x.pth", "dw-ll_ucoco_384.pth"):
        (tmp_path / name).touch()
    found = estimator_options("controlnet-aux", tmp_path, "cpu")
    assert found["detector"].name.startswith("yolox")


@pytest.mark.parametrize(("folder", "device"), [(Path("x"), "cpu"), (None, "cuda")])
def test_the_embedded_estimator_takes_neither(folder: Path | None, device: str) -> None:
    assert estimator_options("blazepose", None, "cpu") == {}
    with pytest.raises(ModelError, match="leave"):
        estimator_options("blazepose", folder, device)
