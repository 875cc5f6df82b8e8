"""The protocols of pose estimators, and the one check of a frame that all of them make."""

from __future__ import annotations

from typing import Any, Protocol, Self, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray

from pose.errors import PoseError

Frame = NDArray[np.uint8]
"""One picture (H,W,3), RGB, 0-255."""

Points = NDArray[np.float32]
"""(P,134,2): x and y in pixels of the frame, in the order of `pose.layout`."""

Scores = NDArray[np.float32]
"""(P,134) in [0,1]; 0 is a point that was not found or lies outside the frame."""


@runtime_checkable
class Estimator(Protocol):
    """Finds the people of one frame.

    Attributes:
        name: what the user calls it, as in `load_estimator(name)`.
        digest: hexadecimal digest of the networks' bytes and of every setting that can change a
            point; two estimators with the same digest give the same poses.
    """

    name: str
    digest: str

    def __call__(self, frame: Frame, /) -> tuple[Points, Scores]:
        """The people of `frame` (H,W,3) uint8 RGB: points (P,134,2) and scores (P,134).

        Nobody in the picture is P = 0, not an error. Raises PoseError for a frame that is no
        picture (see `as_rgb`).
        """
        ...

    def reset(self) -> None:
        """Forget what was seen: the next frame belongs to another clip or shot."""
        ...


@runtime_checkable
class ParallelEstimator(Estimator, Protocol):
    """An estimator whose clip can be cut into stretches that do not depend on each other.

    Attributes:
        stretch: how many frames follow each other from one fresh start to the next. A call after
            `reset`, and every `stretch`-th call after it, remembers nothing, so that workers can
            take a stretch each and the result does not depend on how many workers there are.
    """

    stretch: int

    def fork(self) -> Self:
        """A second estimator over the same networks with a memory of its own, for a thread."""
        ...


@runtime_checkable
class RevisitingEstimator(Estimator, Protocol):
    """An estimator that can be sent where a person should be."""

    def revisit(self, frame: Frame, points: Points, scores: Scores, /) -> tuple[Points, Scores]:
        """The person of `frame` who is expected at points (134,2) with scores (134,).

        P is 1, or 0 where nobody is there. It remembers nothing, and may be called from another
        thread than the estimator's own.
        """
        ...


def as_rgb(frame: NDArray[Any]) -> Frame:
    """The picture as contiguous (H,W,3) uint8 RGB.

    Grey (H,W) or (H,W,1) is repeated, 16 bits are scaled to 8, alpha is laid over mid-grey (what
    hides below it is not part of the picture). Raises PoseError for anything else: a float
    picture's range cannot be known.
    """
    frame = np.asarray(frame)
    if frame.ndim == 2:
        frame = frame[..., None]
    if frame.ndim != 3 or frame.shape[2] not in (1, 2, 3, 4) or 0 in frame.shape:
        raise PoseError(
            f"a frame must be a picture of shape (height, width, 3); got shape {frame.shape}; "
            "pass one RGB frame at a time"
        )
    if frame.dtype == np.uint16:
        frame = np.rint(frame / 257.0).astype(np.uint8)
    if frame.dtype != np.uint8:
        raise PoseError(
            f"a frame must hold 8-bit (uint8) or 16-bit (uint16) values; got {frame.dtype}; "
            "scale it to 0-255 and convert it to uint8"
        )
    if frame.shape[2] in (2, 4):
        alpha = frame[..., -1:].astype(np.float32) / 255
        frame = np.rint(frame[..., :-1] * alpha + 127 * (1 - alpha)).astype(np.uint8)
    if frame.shape[2] == 1:
        frame = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_GRAY2RGB).astype(np.uint8)
    return np.ascontiguousarray(frame)


def nobody() -> tuple[Points, Scores]:
    """The result for a frame without a person."""
    return np.zeros((0, 134, 2), np.float32), np.zeros((0, 134), np.float32)
