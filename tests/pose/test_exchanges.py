"""People who were taken for each other are put right once the whole shot is known."""

from __future__ import annotations

import numpy as np
import pytest

from pose.exchanges import Sights, put_right

RED, BLUE, GREEN = (200.0, 30.0, 30.0), (30.0, 40.0, 190.0), (40.0, 180.0, 60.0)
FRAMES, MEETING = 40, range(17, 23)


def crossing(colours=(RED, BLUE), *, ways=((100, 700), (700, 100))) -> Sights:
    """People of 400 pixels who walk straight on; in the middle they hide each other."""
    count = len(ways)
    middles = np.zeros((FRAMES, count, 2))
    for person, (first, last) in enumerate(ways):
        middles[:, person, 0] = np.linspace(first, last, FRAMES)
    clear = np.ones((FRAMES, count), bool)
    clear[MEETING] = False
    noise = np.random.default_rng(0).normal(0, 8, (FRAMES, count, 3, 3))
    return Sights(
        times=np.arange(FRAMES) / 25,
        middles=middles,
        sizes=np.full((FRAMES, count), 400.0),
        colours=np.array(colours)[None, :, None] + noise,
        clear=clear,
    )


def followed(sights: Sights, order: np.ndarray) -> Sights:
    """The same people as a tracker gives them which takes them for each other."""
    rows = np.arange(FRAMES)[:, None]
    return Sights(
        times=sights.times,
        middles=sights.middles[rows, order],
        sizes=sights.sizes[rows, order],
        colours=sights.colours[rows, order],
        clear=sights.clear[rows, order],
    )


def identities(order: np.ndarray) -> np.ndarray:
    """(F,P) the true person in each column after `put_right` has undone `order`."""
    return np.take_along_axis(order, put_right(followed(crossing(), order)), axis=1)


def test_people_who_were_followed_rightly_stay_as_they_are() -> None:
    order = put_right(crossing())
    np.testing.assert_array_equal(order, np.tile([0, 1], (FRAMES, 1)))


@pytest.mark.parametrize("first", [17, 20, 23])
def test_an_exchange_for_good_is_undone(first: int) -> None:
    order = np.tile([0, 1], (FRAMES, 1))
    order[first:] = [1, 0]
    right = identities(order)
    assert len(np.unique(right[:16], axis=0)) == 1
    np.testing.assert_array_equal(right[24:], np.tile(right[0], (FRAMES - 24, 1)))


def test_an_exchange_for_a_few_frames_is_undone() -> None:
    order = np.tile([0, 1], (FRAMES, 1))
    order[18:26] = [1, 0]
    right = identities(order)
    assert (right[[0, 10, 24, 25, 26, 39]] == right[0]).all()


def test_equal_clothes_leave_the_decision_to_the_motion() -> None:
    alike = crossing((RED, RED))
    np.testing.assert_array_equal(put_right(alike), np.tile([0, 1], (FRAMES, 1)))


def test_clothes_that_change_by_themselves_say_little() -> None:
    """Two in one large pattern: after the meeting, each shows a little more of other parts."""
    exchanged = 0
    for seed in range(10):
        sights = crossing((np.array(RED) + 3, np.array(RED) - 3))
        sights.colours[MEETING.stop :] = sights.colours[MEETING.stop :, ::-1].copy()
        pattern = np.random.default_rng(seed).normal(0, 30, sights.colours.shape)
        sights.colours[:] += pattern
        exchanged += bool((put_right(sights) != [0, 1]).any())
    assert exchanged <= 3  # 7 where every cloth is taken for a plain one


def test_nobody_jumps_to_the_other_side_for_the_sake_of_a_colour() -> None:
    """A lamp that goes over two people who stand far apart."""
    sights = crossing(ways=((100, 120), (700, 680)))
    lit = sights.colours.copy()
    lit[20:24] = lit[20:24, ::-1]
    changed = Sights(
        times=sights.times,
        middles=sights.middles,
        sizes=sights.sizes,
        colours=lit,
        clear=sights.clear,
    )
    np.testing.assert_array_equal(put_right(changed), np.tile([0, 1], (FRAMES, 1)))


def test_one_who_is_followed_under_two_numbers_is_given_back() -> None:
    """The front one is called by the hidden one's number for a while."""
    sights = crossing()
    hidden = slice(15, 26)
    for array in (sights.middles, sights.sizes, sights.colours):
        array[hidden, 1] = array[hidden, 0]
        array[hidden, 0] = np.nan
    order = put_right(sights)
    assert (order[hidden] == [1, 0]).all()
    assert (order[[0, 10, 30, 39]] == [0, 1]).all()


def test_three_people_are_put_right_pair_by_pair() -> None:
    sights = crossing((RED, BLUE, GREEN), ways=((100, 700), (700, 100), (650, 150)))
    order = np.tile([0, 1, 2], (FRAMES, 1))
    order[20:] = [1, 2, 0]
    right = np.take_along_axis(order, put_right(followed(sights, order)), axis=1)
    assert (right[24:] == right[0]).all()


def test_unknown_clothes_change_nothing() -> None:
    sights = crossing()
    sights.colours[:] = np.nan
    np.testing.assert_array_equal(put_right(sights), np.tile([0, 1], (FRAMES, 1)))
