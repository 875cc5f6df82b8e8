"""Whole-body motion of one video: keypoints and scores of its people, frame by frame.

Legend: F frames, P people, 134 points of `pose.layout`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose import posefile
from pose.errors import PoseError
from pose.layout import BODY, POINTS, SEEN

# A person of whom fewer joints than this are seen is not there: one or two points draw no limb.
_JOINTS_OF_A_PERSON = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class PoseSequence:
    """Keypoints of every person in every frame of one video or image.

    Arrays are converted, checked once and made read-only; make a changed one with
    `dataclasses.replace`. Compare two sequences by `digest`.

    Raises `PoseError` when shapes disagree, or a value is not finite or out of its range.
    """

    points: NDArray[np.float32]
    """(F,P,134,2): x, y in pixels of the canvas, x from 0 to its width, y downwards. A point that
    was not found has any finite place and score 0."""
    scores: NDArray[np.float32]
    """(F,P,134) in [0,1]; 0 = absent."""
    canvas: tuple[int, int]
    """(width, height) of the upright picture in pixels."""
    fps: Fraction
    """Frames per second of this sequence."""
    times: NDArray[np.float64]
    """(F,): presentation time of each frame in seconds, never falling; the first may be above 0."""
    source: str = ""
    """Digest of the video or image file; "" if unknown."""
    estimator: str = ""
    """Name, digest of the networks and settings of what made the poses; "" if unknown."""
    cuts: tuple[int, ...] = ()
    """First frame of every shot but the first, rising."""

    def __post_init__(self) -> None:
        _set(self, "points", _frozen(self.points, np.float32, "points"))
        _set(self, "scores", _frozen(self.scores, np.float32, "scores"))
        _set(self, "times", _frozen(self.times, np.float64, "times"))
        _set(self, "canvas", (int(self.canvas[0]), int(self.canvas[1])))
        _set(self, "fps", Fraction(self.fps))
        _set(self, "cuts", tuple(int(cut) for cut in self.cuts))
        _check_shapes(self)
        _check_values(self)

    @property
    def frames(self) -> int:
        return int(self.points.shape[0])

    @property
    def people(self) -> int:
        return int(self.points.shape[1])

    @cached_property
    def present(self) -> NDArray[np.bool_]:
        """(F,P): whether the person can be seen in the frame (three body joints or more)."""
        seen = (self.scores[:, :, BODY] >= SEEN).sum(axis=2) >= _JOINTS_OF_A_PERSON
        return np.asarray(seen, dtype=bool)

    @property
    def shots(self) -> tuple[tuple[int, int], ...]:
        """(start, stop) of every shot; together they are all frames."""
        starts = (0, *self.cuts)
        return tuple(zip(starts, (*self.cuts, self.frames), strict=True))

    @cached_property
    def digest(self) -> str:
        """SHA-256 in hex of everything in the sequence: equal exactly where sequences are equal."""
        fingerprint = hashlib.sha256(json.dumps(self.header(), sort_keys=True).encode())
        for array in (self.points, self.scores, self.times):
            little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
            fingerprint.update(np.ascontiguousarray(little_endian).tobytes())
        return fingerprint.hexdigest()

    def header(self) -> dict[str, object]:
        """Everything but the arrays, as JSON values."""
        return {
            "frames": self.frames,
            "people": self.people,
            "canvas": list(self.canvas),
            "fps": f"{self.fps.numerator}/{self.fps.denominator}",
            "source": self.source,
            "estimator": self.estimator,
            "cuts": list(self.cuts),
        }

    def person(self, index: int) -> PoseSequence:
        """The sequence with only one of its people. Raises `PoseError` if there is no such."""
        if not 0 <= index < self.people:
            have = "nobody" if self.people == 0 else f"people 0 to {self.people - 1}"
            raise PoseError(f"there is no person {index} in these poses; they hold {have}")
        return dataclasses.replace(
            self,
            points=self.points[:, index : index + 1],
            scores=self.scores[:, index : index + 1],
        )

    def select(self, frames: slice | Sequence[int], fps: Fraction | None = None) -> PoseSequence:
        """The sequence with only these frames, in this order; the order must not go backwards.

        Without `fps` the rate falls by the stride if the chosen frames are evenly spaced, and else
        stays. Raises `PoseError` for a frame that is not there, none at all, or a falling order.
        """
        chosen = list(range(self.frames))[frames] if isinstance(frames, slice) else list(frames)
        if not chosen:
            raise PoseError("no frame is left after the selection; choose at least one frame")
        if min(chosen) < 0 or max(chosen) >= self.frames:
            raise PoseError(
                f"frames {min(chosen)} to {max(chosen)} were asked of poses that hold frames 0 to "
                f"{self.frames - 1}; choose frames among these"
            )
        steps = np.diff(chosen)
        if (steps < 0).any():
            raise PoseError("the chosen frames go backwards; give them in rising order")
        if fps is None:
            even = len(steps) > 0 and steps[0] > 0 and bool((steps == steps[0]).all())
            fps = self.fps / int(steps[0]) if even else self.fps
        shot = np.searchsorted(self.cuts, chosen, side="right")
        return dataclasses.replace(
            self,
            points=self.points[chosen],
            scores=self.scores[chosen],
            times=self.times[chosen],
            fps=fps,
            cuts=tuple((np.flatnonzero(np.diff(shot)) + 1).tolist()),
        )

    def to_bytes(self) -> bytes:
        """The pose file (`pose.posefile`), lossless."""
        arrays: dict[str, NDArray[Any]] = {
            "points": self.points,
            "scores": self.scores,
            "times": self.times,
        }
        return posefile.to_bytes({"digest": self.digest, **self.header()}, arrays)

    def save(self, path: str | Path) -> Path:
        """Write `to_bytes` to `path` and return it. Raises `PoseError` when it cannot be written.

        A write that is interrupted leaves a truncated file, which `load` refuses.
        """
        path = Path(path)
        try:
            path.write_bytes(self.to_bytes())
        except OSError as error:
            raise PoseError(
                f"{path} cannot be written: {error.strerror or error}; choose a folder that exists "
                "and has room"
            ) from error
        return path

    @classmethod
    def load(cls, path: str | Path, *, source: str | None = None) -> PoseSequence:
        """Read a pose file. With `source`, the video's digest, one from another video is refused,
        and one that does not know its video (source "") too.

        Raises `PoseError` when the file cannot be used: missing, truncated, of another version,
        changed since it was written, holding values that are not finite, or of another video.
        """
        path = Path(path)
        header, arrays = posefile.read(path)
        sequence = _of_file(header, arrays, path)
        if sequence.digest != header.get("digest"):
            raise PoseError(
                f"the pose file {path} was changed after it was written: its content does not "
                f"match its digest; {posefile.AGAIN}"
            )
        if source is not None:
            check_source(sequence, source, path)
        return sequence


def check_source(sequence: PoseSequence, source: str, name: str | Path = "given") -> None:
    """Raise `PoseError` unless the poses are of the video with the digest `source`."""
    if sequence.source != source:
        their_video = f"{sequence.source[:12]}…" if sequence.source else "unknown"
        raise PoseError(
            f"the poses in {name} are not of this video: their video's digest is {their_video}, "
            f"this one's {source[:12]}…; give the poses of this video, or extract them again"
        )


def _of_file(
    header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], path: Path
) -> PoseSequence:
    try:
        return PoseSequence(
            **arrays,
            canvas=tuple(header["canvas"]),
            fps=Fraction(header["fps"]),
            source=str(header["source"]),
            estimator=str(header["estimator"]),
            cuts=tuple(header["cuts"]),
        )
    except PoseError as error:
        raise PoseError(f"the pose file {path} cannot be used: {error}") from error
    except (KeyError, TypeError, ValueError, IndexError, ZeroDivisionError) as error:
        raise PoseError(
            f"the pose file {path} has a damaged header ({type(error).__name__}: {error}); "
            f"{posefile.AGAIN}"
        ) from error


def _set(sequence: PoseSequence, name: str, value: object) -> None:
    object.__setattr__(sequence, name, value)


def _frozen(array: object, dtype: type[np.floating], name: str) -> NDArray[np.floating]:
    try:
        values = np.array(array, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise PoseError(f"the {name} of a pose sequence must be numbers: {error}") from error
    values.flags.writeable = False
    return values


def _check_shapes(sequence: PoseSequence) -> None:
    points, scores, times = sequence.points, sequence.scores, sequence.times
    if points.ndim != 4 or points.shape[2:] != (POINTS, 2):
        raise PoseError(
            f"points must have the shape (frames, people, {POINTS}, 2), not {points.shape}"
        )
    if scores.shape != points.shape[:3]:
        raise PoseError(
            f"scores must have the shape {points.shape[:3]} of the points, not {scores.shape}"
        )
    if len(points) == 0:
        raise PoseError("a pose sequence needs at least one frame; this one has none")
    if times.shape != points.shape[:1]:
        raise PoseError(f"{len(points)} frames need as many times, not {times.shape}")


def _check_values(sequence: PoseSequence) -> None:
    width, height = sequence.canvas
    if width < 1 or height < 1:
        raise PoseError(f"the canvas must be at least 1x1 pixel, not {width}x{height}")
    if sequence.fps <= 0:
        raise PoseError(f"frames per second must be above 0, not {sequence.fps}")
    for name in ("points", "scores", "times"):
        bad = ~np.isfinite(getattr(sequence, name))
        if bad.any():
            frame = int(np.argwhere(bad)[0][0])
            raise PoseError(
                f"the {name} hold {int(bad.sum())} values that are not finite, first in frame "
                f"{frame}; give absent points any finite place and score 0"
            )
    scores, times = sequence.scores, sequence.times
    if scores.size and (scores.min() < 0 or scores.max() > 1):
        raise PoseError(
            f"scores must lie in [0,1]; these go from {scores.min():g} to {scores.max():g}"
        )
    if (np.diff(times) < 0).any():
        frame = int(np.flatnonzero(np.diff(times) < 0)[0]) + 1
        raise PoseError(f"the times fall at frame {frame}; frames must come in order of time")
    edges = (0, *sequence.cuts, sequence.frames)
    if any(after <= before for before, after in itertools.pairwise(edges)):
        raise PoseError(
            f"cuts must rise and lie between frame 1 and {sequence.frames - 1}, "
            f"not {list(sequence.cuts)}"
        )
