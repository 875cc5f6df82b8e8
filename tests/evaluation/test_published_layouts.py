"""Files in the published layouts of the metric networks are taken by name and run."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from animate import evaluate
from animate.errors import ModelError
from animate.evaluation.extractors import Networks, ScriptedExtractor
from animate.evaluation.frechet import Statistics
from animate.evaluation.network_files import FILES
from animate.evaluation.protocols import Comparison, comparisons, load_protocol
from animate.request.values import Size
from tests.evaluation.metric_networks import NETWORKS, write_network
from tests.evaluation.scenes import images, noisy, sliding
from tests.evaluation.vgg import random_vgg

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
FRAMES = sliding(6)
LENGTH = 3
"""Frames of a clip that a video network sees here: two clips of six frames."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    weights = tmp_path_factory.mktemp("weights")
    for measure in NETWORKS:
        write_network(measure, weights / FILES[measure].name)
    torch.save(random_vgg(), weights / FILES["lpips"].name)
    return weights


@pytest.fixture
def stand_in_vgg(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256((folder / FILES["lpips"].name).read_bytes()).hexdigest()[:8]
    monkeypatch.setitem(FILES, "lpips", replace(FILES["lpips"], digest=digest))


@pytest.fixture
def protocols(tmp_path: Path) -> tuple[str, str]:
    common = f"summary: x\nmeasures: [psnr, lpips, fid, fid_vid, fvd]\nclip_length: {LENGTH}\n"
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text(common)
    two.write_text(common + "resize: pil-bicubic\nclip_features: mean\nlpips_range: [0, 1]\n")
    return str(one), str(two)


@pytest.mark.parametrize("measure", NETWORKS)
def test_a_published_file_gives_its_own_features(measure: str, folder: Path) -> None:
    path = folder / FILES[measure].name
    network = torch.jit.load(str(path))
    pictures = FRAMES[:LENGTH]
    stack = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    with torch.no_grad():
        if measure == "fid":
            expected = network(stack, return_features=True)
        else:
            side = {"fvd": 224, "fid_vid": 112}[measure]
            resized = np.stack([cv2.resize(picture, (side, side)) for picture in pictures])
            video = torch.from_numpy(resized).permute(3, 0, 1, 2)[None].float()
            expected = (
                network(video, rescale=True, return_features=True)
                if measure == "fvd"
                else network(video / 255)
            )
    features = ScriptedExtractor(path, FILES[measure])(pictures)
    np.testing.assert_allclose(features, expected.double().numpy(), rtol=1e-5, atol=1e-6)


def test_one_networks_file_under_anothers_name_is_refused(folder: Path, tmp_path: Path) -> None:
    for measure, other in (("fid", "fvd"), ("fvd", "fid_vid"), ("fid_vid", "fid")):
        path = tmp_path / FILES[measure].name
        path.write_bytes((folder / FILES[other].name).read_bytes())
        with pytest.raises(ModelError, match="is another network"):
            ScriptedExtractor(path, FILES[measure])(FRAMES[:LENGTH])


@pytest.mark.usefixtures("stand_in_vgg")
def test_two_protocols_look_once_at_the_same_pictures(
    folder: Path, protocols: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: dict[str, int] = {}
    run = ScriptedExtractor.__call__

    def counted(self: ScriptedExtractor, pictures: object) -> object:
        calls[self._entry.measure] = calls.get(self._entry.measure, 0) + 1
        return run(self, pictures)  # type: ignore[arg-type]

    def means_apart(one: Statistics, two: Statistics) -> float:
        """In place of the distance, whose formula at these widths takes its time."""
        return float(((one.mean - two.mean) ** 2).sum())

    monkeypatch.setattr(ScriptedExtractor, "__call__", counted)
    monkeypatch.setattr("animate.evaluation.extractors.frechet_distance", means_apart)
    frames = sliding(6, 64, 48)
    truth, clip = images(tmp_path / "truth", frames), images(tmp_path / "clip", noisy(frames, 15))
    (both,) = evaluate(clip, truth=truth, weights=folder, protocol=protocols).clips
    # Of clip and truth: six pictures each, two clips of three frames each.
    assert calls == {"fid": 12, "fid_vid": 4, "fvd": 4}
    (alone,) = evaluate(clip, truth=truth, weights=folder, protocol=protocols[1]).clips
    values = {s.measure: s.value for s in alone.scores if s.protocol == "two"}
    assert values == {s.measure: s.value for s in both.scores if s.protocol == "two"}
    assert {"psnr", "lpips", "fid"} <= set(values)
    assert both.value("lpips", "one") != both.value("lpips", "two")
    assert both.value("fvd", "one") is not None
    assert both.value("fvd", "two") is None  # one mean over a video has no spread


def test_protocols_share_pictures_only_where_both_see_the_same() -> None:
    clean, disco = load_protocol("clean"), load_protocol("disco-tiktok")
    same, other = Size(192, 176), Size(96, 88)
    (shared,) = comparisons([clean, disco], same, same)
    assert [protocol.name for protocol in shared.protocols] == ["clean", "disco-tiktok"]
    assert [c.size for c in comparisons([clean, disco], other, same)] == [same, same]
    fixed = replace(clean, name="fixed", size=other)
    assert [c.size for c in comparisons([clean, fixed], same, same)] == [same, other]


@pytest.mark.usefixtures("stand_in_vgg")
def test_meters_are_of_the_networks_that_are_there(folder: Path) -> None:
    comparison = Comparison(protocols=(load_protocol("clean"),), size=Size(192, 176))
    assert len(Networks(folder).meters(comparison)) == 4
    assert Networks(None).meters(comparison) == []
