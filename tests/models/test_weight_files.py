"""Weight files, good and bad: what loads, what is refused, and that every name is reported."""

from __future__ import annotations

import logging
import os
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from animate.errors import ModelError
from animate.models.weight_files import (
    LARGEST_WEIGHT,
    apply_weights,
    check_weight_file,
    read_weights,
)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


def state(dtype=torch.float32) -> dict[str, torch.Tensor]:
    return {
        name: torch.ones_like(value).to(dtype) for name, value in network().state_dict().items()
    }


def run_code() -> None:
    print("code ran")


class Code:
    """A pickle of this runs a function when it is opened without restriction."""

    def __reduce__(self):
        return run_code, ()


@pytest.mark.parametrize("suffix", [".safetensors", ".bin", ".pth", ".legacy.pt"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_each_kind_and_precision_loads(tmp_path, suffix, dtype):
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(state(dtype), path)
    else:
        torch.save(state(dtype), path, _use_new_zipfile_serialization="legacy" not in suffix)
    weights = read_weights(path)
    assert {value.dtype for value in weights.values()} == {dtype}
    net = network()
    report = apply_weights(net, weights, path)
    assert (len(report.loaded), report.missing, report.unexpected) == (4, (), ())
    assert all(p.dtype == torch.float32 and bool((p == 1).all()) for p in net.parameters())


def test_tensors_that_share_one_storage_are_read_each(tmp_path):
    """As trainers save them that keep all weights in one buffer: MusePose's files are so."""
    flat = torch.arange(100, dtype=torch.float16)
    shared, start = {}, 7
    for name, value in state().items():
        shared[name] = flat[start : start + value.numel()].view(value.shape)
        start += value.numel()
    torch.save(shared, tmp_path / "guider.pth")
    net = network()
    apply_weights(net, read_weights(tmp_path / "guider.pth"), "guider.pth")
    assert all(torch.equal(net.state_dict()[name], shared[name].float()) for name in shared)


@pytest.mark.parametrize("padding", range(0, 64, 8))
def test_networks_from_any_file_multiply_alike(tmp_path, padding):
    """A row times a matrix has other last bits where the matrix begins at an odd eighth byte."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        expected = nn.Linear(96, 64)
        row = torch.randn(1, 96)
    path = tmp_path / "weights.safetensors"
    save_file(expected.state_dict(), path, metadata={"x": "y" * padding})
    with torch.device("meta"):
        net = nn.Linear(96, 64)
    apply_weights(net, read_weights(path), path)
    assert torch.equal(net(row), expected(row))


def test_a_state_dict_inside_a_checkpoint_is_found(tmp_path):
    torch.save({"state_dict": state(), "epoch": 3}, tmp_path / "a.ckpt")
    assert sorted(read_weights(tmp_path / "a.ckpt")) == sorted(state())


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_with_code_is_refused_unread(tmp_path, capsys, protocol):
    path = tmp_path / "evil.bin"
    path.write_bytes(pickle.dumps({"a": Code()}, protocol=protocol))
    with pytest.raises(ModelError, match=r"evil\.bin"):
        read_weights(path)
    assert "code ran" not in capsys.readouterr().out


def test_a_torch_file_with_code_is_refused_with_what_to_do(tmp_path, capsys):
    path = tmp_path / "evil.bin"
    torch.save({"weight": torch.ones(2), "a": Code()}, path)
    with pytest.raises(
        ModelError, match=r"evil\.bin holds more than tensors \(\S*run_code\).*use a \.safetensors"
    ):
        read_weights(path)
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
@pytest.mark.parametrize("kept", [0, 1, 9, 0.5, 0.95])
def test_truncated_files_are_damaged(tmp_path, suffix, kept):
    path = tmp_path / f"cut{suffix}"
    save_file(state(), path) if suffix == ".safetensors" else torch.save(state(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: kept if isinstance(kept, int) else int(len(whole) * kept)])
    with pytest.raises(ModelError, match=rf"cut\{suffix} is (damaged|empty)"):
        read_weights(path)


def test_a_file_that_says_another_size_is_damaged_by_its_head_alone(tmp_path):
    path = tmp_path / "long.safetensors"
    save_file(state(), path)
    check_weight_file(path)
    os.truncate(path, 1 << 40)  # a hole: to read it all would take hours
    with pytest.raises(ModelError, match=r"long\.safetensors is damaged"):
        check_weight_file(path)
    path.unlink()
    with pytest.raises(ModelError, match=r"does not exist"):
        check_weight_file(path)


def test_a_truncated_legacy_pickle_is_damaged(tmp_path):
    path = tmp_path / "cut.bin"
    torch.save(state(), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ModelError, match=r"cut\.bin is damaged"):
        read_weights(path)


def test_text_in_disguise_is_no_weight_file(tmp_path):
    for name in ("page.bin", "page.safetensors"):
        (tmp_path / name).write_text("<html>not found</html>" * 20)
        with pytest.raises(ModelError, match=f"{name} is damaged"):
            read_weights(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "no named tensors but list"),
        ({}, "no named tensors"),
        ({"a": 1}, "holds int under 'a'"),
    ],
)
def test_other_content_is_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "odd.bin")
    with pytest.raises(ModelError, match=message):
        read_weights(tmp_path / "odd.bin")


def test_absent_and_unknown_files_are_named(tmp_path):
    with pytest.raises(ModelError, match=r"none\.bin does not exist"):
        read_weights(tmp_path / "none.bin")
    (tmp_path / "a.onnx").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"a\.onnx is neither"):
        read_weights(tmp_path / "a.onnx")


def test_wrong_shapes_name_file_tensor_and_both_shapes():
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    weights = state() | {"1.weight": torch.ones(2, 5)}
    with pytest.raises(
        ModelError, match=r"f\.bin .* 1\.weight is 2x5 where the network has 2x4.*variant"
    ):
        apply_weights(net, weights, "f.bin")
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_missing_names_are_an_error_unless_the_file_is_partial():
    weights = {"0.bias": torch.zeros(4)}
    with pytest.raises(ModelError, match=r"lacks 3 of the 4 tensors .*0\.weight.*learned"):
        apply_weights(network(), weights, "f.bin")
    net = network()
    report = apply_weights(net, weights, "f.bin", partial=True)
    assert report.missing == ("0.weight", "1.weight", "1.bias")
    assert "1 tensors, 3 not in the file (0.weight, 1.weight, 1.bias)" in report.summary()
    assert bool((net[0].bias == 0).all())


def test_unexpected_names_are_reported_and_logged(caplog):
    with caplog.at_level(logging.WARNING, logger="animate.models.weight_files"):
        report = apply_weights(network(), state() | {"9.weight": torch.ones(1)}, "f.bin")
    assert report.unexpected == ("9.weight",)
    assert "1 unexpected (9.weight)" in caplog.text


def test_a_file_for_another_network_is_refused_even_if_partial():
    with pytest.raises(ModelError, match=r"none of the 4 tensors of a Sequential, but x; is it"):
        apply_weights(network(), {"x": torch.ones(1)}, "f.bin", partial=True)


def test_networks_without_memory_take_the_tensors_in_their_own_precision():
    with torch.device("meta"):
        net = network().half()
    apply_weights(net, {name: state()[name] for name in ("0.weight", "0.bias")}, "a", partial=True)
    assert net[0].weight.dtype == torch.float16
    assert not net[0].weight.is_meta
    assert net[1].weight.is_meta
    apply_weights(net, {"1.weight": torch.ones(2, 4), "0.bias": torch.zeros(4)}, "b", partial=True)
    assert not net[1].weight.is_meta
    assert bool((net[0].bias == 0).all())


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (float("nan"), "holds NaN or infinite numbers"),
        (float("-inf"), "holds NaN or infinite numbers"),
        (1e30, r"holds numbers up to 1e\+30, beyond any trained weight"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("empty", [True, False])
def test_numbers_that_no_training_leaves_are_refused_by_file_and_tensor(value, fault, dtype, empty):
    with torch.device("meta" if empty else "cpu"):
        net = network()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    weights = {name: tensor.to(dtype) for name, tensor in state().items()}
    weights["1.weight"][1, 3] = value
    with pytest.raises(ModelError, match=rf"weight file f\.bin: 1\.weight {fault}"):
        apply_weights(net, weights, "f.bin")
    if not empty:
        assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64, torch.bool])
def test_whole_numbers_are_no_weights(dtype):
    weights = {name: torch.ones_like(tensor).to(dtype) for name, tensor in state().items()}
    with pytest.raises(ModelError, match=r"f\.bin: 0\.weight holds \w+ numbers where floating"):
        apply_weights(network(), weights, "f.bin")


def test_half_and_eighth_precision_and_the_largest_float16_are_read():
    weights = {name: tensor.half() for name, tensor in state().items()}
    weights["1.weight"][0, 0] = -LARGEST_WEIGHT
    apply_weights(network(), weights, "f.bin")
    weights = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in state().items()}
    net = network()
    apply_weights(net, weights, "f.bin")
    assert torch.equal(net[1].weight, weights["1.weight"].float())


def test_counters_among_the_weights_may_be_whole_numbers():
    net = torch.nn.Sequential(torch.nn.BatchNorm1d(3))
    apply_weights(net, net.state_dict(), "f.bin")
