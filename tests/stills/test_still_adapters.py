"""LoRA, image prompts, long prompts, and control by diffusers' own classes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from animate.errors import ModelError, RequestError
from animate.request.still import ControlMethod
from animate.request.values import Lora
from animate.stills.base import choose_model
from animate.stills.pipeline import StillPipeline
from animate.stills.prompts import parts_of, token_count
from tests.stills.conftest import SIZE
from tests.toy_still import StillFiles

CALL = {"prompt": "a dancer", "steps": 2, "seed": 3, "size": SIZE}
LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"


@pytest.fixture(scope="module")
def plain(toy_still: StillFiles) -> StillPipeline:
    return StillPipeline.from_files(toy_still.base, device="cpu")


@pytest.fixture
def without_adapters(plain: StillPipeline) -> Iterator[StillPipeline]:
    yield plain
    plain.load_lora(())


def lora_tensors(layout: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    down, up = torch.randn(4, 320), torch.randn(320, 4)
    if layout == "diffusers":
        return {f"unet.{LAYER}.lora_A.weight": down, f"unet.{LAYER}.lora_B.weight": up}
    name = "lora_unet_" + LAYER.replace(".", "_")
    return {
        f"{name}.lora_down.weight": down,
        f"{name}.lora_up.weight": up,
        f"{name}.alpha": torch.tensor(4.0),
    }


def test_lora_in_both_layouts_changes_the_picture_alike_and_comes_off(
    without_adapters: StillPipeline, tmp_path: Path
) -> None:
    pipeline = without_adapters
    before = np.asarray(pipeline(**CALL))
    pictures = []
    for layout in ("diffusers", "kohya"):
        path = tmp_path / f"{layout}.safetensors"
        save_file(lora_tensors(layout), path)
        pipeline.load_lora((Lora(path, 1.0),))
        pictures.append(np.asarray(pipeline(**CALL)))
    np.testing.assert_array_equal(*pictures)
    assert (pictures[0] != before).any()
    pipeline.load_lora((Lora(tmp_path / "kohya.safetensors", 0.0),))
    np.testing.assert_array_equal(np.asarray(pipeline(**CALL)), before)
    pipeline.load_lora(())
    np.testing.assert_array_equal(np.asarray(pipeline(**CALL)), before)


def test_a_lora_of_another_base_is_refused(without_adapters: StillPipeline, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    down, up = torch.zeros(4, 7), torch.zeros(7, 4)
    for name in (
        "unet.down_blocks.9.attentions.0.transformer_blocks.0.attn1.to_q",
        f"unet.{LAYER}",
    ):
        save_file({f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}, path)
        with pytest.raises(ModelError, match=r"other\.safetensors"):
            without_adapters.load_lora((Lora(path, 1.0),))
    torch.save({"a": down}, tmp_path / "old.bin")
    with pytest.raises(ModelError, match=r"no \.safetensors file; pickled"):
        without_adapters.load_lora((Lora(tmp_path / "old.bin", 1.0),))


def test_lora_needs_its_library(
    plain: StillPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("animate.stills.adapters.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip install 'cnx-animate\[stills\]'"):
        plain.load_lora((Lora(tmp_path / "a.safetensors", 1.0),))


def test_an_image_prompt_changes_the_picture(toy_still: StillFiles, tmp_path: Path) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    pipeline = StillPipeline.from_files(toy_still.base, device="cpu")
    encoder = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=16, intermediate_size=16, projection_dim=8, num_hidden_layers=1,
            num_attention_heads=2, image_size=224, patch_size=112,
        )
    )  # fmt: skip
    encoder.save_pretrained(tmp_path / "encoder")
    save_file(ip_adapter_tensors(pipeline.pipe.unet), tmp_path / "ip.safetensors")
    pipeline.load_ip_adapter(Lora(tmp_path / "ip.safetensors", 1.0), tmp_path / "encoder")
    red, blue = (np.full((64, 64, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 255)))
    first = np.asarray(pipeline(ip_image=red, **CALL))
    second = np.asarray(pipeline(ip_image=blue, **CALL))
    assert (first != second).any()
    with pytest.raises(ModelError, match="image prompt adapter"):
        pipeline.load_ip_adapter(Lora(toy_still.unet, 1.0), tmp_path / "encoder")
    with pytest.raises(ModelError, match=r"has no config\.json"):
        pipeline.load_ip_adapter(Lora(tmp_path / "ip.safetensors", 1.0), tmp_path)


def ip_adapter_tensors(unet) -> dict[str, torch.Tensor]:  # type: ignore[no-untyped-def]
    """Random tensors in the published layout; odd numbers are the cross-attentions."""
    torch.manual_seed(6)
    width = unet.config.cross_attention_dim
    tensors = {
        "image_proj.proj.weight": torch.randn(4 * width, 8),
        "image_proj.proj.bias": torch.zeros(4 * width),
        "image_proj.norm.weight": torch.ones(width),
        "image_proj.norm.bias": torch.zeros(width),
    }
    for number, name in enumerate(unet.attn_processors):
        if "attn2" in name:
            module = unet.get_submodule(name.removesuffix(".processor"))
            for part in ("k", "v"):
                shape = (module.to_q.out_features, width)
                tensors[f"ip_adapter.{number}.to_{part}_ip.weight"] = torch.randn(shape)
    return tensors


def test_a_long_prompt_is_encoded_in_parts(pipeline: StillPipeline) -> None:
    """The toy's encoder takes 14 letters."""
    assert pipeline.check_prompt("abc") is None
    text = "abcdefgh, ijkl mnop, qrs"
    parts = parts_of(pipeline.pipe, text)
    assert parts == ["abcdefgh,", "ijkl mnop, qrs"] or len(parts) == 2
    assert all(token_count(pipeline.pipe, part) <= 14 for part in parts)
    remark = pipeline.check_prompt(text)
    assert remark is not None
    assert "encoded in 2 parts" in remark
    uncut = np.asarray(pipeline(text, size=SIZE, steps=1))
    cut = np.asarray(pipeline(parts[0], size=SIZE, steps=1))
    other = np.asarray(pipeline("abcdefgh, ijkl mnop, xyz", size=SIZE, steps=1))
    assert (uncut != cut).any()
    assert (uncut != other).any()


def test_a_long_prompt_is_encoded_in_parts_by_two_encoders(toy_xl: StillFiles) -> None:
    pipeline = StillPipeline.from_files(toy_xl.base, device="cpu")
    text = "abcdefgh, ijkl mnop, qrs"
    uncut = np.asarray(pipeline(text, size=SIZE, steps=1))
    other = np.asarray(pipeline("abcdefgh, ijkl mnop, xyz", size=SIZE, steps=1))
    assert (uncut != other).any()


@pytest.fixture(scope="module")
def stock_networks(
    plain: StillPipeline, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Folders of random networks of the kinds that ControlNeXt is compared with."""
    from diffusers import ControlNetModel, T2IAdapter

    folder = tmp_path_factory.mktemp("stock")
    torch.manual_seed(7)
    network = ControlNetModel.from_unet(plain.pipe.unet)
    for block in (*network.controlnet_down_blocks, network.controlnet_mid_block):
        torch.nn.init.normal_(block.weight, std=0.1)  # it begins without effect
    network.save_pretrained(folder / "controlnet")
    save_file(network.state_dict(), folder / "controlnet.safetensors")
    adapter = T2IAdapter(in_channels=3, channels=[320, 64], num_res_blocks=1, downscale_factor=8)
    adapter.save_pretrained(folder / "t2i-adapter")
    return {
        "controlnet": folder / "controlnet",
        "file": folder / "controlnet.safetensors",
        "t2i-adapter": folder / "t2i-adapter",
    }


def stock_pipeline(base: Path, method: ControlMethod, path: Path) -> StillPipeline:
    model = choose_model(str(base), controlled=False)
    return StillPipeline.from_model(model, method=method, control_model=path, device="cpu")


@pytest.mark.parametrize("method", ["controlnet", "t2i-adapter"])
def test_what_it_is_compared_with_runs_by_diffusers_own_classes(
    toy_still: StillFiles,
    stock_networks: dict[str, Path],
    method: ControlMethod,
    picture: np.ndarray,
) -> None:
    pipeline = stock_pipeline(toy_still.base, method, stock_networks[method])
    free = np.asarray(pipeline(**CALL))
    held = np.asarray(pipeline(control=picture, **CALL))
    weak = np.asarray(pipeline(control=picture, control_weight=0.0, **CALL))
    assert (free != held).any()
    np.testing.assert_array_equal(free, weak)


def test_a_controlnet_in_one_file_is_the_same(
    toy_still: StillFiles, stock_networks: dict[str, Path], picture: np.ndarray
) -> None:
    pictures = [
        np.asarray(
            stock_pipeline(toy_still.base, "controlnet", stock_networks[name])(
                control=picture, **CALL
            )
        )
        for name in ("controlnet", "file")
    ]
    np.testing.assert_array_equal(*pictures)


def test_a_controlnet_holds_a_picture_to_begin_from_as_well(
    toy_still: StillFiles, stock_networks: dict[str, Path], picture: np.ndarray
) -> None:
    pipeline = stock_pipeline(toy_still.base, "controlnet", stock_networks["controlnet"])
    call = {**CALL, "init": 255 - picture, "strength": 0.6, "steps": 4}
    held = np.asarray(pipeline(control=picture, **call))  # type: ignore[arg-type]
    begun = np.asarray(pipeline(control=picture, control_range=(0.9, 1.0), **call))  # type: ignore[arg-type]
    assert (held != begun).any()


def test_what_an_adapter_cannot_do_is_said(
    toy_still: StillFiles, stock_networks: dict[str, Path], picture: np.ndarray
) -> None:
    pipeline = stock_pipeline(toy_still.base, "t2i-adapter", stock_networks["t2i-adapter"])
    with pytest.raises(RequestError, match="has no control range"):
        pipeline(control=picture, control_range=(0.0, 0.5), **CALL)
    with pytest.raises(RequestError, match="no image-to-image pipeline with t2i-adapter"):
        pipeline(control=picture, init=picture, **CALL)
    with pytest.raises(ModelError, match=r"there is no config\.json"):
        stock_pipeline(toy_still.base, "t2i-adapter", toy_still.unet)
    with pytest.raises(ModelError, match=r"ControlNetModel .* cannot be loaded"):
        stock_pipeline(toy_still.base, "controlnet", toy_still.unet)
