"""Items go over in order, few wait, and an error on either side ends both, once."""

from __future__ import annotations

import gc
import threading
import time
import weakref

import pytest

from animate.clip.behind import Behind


def test_everything_arrives_in_order() -> None:
    taken: list[int] = []
    with Behind(taken.append, depth=3) as queue:
        for number in range(100):
            queue.put(number)
    assert taken == list(range(100))


def test_few_items_wait() -> None:
    put, taken, most = [0], [0], [0]

    def slowly(item: int) -> None:
        most[0] = max(most[0], put[0] - taken[0])
        time.sleep(0.002)
        taken[0] += 1

    with Behind(slowly, depth=2) as queue:
        for number in range(30):
            queue.put(number)
            put[0] += 1
    assert most[0] <= 4  # two wait, one is being taken, one has just been put


def test_both_sides_work_at_the_same_time() -> None:
    met = threading.Event()
    with Behind(lambda item: met.set(), depth=1) as queue:
        queue.put(1)
        assert met.wait(10)


@pytest.mark.parametrize("depth", [1, 50])
def test_an_error_of_the_taker_is_raised_once_and_nobody_waits_for_ever(depth: int) -> None:
    taken: list[int] = []

    def fails(item: int) -> None:
        taken.append(item)
        raise OSError("full")

    put: list[int] = []

    def run() -> None:
        with Behind(fails, depth=depth) as queue:
            for number in range(1000):
                queue.put(number)
                put.append(number)
                time.sleep(0.001)

    with pytest.raises(OSError, match="full"):
        run()
    assert taken == [0]
    assert len(put) < 900
    assert not [thread for thread in threading.enumerate() if thread.name == "behind"]


def test_an_error_at_the_very_end_is_raised_too() -> None:
    def fails(item: int) -> None:
        time.sleep(0.05)
        raise OSError("full")

    with pytest.raises(OSError, match="full"), Behind(fails, depth=5) as queue:
        queue.put(1)


def test_an_error_of_the_maker_drops_what_waits() -> None:
    taken: list[int] = []
    gate = threading.Event()

    def wait(item: int) -> None:
        gate.wait(10)
        taken.append(item)

    def run() -> None:
        with Behind(wait, depth=9) as queue:
            for number in range(9):
                queue.put(number)
            threading.Timer(0.05, gate.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert taken in ([], [0])
    assert not [thread for thread in threading.enumerate() if thread.name == "behind"]


def test_an_error_does_not_keep_what_the_items_were_made_of() -> None:
    """Else whatever lent them stays open until the garbage is collected, in some later clip."""

    class Lent:
        pass

    def lend() -> weakref.ref[Lent]:
        lent = Lent()
        try:
            with Behind(lambda item: 1 / 0, depth=1) as queue:
                for _ in range(100):
                    queue.put(lent)
        except ZeroDivisionError:
            return weakref.ref(lent)
        raise AssertionError("the taker's error was lost")

    gc.disable()
    try:
        assert lend()() is None
    finally:
        gc.enable()
