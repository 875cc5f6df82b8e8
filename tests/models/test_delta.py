"""Differences from a base: written, applied to another base, refused for another architecture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from animate.cli.main import main
from animate.errors import ModelError
from animate.models.components import load_components, save_model
from animate.models.delta import apply_delta, save_delta
from animate.models.variants import load_variant
from tests.toy import UNET, toy_model, toy_networks, toy_variant

CHANGED = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0.weight"


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """A base, a tuned one with one layer and the control network changed, another base."""
    toy_model(tmp_path / "base", seed=0)
    toy_model(tmp_path / "other", seed=1)
    networks = toy_networks(0)
    with torch.no_grad():
        networks["unet"].state_dict()[CHANGED].add_(0.25)
        networks["controlnext"].state_dict()["mid_convs.1.bias"].fill_(0.5)
    variant = replace(toy_variant(), name="tuned", summary="tuned toy")
    save_model(tmp_path / "tuned", variant, networks, dtype=torch.float32)
    return {name: tmp_path / name for name in ("base", "other", "tuned")}


def test_a_delta_makes_the_tuned_model_of_its_base(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "d.safetensors"
    save_model(tmp_path / "exact", toy_variant(), toy_networks(0), dtype=torch.float32)
    assert main(["train", "delta", str(tmp_path / "exact"), str(folders["tuned"]), "-o",
                 str(file)]) == 0  # fmt: skip
    assert "1 of the UNet's" in capsys.readouterr().err
    stored = load_file(file)
    assert [name for name in stored if name.startswith("unet.")] == [f"unet.{CHANGED}"]
    assert main(["train", "apply", str(file), str(tmp_path / "exact"), "-o",
                 str(tmp_path / "made"), "--quiet"]) == 0  # fmt: skip
    made = load_components(load_variant(str(tmp_path / "made")))
    tuned = load_components(load_variant(str(folders["tuned"])))
    assert made.variant.name == "tuned"
    for name in ("unet", "controlnext"):
        expected = getattr(tuned, name).state_dict()
        for key, value in getattr(made, name).state_dict().items():
            torch.testing.assert_close(value, expected[key], atol=1e-3, rtol=1e-3)


def test_on_another_base_only_the_difference_is_added(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    base, tuned = (load_components(load_variant(str(folders[n]))) for n in ("base", "tuned"))
    save_delta(base, tuned, tmp_path / "d.safetensors")
    other = load_components(load_variant(str(folders["other"])))
    before = {name: value.clone() for name, value in other.unet.state_dict().items()}
    apply_delta(tmp_path / "d.safetensors", other, tmp_path / "made")
    made = load_components(load_variant(str(tmp_path / "made"))).unet.state_dict()
    assert (made[CHANGED] - before[CHANGED]).mean() == pytest.approx(0.25, abs=1e-3)
    name = "conv_in.weight"
    torch.testing.assert_close(made[name], before[name], atol=1e-3, rtol=1e-3)


def test_another_architecture_is_refused_by_name(folders: dict[str, Path], tmp_path: Path) -> None:
    base, tuned = (load_components(load_variant(str(folders[n]))) for n in ("base", "tuned"))
    file = tmp_path / "d.safetensors"
    save_delta(base, tuned, file)
    from animate.models.components import build_network

    wider = build_network("unet", {**UNET, "cross_attention_dim": 24})
    other = replace(base, unet=wider)
    with pytest.raises(ModelError, match=r"different architectures: .*to_k\.weight is 32x16 and"):
        apply_delta(file, other, tmp_path / "never")
    with pytest.raises(ModelError, match="different architectures"):
        save_delta(base, replace(tuned, unet=wider), tmp_path / "never.safetensors")
    assert not (tmp_path / "never").exists()
    assert not (tmp_path / "never.safetensors").exists()


def test_what_is_no_delta_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    base = load_components(load_variant(str(folders["base"])))
    save_file({"a": torch.zeros(1)}, tmp_path / "plain.safetensors")
    for name, message in (
        ("plain.safetensors", "no delta file"),
        ("none.safetensors", "does not exist"),
    ):
        with pytest.raises(ModelError, match=message):
            apply_delta(tmp_path / name, base, tmp_path / "never")
    (tmp_path / "bad.safetensors").write_bytes(b"\0" * 64)
    with pytest.raises(ModelError, match="damaged"):
        apply_delta(tmp_path / "bad.safetensors", base, tmp_path / "never")
    (tmp_path / "there.safetensors").write_text("kept")
    with pytest.raises(ModelError, match="exists already"):
        save_delta(base, base, tmp_path / "there.safetensors")
    assert (tmp_path / "there.safetensors").read_text() == "kept"


def rewrite(path: Path, metadata: dict[str, str], **tensors: torch.Tensor) -> None:
    with safe_open(path, "pt") as opened:
        metadata = {**opened.metadata(), **metadata}
    save_file({**load_file(path), **tensors}, path, metadata=metadata)


def test_a_delta_that_lies_is_refused_by_the_file(folders: dict[str, Path], tmp_path: Path) -> None:
    base, tuned = (load_components(load_variant(str(folders[n]))) for n in ("base", "tuned"))
    file = tmp_path / "d.safetensors"
    save_delta(base, tuned, file)
    sound = file.read_bytes()
    before = {name: value.clone() for name, value in base.unet.state_dict().items()}
    for text in ("", "{", "[" * 99_999, "[1]"):
        for name in ("shapes", "variant"):
            rewrite(file, {name: text})
            with pytest.raises(ModelError, match=r"d\.safetensors"):
                apply_delta(file, base, tmp_path / "never")
            file.write_bytes(sound)
    rewrite(file, {"shapes": '{"conv_in.weight": 5}'})
    with pytest.raises(ModelError, match="shapes must hold lists of sizes"):
        apply_delta(file, base, tmp_path / "never")
    for name, value, message in (
        (f"unet.{CHANGED}", torch.tensor(float("nan")), "holds NaN or infinite"),
        (
            "unet.absent",
            torch.tensor(1.0),
            "absent is no tensor of the base's UNet, or has another",
        ),
    ):
        file.write_bytes(sound)
        shape = before[CHANGED].shape
        rewrite(file, {}, **{name: value.expand(shape).contiguous()})
        with pytest.raises(ModelError, match=message):
            apply_delta(file, base, tmp_path / "never")
    assert not (tmp_path / "never").exists()
    after = base.unet.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
