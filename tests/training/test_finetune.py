"""Fine-tuning a toy base: what is trained, several processes, resumption, export, bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from animate.cli.main import main
from animate.errors import ModelError, TrainingError
from animate.models.base import base_variant, load_base
from animate.models.components import build_control_network, load_components
from animate.models.variants import load_variant
from animate.training.curves import read_lines
from animate.training.finetune import FineTuner, fine_tune, open_samples
from animate.training.finetune_config import load_finetune_config
from animate.training.finetune_export import export_fine_tuned, put_learned
from animate.training.loop import make_accelerator
from animate.training.parts import choose_trained
from tests.training.small import Heard, prepare, recipe, recipe_file

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("finetune"))


@pytest.fixture(scope="module")
def whole(place: Path) -> Path:
    """A selective run that went through in one piece, validated on the way."""
    path = recipe_file(place, "whole", validation={"every": 2, "clips": 1})
    fine_tune(load_finetune_config(path))
    return path


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in read_lines(folder / "steps.jsonl")]


def test_selective_trains_the_paper_s_part_of_the_full_size_model() -> None:
    from accelerate import init_empty_weights
    from diffusers import UNetSpatioTemporalConditionModel

    with init_empty_weights():
        networks: Any = torch.nn.ModuleDict(
            {
                "unet": UNetSpatioTemporalConditionModel(num_attention_heads=(5, 10, 20, 20)),
                "controlnext": build_control_network(load_variant("svd-v2").control_network),
            }
        )
    total = sum(p.numel() for p in networks.parameters())
    chosen = choose_trained(networks, "selective")
    assert round(total / 1e6) == 1528
    assert round(sum(p.numel() for p in chosen.values()) / 1e6) == 53
    assert {name for name, p in networks.named_parameters() if p.requires_grad} == set(chosen)
    assert sum(p.numel() for p in choose_trained(networks, "full").values()) == total


@pytest.mark.parametrize("kind", ["selective", "full", "lora"])
def test_only_what_is_trained_changes(place: Path, kind: str) -> None:
    config = recipe(place, f"part-{kind}", train=kind, steps=1)
    parts = load_base(config.base, like=config.like, control="keep", seed=0)
    before = {n: v.clone() for n, v in parts.unet.state_dict().items()}
    control = {n: v.clone() for n, v in parts.controlnext.state_dict().items()}
    tuner = FineTuner(config, parts, open_samples(config, Heard()), make_accelerator(config.folder))
    tuner.run()
    after = {n.replace(".base_layer", ""): v for n, v in parts.unet.state_dict().items()}
    changed = {n for n, v in before.items() if not torch.equal(after[n], v)}
    moved = any(not torch.equal(parts.controlnext.state_dict()[n], v) for n, v in control.items())
    if kind == "selective":
        assert changed
        assert all(".to_out." in name for name in changed)
    elif kind == "full":
        assert any(".to_out." not in name for name in changed)
    else:
        assert not changed
        assert all("lora_" in name for name in tuner.names)
    assert moved == (kind != "lora")


def test_validation_leaves_pictures_and_numbers_and_a_curve(whole: Path) -> None:
    folder = whole.with_suffix("")
    assert sorted(p.name for p in (folder / "validation").iterdir()) == ["000002.png", "000004.png"]
    first = read_lines(folder / "validation.jsonl")[0]
    assert first["step"] == 2
    assert 3 < first["psnr"] < 60
    assert (folder / "loss.png").read_bytes()[:4] == b"\x89PNG"
    assert len(losses(folder)) == 4


@pytest.mark.parametrize("kills", [(3,), pytest.param((1, 3), marks=pytest.mark.slow)])
def test_a_run_killed_at_any_moment_resumes_to_the_bit(
    place: Path, whole: Path, kills: tuple[int, ...]
) -> None:
    """Validations included, which must not disturb anything."""
    path = recipe_file(place, f"killed-{len(kills)}", validation={"every": 2, "clips": 1})
    folder = place / f"killed-{len(kills)}"
    for steps in kills:
        run = subprocess.Popen(
            [sys.executable, "-m", "animate.cli.main", "train", str(path), "--quiet"],
            cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        limit = time.monotonic() + 300
        while not (folder / "steps.jsonl").exists() or len(losses(folder)) < steps:
            assert run.poll() is None, "it ended before it was killed"
            assert time.monotonic() < limit
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL
    fine_tune(load_finetune_config(path))
    assert losses(folder) == losses(whole.with_suffix(""))
    one, other = (
        torch.load(p / "networks.pt", weights_only=True) for p in (folder, whole.with_suffix(""))
    )
    assert all(torch.equal(one["networks"][n], v) for n, v in other["networks"].items())
    assert all(torch.equal(a, b) for a, b in zip(one["average"], other["average"], strict=True))


def test_accumulated_batches_give_the_gradient_of_their_mean(place: Path) -> None:
    def gradients(**changes: Any) -> list[torch.Tensor]:
        config = recipe(place, "gradient", steps=1, ema=0.0, **changes)
        parts = load_base(config.base, like=config.like, control="keep", seed=0)
        tuner = FineTuner(
            config, parts, open_samples(config, Heard()), make_accelerator(config.folder)
        )
        found: list[torch.Tensor] = []
        tuner.accelerator.clip_grad_norm_ = lambda p, n: found.extend(x.grad.clone() for x in p)  # type: ignore[method-assign,assignment,misc]
        if not changes:  # the second batch alone
            seed_of = tuner.seed_of
            tuner.seed_of = lambda step, part: seed_of(step, 1)  # type: ignore[method-assign]
        with tuner.session():
            tuner.train_step()
        return found

    both = gradients(accumulate=2)
    second = gradients()
    first = gradients(clip_norm=2.0)
    for total, one, other in zip(both, first, second, strict=True):
        torch.testing.assert_close(total, (one + other) / 2, atol=1e-6, rtol=1e-4)


def test_gradient_checkpointing_changes_no_loss(place: Path) -> None:
    runs = []
    for on in (True, False):
        config = recipe(place, f"checkpointing-{on}", steps=2, gradient_checkpointing=on)
        fine_tune(config)
        runs.append(losses(config.folder))
    np.testing.assert_allclose(*runs, rtol=1e-5)


@pytest.mark.slow
def test_two_processes_train_one_model(place: Path) -> None:
    """Each has its own clips; the loss that is noted is their mean."""
    path = recipe_file(place, "two", steps=2, trackers=["tensorboard"])
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [sys.executable, *launcher, "-m", "animate.cli.main", "train", str(path), "--quiet"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    config = recipe(place, "two", steps=2, trackers=["tensorboard"])
    parts = load_base(config.base, like=config.like, control="keep", seed=0)
    alone = FineTuner(
        replace(config, folder=place / "rank"), parts, open_samples(config, Heard()),
        make_accelerator(place / "rank"),
    )  # fmt: skip
    both = []
    with alone.session():
        for rank in (0, 1):
            rng = np.random.default_rng([0, 20, 0, *((0, rank) if rank else ())])
            samples = alone._read([0, 20, 0, *((0, rank) if rank else ())])
            both.append(alone.losses(samples, rng).mean().item())
    assert both[0] != both[1]
    assert losses(config.folder)[0] == pytest.approx(np.mean(both), rel=1e-5)
    assert len(losses(config.folder)) == 2
    assert list((config.folder / "cnx").glob("events.*"))


def test_learned_parameters_and_merged_files_make_the_same_model(
    whole: Path, tmp_path: Path
) -> None:
    config: Any = load_finetune_config(whole)
    export_fine_tuned(config, tmp_path / "learned", precision="float32")
    export_fine_tuned(config, tmp_path / "merged", merged=True, precision="float32")
    learned = load_file(tmp_path / "learned" / "unet.safetensors")
    assert learned
    assert all(".to_out." in name for name in learned)
    control = load_file(tmp_path / "learned" / "controlnet.safetensors")
    base = load_base(config.base, like=config.like, control="keep", seed=0)
    assert set(control) == set(base.controlnext.state_dict())  # the published names
    assert set(load_file(tmp_path / "merged" / "unet.safetensors")) == set(base.unet.state_dict())
    put_learned(config, base)
    for kind in ("learned", "merged"):
        loaded = load_components(load_variant(str(tmp_path / kind)))
        for name in ("unet", "controlnext", "vae", "image_encoder"):
            expected = getattr(base, name).state_dict()
            for key, value in getattr(loaded, name).state_dict().items():
                assert torch.equal(value, expected[key].float()), (kind, name, key)
    # The merged folder stands alone.
    texts = (tmp_path / "merged" / "variant.yaml").read_text()
    assert ".." not in texts
    assert str(tmp_path) not in texts


def test_an_exported_model_animates(whole: Path, tmp_path: Path) -> None:
    from tests.scene import write_scene

    assert main(["train", "export", str(whole), str(tmp_path / "model"), "--quiet"]) == 0
    files = write_scene(tmp_path, 5)
    given = [part for name, value in files.items() for part in (f"--{name}", str(value))]
    command = ["run", *given, "--output", str(tmp_path / "clip.mp4"), "--model"]
    assert main([*command, str(tmp_path / "model"), "--retarget", "none", "--quiet"]) == 0
    record = json.loads((tmp_path / "clip.json").read_text())
    assert record["model"]["name"] == "toy-tuned"
    assert any("unet.safetensors" in name for name in record["model"]["weights_sha256"])


def test_a_base_in_diffusers_layout_takes_a_variant_s_constants(place: Path) -> None:
    layout = place / "layout"
    for name in ("unet", "vae", "image_encoder"):
        (layout / name).mkdir(parents=True, exist_ok=True)
        for file in (place / "base" / name).iterdir():
            target = "diffusion_pytorch_model.safetensors" if file.suffix != ".json" else file.name
            (layout / name / target).write_bytes(file.read_bytes())
    variant = base_variant(str(layout), str(place / "base"))
    assert variant.injection == load_variant(str(place / "base")).injection
    with pytest.raises(ModelError, match="controlnet"):
        load_base(str(layout), like=str(place / "base"), control="keep", seed=0)
    one, again, other = (
        load_base(str(layout), like=str(place / "base"), control="new", seed=seed)
        for seed in (1, 1, 2)
    )
    weights = [parts.controlnext.mid_convs[1].weight for parts in (one, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    config = recipe(place, "layout-run", base=str(layout), like=str(place / "base"),
                    control="new", steps=1)  # fmt: skip
    fine_tune(config)
    export_fine_tuned(config, place / "layout-model")
    load_components(load_variant(str(place / "layout-model")))


def test_adapters_begin_from_the_seed_and_go_into_a_file_for_a_run(
    place: Path, tmp_path: Path
) -> None:
    """What they make while they train is what they make merged."""
    from animate.models.lora import merged, open_adapters
    from animate.request.values import Lora

    config = recipe(place, "adapters", train="lora", steps=2, lora={"rank": 2, "alpha": 6.0})
    fine_tune(config)
    again = replace(config, folder=place / "adapters-again")
    fine_tune(again)
    assert losses(config.folder) == losses(again.folder)
    export_fine_tuned(config, tmp_path / "style", precision="float32")
    trained, plain = (
        load_base(config.base, like=config.like, control="keep", seed=0) for _ in range(2)
    )
    put_learned(config, trained)
    call = {
        "timestep": torch.tensor(0.3),
        "encoder_hidden_states": torch.ones(1, 1, 16),
        "added_time_ids": torch.tensor([[6.0, 127.0, 0.02]]),
        "return_dict": False,
    }
    sample = torch.linspace(-1, 1, 3 * 16 * 64).view(1, 3, 16, 8, 8)
    adapters = open_adapters(plain.unet, [Lora(tmp_path / "style")])
    with torch.no_grad():
        before = plain.unet(sample, **call)[0]
        with merged(plain.unet, adapters):
            made = plain.unet(sample, **call)[0]
        torch.testing.assert_close(made, trained.unet(sample, **call)[0], atol=1e-5, rtol=1e-4)
    assert not torch.equal(made, before)


def test_a_tracker_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", list)
    with pytest.raises(TrainingError, match=r"tensorboard: not installed.*\[train\]"):
        make_accelerator(tmp_path, ("tensorboard",))


@pytest.mark.parametrize("name", ["svd-v2-videos", "tiny-videos"])
def test_the_shipped_recipes_fit_their_base(name: str) -> None:
    config: Any = load_finetune_config(ROOT / "configs" / "train" / f"{name}.yaml")
    variant = load_variant(config.base)
    size = config.data.videos.size
    assert size in variant.sizes
    assert config.frames <= variant.sampling.window
    assert config.train == "selective"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stepz": 3}, "did you mean 'steps'"),
        ({"train": "some"}, "selective, full, lora"),
        ({"frames": 0}, "frames must be at least 1"),
        ({"objective": {"dropout": 2.0}}, "dropout"),
        ({"rate": -1.0}, "rate"),
        ({"train": "lora", "control": "new"}, "control network as it is"),
        ({"data": {}}, "videos"),
        ({"lora": {"rank": 0}}, "rank"),
    ],
)
def test_impossible_recipes_are_named(
    place: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = recipe_file(place, "bad", **changes)
    with pytest.raises(TrainingError, match=message) as caught:
        load_finetune_config(path)
    assert "bad.yaml" in str(caught.value)


def test_a_recipe_from_nothing_is_refused_with_the_command_that_takes_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = "scripts/tiny/tiny.yaml"
    assert main(["train", recipe]) == 2
    assert f"python -m scripts.tiny.train {recipe}" in capsys.readouterr().err
    with pytest.raises(TrainingError, match=r"tiny\.yaml has no base"):
        load_finetune_config(ROOT / recipe)


def test_a_size_that_the_base_cannot_take_is_refused(place: Path) -> None:
    config = recipe(place, "odd")
    videos = replace(config.data.videos, size=config.data.videos.size._replace(width=60))  # type: ignore[union-attr,type-var]
    with pytest.raises(TrainingError, match=r"60x64.*multiples of 8"):
        fine_tune(replace(config, data=replace(config.data, videos=videos)))


def test_another_recipe_s_checkpoint_is_refused(whole: Path) -> None:
    config: Any = load_finetune_config(whole)
    with pytest.raises(TrainingError, match="another recipe"):
        fine_tune(replace(config, rate=2e-3))
    with pytest.raises(TrainingError, match="another recipe"):
        export_fine_tuned(replace(config, rate=2e-3), whole.parent / "never")
    assert not (whole.parent / "never").exists()
    with pytest.raises(TrainingError, match="no checkpoint"):
        export_fine_tuned(replace(config, folder=whole.parent / "empty"), whole.parent / "never")


def test_a_loss_that_is_not_finite_names_its_batch_and_keeps_the_checkpoint(place: Path) -> None:
    config = recipe(place, "broken", steps=3)
    parts = load_base(config.base, like=config.like, control="keep", seed=0)
    tuner = FineTuner(config, parts, open_samples(config, Heard()), make_accelerator(config.folder))
    losses_of = tuner.losses

    def breaking(batch: Any, rng: np.random.Generator) -> torch.Tensor:
        return losses_of(batch, rng) * (torch.nan if tuner.step == 1 else 1.0)

    tuner._model._losses = breaking
    with pytest.raises(TrainingError, match=r"loss of step 1 is nan \(batch: .*mp4, frames \d+ to"):
        tuner.run()
    state = torch.load(config.folder / "networks.pt", weights_only=True)
    assert state["step"] == 1
    assert all(torch.isfinite(value).all() for value in state["networks"].values())
