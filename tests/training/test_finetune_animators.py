"""Fine-tuning on videos of a model in MimicMotion's layout: the same recipe."""

from __future__ import annotations

from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file, save_file

from animate.models.components import load_components
from animate.models.variants import load_variant
from animate.training.curves import read_lines
from animate.training.finetune import fine_tune
from animate.training.finetune_export import export_fine_tuned
from tests.small_models import small_model
from tests.training.small import recipe, write_videos


def in_one_file(folder: Path) -> None:
    """Put UNet and pose network of a model folder into one file, by prefixed names."""
    values = yaml.safe_load((folder / "variant.yaml").read_text())
    both = {}
    for part, prefix in (("unet", "unet."), ("controlnext", "pose_net.")):
        file = f"{part}/model.safetensors"
        both |= {prefix + name: value for name, value in load_file(folder / file).items()}
        values["components"][part] |= {"weights": ["both.safetensors"], "prefix": prefix}
        del values["digests"][file]
        (folder / file).unlink()
    save_file(both, folder / "both.safetensors")
    (folder / "variant.yaml").write_text(yaml.safe_dump(values))


def test_pose_network_and_unet_learn_and_come_out_as_a_model(tmp_path: Path) -> None:
    small_model("mimicmotion-1", tmp_path / "base")
    in_one_file(tmp_path / "base")
    write_videos(tmp_path / "videos", tmp_path / "cache", ("a.mp4", "b.mp4"))
    config = recipe(tmp_path, "run", steps=2)
    fine_tune(config)
    assert len(list(read_lines(tmp_path / "run" / "steps.jsonl"))) == 2
    variant = load_variant(export_fine_tuned(config, tmp_path / "tuned", precision="float32"))
    base = load_variant(tmp_path / "base")
    assert variant.leading_reference
    assert variant.pose_net == base.pose_net
    before, after = load_components(base), load_components(variant)
    for network in ("unet", "controlnext"):
        old, new = getattr(before, network).state_dict(), getattr(after, network).state_dict()
        assert any(not torch.equal(old[name], new[name]) for name in old), network
