"""Cuts are found; motion, flashes and exposure are not taken for cuts."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

from pose.cuts import CutOptions, mark_cuts
from pose.errors import PoseError
from tests.collecting import collected_if
from tests.pose import figure

ROOT = Path(__file__).parents[2]
VIDEOS = [folder / "shared" / "media" / "driving.mp4" for folder in (ROOT, ROOT.parent)]
VIDEO = next((path for path in VIDEOS if path.is_file()), None)
SIZE = (320, 240)


def world(seed: int, size: tuple[int, int] = (960, 480)) -> np.ndarray:
    """A landscape of coloured blotches, different in colours and forms for each seed."""
    random = np.random.RandomState(seed)
    tint = random.uniform(0.2, 1.0, 3)
    coarse = random.uniform(0, 255, (12, 24, 3)) * tint
    return cv2.resize(coarse.astype(np.uint8), size, interpolation=cv2.INTER_CUBIC)


def view(of: np.ndarray, x: int = 0, y: int = 0) -> np.ndarray:
    return np.ascontiguousarray(of[y : y + SIZE[1], x : x + SIZE[0]])


def dance(of: np.ndarray, step: int) -> np.ndarray:
    picture = view(of).copy()
    raised = 0.7 + 0.7 * np.sin(step)
    figure.draw_person(picture, 160 + 40 * np.sin(step / 2), 20, 210, raised)
    return picture


def find_cuts(frames, options: CutOptions | None = None) -> tuple[int, ...]:
    """The first frame of every shot but the first."""
    return tuple(index for index, (_, cut) in enumerate(mark_cuts(frames, options)) if cut)


def test_a_change_of_scene_is_a_cut():
    frames = [dance(world(k), step) for k in range(4) for step in range(5)]
    assert find_cuts(frames) == (5, 10, 15)


def test_cuts_in_the_first_and_last_frames():
    one, other = view(world(0)), view(world(1))
    assert find_cuts([one, other, other]) == (1,)
    assert find_cuts([one, one, other]) == (2,)
    assert find_cuts([one]) == ()
    assert find_cuts([]) == ()


@pytest.mark.parametrize("pace", [0.1, 1.0, 3.0])
def test_a_dance_is_no_cut(pace):
    background = world(2)
    assert find_cuts(dance(background, step * pace) for step in range(15)) == ()


@pytest.mark.parametrize("speed", [4, 20, 48])
def test_a_fast_pan_is_no_cut(speed):
    """48 pixels a frame is more than a seventh of the picture's width."""
    wide = world(3, (2400, 480))
    assert find_cuts(view(wide, speed * k) for k in range(20)) == ()


def test_a_flash_or_a_blank_frame_is_no_cut():
    for level in (0, 255):
        frames = [dance(world(4), step / 4) for step in range(10)]
        frames[4] = np.full_like(frames[4], level)
        assert find_cuts(frames) == ()


def test_exposure_and_contrast_may_change():
    frames = [dance(world(5), step / 4) for step in range(10)]
    darker = [np.clip(f * 0.55 + 20, 0, 255).astype(np.uint8) for f in frames[5:]]
    assert find_cuts([*frames[:5], *darker]) == ()


def test_nothing_happens_in_an_empty_picture():
    random = np.random.RandomState(0)
    frames = [random.randint(0, 6, (*SIZE[::-1], 3)).astype(np.uint8) for _ in range(10)]
    assert find_cuts(frames) == ()


def test_frames_come_through_in_order_one_behind():
    taken = []

    def source():
        for index in range(8):
            taken.append(index)
            yield np.full((24, 32, 3), index, np.uint8) if index < 4 else view(world(6))

    for index, (frame, _) in enumerate(mark_cuts(source())):
        assert len(taken) - index <= 2
        if index < 4:
            assert frame[0, 0, 0] == index


def test_the_options_decide():
    frames = [dance(world(0), 0), dance(world(0), 1), dance(world(1), 2), dance(world(1), 3)]
    assert find_cuts(frames) == (2,)
    assert find_cuts(frames, CutOptions(residual=200.0)) == ()
    assert find_cuts(frames, CutOptions(colours=1.0)) == ()
    # Where everything changes all the time, a change says nothing.
    storm = [view(world(seed)) for seed in range(14)]
    assert len(find_cuts(storm, CutOptions(jump=0.0))) > 10
    assert len(find_cuts(storm)) < 8
    for wrong in ({"residual": 0.0}, {"jump": -1.0}, {"colours": 2.0}):
        with pytest.raises(PoseError):
            CutOptions(**wrong)


@collected_if(VIDEO is not None)
def test_a_real_dance_has_no_cut_and_a_closer_view_of_it_is_one():
    import av

    with av.open(str(VIDEO)) as container:
        frames = [
            cv2.resize(frame.to_ndarray(format="rgb24"), (288, 512))
            for frame in itertools.islice(container.decode(video=0), 0, 133, 2)
        ]
    for stride in (1, 8):
        assert find_cuts(frames[::stride]) == ()
    closer = [cv2.resize(f[40:280, 70:205], (288, 512)) for f in frames[10:13]]
    assert find_cuts([*frames[:4], *closer, *frames[20:23]]) == (4, 7)
