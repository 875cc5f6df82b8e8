"""The networks, the UNet with control and the published sampling against the published numbers."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from animate.errors import ModelError
from scripts.parity.checks import compare
from scripts.parity.recipe import array, fill
from scripts.parity.report import check_file

ROOT = Path(__file__).parents[3]
DATA = ROOT / "tests" / "data" / "parity"


def vectors(name: str, prefix: str) -> tuple[dict[str, torch.Tensor], dict]:
    path = DATA / f"{name}.safetensors"
    with safe_open(path, "pt") as file:
        settings = json.loads(file.metadata()["settings"])
    return {n: t for n, t in load_file(path).items() if n.startswith(prefix)}, settings


def save(path: Path, tensors, settings) -> Path:
    metadata = {} if settings is None else {"settings": json.dumps(settings)}
    save_file(tensors, path, metadata=metadata)
    return path


@pytest.fixture(scope="module")
def command():
    spec = importlib.util.spec_from_file_location(
        "check_parity", ROOT / "scripts" / "check_parity.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.mark.parametrize(
    ("name", "count"), [pytest.param("svd_v1", 6, marks=pytest.mark.slow), ("svd_v2", 7)]
)
def test_everything_in_the_file_is_checked_and_agrees(name, count):
    report = check_file(DATA / f"{name}.safetensors")
    assert report.complete
    assert report.passed, "\n".join(report.lines())
    assert len(report.checks) == count
    for check in report.checks:
        # Far inside the tolerances, so that other processors have room.
        assert check.difference < check.tolerance / 4, check.line()


def test_another_size_and_number_of_frames_runs(tmp_path, command, capsys):
    tensors, settings = vectors("svd_v2", "controlnext.")
    frames = tensors["controlnext.input"][:, :2, :, :64, :32].contiguous()
    other = tensors | {
        "controlnext.input": frames,
        "controlnext.output": torch.zeros(2, 320, 7, 3),
    }
    assert command([str(save(tmp_path / "a.safetensors", other, settings))]) == 1
    printed = capsys.readouterr().out
    assert "FAIL  controlnext.output" in printed
    assert "shape" not in printed


def test_the_command_tells_good_from_bad_vectors(tmp_path, command, capsys):
    tensors, settings = vectors("svd_v2", "controlnext.")
    assert command([str(save(tmp_path / "good.safetensors", tensors, settings))]) == 0
    assert "1 of 1 tensors within tolerance" in capsys.readouterr().out
    output = tensors["controlnext.output"].clone()
    output[0, 0, 0, 0] += 3e-4
    bad = save(tmp_path / "b.safetensors", tensors | {"controlnext.output": output}, settings)
    assert command([str(bad)]) == 1
    assert "FAIL  controlnext.output" in capsys.readouterr().out


def test_what_cannot_be_checked_is_named_with_the_reason(tmp_path, command, capsys):
    tensors, settings = vectors("svd_v2", "controlnext.")
    outputs, _ = vectors("svd_v2", "pipeline.")
    del tensors["controlnext.input"]
    tensors |= {"pipeline.latents": outputs["pipeline.latents"], "controlnext.taste": torch.ones(1)}
    assert command([str(save(tmp_path / "a.safetensors", tensors, settings))]) == 1
    printed = capsys.readouterr().out
    assert "not checked  controlnext.output: the file lacks controlnext.input" in printed
    assert "not checked  controlnext.taste: no meaning known" in printed
    assert "not checked  pipeline.latents: the file lacks pipeline.reference" in printed
    assert "nothing could be checked; 3 not checked" in printed


@pytest.mark.parametrize(
    ("tensors", "settings", "message"),
    [
        ({"x": torch.ones(1)}, {}, "neither networks"),
        ({"x": torch.ones(1)}, None, "no `settings`"),
        ({"unet.output": torch.ones(1)}, {"model": "v2", "salt": ""}, "settings lack unet"),
        ({"controlnext.input": torch.ones(1)}, {"model": "v9", "salt": ""}, "model 'v9'"),
    ],
)
def test_files_of_no_known_kind_are_the_users_mistake(
    tmp_path, command, capsys, tensors, settings, message
):
    path = save(tmp_path / "odd.safetensors", tensors, settings)
    with pytest.raises(ModelError, match=message):
        check_file(path)
    assert command([str(path)]) == 2
    assert "odd.safetensors" in capsys.readouterr().err


def test_broken_and_absent_files_are_the_users_mistake(tmp_path, command, capsys):
    (tmp_path / "cut.safetensors").write_bytes((DATA / "svd_v2.safetensors").read_bytes()[:5000])
    for name in ("cut", "absent"):
        assert command([str(tmp_path / f"{name}.safetensors")]) == 2
        assert f"{name}.safetensors" in capsys.readouterr().err


def test_a_nan_agrees_with_a_nan_only():
    nan = float("nan")
    assert compare("a", [1.0, nan], [1.0, nan], 1e-3).passed
    assert not compare("a", [1.0, nan], [1.0, 2.0], 1e-3).passed
    assert not compare("a", [1.0, 2.0], [1.0, nan], 1e-3).passed
    assert compare("a", [float("inf")], [float("inf")], 1e-3).passed


def test_the_recipe_gives_the_same_numbers_for_ever():
    np.testing.assert_array_equal(
        array((3,), "x", "a-"), np.float32([1.3078327, -0.88175207, 1.5143845])
    )
    network = fill(torch.nn.Sequential(torch.nn.Conv2d(2, 3, 2), torch.nn.GroupNorm(1, 3)), "s")
    with torch.device("meta"):
        empty = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 2), torch.nn.GroupNorm(1, 3))
    for ours, made in zip(network.parameters(), fill(empty, "s").parameters(), strict=True):
        assert torch.equal(ours, made)
    kernel, bias, weight, _ = (p.detach().numpy() for p in network.parameters())
    drawn = array((3, 2, 2, 2), "0.weight", "s")
    np.testing.assert_array_equal(kernel, (drawn / np.sqrt(8)).astype(np.float32))
    np.testing.assert_allclose(bias, 0.05 * array((3,), "0.bias", "s"))
    np.testing.assert_allclose(weight, 1 + 0.1 * array((3,), "1.weight", "s"), rtol=1e-6)
