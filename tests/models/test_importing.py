"""Model folders made of files that other programs keep."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from animate.cli.models import main
from animate.errors import ModelError
from animate.models.components import build_control_network, load_components
from animate.models.importing import import_model
from animate.models.variants import load_variant
from tests.models.test_single_file import single_file_of
from tests.toy import toy_model, toy_networks

STOCK = ("unet", "vae", "image_encoder")


@pytest.fixture(scope="module")
def networks() -> dict:
    return toy_networks()


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    """A model folder whose constants are taken by `like`."""
    folder = tmp_path_factory.mktemp("like") / "toy"
    toy_model(folder)
    return folder


def config_of(network) -> dict:
    text = network.to_json_string() if hasattr(network, "to_json_string") else None
    return json.loads(text or network.config.to_json_string())


def tensors_of(network, dtype=torch.float32) -> dict[str, torch.Tensor]:
    return {key: value.to(dtype).clone() for key, value in network.state_dict().items()}


def write_diffusers(folder: Path, networks: dict, ending: str = ".safetensors") -> Path:
    """A folder in diffusers' layout, its weights in files that end so."""
    for name in STOCK:
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text(json.dumps(config_of(networks[name])))
        stem = "model" if name == "image_encoder" else "diffusion_pytorch_model"
        tensors = tensors_of(networks[name], torch.float16 if "fp16" in ending else torch.float32)
        if ending == "shards":
            write_shards(folder / name, stem, tensors)
        elif ending.endswith("bin"):
            torch.save(tensors, folder / name / f"{stem}{ending}")
        else:
            save_file(tensors, folder / name / f"{stem}{ending}")
    index = {"_class_name": "StableVideoDiffusionPipeline"}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def write_shards(folder: Path, stem: str, tensors: dict[str, torch.Tensor]) -> None:
    names, index = sorted(tensors), {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"{stem}-0000{number}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file)
        index |= dict.fromkeys(part, file)
    text = json.dumps({"metadata": {}, "weight_map": index})
    (folder / f"{stem}.safetensors.index.json").write_text(text)


def write_control(path: Path, networks: dict) -> None:
    tensors = tensors_of(networks["controlnext"])
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(tensors, path) if path.suffix == ".bin" else save_file(tensors, path)


def check_loaded(folder: Path, networks: dict, tolerance: float = 0) -> None:
    parts = load_components(load_variant(folder))
    for name in (*STOCK, "controlnext"):
        wanted = networks[name].state_dict()
        for key, value in getattr(parts, name).state_dict().items():
            torch.testing.assert_close(value, wanted[key], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        (".safetensors", "diffusers' layout, as published, linked to"),
        (".bin", "diffusers' layout, as published"),
        (".fp16.safetensors", "diffusers' layout, half precision"),
        ("shards", "diffusers' layout, as published, 2 shards, linked to"),
    ],
)
def test_a_folder_in_diffusers_layout_is_linked(tmp_path, toy, networks, ending, words):
    source = write_diffusers(tmp_path / "source", networks, ending)
    write_control(source / "controlnet.bin", networks)
    imported = import_model(str(source), tmp_path / "mine", like=str(toy))
    unet = next(line for line in imported.recognised if line.startswith("unet: "))
    assert words in unet
    check_loaded(tmp_path / "mine", networks, 1e-3 if "fp16" in ending else 0)
    for file in imported.variant.files():
        path = file.locate()
        assert path.is_symlink() == (path.suffix != ".json")
        assert file.digest is not None


@pytest.fixture
def toy_sizes(tmp_path, networks, monkeypatch) -> None:
    """Files without sizes are taken for the toy's in place of Stable Video Diffusion's."""
    configs = tmp_path / "configs"
    configs.mkdir()
    for name in STOCK:
        (configs / f"{name}.json").write_text(json.dumps(config_of(networks[name])))
    monkeypatch.setattr(
        "animate.models.importing.shipped_config", lambda name, family: configs / f"{name}.json"
    )


@pytest.mark.usefixtures("toy_sizes")
def test_a_checkpoint_in_one_file_is_linked_and_read_where_it_lies(tmp_path, toy, networks):
    (tmp_path / "files").mkdir()
    save_file(single_file_of(networks), tmp_path / "files/svd_xt.safetensors")
    write_control(tmp_path / "files/controlnet.safetensors", networks)
    imported = import_model(str(tmp_path / "files"), tmp_path / "mine", like=str(toy))
    assert sum("single-file checkpoint" in line for line in imported.recognised) == 3
    check_loaded(tmp_path / "mine", networks)
    weights = list((tmp_path / "mine").rglob("*.safetensors"))
    assert all(path.is_symlink() for path in weights)
    assert len(weights) == 2


@pytest.mark.usefixtures("toy_sizes")
@pytest.mark.parametrize("wrapped", [False, True])
def test_the_published_files_take_the_rest_from_a_base(tmp_path, toy, networks, wrapped):
    """`wrapped`: the UNet alone in the names of a checkpoint, as wrappers keep it."""
    source = tmp_path / "pretrained"
    source.mkdir()
    if wrapped:
        prefix, tensors = "model.diffusion_model.", single_file_of(networks)
        unet = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        save_file(unet, source / "unet_converted.safetensors")
    else:
        torch.save(tensors_of(networks["unet"]), source / "unet.bin")
    write_control(source / "controlnet.bin", networks)
    with pytest.raises(ModelError, match=r"the source has no vae; name another .* by --base"):
        import_model(str(source), tmp_path / "mine", like=str(toy))
    other = toy_networks(seed=1)
    base = write_diffusers(tmp_path / "base", other)
    import_model(str(source), tmp_path / "mine", base=str(base), like=str(toy))
    expected = {**networks, "vae": other["vae"], "image_encoder": other["image_encoder"]}
    check_loaded(tmp_path / "mine", expected)


def test_files_of_the_published_sizes_are_recognised_by_themselves(tmp_path, networks):
    """The bundled model's own networks, under the published names."""
    parts = load_components(load_variant("tiny"))
    found = {name: getattr(parts, name) for name in (*STOCK, "controlnext")}
    source = write_diffusers(tmp_path / "source", found)
    write_control(source / "controlnet.bin", found)
    imported = import_model(str(source), tmp_path / "mine")
    assert imported.variant.name == "mine"
    assert imported.variant.injection == load_variant("tiny").injection
    assert imported.variant.pose_style == load_variant("tiny").pose_style
    check_loaded(tmp_path / "mine", found)


@pytest.mark.parametrize("name", ["controlnet.bin", "mine.safetensors"])
def test_the_published_control_network_is_svd_v2s_and_not_that_of_its_offspring(
    tmp_path, networks, name
):
    """Half-precision files and distilled steps have the same control network."""
    control = build_control_network(load_variant("svd-v2").control_network)
    base = write_diffusers(tmp_path / "base", networks)
    write_control(tmp_path / "source" / name, {"controlnext": control})
    imported = import_model(str(tmp_path / "source"), tmp_path / "mine", base=str(base))
    lines = dict(line.split(": ", 1) for line in imported.recognised)
    assert lines["unet"].startswith("that of svd-v2 (")
    assert imported.variant.distilled_levels is None
    assert imported.variant.injection == load_variant("svd-v2").injection


def test_a_control_network_of_the_other_release_is_named(tmp_path):
    control = build_control_network(load_variant("svd-v1").control_network)
    write_control(tmp_path / "controlnet.bin", {"controlnext": control})
    with pytest.raises(ModelError, match=r"that of svd-v1\) is not the controlnext that svd-v2"):
        import_model(str(tmp_path), tmp_path / "mine", like="svd-v2")


def test_a_base_alone_takes_unet_and_control_network_of_the_published_variant(
    tmp_path, networks, monkeypatch
):
    source = write_diffusers(tmp_path / "source", networks)
    imported = import_model(str(source), tmp_path / "mine")
    lines = dict(line.split(": ", 1) for line in imported.recognised)
    assert lines["unet"] == "that of svd-v2 (Pbihao/ControlNeXt/ControlNeXt-SVD/v2/unet.bin)"
    assert "linked" in lines["vae"]
    variant = load_variant(tmp_path / "mine")
    assert set(variant.sources) == {"base", "controlnext"}
    assert "Stability" in variant.licence
    assert {file.path for file in variant.files() if file.source} == {
        "unet/config.json",
        "ControlNeXt-SVD/v2/unet.bin",
        "ControlNeXt-SVD/v2/controlnet.bin",
    }


def test_a_folder_above_that_of_the_weights_names_it(tmp_path):
    holder = tmp_path / "published" / "SVD" / "v2"
    holder.mkdir(parents=True)
    (holder / "controlnet.bin").touch()
    with pytest.raises(ModelError, match=r"hold weights, name one of them: .*published/SVD/v2$"):
        import_model(str(tmp_path / "published"), tmp_path / "mine")


def test_a_unet_without_its_control_network_is_not_replaced_in_silence(tmp_path, networks):
    source = write_diffusers(tmp_path / "source", networks)
    imported = import_model(str(source), tmp_path / "mine")
    assert "not used: the UNet of " in imported.recognised[-1]
    half = tmp_path / "half"
    half.mkdir()
    torch.save(networks["unet"].state_dict(), half / "unet.bin")
    with pytest.raises(ModelError, match=r"UNet alone \(.*unet\.bin\), .*controlnet\.bin in the"):
        import_model(str(half), tmp_path / "other", base=str(source))
    assert not (tmp_path / "other").exists()


def test_a_repository_in_the_hubs_cache_is_taken_by_its_name(tmp_path, toy, networks, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    snapshot = tmp_path / "hub/models--someone--svd/snapshots/c0"
    write_diffusers(snapshot, networks)
    write_control(snapshot / "controlnet.bin", networks)
    import_model("someone/svd", tmp_path / "mine", like=str(toy))
    check_loaded(tmp_path / "mine", networks)
    with pytest.raises(ModelError, match=r"`hf download someone/other` brings it"):
        import_model("someone/other", tmp_path / "other")


def write_unet(path: Path, channels: int, width: int, prefix: str = "", **more: tuple) -> Path:
    single = "" if prefix == "diffusers" else prefix
    first = "conv_in.weight" if prefix == "diffusers" else f"{single}input_blocks.0.0.weight"
    tensors = {
        first: torch.zeros(4, channels, 3, 3),
        f"{single}x.transformer_blocks.0.attn2.to_k.weight": torch.zeros(4, width),
    }
    save_file(tensors | {name: torch.zeros(*size) for name, size in more.items()}, path)
    return path


@pytest.mark.parametrize("prefix", ["diffusers", "model.diffusion_model.", ""])
@pytest.mark.parametrize(
    ("channels", "width", "base"),
    [
        (4, 768, "a UNet of Stable Diffusion 1.x"),
        (9, 768, "a UNet of Stable Diffusion 1.x for inpainting"),
        (4, 1024, "a UNet of Stable Diffusion 2.x"),
        (4, 2048, "a UNet of SDXL"),
        (4, 640, r"a UNet of another base \(context width 640\)"),
    ],
)
def test_another_base_is_refused_by_its_name(tmp_path, prefix, channels, width, base):
    path = write_unet(tmp_path / "model.safetensors", channels, width, prefix)
    with pytest.raises(ModelError, match=rf"{base}: only Stable Video Diffusion's fits"):
        import_model(str(path), tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_another_pipeline_is_refused_by_its_name(tmp_path):
    (tmp_path / "sdxl/unet").mkdir(parents=True)
    index = tmp_path / "sdxl/model_index.json"
    index.write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    with pytest.raises(ModelError, match="is a StableDiffusionXLPipeline, not a StableVideo"):
        import_model(str(tmp_path / "sdxl"), tmp_path / "mine")
    index.unlink()
    config = '{"_class_name": "UNet2DConditionModel", "cross_attention_dim": 768}'
    (tmp_path / "sdxl/unet/config.json").write_text(config)
    with pytest.raises(ModelError, match=r"unet is a UNet of Stable Diffusion 1\.x"):
        import_model(str(tmp_path / "sdxl"), tmp_path / "mine")


def test_half_of_a_folder_is_refused_by_the_file_that_lacks(tmp_path, toy, networks):
    source = write_diffusers(tmp_path / "source", networks, "shards")
    write_control(source / "controlnet.bin", networks)
    os.remove(source / "vae/diffusion_pytorch_model-00002-of-00002.safetensors")
    with pytest.raises(ModelError, match="not beside it: diffusion_pytorch_model-00002-of"):
        import_model(str(source), tmp_path / "mine", like=str(toy))
    os.remove(source / "vae/diffusion_pytorch_model.safetensors.index.json")
    with pytest.raises(ModelError, match=r"vae has no weights: diffusion_pytorch_model\.safe"):
        import_model(str(source), tmp_path / "mine", like=str(toy))
    assert not (tmp_path / "mine").exists()


def test_a_control_network_of_another_variant_is_refused(tmp_path, toy, networks):
    other = toy_networks(out_channels=16)
    source = write_diffusers(tmp_path / "source", networks)
    write_control(source / "controlnet.bin", other)
    with pytest.raises(
        ModelError, match=r"controlnet\.bin \(.*\) is not the controlnext that toy needs"
    ):
        import_model(str(source), tmp_path / "mine", like=str(toy))
    with pytest.raises(ModelError, match=r"is the control network of none of tiny.* by --like"):
        import_model(str(source), tmp_path / "mine")


def test_adapters_and_model_folders_are_shown_their_own_option(tmp_path, toy):
    save_file({"unet.a.lora_A.weight": torch.zeros(2, 2)}, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match="is an adapter, not a model; use it with --lora"):
        import_model(str(tmp_path / "a.safetensors"), tmp_path / "mine")
    with pytest.raises(ModelError, match="is a model folder already; use it with --model"):
        import_model(str(toy), tmp_path / "mine")


@pytest.mark.parametrize("source", ["absent.safetensors", "./absent", "a/b/c"])
def test_a_source_that_is_not_there_is_named(tmp_path, source):
    with pytest.raises(ModelError, match=f"there is no file or folder {source}"):
        import_model(source, tmp_path / "mine")


def test_files_that_hold_nothing_of_it_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    save_file({"x": torch.zeros(1)}, tmp_path / "empty/x.safetensors")
    with pytest.raises(ModelError, match="holds no network of Stable Video Diffusion"):
        import_model(str(tmp_path / "empty"), tmp_path / "mine")
    (tmp_path / "text.txt").write_text("x")
    with pytest.raises(ModelError, match=r"text\.txt is no weight file"):
        import_model(str(tmp_path / "text.txt"), tmp_path / "mine")


def test_an_existing_folder_is_left_alone(tmp_path, toy, networks):
    source = write_diffusers(tmp_path / "source", networks)
    write_control(source / "controlnet.bin", networks)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    with pytest.raises(ModelError, match="mine exists already"):
        import_model(str(source), tmp_path / "mine", like=str(toy))
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_the_command_says_what_it_recognised_and_how_to_use_it(tmp_path, toy, networks, capsys):
    source = write_diffusers(tmp_path / "source", networks)
    write_control(source / "controlnet.bin", networks)
    name = str(tmp_path / "mine")
    assert main(["import", str(source), name, "--like", str(toy)]) == 0
    printed = "".join(capsys.readouterr())
    assert "unet: diffusers' layout, as published, linked to" in printed
    assert "controlnext: a control network of ControlNeXt, linked to" in printed
    assert f"use it with --model {name}" in printed
