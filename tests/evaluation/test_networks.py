"""LPIPS, Fréchet distances and VMAF: the formulas, with networks that nobody trained."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import scipy.linalg
import torch

from animate import evaluate
from animate.cli.main import main
from animate.errors import ModelError
from animate.evaluation.extractors import Lpips, Networks, ScriptedExtractor
from animate.evaluation.frechet import Statistics, frechet_distance
from animate.evaluation.network_files import FILES
from animate.evaluation.vmaf import ffmpeg_with_vmaf
from tests.evaluation.scenes import blurred, images, noisy, sliding, texture
from tests.evaluation.vgg import random_vgg

FRAMES = sliding(6)


def statistics(*batches: np.ndarray) -> Statistics:
    result = Statistics()
    for batch in batches:
        result.add(batch)
    return result


def test_batches_give_the_mean_and_covariance_of_all() -> None:
    values = np.random.default_rng(0).normal(3, 2, (50, 7))
    parts = statistics(values[:1], values[1:20], values[20:])
    assert parts.mean == pytest.approx(values.mean(0))
    assert parts.covariance == pytest.approx(np.cov(values, rowvar=False))
    merged = statistics(values[:30])
    merged.merge(statistics(values[30:]))
    assert merged.covariance == pytest.approx(np.cov(values, rowvar=False))


@pytest.mark.parametrize("count", [40, 5])  # fewer than the features: singular
def test_the_distance_is_that_of_the_published_code(count: int) -> None:
    rng = np.random.default_rng(count)
    first, second = rng.normal(0, 1, (count, 8)), rng.normal(0.5, 1.5, (count, 8))
    one, two = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    root = scipy.linalg.sqrtm(one @ two).real
    away = first.mean(0) - second.mean(0)
    expected = away @ away + np.trace(one + two - 2 * root)
    found = frechet_distance(statistics(first), statistics(second))
    assert found == pytest.approx(expected, abs=1e-4)
    assert frechet_distance(statistics(first), statistics(first)) == pytest.approx(0, abs=1e-9)


def test_the_distance_of_known_gaussians() -> None:
    # Means 3 apart; deviations 1 and 2 in each of two dimensions: 9 + 2 * (1 - 2)^2.
    corners = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]]) * np.sqrt(3 / 4)
    first, second = statistics(corners), statistics(2 * corners + (3, 0))
    assert frechet_distance(first, second) == pytest.approx(11)


# Figures of lpips 0.1.4 with these VGG weights: pictures in [0,1], and in [-1,1].
TRUTH = texture(96, 80)
LPIPS = {
    "noise": (noisy([TRUTH], 20)[0], 0.0039787450805306435, 0.0257477555423975),
    "blur": (blurred([TRUTH], 3)[0], 0.0019712653011083603, 0.01199861615896225),
    "shift": (np.roll(TRUTH, 5, 1), 0.02162870764732361, 0.11580060422420502),
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    torch.save(random_vgg(), folder / FILES["lpips"].name)
    return folder


@pytest.mark.parametrize("change", LPIPS)
def test_lpips_is_that_of_its_library(change: str, weights: Path) -> None:
    network = Lpips(weights / FILES["lpips"].name)
    picture, unit, signed = LPIPS[change]
    first, second = (
        torch.from_numpy(p).permute(2, 0, 1)[None].float() / 255 for p in (picture, TRUTH)
    )
    assert float(network(first, second)) == pytest.approx(unit, abs=1e-4, rel=1e-3)
    assert float(network(2 * first - 1, 2 * second - 1)) == pytest.approx(signed, abs=1e-4)


class Means(torch.nn.Module):
    """Stands in for a network: mean colours, in as many values as are asked for."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(
        self,
        pictures: torch.Tensor,
        rescale: bool = False,
        resize: bool = False,
        return_features: bool = True,
    ) -> torch.Tensor:
        values = pictures.float().flatten(2).mean(2)
        return torch.nn.functional.pad(values, (0, self.width - values.shape[1]))


def scripted(path: Path, width: int) -> Path:
    torch.jit.save(torch.jit.script(Means(width)), str(path))
    return path


def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A distance of 2,048 features takes seconds: have FID take 64."""
    monkeypatch.setitem(FILES, "fid", replace(FILES["fid"], features=64))


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_fid_is_the_closed_formula_of_a_stand_ins_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow(monkeypatch)
    scripted(tmp_path / FILES["fid"].name, 64)
    rng = np.random.default_rng(4)
    changed = [np.clip(f + rng.integers(0, 40), 0, 255).astype(np.uint8) for f in FRAMES]
    truth, clip = images(tmp_path / "truth", FRAMES), images(tmp_path / "clip", changed)
    own = tmp_path / "own.yaml"
    own.write_text("summary: x\nmeasures: [fid, fvd, lpips]\n")
    (scores,) = evaluate(clip, truth=truth, weights=tmp_path, protocol=str(own)).clips
    means = [np.array([f.mean((0, 1)) for f in frames]) for frames in (changed, FRAMES)]
    expected = frechet_distance(*(statistics(values) for values in means))
    assert scores.value("fid", "own") == pytest.approx(expected, rel=1e-4)
    assert "i3d_torchscript.pt" in dict(scores.left_out)["fvd"]
    assert "vgg16" in dict(scores.left_out)["lpips"]


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_videos_are_pooled_and_averaged_as_the_protocol_says(tmp_path: Path) -> None:
    scripted(tmp_path / FILES["fvd"].name, 400)
    own = tmp_path / "own.yaml"
    own.write_text("summary: x\nmeasures: [fvd]\nclip_length: 3\nclip_features: mean\n")
    levels = {"a": 0, "b": 10, "c": 30}
    for name, level in levels.items():
        images(tmp_path / "clips" / name, [np.full((24, 24, 3), 50 + level, np.uint8)] * 7)
        images(tmp_path / "truths" / name, [np.full((24, 24, 3), 50 + 2 * level, np.uint8)] * 7)
    evaluation = evaluate(
        tmp_path / "clips", truth=tmp_path / "truths", weights=tmp_path, protocol=str(own)
    )
    assert evaluation.clips[0].value("fvd") is None
    values = np.array([[50.0 + level] * 3 for level in levels.values()])
    truths = np.array([[50.0 + 2 * level] * 3 for level in levels.values()])
    expected = frechet_distance(statistics(values), statistics(truths))
    (pooled,) = evaluation.pooled
    assert pooled.value == pytest.approx(expected, rel=1e-4)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_files_of_other_networks_are_refused(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match="397923af"):
        Networks(weights)
    with pytest.raises(ModelError, match="does not exist"):
        Networks(tmp_path / "nowhere")
    wrong = scripted(tmp_path / "wrong.pt", 100)
    with pytest.raises(ModelError, match=r"\(2, 100\).*\(2, 2048\)"):
        ScriptedExtractor(wrong, FILES["fid"])([TRUTH, TRUTH])
    (tmp_path / "text.pt").write_text("nothing")
    with pytest.raises(ModelError, match="no TorchScript"):
        ScriptedExtractor(tmp_path / "text.pt", FILES["fid"])
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match="VGG-16"):
        Lpips(tmp_path / "other.pth")
    # With the digest of the stand-in, the folder's VGG is taken.
    digest = hashlib.sha256((weights / FILES["lpips"].name).read_bytes()).hexdigest()[:8]
    monkeypatch.setitem(FILES, "lpips", replace(FILES["lpips"], digest=digest))
    assert Networks(weights).missing("lpips") == ""
    assert "inception" in Networks(weights).missing("fid")


def test_a_folder_is_named_once_and_listed_with_digests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    own = tmp_path / "own.yaml"
    own.write_text("summary: x\nmeasures: [fid]\n")
    clip = images(tmp_path / "clip", FRAMES)
    command = ["evaluate", str(clip), "--truth", str(clip), "--protocol", str(own)]
    assert main(command) == 0
    assert "--weights FOLDER" in capsys.readouterr().out
    folder = tmp_path / "weights"
    folder.mkdir()
    narrow(monkeypatch)
    scripted(folder / FILES["fid"].name, 64)
    assert main([*command, "--weights", str(folder)]) == 0
    assert "FID (own)" in capsys.readouterr().out
    assert main(command) == 0
    assert "FID (own)" in capsys.readouterr().out
    assert main(["models", "list", "--kind", "metric"]) == 0
    lines = capsys.readouterr().out.splitlines()
    digest = hashlib.sha256((folder / FILES["fid"].name).read_bytes()).hexdigest()
    assert [line for line in lines if digest in line and line.startswith("fid ")]
    assert len([line for line in lines if "not here" in line]) == 3
    assert main([*command, "--weights", str(tmp_path / "nowhere")]) == 2


@pytest.mark.skipif(ffmpeg_with_vmaf() is None, reason="no ffmpeg with libvmaf is installed")
def test_vmaf_falls_with_harm(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("summary: x\nmeasures: [vmaf]\n")
    truth = images(tmp_path / "truth", FRAMES)
    values: list[Any] = []
    for number, radius in enumerate((0, 1, 3)):
        clip = images(tmp_path / str(number), blurred(FRAMES, radius))
        (scores,) = evaluate(clip, truth=truth, protocol=str(own)).clips
        values.append(scores.value("vmaf", "own"))
        assert len(scores.scores[0].curve) == len(FRAMES)
    assert values == sorted(values, reverse=True)
    assert values[0] > 90


def test_pictures_of_video_networks_have_their_size() -> None:
    seen = []

    class Network:
        def __call__(self, video: torch.Tensor, **options: bool) -> torch.Tensor:
            seen.append(tuple(video.shape))
            return torch.zeros(1, 400)

    extractor = ScriptedExtractor.__new__(ScriptedExtractor)
    extractor._path, extractor._entry, extractor._network = Path("x"), FILES["fvd"], Network()
    extractor([cv2.resize(TRUTH, (50, 70))] * 16)
    assert seen == [(1, 3, 16, 224, 224)]
