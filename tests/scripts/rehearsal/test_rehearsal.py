"""The rehearsal of published models, on smaller ones; at full size it is slow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from animate.models.variants import resolve
from scripts import rehearse
from scripts.rehearsal import stages, weights
from scripts.rehearsal.weights import build_model, random_weights


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The architecture with narrow layers."""
    narrow: dict[str, dict[str, Any]] = {
        "unet": {
            "block_out_channels": [320, 64, 64, 64],
            "num_attention_heads": [5, 2, 2, 2],
            "layers_per_block": 1,
            "cross_attention_dim": 32,
        },
        "vae": {"block_out_channels": [32, 32, 32, 32], "layers_per_block": 1},
        "image_encoder": {
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "projection_dim": 32,
        },
    }
    build, write = weights.build_network, weights.write_text

    def build_narrow(name: str, config: Any) -> Any:
        return build(name, {**config, **narrow[name]})

    def write_narrow(path: Path, text: str) -> None:
        if path.suffix == ".json":
            import json

            text = json.dumps({**json.loads(text), **narrow[path.parent.name]})
        write(path, text)

    monkeypatch.setattr(weights, "build_network", build_narrow)
    monkeypatch.setattr(weights, "write_text", write_narrow)


def test_a_model_is_rehearsed_through_the_product(
    small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures, folder = tmp_path / "figures.json", tmp_path / "folder"
    options = ["--model", "svd-v2", "--size", "64x64", "--steps", "1", "--json", str(figures)]
    assert rehearse.main([str(folder), *options]) == 0
    table = capsys.readouterr().out
    for stage in ("load", "encode", "denoise", "decode"):
        assert f"| svd-v2 | {stage} | float32 |" in table
    assert (folder / "svd-v2.mp4").stat().st_size > 0
    assert '"processor_seconds"' in figures.read_text()
    unet = folder / "svd-v2" / "unet" / "unet.bin"
    assert {t.dtype for t in torch.load(unet).values()} == {torch.float16}


def test_networks_of_the_base_are_linked_and_not_written_twice(small: None, tmp_path: Path) -> None:
    first = build_model(tmp_path, "svd-v2")
    second = build_model(tmp_path, "svd-v1", shared=first)
    for network in ("unet", "vae", "image_encoder"):
        files = [next((folder / network).glob("*.[bs]*")) for folder in (first, second)]
        assert files[0].samefile(files[1])
    assert resolve(second).variant.missing() == []


def test_weights_keep_outputs_as_large_as_inputs() -> None:
    layer = torch.nn.Linear(512, 512)
    layer.load_state_dict(random_weights(layer, 0))
    assert float(layer(torch.randn(64, 512)).std().detach()) == pytest.approx(1, rel=0.1)


def test_the_project_s_own_folder_and_a_full_disk_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        rehearse.main([str(rehearse.ROOT / "out")])
    assert stop.value.code == 2
    monkeypatch.setattr(weights.shutil, "disk_usage", lambda _: type("Disk", (), {"free": 1}))
    monkeypatch.setattr(stages.make_demo, "main", lambda _: None)
    with pytest.raises(SystemExit):
        rehearse.main([str(tmp_path)])
    assert "less than 5 GiB free" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_published_models_run_at_full_size(tmp_path: Path) -> None:
    """5 GB of disk and 10 GB of memory; without bfloat16 instructions 13 GB."""
    rows = stages.rehearse(tmp_path, rehearse.MODELS, size="256x256", frames=4, steps=2)
    assert {row.stage for row in rows} >= {"load", "encode", "denoise", "decode"}
    assert build_model(tmp_path, "svd-v1").is_dir()
