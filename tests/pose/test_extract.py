"""Frames in, one sequence out: streaming, in order, the same for any number of threads."""

from __future__ import annotations

import threading
import time
import weakref
from fractions import Fraction

import numpy as np
import pytest

from pose import layout
from pose.errors import PoseError
from pose.estimators import load_estimator
from pose.extract import extract
from tests.pose import figure

FPS = Fraction(30000, 1001)


class Sighted:
    """Finds a person wherever a frame's first pixel is not black: at x = its red value.

    Remembers within a stretch, so that a frame's score tells how far from a fresh start it was.
    """

    name = "sighted"
    digest = "00"

    def __init__(self, stretch: int = 1, delay: float = 0.0) -> None:
        self.stretch = stretch
        self.delay = delay
        self.threads: set[int] = set()
        self.reset()

    def reset(self) -> None:
        self.seen = 0

    def fork(self) -> Sighted:
        return Sighted(self.stretch, self.delay)

    def __call__(self, frame):
        self.threads.add(threading.get_ident())
        time.sleep(self.delay * (frame[0, 0, 0] % 3))  # later frames are sometimes done earlier
        self.seen += 1
        red = float(frame[0, 0, 0])
        people = int(red > 0)
        points, scores = np.zeros((people, 134, 2)), np.zeros((people, 134))
        points[:, :18, 0], points[:, :18, 1] = red, np.linspace(5, 40, 18)
        scores[:, :18] = 0.5 + self.seen / 100
        return points.astype(np.float32), scores.astype(np.float32)


class OneByOne(Sighted):
    """The same without stretches: only the plain protocol."""

    def __init__(self) -> None:
        super().__init__()
        del self.stretch
        self.resets = 0

    fork = None  # type: ignore[assignment]

    def reset(self) -> None:
        super().reset()
        self.resets = getattr(self, "resets", 0) + 1


def marked(index: int, size=(64, 48)) -> np.ndarray:
    frame = np.full((size[1], size[0], 3), 60, np.uint8)
    frame[0, 0, 0] = index
    return frame


def frames(count: int, blank: tuple[int, ...] = ()) -> list[np.ndarray]:
    return [marked(0 if k in blank else 10 + k) for k in range(count)]


def test_every_frame_is_in_its_place():
    sequence = extract(frames(12), Sighted(), fps=FPS, source="digest of the video")
    assert sequence.points.shape == (12, 1, 134, 2)
    assert sequence.points[:, 0, 0, 0].tolist() == [10 + k for k in range(12)]
    assert sequence.canvas == (64, 48)
    assert sequence.fps == FPS
    assert sequence.times == pytest.approx([k * 1001 / 30000 for k in range(12)])
    assert sequence.source == "digest of the video"
    assert sequence.estimator == "sighted 00"
    assert sequence.cuts == ()


@pytest.mark.parametrize("stretch", [1, 3])
def test_the_number_of_workers_changes_nothing(stretch):
    one = extract(frames(20), Sighted(stretch), fps=FPS, workers=1)
    many = extract(frames(20), Sighted(stretch, delay=0.002), fps=FPS, workers=3)
    assert many.digest == one.digest
    # Every stretch starts afresh, and nothing else does.
    expected = [0.5 + (1 + k % stretch) / 100 for k in range(20)]
    assert one.scores[:, 0, 0] == pytest.approx(expected)


def test_workers_work_at_the_same_time():
    meeting = threading.Barrier(2, timeout=60)

    class Meeting(Sighted):
        def fork(self):
            return self

        def __call__(self, frame):
            if frame[0, 0, 0] in (10, 11):
                meeting.wait()  # raises unless the other frame is looked at meanwhile
            return super().__call__(frame)

    assert extract(frames(4), Meeting(), fps=FPS, workers=2).frames == 4


def test_a_plain_estimator_goes_frame_by_frame():
    estimator = OneByOne()
    sequence = extract(frames(5), estimator, fps=FPS, workers=4)
    assert estimator.threads == {threading.get_ident()}
    assert sequence.scores[:, 0, 0] == pytest.approx([0.51, 0.52, 0.53, 0.54, 0.55])


def scenes() -> list[np.ndarray]:
    """Five frames of one place, then five of another."""
    random = np.random.RandomState(1)
    blotches = [random.randint(0, 255, (6, 8, 3)).astype(np.uint8) for _ in range(2)]
    places = [each.repeat(8, axis=0).repeat(8, axis=1) for each in blotches]
    places[1][..., 2] //= 4
    found = [places[k // 5].copy() for k in range(10)]
    for k, frame in enumerate(found):
        frame[0, 0, 0] = 10 + k
    return found


def test_a_cut_is_noted_and_nothing_is_remembered_across_it():
    for estimator in (Sighted(stretch=10), OneByOne()):
        sequence = extract(scenes(), estimator, fps=FPS)
        assert sequence.cuts == (5,)
        expected = [0.51, 0.52, 0.53, 0.54, 0.55] * 2
        assert sequence.scores[:, 0, 0] == pytest.approx(expected)


def test_frames_without_anybody_stay_empty():
    sequence = extract(frames(8, blank=(0, 3, 4)), Sighted(), fps=FPS)
    assert sequence.present[:, 0].tolist() == [k not in (0, 3, 4) for k in range(8)]
    nobody = extract(frames(3, blank=(0, 1, 2)), Sighted(), fps=FPS)
    assert nobody.points.shape == (3, 0, 134, 2)


def test_times_are_those_given():
    times = [0.5, 0.7, 0.7, 1.25]
    sequence = extract(frames(4), Sighted(), fps=FPS, times=iter(times))
    assert sequence.times.tolist() == times
    with pytest.raises(PoseError, match="frame 3 has none"):
        extract(frames(4), Sighted(), fps=FPS, times=times[:3])
    with pytest.raises(PoseError, match="more times than frames"):
        extract(frames(3), Sighted(), fps=FPS, times=times)


def test_progress_counts_every_frame_in_order_from_here():
    told = []

    def on_frame(done: int) -> None:
        told.append((done, threading.get_ident()))

    extract(frames(7), Sighted(stretch=2), fps=FPS, on_frame=on_frame, workers=2)
    assert told == [(k + 1, threading.get_ident()) for k in range(7)]


def test_pictures_are_let_go():
    """However long the clip, only the frames of a few stretches are alive."""
    alive: weakref.WeakSet = weakref.WeakSet()
    most = []

    class Picture(np.ndarray):
        pass

    def source():
        for index in range(60):
            frame = marked(10 + index).view(Picture)
            alive.add(Held(frame))
            yield frame
            most.append(len(alive))

    class Held:
        """Lives as long as its frame does: numpy arrays cannot be hashed."""

        def __init__(self, frame) -> None:
            frame.held = self

    extract(source(), Sighted(stretch=2), fps=FPS, workers=2)
    assert max(most) <= 2 * (2 + 2) + 2


def test_wrong_input_is_one_message():
    with pytest.raises(PoseError, match="no frame"):
        extract([], Sighted(), fps=FPS)
    with pytest.raises(PoseError, match=r"frame 1 is 32x48.*64x48"):
        extract([marked(9), marked(9, (32, 48))], Sighted(), fps=FPS)
    with pytest.raises(PoseError, match="above 0"):
        extract(frames(1), Sighted(), fps=Fraction(0))
    with pytest.raises(PoseError, match="worker"):
        extract(frames(1), Sighted(), fps=FPS, workers=0)


def test_an_estimator_that_breaks_its_promise_is_named():
    class Wrong(Sighted):
        def fork(self):
            return self

        def __call__(self, frame):
            return np.zeros((1, 133, 2), np.float32), np.zeros((1, 133), np.float32)

    with pytest.raises(PoseError, match=r"sighted gave points \(1, 133, 2\)"):
        extract(frames(2), Wrong(), fps=FPS)


def test_a_failure_ends_the_threads():
    class Failing(Sighted):
        def fork(self):
            return Failing(self.stretch)

        def __call__(self, frame):
            if frame[0, 0, 0] == 14:
                raise PoseError("this frame cannot be read")
            return super().__call__(frame)

    with pytest.raises(PoseError, match="cannot be read"):
        extract(frames(50), Failing(), fps=FPS, workers=2)
    assert not [t for t in threading.enumerate() if t.name.startswith("pose")]


def test_two_dancers_with_the_embedded_estimator():
    """The whole way: people who move, one who is away for some frames, the main one first."""
    estimator = load_estimator("blazepose")

    def clip():
        for step in range(5):
            people = [(640.0 + 8 * step, 60, 600, 0.3 + 0.1 * step)]
            if step != 2:
                people.append((250.0 - 5 * step, 180, 450, 0.6))
            yield figure.scene((1100, 720), *people)

    sequence = extract(clip(), estimator, fps=FPS, workers=2)
    assert sequence.people == 2
    assert sequence.cuts == ()
    assert sequence.present[:, 0].all()
    assert sequence.present[:, 1].tolist() == [True, True, False, True, True]
    noses = sequence.points[:, :, layout.NOSE, 0]
    assert noses[:, 0] == pytest.approx([640 + 8 * k for k in range(5)], abs=15)
    assert noses[[0, 4], 1] == pytest.approx([250, 230], abs=15)
    alone = extract(clip(), estimator, fps=FPS, workers=1)
    assert alone.digest == sequence.digest


class Distracted:
    """Finds two people, later only the first; sent for the second, it finds the first again.

    Unless the first is painted over: then it finds the second.
    """

    name, digest = "distracted", "00"

    def __init__(self) -> None:
        self.calls = 0

    def reset(self) -> None:
        self.calls = 0

    def __call__(self, frame):
        self.calls += 1
        people = [_standing(300), _standing(380)][: 2 if self.calls < 5 else 1]
        points, scores = zip(*people, strict=True)
        return np.stack(points), np.stack(scores)

    def revisit(self, frame, points, scores):
        x = 300 if (frame == SCENE).all() else 380
        person = _standing(x)
        return person[0][None], person[1][None]


def _standing(x: float):
    points, scores = np.zeros((134, 2), np.float32), np.zeros(134, np.float32)
    for joint, position in figure.joints(x, 80, 400, 0.6).items():
        points[joint], scores[joint] = position, 0.9
    return points, scores


SCENE = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)


def test_one_whom_the_front_one_outshines_is_found_with_that_one_painted_over() -> None:
    sequence = extract([SCENE] * 8, Distracted(), fps=FPS)
    assert sequence.people == 2
    assert sequence.present.all()
    necks = sequence.points[..., layout.NECK, 0]
    assert sorted(necks[7].tolist()) == pytest.approx([300, 380])
    assert (necks == necks[0]).all()


class Deceived(Distracted):
    """Finds two people, later only the first; sent for the second, it finds somebody halfway."""

    def __call__(self, frame):
        self.calls += 1
        people = [_standing(300), _standing(440)][: 2 if self.calls < 5 else 1]
        points, scores = zip(*people, strict=True)
        return np.stack(points), np.stack(scores)

    def revisit(self, frame, points, scores):
        person = _standing(380)
        return person[0][None], person[1][None]


@pytest.mark.parametrize("seen", [True, False])
def test_a_body_fitted_into_somebody_else_is_nobody(seen: bool) -> None:
    """The pixels decide: the embedded segmentation gives them to the one who was found first."""
    others = [(380.0, 80, 400, 0.6)] if seen else []
    scene = figure.scene((800, 600), (300.0, 80, 400, 0.6), *others)
    sequence = extract([scene] * 6, Deceived(), fps=Fraction(6))
    assert sequence.people == 2
    assert sequence.present[:, 0].all()
    assert sequence.present[:, 1].tolist() == [True] * 4 + [seen] * 2
