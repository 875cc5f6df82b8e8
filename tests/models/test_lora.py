"""Adapters: every format is read, merged exactly, and taken out again; nothing is dropped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from animate.errors import ModelError, RequestError
from animate.models.lora import merged, open_adapters
from animate.request.values import Lora
from temporal.constant_attention import constant_cross_attention
from temporal.packing import packed_weights
from temporal.precision import quantise_weights
from tests.toy import toy_networks

RANK = 2
LAYERS = (
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q",
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0",
    "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_v",
    "mid_block.attentions.0.temporal_transformer_blocks.0.attn1.to_k",
    "down_blocks.0.resnets.0.spatial_res_block.conv1",
    "down_blocks.0.resnets.0.temporal_res_block.conv1",
)


@pytest.fixture
def unet() -> Any:
    return toy_networks()["unet"].eval()


def factors(unet: Any, scale: float = 0.1) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """(down, up) for the layers."""
    generator = torch.Generator().manual_seed(3)
    made = {}
    for name in LAYERS:
        shape = unet.get_submodule(name).weight.shape
        down = scale * torch.randn(RANK, *shape[1:], generator=generator)
        up = scale * torch.randn(shape[0], RANK, *(1,) * (len(shape) - 2), generator=generator)
        made[name] = (down, up)
    return made


def write(folder: Path, kind: str, unet: Any, alpha: float = 4.0) -> Path:
    """The same adapter as different programs write it."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors, metadata = {}, {"format": "pt"}
    place = folder / "pytorch_lora_weights.safetensors"
    for name, (down, up) in factors(unet).items():
        if kind == "peft":
            place = folder / "adapter_model.safetensors"
            tensors[f"base_model.model.{name}.lora_A.weight"] = down
            tensors[f"base_model.model.{name}.lora_B.weight"] = up
        elif kind == "diffusers":
            tensors[f"unet.{name}.lora_A.weight"] = down
            tensors[f"unet.{name}.lora_B.weight"] = up
        elif kind == "older diffusers":
            tensors[f"unet.{name}.lora.down.weight"] = down
            tensors[f"unet.{name}.lora.up.weight"] = up
            tensors[f"unet.{name}.alpha"] = torch.tensor(alpha)
        else:
            flat = "lora_unet_" + name.replace(".", "_")
            tensors[f"{flat}.lora_down.weight"] = down
            tensors[f"{flat}.lora_up.weight"] = up
            tensors[f"{flat}.alpha"] = torch.tensor(alpha)
    if kind == "peft":
        config = {"r": RANK, "lora_alpha": alpha, "target_modules": ["to_q"]}
        (folder / "adapter_config.json").write_text(json.dumps(config))
    if kind == "diffusers":
        sizes = {"unet.r": RANK, "unet.lora_alpha": alpha}
        metadata["lora_adapter_metadata"] = json.dumps(sizes)
    save_file(tensors, place, metadata=metadata)
    return place


def call(unet: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    sample = torch.randn(1, 3, 16, 8, 8, generator=generator)
    context = torch.randn(1, 1, 16, generator=generator)
    with torch.no_grad():
        result: torch.Tensor = unet(
            sample, torch.tensor(0.3), encoder_hidden_states=context,
            added_time_ids=torch.tensor([[6.0, 127.0, 0.02]]), return_dict=False,
        )[0]  # fmt: skip
    return result


def with_peft(alpha: float = 4.0, weight: float = 1.0) -> torch.Tensor:
    """What peft's own layers compute."""
    from peft import LoraConfig, inject_adapter_in_model

    network: Any = toy_networks()["unet"].eval()
    made = factors(network)
    config = LoraConfig(r=RANK, lora_alpha=alpha, target_modules=list(LAYERS))
    inject_adapter_in_model(config, network)
    for name, (down, up) in made.items():
        layer = network.get_submodule(name)
        layer.lora_A["default"].weight.data = down
        layer.lora_B["default"].weight.data = up
        layer.scaling["default"] *= weight
    return call(network)


@pytest.mark.parametrize("kind", ["peft", "diffusers", "older diffusers", "kohya"])
def test_every_format_gives_what_peft_computes(kind: str, unet: Any, tmp_path: Path) -> None:
    plain = call(unet)
    place = write(tmp_path, kind, unet)
    adapters = open_adapters(unet, [Lora(place, 0.5)])
    assert set(adapters[0].adapter.layers) == set(LAYERS)
    with merged(unet, adapters):
        found = call(unet)
    expected = with_peft(weight=0.5)
    assert (expected - plain).abs().max() > 1e-3
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


def test_a_folder_names_its_file_and_several_add_up(unet: Any, tmp_path: Path) -> None:
    write(tmp_path / "one", "peft", unet)
    with merged(unet, open_adapters(unet, [Lora(tmp_path / "one", 0.25)] * 2)):
        found = call(unet)
    with merged(unet, open_adapters(unet, [Lora(tmp_path / "one", 0.5)])):
        torch.testing.assert_close(found, call(unet), atol=1e-5, rtol=1e-4)


def test_weights_are_what_they_were_to_the_bit(unet: Any, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    adapters = open_adapters(unet, [Lora(write(tmp_path, "peft", unet), 1.0)])
    with pytest.raises(KeyError), merged(unet, adapters):
        raise KeyError
    after = unet.state_dict()
    assert set(after) == set(before)
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_weights_may_be_packed_meanwhile(unet: Any, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    with merged(unet, open_adapters(unet, [Lora(write(tmp_path, "peft", unet), 1.0)])):
        expected = call(unet)
        with packed_weights(unet):
            torch.testing.assert_close(call(unet), expected, atol=2e-5, rtol=1e-4)
        assert torch.equal(call(unet), expected)
    assert all(torch.equal(before[name], value) for name, value in unet.state_dict().items())


def test_it_goes_through_constant_cross_attention(unet: Any, tmp_path: Path) -> None:
    adapters = open_adapters(unet, [Lora(write(tmp_path, "diffusers", unet), 1.0)])
    with merged(unet, adapters):
        stock = call(unet)
        with constant_cross_attention(unet):
            torch.testing.assert_close(call(unet), stock, atol=2e-5, rtol=1e-4)


def test_8_bit_weights_are_those_of_the_sum_and_come_off_again(unet: Any, tmp_path: Path) -> None:
    place = write(tmp_path, "diffusers", unet)
    adapters = open_adapters(unet, [Lora(place, 1.0)])
    by_hand: Any = toy_networks()["unet"].eval()
    for name, layer in adapters[0].adapter.layers.items():
        by_hand.get_submodule(name).weight.data += layer.product()
    expected = call(quantise_weights(by_hand))
    with merged(unet, adapters):
        quantise_weights(unet)
        torch.testing.assert_close(call(unet), expected, atol=1e-5, rtol=1e-4)
    convolution = unet.get_submodule(LAYERS[-2])
    assert torch.equal(convolution.weight, toy_networks()["unet"].get_submodule(LAYERS[-2]).weight)
    assert "forward" not in vars(convolution)
    plain: Any = toy_networks()["unet"].eval()
    expected = call(quantise_weights(plain))
    torch.testing.assert_close(call(quantise_weights(unet)), expected, atol=1e-5, rtol=1e-4)
    with pytest.raises(ModelError, match="8-bit already"), merged(unet, adapters):
        pass


def test_another_architecture_is_named_layer_by_layer(unet: Any, tmp_path: Path) -> None:
    made = factors(unet)
    first, second, *_ = LAYERS
    tensors = {
        f"unet.{first}.lora_A.weight": torch.zeros(RANK, 320),
        f"unet.{first}.lora_B.weight": torch.zeros(320, RANK),
        f"unet.{second}.lora_A.weight": made[second][0],
        f"unet.{second}.lora_B.weight": made[second][1],
        "unet.down_blocks.9.to_q.lora_A.weight": torch.zeros(RANK, 32),
        "unet.down_blocks.9.to_q.lora_B.weight": torch.zeros(32, RANK),
    }
    save_file(tensors, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="another architecture") as caught:
        open_adapters(unet, [Lora(tmp_path / "other.safetensors")])
    assert f"{first} is for 320x320 where the UNet has 32x32" in str(caught.value)
    assert "down_blocks.9.to_q is no layer" in str(caught.value)
    assert second not in str(caught.value)


@pytest.mark.parametrize(
    ("strange", "message"),
    [
        ("unet.x.lora_magnitude_vector", "lora_magnitude_vector"),
        ("text_encoder.layers.0.weight", "text_encoder"),
        ("unet.x.hada_w1_a", "hada_w1_a"),
    ],
)
def test_what_is_not_understood_is_never_left_out(
    strange: str, message: str, unet: Any, tmp_path: Path
) -> None:
    place = write(tmp_path, "diffusers", unet)
    from safetensors.torch import load_file

    save_file({**load_file(place), strange: torch.zeros(2)}, place)
    with pytest.raises(ModelError, match=message):
        open_adapters(unet, [Lora(place)])


def test_missing_damaged_and_half_files_are_refused(unet: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        open_adapters(unet, [Lora(tmp_path / "none.safetensors")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"adapter_model\.safetensors"):
        open_adapters(unet, [Lora(tmp_path / "empty")])
    (tmp_path / "bad.safetensors").write_bytes(b"no tensors at all")
    with pytest.raises(ModelError, match="damaged"):
        open_adapters(unet, [Lora(tmp_path / "bad.safetensors")])
    save_file({}, tmp_path / "nothing.safetensors")
    with pytest.raises(ModelError, match="no weights at all"):
        open_adapters(unet, [Lora(tmp_path / "nothing.safetensors")])
    half = {f"unet.{LAYERS[0]}.lora_A.weight": torch.zeros(RANK, 32)}
    save_file(half, tmp_path / "half.safetensors")
    with pytest.raises(ModelError, match="not a plain LoRA"):
        open_adapters(unet, [Lora(tmp_path / "half.safetensors")])


def test_rank_stabilised_scales_are_read(unet: Any, tmp_path: Path) -> None:
    place = write(tmp_path, "peft", unet)
    config = {"r": RANK, "lora_alpha": 4.0, "use_rslora": True, "alpha_pattern": {"to_q": 6.0}}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    layers = open_adapters(unet, [Lora(place)])[0].adapter.layers
    assert layers[LAYERS[0]].scale == pytest.approx(6 / RANK**0.5)
    assert layers[LAYERS[1]].scale == pytest.approx(4 / RANK**0.5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.safetensors", ("a.safetensors", 1.0)),
        ("a/b.safetensors:0.7", ("a/b.safetensors", 0.7)),
        ("c:-1", ("c", -1.0)),
        (["x", 2], ("x", 2.0)),
    ],
)
def test_files_and_weights_are_parsed(text: Any, expected: tuple[str, float]) -> None:
    assert Lora.parse(text) == (Path(expected[0]), expected[1])
    assert Lora.parse(str(Lora.parse(text))) == Lora.parse(text)


@pytest.mark.parametrize("text", ["", "a:99", ("a", "much")])
def test_impossible_weights_are_refused(text: Any) -> None:
    with pytest.raises(RequestError, match="FILE:WEIGHT"):
        Lora.parse(text)


def write_stated(folder: Path, unet: Any, stated: str, **tensors: torch.Tensor) -> Path:
    """A diffusers adapter with a metadata text, and tensors of its first layer replaced."""
    file = folder / "stated.safetensors"
    layers: dict[str, torch.Tensor] = {}
    for name, (down, up) in factors(unet).items():
        layers[f"unet.{name}.lora_A.weight"] = down
        layers[f"unet.{name}.lora_B.weight"] = up
    layers |= {f"unet.{LAYERS[0]}.{kind}": value for kind, value in tensors.items()}
    save_file(layers, file, metadata={"lora_adapter_metadata": stated} if stated else None)
    return file


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        (
            '{"unet.alpha_pattern": {"(a+)+$": 8}}',
            r"alpha_pattern '\(a\+\)\+\$' is no name of a layer",
        ),
        ('{"unet.alpha_pattern": {"(": 8}}', r"alpha_pattern '\(' is no name"),
        ('{"unet.alpha_pattern": {"to_q": "8"}}', "alpha_pattern to_q must be a finite number"),
        ('{"unet.alpha_pattern": ["to_q"]}', "alpha_pattern must hold names with numbers"),
        ('{"unet.lora_alpha": "16"}', "lora_alpha must be a finite number, not '16'"),
        ('{"unet.lora_alpha": true}', "lora_alpha must be a finite number, not True"),
        ('{"unet.lora_alpha": Infinity}', "lora_alpha must be a finite number, not inf"),
        ('{"unet.lora_alpha": NaN}', "lora_alpha must be a finite number, not nan"),
        ('{"unet.lora_alpha": 1e300}', "lora_alpha must be a finite number"),
        (f'{{"unet.lora_alpha": 1{"0" * 400}}}', "lora_alpha must be a finite number"),
        ('{"unet.use_rslora": "no"}', "use_rslora must be true or false, not 'no'"),
        ('{"unet.use_dora": 1.0}', "use_dora must be true or false, not 1.0"),
        ("[" * 100_000, "not readable JSON"),
        ("[1]", "must hold names with values"),
        ("{" + "x" * (1 << 21), "longer than 1 MiB"),
    ],
)
def test_metadata_that_is_no_scale_is_refused_by_name_and_value(tmp_path, unet, stated, message):
    with pytest.raises(ModelError, match=message) as caught:
        open_adapters(unet, [Lora(write_stated(tmp_path, unet, stated))])
    assert "stated.safetensors" in str(caught.value)


def test_names_of_layers_in_the_metadata_match_literally_at_the_end(tmp_path, unet):
    stated = json.dumps({"unet.lora_alpha": 2, "unet.alpha_pattern": {"^attn1.to_q": 8, "oXq": 5}})
    (opened,) = open_adapters(unet, [Lora(write_stated(tmp_path, unet, stated))])
    assert opened.adapter.layers[LAYERS[0]].scale == 8 / RANK
    assert opened.adapter.layers[LAYERS[2]].scale == 2 / RANK


@pytest.mark.parametrize(
    "data", [b"\xff\xfe{\x00}\x00", b"\xe9" * 9, b'{"lora_alpha": 1e999}', b"{" * 99_999]
)
def test_a_configuration_in_a_wrong_encoding_or_with_impossible_numbers_is_refused(
    tmp_path, unet, data
):
    write(tmp_path, "peft", unet)
    (tmp_path / "adapter_config.json").write_bytes(data)
    with pytest.raises(ModelError, match=r"adapter_config\.json"):
        open_adapters(unet, [Lora(tmp_path)])


def wide(*shape: int) -> torch.Tensor:
    return torch.full(shape, 1e3)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"lora_A.weight": torch.full((RANK, 32), float("nan"))}, "lora_A.weight holds NaN"),
        (
            {"lora_A.weight": torch.full((RANK, 32), 1e30)},
            r"lora_A.weight holds numbers up to 1e\+30",
        ),
        ({"lora_A.weight": torch.ones(RANK, 32, dtype=torch.int8)}, "holds int8 numbers"),
        ({"alpha": torch.tensor(float("inf"))}, "the alpha of .* must be a finite number"),
        ({"alpha": torch.ones(3)}, "the alpha of .* is 3 numbers"),
        (
            {"lora_A.weight": torch.ones(0, 32), "lora_B.weight": torch.ones(32, 0)},
            r"shapes \(0, 32\) and \(32, 0\), which do not belong together",
        ),
        ({"lora_A.weight": torch.tensor(1.0)}, r"shapes \(\) and"),
        ({"lora_B.weight": torch.tensor(1.0)}, r"and \(\), which do not"),
    ],
)
def test_factors_that_are_no_numbers_or_do_not_belong_together_are_refused(
    tmp_path, unet, tensors, message
):
    with pytest.raises(ModelError, match=message):
        open_adapters(unet, [Lora(write_stated(tmp_path, unet, "", **tensors))])


def test_an_alpha_may_be_a_whole_number(tmp_path, unet):
    file = write_stated(tmp_path, unet, "", alpha=torch.tensor(4))
    (opened,) = open_adapters(unet, [Lora(file)])
    assert opened.adapter.layers[LAYERS[0]].scale == 2


def test_a_sum_beyond_any_weight_is_refused_and_leaves_the_network_as_it_was(tmp_path, unet):
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    large = {"lora_A.weight": wide(RANK, 32), "lora_B.weight": wide(32, RANK)}
    adapters = open_adapters(unet, [Lora(write_stated(tmp_path, unet, "", **large))])
    with (
        pytest.raises(ModelError, match=r"to_q then holds numbers up to 2e\+06"),
        merged(unet, adapters),
    ):
        pass
    assert all(torch.equal(before[name], value) for name, value in unet.state_dict().items())
