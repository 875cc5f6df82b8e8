"""Files of the animators by their published layouts, and files of one given as another's."""

from __future__ import annotations

from pathlib import Path
from shutil import copyfile, copytree
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

from animate.errors import ModelError
from animate.models import components, importing
from animate.models.components import load_components
from animate.models.config import PoseNetConfig
from animate.models.importing import import_model
from animate.models.pose_net import PoseNet
from animate.models.recognise import kind_of
from animate.models.reference_attention import published_name
from animate.models.source_parts import Part, find_parts
from animate.models.variants import list_variants, load_variant
from tests.small_models import small_model

NAMES = ("mimicmotion-1", "stableanimator", "animate-anyone", "svd-v2")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    for name in NAMES:
        small_model(name, folder / name)
    return {name: folder / name for name in NAMES}


def tensors(model: Path, network: str) -> dict[str, Tensor]:
    return load_file(model / network / "model.safetensors")


def base_of(model: Path, folder: Path) -> Path:
    """The autoencoder and the image encoder of a model, as a source of its own."""
    for part in ("vae", "image_encoder"):
        copytree(model / part, folder / part)
    return folder


def published(name: str, model: Path, folder: Path) -> Path:
    """The model's other networks in the files that were published; returns what to import."""
    folder.mkdir(parents=True)
    if name == "mimicmotion-1":
        both = {f"unet.{key}": value for key, value in tensors(model, "unet").items()}
        both |= {f"pose_net.{key}": x for key, x in tensors(model, "controlnext").items()}
        torch.save(both, folder / "MimicMotion_1.pth")
        return folder / "MimicMotion_1.pth"
    if name == "animate-anyone":
        unet = tensors(model, "unet")
        named = {published_name(k): x for k, x in unet.items() if not k.endswith("pos_embed.pe")}
        motion = {key: value for key, value in named.items() if "motion_modules" in key}
        spatial = {key: value for key, value in named.items() if key not in motion}
        sinusoids = "down_blocks.0.motion_modules.0.temporal_transformer.pos_encoder.pe"
        torch.save({**motion, sinusoids: torch.zeros(1, 32, 32)}, folder / "motion_module.pth")
        torch.save(spatial, folder / "denoising_unet.pth")
        torch.save(tensors(model, "reference_unet"), folder / "reference_unet.pth")
        torch.save(tensors(model, "controlnext"), folder / "pose_guider.pth")
        return folder
    files = {"unet": "unet.pth", "controlnext": "pose_net.pth", "face_encoder": "face_encoder.pth"}
    for network, file in files.items():
        if (model / network).is_dir():
            torch.save(tensors(model, network), folder / file)
    return folder


def without_pickles(layout: str, model: Path, folder: Path) -> Path:
    """MimicMotion in the files of those who keep no pickles; returns what to import."""
    folder.mkdir(parents=True)
    unet, pose_net = tensors(model, "unet"), tensors(model, "controlnext")
    if layout == "together":
        both = {f"unet.{key}": value for key, value in unet.items()}
        both |= {f"pose_net.{key}": value for key, value in pose_net.items()}
        save_file(both, folder / "MimicMotion-fp16.safetensors")
        return folder / "MimicMotion-fp16.safetensors"
    save_file(unet, folder / "MimicMotionMergedUnet_1-0-fp16.safetensors")
    save_file(pose_net, folder / "mimic_motion_pose_net.safetensors")
    return folder


def check_imported(model: Path, source: Path, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Import a source with the base of `model`: it has the same weights, to the bit."""
    base = base_of(model, folder / "base")

    def small(network: str, family: Any = "svd") -> Path:
        """Sizes of a stock network whose file comes without: the small one's."""
        return model / network / "config.json"

    for module in (components, importing):
        patch.setattr(module, "shipped_config", small)
    imported = import_model(str(source), folder / "mine", base=str(base), like=str(model))
    assert len(imported.recognised) == len(load_variant(model).networks)
    ours, theirs = load_components(load_variant(model)), load_components(imported.variant)
    for network, other in zip(ours.networks(), theirs.networks(), strict=True):
        for key, value in network.state_dict().items():
            torch.testing.assert_close(other.state_dict()[key], value, rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_published_files_become_the_model_that_they_are_of(
    name: str, models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = published(name, models[name], tmp_path / "files")
    check_imported(models[name], source, tmp_path, monkeypatch)


def test_sizes_that_the_hub_has_are_not_needed(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published UNet has the stock sizes, whose file is in a repository that is not here."""
    model = tmp_path / "like"
    copytree(models["stableanimator"], model)
    values = yaml.safe_load((model / "variant.yaml").read_text())
    base = {"repository": "owner/base", "revision": "main", "licence": "any"}
    values["sources"] = {"base": base}
    values["components"]["unet"]["config"] = "base:unet/config.json"
    del values["digests"]["unet/config.json"]
    (model / "variant.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.setattr(importing, "shipped_config", lambda name, family="svd": config_of(name))

    def config_of(name: str) -> Path:
        return models["stableanimator"] / name / "config.json"

    source = published("stableanimator", models["stableanimator"], tmp_path / "files")
    base_folder = base_of(models["stableanimator"], tmp_path / "base")
    imported = import_model(str(source), tmp_path / "mine", base=str(base_folder), like=str(model))
    assert not imported.variant.missing()


@pytest.mark.parametrize(
    "names", [["mimicmotion-1"], ["mimicmotion-1-1"], ["animate-anyone", "musepose"]]
)
def test_names_of_published_files_tell_their_release_where_they_differ(names: list[str]) -> None:
    variant = load_variant(names[0])
    parts = {
        name: Part(
            weights=tuple(
                Path(file.rpartition(":")[2]) for file in variant.components[name].weights
            ),
            text="",
        )
        for name in ("unet", "controlnext")
    }
    same = [v.name for v in list_variants() if importing._has_same_files(v, parts)]
    assert same == names


@pytest.mark.parametrize("layout", ["together", "apart"])
def test_mimicmotion_without_pickles_is_imported_as_well(
    layout: str, models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = without_pickles(layout, models["mimicmotion-1"], tmp_path / "files")
    check_imported(models["mimicmotion-1"], source, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("source", "file", "model", "network", "words"),
    [
        ("stableanimator", "unet", "mimicmotion-1", "unet", "StableAnimator's UNet"),
        (
            "stableanimator",
            "face_encoder",
            "svd-v2",
            "controlnext",
            "StableAnimator's face encoder",
        ),
        ("mimicmotion-1", "controlnext", "svd-v2", "controlnext", "pose network of MimicMotion"),
        ("svd-v2", "controlnext", "mimicmotion-1", "controlnext", "network of ControlNeXt"),
        ("animate-anyone", "controlnext", "mimicmotion-1", "controlnext", "pose guider"),
        ("animate-anyone", "reference_unet", "svd-v2", "unet", "AnimateAnyone's reference UNet"),
    ],
)
def test_a_file_of_one_model_given_as_another_is_refused_by_name(
    source: str,
    file: str,
    model: str,
    network: str,
    words: str,
    models: dict[str, Path],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "wrong"
    copytree(models[model], folder)
    save_file(tensors(models[source], file), folder / network / "model.safetensors")
    values = yaml.safe_load((folder / "variant.yaml").read_text())
    del values["digests"][f"{network}/model.safetensors"]
    (folder / "variant.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(ModelError, match=rf"is .*{words}.*, not the {network} of small-{model}"):
        load_components(load_variant(folder))


def test_one_file_of_mimicmotion_is_not_taken_for_another_models(
    models: dict[str, Path], tmp_path: Path
) -> None:
    source = published("mimicmotion-1", models["mimicmotion-1"], tmp_path / "files")
    with pytest.raises(ModelError, match=r"MimicMotion's UNet and pose network in one file"):
        import_model(str(source), tmp_path / "mine", like=str(models["animate-anyone"]))


def test_a_pose_network_that_fits_several_asks_which(tmp_path: Path) -> None:
    network = PoseNet(PoseNetConfig(out_channels=320))
    save_file(network.state_dict(), tmp_path / "pose_net.safetensors")
    with pytest.raises(ModelError, match=r"fits mimicmotion-1, mimicmotion-1-1; .*--like"):
        import_model(str(tmp_path / "pose_net.safetensors"), tmp_path / "mine")


def test_motion_modules_without_their_unets_are_refused(
    models: dict[str, Path], tmp_path: Path
) -> None:
    source = published("animate-anyone", models["animate-anyone"], tmp_path / "files")
    (source / "reference_unet.pth").unlink()
    with pytest.raises(ModelError, match=r"AnimateAnyone's reference UNet is not beside it"):
        import_model(str(source), tmp_path / "mine", like=str(models["animate-anyone"]))


def test_a_file_that_nobody_published_has_no_kind() -> None:
    assert kind_of({"a", "b.weight"}) is None


def test_two_files_of_one_network_are_not_chosen_between(
    models: dict[str, Path], tmp_path: Path
) -> None:
    source = published("mimicmotion-1", models["mimicmotion-1"], tmp_path / "files")
    copyfile(source, source.with_name("MimicMotion_1-1.pth"))
    with pytest.raises(ModelError, match=r"MimicMotion_1-1\.pth, .*MimicMotion_1\.pth hold the un"):
        import_model(str(source.parent), tmp_path / "mine")


def test_one_network_in_a_folder_of_its_own_is_a_source(models: dict[str, Path]) -> None:
    """The autoencoder lies by itself beside AnimateAnyone's files."""
    parts = find_parts(str(models["animate-anyone"] / "vae"))
    assert {name: part.weights[0].name for name, part in parts.items()} == {
        "vae": "model.safetensors"
    }


def test_a_folder_that_lacks_the_hubs_files_is_fetched_by_its_path(
    models: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    copytree(models["svd-v2"], folder)
    values = yaml.safe_load((folder / "variant.yaml").read_text())
    values["sources"] = {"base": {"repository": "owner/base", "revision": "main", "licence": "any"}}
    values["components"]["vae"]["weights"] = ["base:vae/model.safetensors"]
    del values["digests"]["vae/model.safetensors"]
    (folder / "variant.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(ModelError, match=rf"`cnx models fetch {folder}` gets them"):
        load_components(load_variant(folder))
