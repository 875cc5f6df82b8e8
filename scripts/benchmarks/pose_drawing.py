"""Drawing a control frame: milliseconds of one core, against the published way of drawing it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import cv2
import numpy as np

from pose.draw import draw
from scripts.benchmarks._dancer import dancer
from scripts.benchmarks.rows import Row

_REPEATS = 15


def run() -> list[Row]:
    """Draw 576x1024 and 1024x576 pictures in both styles, with one thread of OpenCV."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        return [row for size in ((576, 1024), (1024, 576)) for row in _rows(size)]
    finally:
        cv2.setNumThreads(threads)


def _rows(size: tuple[int, int]) -> list[Row]:
    poses = dancer(18)
    points, scores = poses.points[17], poses.scores[17]
    milliseconds = _core_time(
        {
            "published": lambda: _published_passes(size),
            "fast": lambda: draw(points, scores, poses.canvas, size),
            "canonical": lambda: draw(points, scores, poses.canvas, size, "canonical"),
        }
    )
    name = f"{size[0]}x{size[1]}"
    return [
        Row(
            name=f"draw {name}, published style",
            value=milliseconds["fast"],
            unit="ms",
            baseline=milliseconds["published"],
            note="baseline: the published passes over the whole 2160-pixel canvas, no strokes",
        ),
        Row(name=f"draw {name}, canonical style", value=milliseconds["canonical"], unit="ms"),
    ]


def _published_passes(size: tuple[int, int]) -> None:
    """The work on the whole canvas that the published drawing does for any pose."""
    scale = 2160 / min(size)
    picture = np.zeros((int(size[1] * scale), int(size[0] * scale), 3), np.uint8)
    picture = (picture * 0.6).astype(np.uint8)
    cv2.cvtColor(cv2.resize(picture, size), cv2.COLOR_BGR2RGB)


def _core_time(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Median milliseconds of this thread's own core time, in turn.

    A call takes a few milliseconds, as long as a turn on a busy machine: wall time would mostly
    measure the neighbours.
    """
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(_REPEATS):
        for name, call in calls.items():
            start = time.thread_time()
            call()
            spent[name].append(1000 * (time.thread_time() - start))
    return {name: statistics.median(times) for name, times in spent.items()}
