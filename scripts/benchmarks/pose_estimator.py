"""Frames per second of the embedded pose estimator at 576x1024, by stage and with threads.

A stage's time is processor time of one thread, so that other programs hardly change it; the whole
extraction's is the clock's, next to what the processor time would allow on as many idle cores.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from pose.cuts import mark_cuts
from pose.estimators.blazepose import landmarks
from pose.estimators.blazepose.estimator import BlazePose, BlazePoseOptions
from pose.extract import extract
from scripts.benchmarks.rows import Row
from scripts.tiny.characters.clip import render_clip

_SIZE = (576, 1024)
_PAINTED, _CLIP, _ROUNDS = 6, 48, 12

Picture = NDArray[np.uint8]


def run() -> list[Row]:
    """A painted character, found in every frame; the clip runs forth and back."""
    frames = list(render_clip(0, _PAINTED, _SIZE).frames)
    estimator = BlazePose()
    return [*stages(estimator, frames), *extraction(frames)]


def clip(frames: list[Picture], count: int) -> Iterator[Picture]:
    """`count` frames, forth and back."""
    return itertools.islice(itertools.cycle([*frames, *frames[-2:0:-1]]), count)


def stages(estimator: BlazePose, frames: list[Picture]) -> list[Row]:
    """Processor time of every stage of one frame, and of all together."""
    frame = frames[0]
    (person,) = estimator.look(frame)
    body = person.body
    assert body is not None
    calls: dict[str, Callable[[], object]] = {
        "find bodies": lambda: estimator.detect(frame),
        "closer look (nobody sure)": lambda: estimator.detect_closer(frame, []),
        "body": lambda: landmarks.find_body(estimator._body, frame, body.following),
        "both hands": lambda: [estimator._find_hand(frame, body, s) for s in ("left", "right")],
        "face": lambda: estimator._find_face(frame, body),
        "cuts": lambda: list(mark_cuts([frame, frame])),
        "one frame, one person": lambda: estimator.fork()(frame),
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(_ROUNDS):
        for name, call in calls.items():
            start = time.thread_time()
            call()
            seconds[name].append(time.thread_time() - start)
    rows = []
    for name, each in seconds.items():
        spent = statistics.median(each) / (2 if name == "cuts" else 1)
        note = f"{spent * 1e3:.1f} ms of one core"
        rows.append(Row(name=name, value=1 / spent, unit="frames/s", note=note))
    return rows


def extraction(frames: list[Picture]) -> list[Row]:
    """The whole way from frames to a sequence, with one worker and two, searching and following."""
    speeds: dict[str, tuple[float, float]] = {}
    for name, workers, follow in (
        ("one worker", 1, False),
        ("two workers", 2, False),
        ("two workers, following", 2, True),
    ):
        estimator = BlazePose(BlazePoseOptions(follow=follow))
        wall, spent = time.perf_counter(), time.process_time()
        extract(clip(frames, _CLIP), estimator, fps=Fraction(30), workers=workers)
        wall, spent = time.perf_counter() - wall, time.process_time() - spent
        speeds[name] = (_CLIP / wall, _CLIP * workers / spent)
    first = speeds["one worker"][0]
    return [
        Row(
            name=f"extract, {name}",
            value=speed,
            unit="frames/s",
            baseline=None if name == "one worker" else first,
            note=f"{idle:.1f} if its cores were idle; baseline: one worker",
        )
        for name, (speed, idle) in speeds.items()
    ]
