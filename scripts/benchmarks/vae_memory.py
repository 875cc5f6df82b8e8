"""Tracked peak of decoding frames of 1024x576 in float16 against stock diffusers."""

from __future__ import annotations

import torch

from scripts.benchmarks._networks import make_vae, weight_size
from scripts.benchmarks._tracking import build_fake, tracked_peak
from scripts.benchmarks.rows import Row
from temporal.chunked.decoder import DecoderCuts
from temporal.estimate import decode_peak
from temporal.vae import DecodeOptions, decode_frames

GIB = 2**30
SETTINGS = (
    ("8 together", 8, DecoderCuts(), "the stock result"),
    ("8 together, by 64 rows", 8, DecoderCuts(rows=64), "the stock result"),
    ("1 alone", 1, DecoderCuts(), "the stock result of one frame"),
    ("1 alone, by 32 rows", 1, DecoderCuts(rows=32), "the stock result of one frame"),
)


def run() -> list[Row]:
    mode, vae = build_fake(make_vae, torch.float16)
    rows = []
    stock: dict[int, int] = {}
    with mode:
        for frames in (1, 8):
            latents = torch.empty(frames, 4, 72, 128, dtype=torch.float16)
            stock[frames] = tracked_peak(
                [vae],
                lambda z=latents: vae.decode(z, num_frames=len(z)),  # type: ignore[misc]
            )
        for name, frames, cuts, note in SETTINGS:
            options = DecodeOptions(group=frames, cuts=cuts)
            latents = torch.empty(frames, 4, 72, 128, dtype=torch.float16)
            tracked = tracked_peak(
                [vae],
                lambda z=latents, o=options: list(decode_frames(vae, z, o)),  # type: ignore[misc]
            )
            predicted = weight_size(vae) + decode_peak(
                vae.config, size=(128, 72), frames=frames, options=options, element=2
            )
            rows.append(
                Row(
                    name=name,
                    value=tracked / GIB,
                    unit="GiB",
                    baseline=stock[frames] / GIB,
                    note=f"{note}; predicted {predicted / GIB:.2f} GiB",
                )
            )
    return rows
