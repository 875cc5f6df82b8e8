"""Kept tensors are read back to the bit, or known to be damaged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from animate.clip.marker import Begun
from animate.clip.tensor_file import read_tensors, write_tensors
from animate.clip.work_folder import WorkFolder
from animate.errors import WorkError
from tests.clip.records import CONDITIONS

LATENTS = torch.randn(700, 3, 5, 31)  # more than one piece
TENSORS: dict[str, Tensor] = {
    "latents": LATENTS,
    "number": torch.tensor(2.5),
    "times": torch.arange(5),
    "half": torch.randn(4, 3).half(),
    "brain": torch.randn(4, 3).bfloat16(),
    "strided": torch.randn(6, 8).T,
    "none": torch.zeros(0, 3),
    "the same": LATENTS,
    "a part": LATENTS[3:5],
    "pixels": torch.arange(12, dtype=torch.uint8).reshape(1, 2, 2, 3),
}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a", {"step": 3, "solver": {"x": None}}, TENSORS)
    header, tensors = read_tensors(tmp_path / "a")
    assert header == {"step": 3, "solver": {"x": None}}
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_any_program_that_knows_safetensors_reads_it(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a", {}, TENSORS)
    assert torch.equal(load_file(tmp_path / "a")["latents"], LATENTS)


@pytest.mark.parametrize("position", [0, 5, 40, 5000, -40, -33, -32, -1])
def test_a_flipped_bit_is_noticed(tmp_path: Path, position: int) -> None:
    path = tmp_path / "a"
    write_tensors(path, {}, TENSORS)
    content = bytearray(path.read_bytes())
    content[position] ^= 4
    path.write_bytes(content)
    with pytest.raises(WorkError, match="damaged"):
        read_tensors(path)


@pytest.mark.parametrize("length", [0, 1, 20, 31, 32, 33, 1000, -1])
def test_a_cut_file_is_noticed(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a"
    write_tensors(path, {}, TENSORS)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(WorkError, match="damaged"):
        read_tensors(path)


def test_a_missing_file_and_a_folder_are_said(tmp_path: Path) -> None:
    for path in (tmp_path / "a", tmp_path):
        with pytest.raises(WorkError, match="damaged"):
            read_tensors(path)


def test_a_file_without_a_checksum_is_no_work_of_ours(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"latents": LATENTS}, tmp_path / "a")
    with pytest.raises(WorkError, match="damaged"):
        read_tensors(tmp_path / "a")


def test_latents_are_not_in_memory_twice_while_they_are_written(tmp_path: Path) -> None:
    """In a process of its own, whose peak is known."""
    import subprocess
    import sys

    code = (
        "import resource, sys, torch; from pathlib import Path\n"
        "from animate.clip.tensor_file import write_tensors\n"
        "path = Path(sys.argv[1]); write_tensors(path, {}, {'x': torch.zeros(10)})\n"
        "x = torch.ones(60 << 18); peak = lambda: resource.getrusage(0).ru_maxrss // 1024\n"
        "before = peak(); write_tensors(path, {}, {'x': x}); print(peak() - before)\n"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", code, str(tmp_path / "a")]
    grown = subprocess.run(command, capture_output=True, text=True, cwd=root, check=True).stdout
    assert int(grown) < 40, f"{grown.strip()} MiB for tensors of 60"


class Killed(BaseException):
    """The end of a process at which nothing is tidied up."""


def test_what_the_library_leaves_when_killed_is_known_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = Begun(digest="d", request={"output": "a"}, conditions=CONDITIONS)
    folder = tmp_path / ".clip.mp4.work"

    def half_written(tensors: object, path: Path, metadata: object) -> None:
        path.with_name(".tmpAb12Cd").write_bytes(b"half")
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("animate.clip.tensor_file.save_file", half_written)
        patch.setattr("animate.files.shutil.rmtree", lambda *path, **options: None)
        work = WorkFolder.open(folder, "clip.mp4", begun)
        with pytest.raises(Killed):
            write_tensors(folder / "latents-000001-000000", {}, {"latents": torch.zeros(3)})
        assert list(folder.rglob(".tmp*"))
        os.close(work._lock)
    work = WorkFolder.open(folder, "clip.mp4", begun)
    write_tensors(folder / "latents-000001-000000", {}, {"latents": torch.zeros(3)})
    assert not list(folder.rglob(".tmp*"))
    assert not work.leave(done=True)
    assert not folder.exists()
