"""From frames to a pose sequence, streaming: pixels are dropped as soon as they were looked at.

Frames go through in stretches (see `ParallelEstimator`), a thread each, so that all cores are
used; results are taken in the frames' order and do not depend on the number of threads.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from pose.appearance import clothes, without
from pose.cuts import mark_cuts
from pose.errors import PoseError
from pose.estimators.base import (
    Estimator,
    Frame,
    ParallelEstimator,
    Points,
    RevisitingEstimator,
    Scores,
    as_rgb,
)
from pose.estimators.blazepose.mask import person_mask
from pose.layout import BODY, POINTS, SEEN
from pose.likeness import Person, close_together, likeness, same_body, same_trunk
from pose.sequence import PoseSequence
from pose.tracking import Tracker, TrackingOptions

EXTRACTION = 7
"""Rises whenever the same estimator's points would become another sequence."""
# Somebody looked for again who is less like the one expected than this is looked at closely: no
# more than this part of the joints on pixels of the person alone, and it is nobody.
_AS_EXPECTED, _OWN_JOINTS, _BELONGS = 0.5, 0.1, 0.5
# More threads than this were never measured, and each holds a stretch of frames.
_MOST_WORKERS = 8


@dataclass(frozen=True, kw_only=True)
class _Stretch:
    """Frames for one worker."""

    frames: list[Frame]
    new_shot: bool
    """True if a new shot starts with the first of them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Look:
    """One frame with the people who were found in it."""

    frame: Frame
    points: Points
    scores: Scores
    new_shot: bool


def extract(
    frames: Iterable[NDArray[np.uint8]],
    estimator: Estimator,
    *,
    fps: Fraction,
    times: Iterable[float] | None = None,
    source: str = "",
    on_frame: Callable[[int], None] | None = None,
    workers: int | None = None,
    tracking: TrackingOptions | None = None,
) -> PoseSequence:
    """The poses of everybody in a clip, person p the same person throughout, the main one first.

    Memory holds the keypoints and a few frames, however long the clip is. Frames without anybody
    are kept, with score 0; a clip without anybody has P = 0.

    Args:
        frames: pictures (H,W,3) uint8 RGB of one size, upright, in order; grey, 16-bit and alpha
            as `as_rgb` takes them.
        estimator: as `load_estimator` gives it; it is reset first.
        fps: frames per second of `frames`.
        times: presentation time in seconds of each frame, taken one by one with the frames;
            without, frame i is at i / fps.
        source: digest of the video, kept in the sequence.
        on_frame: called with the number of frames that are done, from the calling thread.
        workers: threads; one for each usable core (at most 8) unless given. The result is the same
            for any number.
        tracking: see `TrackingOptions`.

    Raises PoseError for no frame at all, frames of different sizes, or times that do not fit.
    """
    workers = _default_workers() if workers is None else workers
    if workers < 1:
        raise PoseError(f"at least one worker is needed to extract poses; got {workers}")
    clock = _Clock(frames, fps, times)
    cuts: list[int] = []
    tracker: Tracker | None = None
    for index, look in enumerate(_estimated(mark_cuts(clock.pictures()), estimator, workers)):
        if tracker is None:
            tracker = Tracker(clock.canvas, tracking)
        if look.new_shot and index:
            cuts.append(index)
            tracker.new_shot()
        time = clock.times[index]
        _follow(tracker, look, estimator, time)
        if on_frame is not None:
            on_frame(index + 1)
    if tracker is None:
        raise PoseError("there is no frame to extract poses from; the clip or selection is empty")
    all_points, all_scores = tracker.assemble()
    return PoseSequence(
        points=all_points,
        scores=all_scores,
        canvas=clock.canvas,
        fps=fps,
        times=np.array(clock.times, np.float64),
        source=source,
        estimator=f"{estimator.name} {estimator.digest}",
        cuts=tuple(cuts),
    )


def _follow(tracker: Tracker, look: _Look, estimator: Estimator, time: float) -> None:
    """Add a frame's people to the tracker, and those whom the detector missed."""
    points, scores = look.points, look.scores
    colours = clothes(look.frame, points, scores)
    missing = tracker.missing(points, scores, time=time, colours=colours)
    if missing and isinstance(estimator, RevisitingEstimator):
        for expected in missing:
            person = _missed(tracker, look.frame, (points, scores), expected, estimator)
            if person is not None:
                points = np.concatenate([points, person[0][None]])
                scores = np.concatenate([scores, person[1][None]])
        colours = clothes(look.frame, points, scores)
    tracker.update(points, scores, time=time, colours=colours)


def _missed(
    tracker: Tracker,
    frame: Frame,
    people: tuple[Points, Scores],
    expected: Person,
    estimator: RevisitingEstimator,
) -> Person | None:
    """The person of a frame who is `expected` but not among `people`; None where nobody is.

    The network takes the one who shows most, so that it looks a second time with the others
    painted over. Near to them that may hide the one who is looked for too, therefore what is the
    more similar counts.
    """
    known = list(zip(*people, strict=True))
    pictures = [without(frame, people[0], expected[0])]
    if any(close_together(expected, person) for person in known):
        pictures.append(frame)
    seen = [
        person
        for picture in pictures
        for person in zip(*estimator.revisit(picture, *expected), strict=True)
        if tracker.is_same(person, expected)
        and not any(same_body(person, other) or same_trunk(person, other) for other in known)
    ]
    found = max(seen, key=lambda person: likeness(person, expected), default=None)
    if found is None or likeness(found, expected) >= _AS_EXPECTED:
        return found
    return None if _made_of_others(frame, found, known) else found


def _made_of_others(frame: Frame, person: Person, others: list[Person]) -> bool:
    """True where next to nothing of a person can be seen that is not somebody else.

    Where one person hides another, a network that is asked for the hidden one fits a body into
    the one in front.
    """
    theirs = np.zeros(frame.shape[:2], bool)
    for other in others:
        theirs |= person_mask(frame, *other) > _BELONGS
    visible = (person_mask(frame, *person) > _BELONGS) & ~theirs
    points, scores = person
    x, y = points[BODY][scores[BODY] >= SEEN].astype(np.intp).T
    inside = visible[y.clip(0, len(visible) - 1), x.clip(0, visible.shape[1] - 1)]
    return len(inside) > 0 and float(inside.mean()) <= _OWN_JOINTS


class _Clock:
    """Checks the frames that come in and notes when each is shown."""

    def __init__(
        self, frames: Iterable[NDArray[np.uint8]], fps: Fraction, times: Iterable[float] | None
    ) -> None:
        if fps <= 0:
            raise PoseError(f"frames per second must be above 0, not {fps}")
        self._frames = frames
        self._fps = fps
        self._stated = None if times is None else iter(times)
        self.canvas = (0, 0)
        self.times: list[float] = []

    def pictures(self) -> Iterator[Frame]:
        for frame in self._frames:
            picture = as_rgb(frame)
            size = (picture.shape[1], picture.shape[0])
            if not self.times:
                self.canvas = size
            elif size != self.canvas:
                raise PoseError(
                    f"frame {len(self.times)} is {size[0]}x{size[1]}, those before it "
                    f"{self.canvas[0]}x{self.canvas[1]}; all frames of a clip must have one size"
                )
            self.times.append(self._next_time())
            yield picture
        if self._stated is not None and next(self._stated, None) is not None:
            raise PoseError(
                f"there are more times than frames, of which there are {len(self.times)}"
            )

    def _next_time(self) -> float:
        if self._stated is None:
            return float(len(self.times) / self._fps)
        time = next(self._stated, None)
        if time is None:
            raise PoseError(f"there are more frames than times; frame {len(self.times)} has none")
        return float(time)


def _estimated(
    marked: Iterable[tuple[Frame, bool]], estimator: Estimator, workers: int
) -> Iterator[_Look]:
    """Every frame in order with its people."""
    estimator.reset()
    if not isinstance(estimator, ParallelEstimator):
        for frame, new_shot in marked:
            if new_shot:
                estimator.reset()
            points, scores = _checked(estimator, frame)
            yield _Look(frame=frame, points=points, scores=scores, new_shot=new_shot)
        return
    waiting: deque[tuple[_Stretch, Future[list[tuple[Points, Scores]]]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="pose")
    try:
        for stretch in _stretches(marked, estimator.stretch):
            waiting.append((stretch, pool.submit(_work, estimator.fork(), stretch.frames)))
            # One stretch more than there are workers, so that none waits for the decoder.
            if len(waiting) > workers:
                yield from _finished(*waiting.popleft())
        while waiting:
            yield from _finished(*waiting.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _stretches(marked: Iterable[tuple[Frame, bool]], length: int) -> Iterator[_Stretch]:
    """At most `length` frames each, never over a cut."""
    frames: list[Frame] = []
    starts = False
    for frame, new_shot in marked:
        if frames and (new_shot or len(frames) == length):
            yield _Stretch(frames=frames, new_shot=starts)
            frames, starts = [], False
        starts = starts or new_shot
        frames.append(frame)
    if frames:
        yield _Stretch(frames=frames, new_shot=starts)


def _work(estimator: Estimator, frames: list[Frame]) -> list[tuple[Points, Scores]]:
    return [_checked(estimator, frame) for frame in frames]


def _finished(stretch: _Stretch, future: Future[list[tuple[Points, Scores]]]) -> Iterator[_Look]:
    for index, (points, scores) in enumerate(future.result()):
        yield _Look(
            frame=stretch.frames[index],
            points=points,
            scores=scores,
            new_shot=stretch.new_shot and index == 0,
        )


def _checked(estimator: Estimator, frame: Frame) -> tuple[Points, Scores]:
    points, scores = estimator(frame)
    if points.shape != (len(points), POINTS, 2) or scores.shape != points.shape[:2]:
        raise PoseError(
            f"the estimator {estimator.name} gave points {points.shape} and scores "
            f"{scores.shape} instead of (people, {POINTS}, 2) and (people, {POINTS})"
        )
    return points, scores


def _default_workers() -> int:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(usable or 1, _MOST_WORKERS))
