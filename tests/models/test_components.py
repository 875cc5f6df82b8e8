"""Networks from a variant's files and back, and what damaged folders say."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from animate.errors import ModelError
from animate.files import sha256
from animate.models.components import load_components, make_scheduler, regroup, save_model
from animate.models.store import ModelFile
from animate.models.variants import load_variant
from tests.toy import toy_model, toy_networks, toy_variant


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "toy"
    toy_model(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    """A copy of the saved model to damage."""
    return Path(shutil.copytree(saved, tmp_path / "toy"))


def edit(folder: Path, change) -> None:
    """Change the variant file in place."""
    path = folder / "variant.yaml"
    values = yaml.safe_load(path.read_text())
    change(values)
    path.write_text(yaml.safe_dump(values))


def test_what_is_saved_comes_back_in_half_precision(saved):
    variant = load_variant(saved)
    assert variant == replace(
        toy_variant(),
        components=variant.components,
        digests=variant.digests,
        folder=saved.resolve(),
    )
    components = load_components(variant)
    for name, network in toy_networks().items():
        ours = getattr(components, name).state_dict()
        assert sorted(ours) == sorted(network.state_dict())
        for key, value in network.state_dict().items():
            assert torch.equal(ours[key], value.half().float()), (name, key)
    assert all(not p.requires_grad for net in components.networks() for p in net.parameters())
    assert not any(net.training for net in components.networks())
    assert not any(report.missing or report.unexpected for report in components.reports)
    assert components.digests == {
        f"{name}/model.safetensors": sha256(saved / name / "model.safetensors")
        for name in ("unet", "vae", "image_encoder", "controlnext")
    }


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_networks_take_the_precision_asked_for(saved, dtype):
    components = load_components(load_variant(saved), dtype=dtype)
    kinds = {p.dtype for net in components.networks() for p in net.parameters()}
    assert kinds == {dtype}
    assert components.image_encoder.vision_model.embeddings.position_ids.dtype == torch.int64


@torch.no_grad()
def test_loaded_networks_give_what_the_saved_ones_give(saved):
    networks = toy_networks()
    for name in ("unet", "vae"):
        regroup(networks[name], 8)
    components = load_components(load_variant(saved))
    frames = torch.rand(1, 3, 32, 32)
    for net in networks.values():
        net.half().float().eval()
    theirs = networks["image_encoder"](frames).image_embeds
    torch.testing.assert_close(components.image_encoder(frames).image_embeds, theirs)
    theirs = networks["vae"].encode(frames).latent_dist.mode()
    torch.testing.assert_close(components.vae.encode(frames).latent_dist.mode(), theirs)


def test_group_normalisations_get_enough_channels(saved):
    components = load_components(load_variant(saved))
    norms = [
        m
        for net in (components.unet, components.vae)
        for m in net.modules()
        if isinstance(m, torch.nn.GroupNorm)
    ]
    assert norms
    assert all(norm.num_channels / norm.num_groups >= 8 for norm in norms)
    odd = torch.nn.GroupNorm(20, 60)
    assert regroup(odd, 8) is odd
    assert odd.num_groups == 6  # seven would fit, but not divide the channels
    assert regroup(torch.nn.GroupNorm(2, 4), 8).num_groups == 1
    assert components.scheduler.config.sigma_max == 700


def test_an_existing_folder_is_replaced_only_on_request(folder):
    variant, networks = toy_variant(name="other"), toy_networks(seed=1)
    with pytest.raises(ModelError, match="exists already"):
        save_model(folder, variant, networks)
    assert load_variant(folder).name == "toy"
    save_model(folder, variant, networks, overwrite=True, dtype=torch.float32)
    assert load_variant(folder).name == "other"
    weight = load_components(load_variant(folder)).unet.conv_in.weight
    assert torch.equal(weight, networks["unet"].conv_in.weight)
    assert sorted(p.name for p in folder.parent.iterdir()) == ["toy"]
    with pytest.raises(ModelError, match="none/new cannot be written"):
        save_model(folder / "none" / "new", variant, networks)
    with pytest.raises(ModelError, match="a model is made of unet"):
        save_model(folder.parent / "new", variant, {"unet": networks["unet"]})


def test_missing_files_are_named_with_the_way_out(folder, monkeypatch):
    (folder / "vae" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"toy lacks files: .*vae/model\.safetensors; copy the"):
        load_components(load_variant(folder))
    monkeypatch.setattr(ModelFile, "locate", lambda file: None)
    with pytest.raises(ModelError, match=r"and 4 more; `cnx models fetch svd-v2` gets them"):
        load_components(load_variant("svd-v2"))


def test_a_changed_weight_file_is_refused(folder):
    path = folder / "unet" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"unet/model\.safetensors is not the one that toy states"):
        load_components(load_variant(folder))


def replace_weights(folder: Path, name: str, change) -> None:
    """Change a network's weights; the variant no longer states their digest."""
    path = folder / name / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path)
    edit(folder, lambda values: values.update(digests={}))


def test_wrong_shapes_name_file_tensor_and_shapes(folder):
    replace_weights(
        folder, "controlnext", lambda w: w.update({"mid_convs.1.bias": torch.zeros(33)})
    )
    with pytest.raises(
        ModelError, match=r"controlnext/model\.safetensors .*mid_convs\.1\.bias is 33 where .* 32"
    ):
        load_components(load_variant(folder))


def test_missing_tensors_are_an_error(folder):
    replace_weights(folder, "unet", lambda w: w.pop("conv_in.bias"))
    with pytest.raises(ModelError, match=r"lacks 1 tensors of the UNet.*\(conv_in\.bias\)"):
        load_components(load_variant(folder))


def test_unexpected_tensors_are_reported(folder):
    replace_weights(folder, "vae", lambda w: w.update({"extra.weight": torch.zeros(1)}))
    reports = load_components(load_variant(folder)).reports
    assert [r.unexpected for r in reports if r.unexpected] == [("extra.weight",)]


def test_a_partial_file_goes_over_the_complete_one(folder):
    learned = {"conv_in.bias": torch.full((32,), 7.0).half()}
    torch.save(learned, folder / "unet" / "learned.bin")
    edit(folder, lambda v: v["components"]["unet"]["weights"].append("unet/learned.bin"))
    components = load_components(load_variant(folder))
    assert bool((components.unet.conv_in.bias == 7).all())
    assert "unet/learned.bin" in components.digests
    partial = next(r for r in components.reports if r.source.endswith("learned.bin"))
    assert partial.loaded == ("conv_in.bias",)
    assert len(partial.missing) > 100
    alone = {"weights": ["unet/learned.bin"], "config": "unet/config.json"}
    edit(folder, lambda v: v["components"].update(unet=alone))
    edit(folder, lambda v: v.update(digests={}))
    with pytest.raises(ModelError, match="complete file before it"):
        load_components(load_variant(folder))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not readable JSON"),
        ("[]", "must hold names with values"),
        (json.dumps({"block_out_channels": [32]}), "does not describe a unet"),
        (json.dumps({"layers_per_block": 10**9}), "does not describe a unet: layers_per_block"),
        (json.dumps({"down_block_types": ["x"] * 101}), "does not describe a unet: down_block"),
    ],
)
def test_a_broken_configuration_is_named(folder, content, message):
    (folder / "unet" / "config.json").write_text(content)
    with pytest.raises(ModelError, match=rf"unet/config\.json {message}"):
        load_components(load_variant(folder))


def test_scheduler_settings_are_checked():
    with pytest.raises(ModelError, match="scheduler"):
        make_scheduler({"beta_strt": 1})


def distilled(folder: Path) -> tuple[Path, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """A model folder whose UNet is shifted by another model less its base, and those two."""
    own = load_file(folder / "unet/model.safetensors")
    generator = torch.Generator().manual_seed(7)
    base = {k: torch.randn(v.shape, generator=generator) for k, v in own.items()}
    added = {k: v + 1e-3 * torch.randn(v.shape, generator=generator) for k, v in base.items()}
    save_file(base, folder / "base.safetensors")
    save_file(added, folder / "added.safetensors")

    def shift(values) -> None:
        values["components"]["unet"]["added"] = "added.safetensors"
        values["components"]["unet"]["subtracted"] = "base.safetensors"

    edit(folder, shift)
    return folder, added, base


def test_weights_are_shifted_by_what_another_model_changed_in_its_base(folder):
    own = load_file(folder / "unet/model.safetensors")
    variant = load_variant(distilled(folder)[0])
    assert {"base.safetensors", "added.safetensors"} <= {file.path for file in variant.files()}
    components = load_components(variant)
    _, added, base = (
        load_variant(folder),
        *(load_file(folder / f"{name}.safetensors") for name in ("added", "base")),
    )
    for key, value in components.unet.state_dict().items():
        expected = own[key].float() + (added[key] - base[key])
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-6)
    assert {"base.safetensors", "added.safetensors"} <= components.digests.keys()


def test_a_shift_that_lacks_tensors_is_refused_by_file_and_name(folder):
    distilled(folder)
    part = load_file(folder / "added.safetensors")
    part.pop("conv_in.weight")
    save_file(part, folder / "added.safetensors")
    with pytest.raises(ModelError, match=r"added.safetensors lacks 1 tensors.*conv_in.weight"):
        load_components(load_variant(folder))


def test_added_and_subtracted_go_together(folder):
    def half(values) -> None:
        values["components"]["unet"]["added"] = "unet/model.safetensors"

    edit(folder, half)
    with pytest.raises(ModelError, match="added and subtracted go together"):
        load_variant(folder)
