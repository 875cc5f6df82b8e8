from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from temporal.chunked.decoder import DecoderCuts
from temporal.errors import TemporalError
from temporal.vae import DecodeOptions, decode_frames
from tests.temporal.networks import worst

SCALING = 0.18215


def latents(frames: int, size: tuple[int, int] = (7, 5)) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return SCALING * torch.randn(frames, 4, size[1], size[0], generator=generator)


def stock(vae: Any, part: Tensor) -> Tensor:
    with torch.no_grad():
        decoded: Tensor = vae.decode(part / SCALING, num_frames=len(part)).sample
    return decoded.clamp(-1, 1)


def decoded(vae: Any, clip: Tensor, **options: Any) -> Tensor:
    return torch.cat(list(decode_frames(vae, clip, DecodeOptions(**options))))


@pytest.mark.parametrize(
    "cuts",
    [
        DecoderCuts(frames=None, rows=None, pixels=None, queries=None),
        *[DecoderCuts(frames=frames) for frames in (1, 2, 4, 9)],
        *[DecoderCuts(frames=2, rows=rows) for rows in (1, 2, 3, 7, 10, 99)],
        *[DecoderCuts(pixels=pixels) for pixels in (1, 13, 140, 999)],
        *[DecoderCuts(queries=queries) for queries in (1, 9, 35)],
        DecoderCuts(frames=1, rows=3, pixels=11, queries=4),
    ],
    ids=str,
)
def test_cuts_do_not_change_the_stock_result(vae: Any, cuts: DecoderCuts) -> None:
    clip = latents(4)
    assert worst(decoded(vae, clip, group=4, cuts=cuts), stock(vae, clip)) < 1e-5


def test_groups_come_in_order_each_frame_once(vae: Any) -> None:
    clip = latents(7)
    pieces = list(decode_frames(vae, clip, DecodeOptions(group=3)))
    assert [len(piece) for piece in pieces] == [3, 3, 1]
    full = (clip[:3], clip[3:6], clip[4:7])  # the last group takes earlier frames with it
    theirs = torch.cat(
        [stock(vae, part)[-len(piece) :] for part, piece in zip(full, pieces, strict=True)]
    )
    assert worst(torch.cat(pieces), theirs) < 1e-5


@given(count=st.integers(1, 9), group=st.integers(1, 5), overlap=st.integers(0, 4), data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_clip_may_begin_at_any_frame(
    vae: Any, count: int, group: int, overlap: int, data: st.DataObject
) -> None:
    options = {"group": group, "overlap": min(overlap, group - 1)}
    first = data.draw(st.integers(0, count))
    clip = latents(count, (3, 2))
    whole = decoded(vae, clip, **options)
    assert len(whole) == count
    rest = list(decode_frames(vae, clip, DecodeOptions(**options), first=first))
    assert all(len(piece) for piece in rest)
    assert torch.equal(torch.cat([whole[:first], *rest]), whole)


def test_pieces_are_not_decoded_ahead(vae: Any) -> None:
    calls: list[int] = []
    hook = vae.decoder.conv_in.register_forward_hook(lambda *_: calls.append(1))
    pieces = decode_frames(vae, latents(6), DecodeOptions(group=2))
    next(pieces)
    hook.remove()
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("frames", "group", "overlap"), [(9, 4, 2), (8, 4, 1), (4, 4, 3), (5, 4, 3)]
)
def test_overlapping_groups_fade(vae: Any, frames: int, group: int, overlap: int) -> None:
    clip = latents(frames)
    ours = decoded(vae, clip, group=group, overlap=overlap)
    assert len(ours) == frames
    first = stock(vae, clip[:group])
    alone = group - overlap if frames > group else group
    alone = min(alone, frames - group) if frames > group else alone
    assert worst(ours[:alone], first[:alone]) < 1e-5
    assert worst(ours[-1:], stock(vae, clip[frames - group :])[-1:]) < 0.5
    if frames > group:
        # Between the two groups that know a shared frame, closer to both than they to each other.
        second = stock(vae, clip[alone : alone + group])
        middle = ours[alone]
        apart = (first[alone] - second[0]).abs().max()
        assert (middle - first[alone]).abs().max() < apart
        assert (middle - second[0]).abs().max() < apart


def test_no_frames(vae: Any) -> None:
    assert list(decode_frames(vae, latents(0))) == []


def test_a_tile_as_large_as_the_frame_is_the_frame(vae: Any) -> None:
    clip = latents(2, (9, 8))
    assert torch.equal(decoded(vae, clip, tile=9), decoded(vae, clip))


def test_tiles_are_close_and_without_a_seam(vae: Any) -> None:
    clip = latents(2, (40, 20))
    whole = decoded(vae, clip)
    tiled = decoded(vae, clip, tile=16, tile_overlap=6)
    assert tiled.shape == whole.shape
    assert float((tiled - whole).square().mean().sqrt()) < 0.1
    # A seam would be a step between neighbouring columns where tiles meet.
    steps = (tiled - whole).diff(dim=3).abs().mean((0, 1, 2))
    assert float(steps.max()) < 3 * float(steps.median()) + 0.02


def test_half_precision_autoencoder_takes_float32_latents(vae: Any) -> None:
    clip = latents(2)
    theirs = stock(vae, clip)
    try:
        ours = decoded(vae.to(torch.bfloat16), clip)
    finally:
        vae.float()
    assert ours.dtype == torch.bfloat16
    assert worst(ours.float(), theirs) < 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": 0}, "0 frames .* works is 1"),
        ({"group": 4, "overlap": 4}, "share 4; .* works is 3"),
        ({"group": 4, "overlap": -1}, "share -1; .* works is 0"),
        ({"tile": 3}, "3 latent pixels .* works is 8"),
        ({"tile": 16, "tile_overlap": 16}, "share 16; .* works is 15"),
    ],
)
def test_impossible_options(options: dict[str, int], message: str) -> None:
    with pytest.raises(TemporalError, match=message):
        DecodeOptions(**options)


@pytest.mark.parametrize("name", ["frames", "rows", "pixels", "queries"])
def test_empty_cuts(name: str) -> None:
    with pytest.raises(TemporalError, match=f"0 {name}.*works is 1"):
        DecoderCuts(**{name: 0})
