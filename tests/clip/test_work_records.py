"""A record is read back to the bit, or known to be damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from animate.clip.tensor_file import read_record, write_record
from animate.errors import WorkError

TENSORS: dict[str, Tensor] = {
    "latents": torch.randn(700, 3, 5, 31),  # more than one piece
    "number": torch.tensor(2.5),
    "times": torch.arange(5),
    "half": torch.randn(4, 3).half(),
    "strided": torch.randn(6, 8).T,
    "none": torch.zeros(0, 3),
}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_record(tmp_path / "a", {"step": 3, "solver": {"x": None}}, TENSORS)
    header, tensors = read_record(tmp_path / "a")
    assert header == {"step": 3, "solver": {"x": None}}
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("place", [0, 5, 40, 5000, -40, -33, -32, -1])
def test_a_flipped_bit_is_noticed(tmp_path: Path, place: int) -> None:
    path = tmp_path / "a"
    write_record(path, {}, TENSORS)
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)
    with pytest.raises(WorkError, match="damaged: its checksum"):
        read_record(path)


@pytest.mark.parametrize("length", [0, 1, 20, 31, 32, 33, 1000, -1])
def test_a_cut_file_is_noticed(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a"
    write_record(path, {}, TENSORS)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(WorkError, match="damaged"):
        read_record(path)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(WorkError, match="damaged"):
        read_record(tmp_path / "a")
