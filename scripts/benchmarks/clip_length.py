"""24, 240 and 2,400 frames of the bundled model: time per frame, and memory per extra frame.

Control frames are drawn when a window needs them and decoded frames are thrown away, so what grows
is what a clip really keeps: keypoints and latents. One step: the loop is the same and the benchmark
ends today. Processor time, since a length takes minutes and machines do other things meanwhile; the
shorter lengths run before and after the longest, so that a machine that gets slower or faster does
so for all of them.
"""

from __future__ import annotations

import gc
import resource
import time
from itertools import pairwise

import numpy as np

from scripts.benchmarks._clips import Studio, Way
from scripts.benchmarks.rows import Row
from scripts.tiny.characters import render_clip

LENGTHS = (24, 240, 2400)
_WAY = Way(steps=1)
_MIB = 2.0**20


def run(model: str = "tiny") -> list[Row]:
    studio = Studio(model)
    make(studio, LENGTHS[0])  # the first run also loads kernels
    window = studio.variant.defaults.window
    peaks = {}
    seconds: dict[int, list[float]] = {frames: [] for frames in LENGTHS}
    for frames in LENGTHS:  # rising: the peak of a process never falls
        seconds[frames] += per_frame(studio, frames)
        peaks[frames] = peak_bytes()
    for frames in LENGTHS[-2::-1]:
        seconds[frames] += per_frame(studio, frames)
    rows: list[Row] = []
    for frames, times in seconds.items():
        windows = studio.plan(_WAY, frames).calls
        rows.append(
            Row(
                name=f"{frames} frames: processor time per frame",
                value=float(np.mean(times)),
                unit="s",
                baseline=float(np.mean(seconds[LENGTHS[0]])),
                note=f"{windows * window / frames:.2f} frames computed a step for each frame kept; "
                f"{len(times)} clips, {min(times):.3f} to {max(times):.3f} s",
            )
        )
    for shorter, longer in pairwise(LENGTHS):
        extra = (peaks[longer] - peaks[shorter]) / (longer - shorter)
        rows.append(
            Row(
                name=f"host memory per extra frame, {shorter} to {longer}",
                value=extra / 1024,
                unit="KiB",
                note=f"peak {peaks[longer] / _MIB:.0f} MiB at {longer} frames",
            )
        )
    return rows


def per_frame(studio: Studio, frames: int) -> list[float]:
    """Seconds a frame of clips of this length, as many as have the frames of the middle one."""
    clips = max(1, LENGTHS[1] // frames)
    return [make(studio, frames) / frames for _ in range(clips)]


def make(studio: Studio, frames: int) -> float:
    """Seconds of processor time from control frames to decoded frames for a clip of this length."""
    take = render_clip(7, 24, (studio.size.width, studio.size.height))
    turns = -(-frames // 24)
    points = np.tile(take.points, (turns, 1, 1))[:frames]
    scores = np.tile(take.scores, (turns, 1))[:frames]
    gc.collect()
    start = time.process_time()
    count = sum(1 for _ in studio.frames(take, _WAY, points, scores))
    assert count == frames
    return time.process_time() - start


def peak_bytes() -> int:
    """Largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
