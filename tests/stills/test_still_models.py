"""Models for stills: found by name, by path, and by what is in their files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from animate.cli.main import main
from animate.errors import ModelError
from animate.models.components import build_control_network
from animate.models.stills import load_still_design, named_model, still_design_names
from animate.stills.base import choose_model, clip_tokenizer, family_of
from animate.stills.control_files import fitting_designs
from animate.stills.pipeline import StillPipeline
from tests.stills.conftest import SIZE
from tests.toy_still import DESIGN, StillFiles

PUBLISHED = ("controlnext-sd15", "controlnext-sd15-trained", "controlnext-sdxl")


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_design_is_told_from_the_tensors_of_its_file(name: str, tmp_path: Path) -> None:
    network = build_control_network(load_still_design(name).controlnext)
    half = {key: value.half() for key, value in network.state_dict().items()}
    save_file(half, tmp_path / "control.safetensors")
    assert name in fitting_designs(tmp_path / "control.safetensors")
    first_alone = name == "controlnext-sd15"
    assert len(fitting_designs(tmp_path / "control.safetensors")) == (1 if first_alone else 2)


def test_of_two_designs_with_one_network_the_base_decides(
    toy_still: StillFiles, toy_xl: StillFiles
) -> None:
    for files, design in ((toy_still, "controlnext-sd15-trained"), (toy_xl, "controlnext-sdxl")):
        model = choose_model(
            "auto", base=files.base, controlnext=toy_still.controlnext, controlled=True
        )
        assert model.design.name == design
        assert "has the tensors of" in model.reason


def test_a_folder_is_a_model(toy_still: StillFiles) -> None:
    model = choose_model(str(toy_still.base), controlled=False)
    assert (model.base, model.design.family) == (toy_still.base, "sd15")


def test_what_does_not_fit_is_refused_by_name(
    toy_still: StillFiles, toy_xl: StillFiles, tmp_path: Path
) -> None:
    def load(base: Path, **more: object) -> None:
        StillPipeline.from_files(base, **more)  # type: ignore[arg-type]

    with pytest.raises(ModelError, match=r"is of the design controlnext-sd15-trained"):
        load(toy_still.base, design="controlnext-sd15", controlnext=toy_still.controlnext)
    with pytest.raises(ModelError, match=r"is a sdxl model, and controlnext-sd15 is for sd15"):
        load(toy_xl.base, design="controlnext-sd15")
    save_file({"other.weight": torch.zeros(2)}, tmp_path / "unet.safetensors")
    with pytest.raises(ModelError, match=r"holds other\.weight, which a sd15 UNet does not"):
        load(toy_still.base, design=DESIGN, unet=tmp_path / "unet.safetensors")
    with pytest.raises(ModelError, match=r"is of no known design"):
        load(toy_still.base, controlnext=tmp_path / "unet.safetensors")
    with pytest.raises(ModelError, match="does not exist"):
        load(tmp_path / "no", design=DESIGN)
    (tmp_path / "base.ckpt").write_bytes(b"pickle")
    with pytest.raises(ModelError, match="may run code"):
        load(tmp_path / "base.ckpt", design=DESIGN)
    with pytest.raises(ModelError, match=r"has no model_index\.json"):
        load(tmp_path, design=DESIGN)
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(ModelError, match="is a FluxPipeline; stills are made with"):
        load(tmp_path)
    with pytest.raises(ModelError, match="holds no text encoder"):
        load(toy_still.unet)
    with pytest.raises(ModelError, match=r"no model for stills is called 'controlnext-sd'.*sd15"):
        choose_model("controlnext-sd", controlled=False)
    with pytest.raises(ModelError, match="has no control network for the control picture"):
        choose_model(str(toy_still.base), controlled=True)


def test_a_folder_of_pickles_is_not_opened(toy_still: StillFiles, tmp_path: Path) -> None:
    from shutil import copytree

    base = tmp_path / "base"
    copytree(toy_still.base, base)
    weights = base / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(ModelError, match="cannot be loaded as sd15"):
        StillPipeline.from_files(base)


def test_files_that_are_not_here_are_named_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"cnx models fetch controlnext-sd15:depth"):
        named_model("controlnext-sd15:depth", controlled=True)
    with pytest.raises(ModelError, match=r"has no checkpoint 'pse'.*'pose'"):
        named_model("controlnext-sd15:pse", controlled=True)
    with pytest.raises(ModelError, match="no weights are published"):
        named_model("controlnext-sd15-trained", controlled=True)
    assert main(["still", "--list"]) == 0
    listing = capsys.readouterr().out
    assert all(name in listing for name in still_design_names())
    assert "checkpoints: controlnext-sd15:pose" in listing


def test_what_fetch_would_bring_is_the_base_and_one_checkpoint() -> None:
    design = load_still_design("controlnext-sd15")
    paths = [file.path for file in design.files("depth")]
    assert paths[0] == "model_index.json"
    assert paths[-2:] == [
        "ControlNeXt-SD1.5/vidit_depth/controlnet.safetensors",
        "ControlNeXt-SD1.5/vidit_depth/unet.safetensors",
    ]
    pinned = load_still_design("controlnext-sdxl").file("canny:unet.safetensors")
    assert pinned.digest == "d0bade332e1e6151b3b60534340d207b43a7d135aa1052910f13a449a6d580cb"


def test_half_precision_names_in_a_folder_are_found(toy_still: StillFiles, tmp_path: Path) -> None:
    pipe = StillPipeline.from_files(toy_still.base, device="cpu").pipe
    pipe.save_pretrained(tmp_path / "half", variant="fp16", safe_serialization=True)
    loaded = StillPipeline.from_files(tmp_path / "half", device="cpu")
    first = loaded.pipe.unet.state_dict()["conv_in.weight"]
    torch.testing.assert_close(first, pipe.unet.state_dict()["conv_in.weight"])


def test_sdxl_is_made_with_increments_before_the_first_block(
    toy_xl: StillFiles, picture: np.ndarray
) -> None:
    pipeline = StillPipeline.from_files(
        toy_xl.base, controlnext=toy_xl.controlnext, unet=toy_xl.unet, device="cpu"
    )
    assert pipeline.design.name == "controlnext-sdxl"
    plain = StillPipeline.from_files(toy_xl.base, device="cpu")
    name = next(iter(load_file(toy_xl.unet)))
    before, after = (loaded.pipe.unet.state_dict()[name] for loaded in (plain, pipeline))
    torch.testing.assert_close(after, before + 0.01)
    call = {"prompt": "a dancer", "steps": 2, "size": SIZE}
    free = np.asarray(pipeline(**call))  # type: ignore[arg-type]
    held = np.asarray(pipeline(control=picture, **call))  # type: ignore[arg-type]
    assert free.shape == (64, 64, 3)
    assert (free != held).any()


def test_the_shipped_vocabulary_is_clips() -> None:
    tokenizer = clip_tokenizer()
    assert len(tokenizer) == 49408
    known = [49406, 320, 1125, 539, 320, 2368, 49407]
    assert tokenizer("a photo of a cat").input_ids == known
    assert (tokenizer.pad_token_id, clip_tokenizer("!").pad_token_id) == (49407, 0)


def test_a_checkpoint_in_one_file_tells_its_family(tmp_path: Path) -> None:
    for mark, family in (
        ("cond_stage_model.transformer.text_model.embeddings.position_ids", "sd15"),
        ("conditioner.embedders.0.transformer.text_model.embeddings.position_ids", "sdxl"),
    ):
        save_file({mark: torch.zeros(1)}, tmp_path / "one.safetensors")
        assert family_of(tmp_path / "one.safetensors") == family
    save_file(
        {"cond_stage_model.model.ln_final.bias": torch.zeros(1)}, tmp_path / "two.safetensors"
    )
    with pytest.raises(ModelError, match="is of Stable Diffusion 2"):
        family_of(tmp_path / "two.safetensors")
