"""The type that is computed in, by card and by processor, on cards that are only described."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from animate import device
from animate.device import (
    automatic_precision,
    choose_device,
    choose_dtype,
    precision_remark,
    unused_card,
    wider_type,
)
from animate.errors import RequestError
from animate.generate.precision import model_dtype, stored_type
from animate.models.store import ModelFile
from animate.models.variants import resolve

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")
HALF, BRAIN, FULL = torch.float16, torch.bfloat16, torch.float32


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """A card of a name and compute capability."""
    name, capability = request.param
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _=None: name)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _=None: capability)


H100, A100 = ("NVIDIA H100 80GB HBM3", (9, 0)), ("NVIDIA A100-SXM4-40GB", (8, 0))
RTX_3060, RTX_2080 = ("NVIDIA GeForce RTX 3060", (8, 6)), ("NVIDIA GeForce RTX 2080 Ti", (7, 5))
T4, V100 = ("Tesla T4", (7, 5)), ("Tesla V100-SXM2-16GB", (7, 0))
GTX_1660, GTX_1080 = ("NVIDIA GeForce GTX 1660 SUPER", (7, 5)), ("NVIDIA GeForce GTX 1080", (6, 1))


@pytest.mark.parametrize(
    ("card", "of_float32", "of_float16", "wider"),
    [
        (H100, "bfloat16", "float16", BRAIN),
        (A100, "bfloat16", "float16", BRAIN),
        (RTX_3060, "bfloat16", "float16", BRAIN),
        (RTX_2080, "float16", "float16", FULL),
        (T4, "float16", "float16", FULL),
        (V100, "float16", "float16", FULL),
        (GTX_1660, "float32", "float32", FULL),
        (("NVIDIA T1000 8GB", (7, 5)), "float32", "float32", FULL),
        (GTX_1080, "float32", "float32", FULL),
    ],
    indirect=["card"],
)
def test_a_card_computes_in_the_type_it_is_good_at(
    card: None, of_float32: str, of_float16: str, wider: torch.dtype
) -> None:
    assert automatic_precision(CUDA, FULL) == of_float32
    assert automatic_precision(CUDA, HALF) == of_float16
    assert choose_dtype("int8", CUDA, FULL) == getattr(torch, of_float32)
    assert wider_type(HALF, CUDA) == wider
    assert (wider_type(BRAIN, CUDA), wider_type(FULL, CUDA)) == (FULL, None)


@pytest.mark.parametrize(
    ("card", "dtype", "words"),
    [
        (T4, BRAIN, "Tesla T4 only emulates bfloat16"),
        (GTX_1660, HALF, "not finite; leave --precision out for float32"),
        (A100, BRAIN, ""),
        (T4, HALF, ""),
    ],
    indirect=["card"],
)
def test_a_type_that_a_card_is_bad_at_is_remarked(
    card: None, dtype: torch.dtype, words: str
) -> None:
    remark = precision_remark("auto", dtype, CUDA)
    assert words in remark
    assert bool(words) == bool(remark)


@pytest.mark.parametrize("card", [A100], indirect=True)
def test_a_card_that_is_not_there_is_named_with_those_that_are(card: None) -> None:
    with pytest.raises(RequestError, match="device cuda:7 is not there; there is only cuda:0"):
        choose_device("cuda:7")


def test_a_driver_that_is_too_old_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def old() -> None:
        raise RuntimeError(
            "The NVIDIA driver on your system is too old (found version 11040). Please update "
            "your GPU driver by downloading and installing a new version"
        )

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    monkeypatch.setattr(torch.cuda, "init", old)
    with pytest.raises(RequestError, match=r"too old \(found version 11040\)\); update the driver"):
        choose_device("cuda")
    assert unused_card("auto", CPU) == ""
    (tmp_path / "version").touch()
    monkeypatch.setattr(device, "_DRIVER", tmp_path / "version")
    assert "NVIDIA card that is not used: torch cannot start CUDA" in unused_card("auto", CPU)
    assert unused_card("cpu", CPU) == ""
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "built without CUDA; install one" in unused_card("auto", CPU)


@pytest.mark.parametrize("instructions", [True, False])
def test_a_large_model_takes_a_processor_s_bfloat16(
    monkeypatch: pytest.MonkeyPatch, instructions: bool
) -> None:
    monkeypatch.setattr(device, "has_bfloat16_instructions", lambda: instructions)
    large = BRAIN if instructions else FULL
    assert choose_dtype("auto", CPU, FULL, large=True) == large
    assert bool(precision_remark("auto", large, CPU)) is instructions
    assert choose_dtype("auto", CPU, FULL, large=False) == FULL
    assert choose_dtype("float32", CPU, FULL, large=True) == FULL
    assert model_dtype(resolve("tiny").variant, "auto", CPU) == FULL
    assert model_dtype(resolve("svd-v2").variant, "auto", CPU) == large


@pytest.mark.parametrize("dtype", [HALF, BRAIN, FULL])
def test_the_type_of_a_weight_file_is_read_without_its_numbers(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    tensors = {"a.weight": torch.zeros(3, 4, dtype=dtype), "a.count": torch.zeros(1).long()}
    save_file(tensors, tmp_path / "m.safetensors")
    torch.save(tensors, tmp_path / "m.bin")
    for name in ("m.safetensors", "m.bin"):
        assert stored_type(ModelFile(path=name, folder=tmp_path)) == dtype
    assert stored_type(ModelFile(path="absent.bin", folder=tmp_path)) is None
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    assert stored_type(ModelFile(path="broken.safetensors", folder=tmp_path)) is None
