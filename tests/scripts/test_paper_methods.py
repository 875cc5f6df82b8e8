"""The baselines and formulas that the paper's claims are measured with."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from animate.models.injection import cross_normalise
from scripts.paper.baselines.controlnet import EncoderCopy, add_residuals, skip_channels
from scripts.paper.convergence import WAYS, Way
from scripts.paper.laboratory import QUICK
from scripts.paper.methods import Inputs, copied, trained_of_base
from scripts.paper.normalise import FORMULAS, modulation, paper_normalise
from scripts.paper.published_networks import make_base
from tests.toy import UNET

SIZE = 16


@pytest.fixture(scope="module")
def unet() -> Any:
    from diffusers import UNetSpatioTemporalConditionModel

    torch.manual_seed(0)
    return UNetSpatioTemporalConditionModel(**UNET).eval()


def inputs() -> Inputs:
    generator = torch.Generator().manual_seed(1)
    return Inputs(
        sample=torch.randn(2, 3, 16, SIZE, SIZE, generator=generator),
        timestep=torch.tensor([0.5, -0.3]),
        embedding=torch.randn(2, 1, 16, generator=generator),
        micro=torch.tensor([[6.0, 127.0, 0.02]]).expand(2, -1),
        control=torch.rand(2, 3, 3, 4 * SIZE, 4 * SIZE, generator=generator),
    )


def call(unet: Any, given: Inputs) -> torch.Tensor:
    result: torch.Tensor = unet(
        given.sample,
        given.timestep,
        encoder_hidden_states=given.embedding,
        added_time_ids=given.micro,
        return_dict=False,
    )[0]
    return result


def ways() -> dict[str, Way]:
    single = {name: Way(stage="single", learned="none", formula=name) for name in FORMULAS}
    return {
        **single,
        "multi": Way(stage="multi", learned="none"),
        "adapter": Way(stage="adapter", learned="none"),
    }


@pytest.mark.parametrize("name", ways())
@torch.no_grad()
def test_control_acts_and_comes_off_again(unet: Any, name: str) -> None:
    given, stock = inputs(), call(unet, inputs())
    method = ways()[name].build(QUICK, unet).eval()
    with method.attach(unet) as condition:
        condition(given)
        first = call(unet, given)
        # What starts at zero leaves the base as it is, to the bit; the others change it at once.
        assert torch.equal(first, stock) == (name in ("zero", "film", "film-channel", "multi"))
        for parameter in method.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
        condition(given)
        changed = call(unet, given)
        assert not torch.allclose(changed, stock, atol=1e-4)
        moved = Inputs(**{**vars(given), "control": given.control.flip(-1) ** 2})
        condition(moved)
        assert not torch.allclose(call(unet, given), changed, atol=1e-5)
    assert torch.equal(call(unet, given), stock)


@torch.no_grad()
def test_the_copy_computes_what_the_base_does(unet: Any) -> None:
    """With zero convolutions made to pass their input, and a control encoder at zero, residuals
    are the base's own skip tensors: added, they double what the decoder receives."""
    given = inputs()
    copy = EncoderCopy(unet, (4, 4, 4)).eval()
    for conv in [*copy.zero_convs, copy.zero_mid]:
        torch.nn.init.dirac_(conv.weight)
    skips, middle = copy(given.sample, given.timestep, given.embedding, given.micro, given.control)
    seen: list[torch.Tensor] = []
    handles = [
        block.register_forward_pre_hook(
            lambda _block, _args, kwargs: seen.extend(reversed(kwargs["res_hidden_states_tuple"])),
            with_kwargs=True,
        )
        for block in unet.up_blocks
    ]
    handles.append(unet.mid_block.register_forward_hook(lambda _b, _a, out: seen.append(out)))
    call(unet, given)
    for handle in handles:
        handle.remove()
    assert [skip.shape[1] for skip in skips] == skip_channels(unet)
    torch.testing.assert_close(middle, seen[0])
    for own, base in zip(skips, reversed(seen[1:]), strict=True):
        torch.testing.assert_close(own, base)
    with add_residuals(unet) as port:
        port.set((skips, torch.zeros_like(middle)))
        assert not torch.allclose(call(unet, given), call_without(unet, port, given))


def call_without(unet: Any, port: Any, given: Inputs) -> torch.Tensor:
    port.set(None)
    return call(unet, given)


def test_what_is_trained() -> None:
    with torch.device("meta"):
        unet = make_base("SVD", toy=True)
    sizes = {kind: sum(p.numel() for p in trained_of_base(unet, kind))
             for kind in ("none", "selective", "full")}  # fmt: skip
    whole = sum(p.numel() for p in unet.parameters())
    assert sizes["none"] == 0
    assert sizes["full"] == whole
    assert 0.01 < sizes["selective"] / whole < 0.06
    with torch.device("meta"):
        multi = WAYS["ControlNet, base frozen"].build(QUICK, unet)
    kept = sum(p.numel() for p in copied(multi))
    new = sum(p.numel() for p in multi.parameters()) - kept
    assert kept > 10 * new > 0


def test_modulation_multiplies_and_adds_in_units_of_the_features_deviation() -> None:
    features = 3 + 2 * torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    deviation, mean = torch.std_mean(features, dim=(1, 2, 3), keepdim=True)
    nothing = torch.zeros(2, 8, 1, 1)
    assert torch.equal(modulation(nothing, features), torch.zeros_like(features))
    control = torch.cat([torch.full((2, 4, 5, 5), 0.5), torch.full((2, 4, 5, 5), -0.25)], 1)
    expected = mean + 1.5 * (features - mean) - 0.25 * deviation
    torch.testing.assert_close(features + modulation(control, features), expected)


def test_the_two_formulas() -> None:
    generator = torch.Generator().manual_seed(0)
    features = 3 + 2 * torch.randn(2, 8, 6, 6, generator=generator)
    control = torch.randn(2, 8, 6, 6, generator=generator)
    code, paper = cross_normalise(control, features), paper_normalise(control, features)
    torch.testing.assert_close(code.std((1, 2, 3)), features.std((1, 2, 3)), rtol=1e-3, atol=0)
    torch.testing.assert_close(
        paper.std((1, 2, 3)),
        control.std((1, 2, 3)) / features.std((1, 2, 3)),
        rtol=1e-3,
        atol=0,
    )
    # Only the code's is blind to the control's own size.
    torch.testing.assert_close(cross_normalise(10 * control, features), code, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(paper_normalise(10 * control, features), paper, atol=0.1)
