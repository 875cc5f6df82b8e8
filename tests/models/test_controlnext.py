"""The control network: published names, shapes and sizes, and frames that stay apart."""

from __future__ import annotations

import pytest
import torch

from animate.errors import ModelError
from animate.models.components import build_control_network
from animate.models.config import ControlNeXtConfig
from animate.models.controlnext import ControlNeXt
from animate.models.variants import load_variant
from tests.toy import CONTROLNEXT

# Bytes of the published checkpoints, less what their container adds (20.7 and 16.6 kB).
PUBLISHED_BYTES = {"svd-v1": (22_461_411, 65), "svd-v2": (14_122_234, 52)}
NAMES = {
    "time_embedding.linear_1.weight": (256, 128),
    "time_embedding.linear_2.bias": (256,),
    "embedding.0.weight": (64, 3, 3, 3),
    "embedding.1.weight": (64,),
    "embedding.3.weight": (64, 64, 3, 3),
    "embedding.6.weight": (128, 64, 3, 3),
    "embedding.7.bias": (128,),
    "down_res.0.norm1.weight": (128,),
    "down_res.0.conv1.weight": (128, 128, 3, 3),
    "down_res.0.time_emb_proj.weight": (128, 256),
    "down_res.1.conv_shortcut.weight": (256, 128, 1, 1),
    "down_sample.0.conv.weight": (128, 128, 3, 3),
    "down_sample.1.conv.bias": (256,),
    "mid_convs.0.0.weight": (256, 256, 3, 3),
    "mid_convs.0.2.weight": (256,),
    "mid_convs.0.3.weight": (256, 256, 3, 3),
    "mid_convs.0.4.bias": (256,),
}


@pytest.mark.parametrize("name", PUBLISHED_BYTES)
def test_names_shapes_and_size_are_those_of_the_published_checkpoint(name):
    state = build_control_network(load_variant(name).control_network).state_dict()
    for tensor, shape in NAMES.items():
        assert tuple(state[tensor].shape) == shape, tensor
    out = {"svd-v1": 1280, "svd-v2": 320}[name]
    assert tuple(state["mid_convs.1.weight"].shape) == (out, 256, 1, 1)
    assert ("scale" in state) == (name == "svd-v1")
    size, count = PUBLISHED_BYTES[name]
    assert len(state) == count
    overhead = size - sum(4 * tensor.numel() for tensor in state.values())
    assert 0 < overhead < 400 * count


@pytest.mark.parametrize(
    ("name", "size", "features"), [("svd-v1", (64, 64), (2, 2)), ("svd-v2", (96, 64), (11, 7))]
)
@torch.no_grad()
def test_the_published_stems_do_not_pad(name, size, features):
    network = build_control_network(load_variant(name).control_network)
    made = network(torch.rand(1, 2, 3, *size), 0.5)
    assert tuple(made.shape[2:]) == features


@torch.no_grad()
def test_padding_is_a_choice_of_the_variant():
    network = ControlNeXt(ControlNeXtConfig(stem_padding=1))
    assert tuple(network(torch.rand(1, 1, 3, 64, 64), 0.5).shape) == (1, 320, 8, 8)


@torch.no_grad()
def test_frames_and_clips_do_not_see_each_other():
    network = ControlNeXt(ControlNeXtConfig(**CONTROLNEXT)).eval()
    frames = torch.rand(2, 3, 3, 32, 32)
    whole = network(frames, torch.tensor(0.4))
    assert whole.shape == (6, 32, 4, 4)
    alone = network(frames[1:, 2:], 0.4)
    torch.testing.assert_close(whole[5:], alone)


@torch.no_grad()
def test_each_clip_may_have_its_own_timestep():
    network = ControlNeXt(ControlNeXtConfig(**CONTROLNEXT)).eval()
    frames = torch.rand(1, 1, 3, 32, 32).expand(2, 1, 3, 32, 32)
    both = network(frames, torch.tensor([0.4, -1.0]))
    torch.testing.assert_close(both[:1], network(frames[:1], 0.4))
    torch.testing.assert_close(both[1:], network(frames[1:], -1.0))
    assert not torch.allclose(both[0], both[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block_groups": (4,)}, "same number of blocks"),
        ({"block_channels": (130, 256)}, "130 channels cannot be normalised in 4 groups"),
        ({"stem_channels": (63, 128)}, "63 channels"),
        ({"stem_channels": (64,)}, "two sizes"),
        ({"stem_padding": 2}, "0 or 1"),
        ({"time_channels": 3}, "even"),
        ({"block_groups": [0, 8]}, "in 0 groups"),
        ({"out_channels": 0}, "out_channels must be positive"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ModelError, match=message):
        ControlNeXtConfig(**changes)


@torch.no_grad()
def test_frames_are_brought_to_the_range_that_the_network_was_trained_on():
    plain = ControlNeXt(ControlNeXtConfig(**CONTROLNEXT)).eval()
    signed = ControlNeXt(ControlNeXtConfig(**CONTROLNEXT, picture_range=(-1.0, 1.0))).eval()
    signed.load_state_dict(plain.state_dict())
    frames = torch.rand(1, 2, 3, 32, 32)
    assert torch.equal(signed(frames, 0.5), plain(frames * 2 - 1, 0.5))
    with pytest.raises(ModelError, match="picture_range must be two rising numbers"):
        ControlNeXtConfig(picture_range=(1.0, 0.0))
