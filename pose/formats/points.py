"""Common parts of the JSON formats: lists of x, y, confidence in a row, and files of JSON.

Every list is checked when read: its length, that it holds numbers, that they are finite.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose.errors import PoseError
from pose.layout import POINTS
from pose.sequence import PoseSequence

_LONGEST_RATE = 32
"""Characters of a stated rate that are read."""
Points = NDArray[np.float64]
"""(N,3): x, y, confidence."""
People = dict[int, Points]
"""People of one frame by number, each (134,3)."""


def to_list(points: Points) -> list[float]:
    """(N,3) as x, y, confidence in a row; absent points are three zeros."""
    return np.where(points[:, 2:] > 0, points, 0.0).ravel().tolist()


def from_list(values: Any, lengths: Sequence[int], where: str) -> Points:
    """A list of one of the given numbers of points as (N,3); null or [] is all absent.

    Confidences above 1, as some networks give, become 1; below 0 they become 0. Raises `PoseError`
    naming `where` for anything else.
    """
    if values is None or values == []:
        return np.zeros((lengths[0], 3))
    wanted = " or ".join(str(3 * length) for length in lengths)
    if not isinstance(values, list) or len(values) not in [3 * length for length in lengths]:
        size = len(values) if isinstance(values, list) else type(values).__name__
        raise PoseError(f"{where} must be a list of {wanted} numbers, not {size}")
    if not all(type(value) in (int, float) and abs(value) < 1e30 for value in values):
        raise PoseError(f"{where} holds values that are not finite numbers")
    points = np.array(values, dtype=np.float64).reshape(-1, 3)
    points[:, 2] = points[:, 2].clip(0, 1)
    return points


def people_of(sequence: PoseSequence, frame: int) -> People:
    """Everybody of whom anything is seen in the frame."""
    points = np.concatenate(
        [sequence.points[frame], sequence.scores[frame][..., None]], axis=2
    ).astype(np.float64)
    return {i: person for i, person in enumerate(points) if person[:, 2].any()}


def sequence_of(
    frames: Sequence[People],
    *,
    canvas: tuple[int, int],
    fps: Fraction,
    times: Sequence[float] | None = None,
    cuts: Sequence[int] = (),
    source: str = "",
    estimator: str = "",
) -> PoseSequence:
    """A sequence of the people of every frame; without times, frame i is at i / fps."""
    people = max((number + 1 for frame in frames for number in frame), default=0)
    together = np.zeros((len(frames), people, POINTS, 3))
    for index, frame in enumerate(frames):
        for number, points in frame.items():
            together[index, number] = points
    if times is None:
        times = [float(index / fps) for index in range(len(frames))]
    return PoseSequence(
        points=together[..., :2].astype(np.float32),
        scores=together[..., 2].astype(np.float32),
        canvas=canvas,
        fps=fps,
        times=np.asarray(times, np.float64),
        cuts=tuple(cuts),
        source=source,
        estimator=estimator,
    )


def read_json(path: Path) -> Any:
    """The file's JSON. Raises `PoseError` when there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PoseError(
            f"{path} cannot be read: {error.strerror or error}; check the name"
        ) from error
    except UnicodeDecodeError:
        raise PoseError(
            f"{path} is not a pose file; `cnx pose extract` makes one of a video"
        ) from None
    except (ValueError, RecursionError) as error:
        raise PoseError(f"{path} is not JSON, or was cut off ({error}); export it again") from error


def json_bytes(value: object) -> bytes:
    """A JSON file's bytes. Raises ValueError for numbers that are not finite."""
    return json.dumps(value, allow_nan=False).encode()


def rate(fps: Fraction | None, where: str) -> Fraction:
    """The rate that a format does not tell. Raises `PoseError` when nobody told it."""
    if fps is None:
        raise PoseError(
            f"{where} does not say how many frames a second it has; give the fps (--fps)"
        )
    return fps


def stated_rate(record: Mapping[str, Any], where: str) -> Fraction | None:
    """The rate that a record written here states as `fps`; None without. Raises `PoseError`."""
    if record.get("fps") is None:
        return None
    try:
        fps = Fraction(str(record["fps"])[:_LONGEST_RATE])
    except (ValueError, ZeroDivisionError):
        fps = Fraction(0)
    if not 0 < fps <= 1000:
        raise PoseError(f"{where}: its fps is not a number of frames a second from 0 to 1000")
    return fps


def size(value: Any, where: str) -> tuple[int, int]:
    """(width, height) from a pair of numbers. Raises `PoseError` for anything else."""
    good = [type(v) in (int, float) and math.isfinite(v) and v >= 1 for v in value]
    if len(good) != 2 or not all(good):
        raise PoseError(f"{where} does not say the size of its canvas; give the canvas (--canvas)")
    return int(value[0]), int(value[1])
