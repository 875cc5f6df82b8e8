"""One process, many callers: threads, an event loop, a web server's pool of workers."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from animate import AnimationRequest, Animator
from animate.device import queued
from animate.errors import RequestError
from tests.clip.test_animator import frames_digest
from tests.scene import write_scene
from tests.toy import toy_model

THREADS = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("threads") / "toy"
    toy_model(path)
    return path


@pytest.fixture(scope="module")
def animator(folder: Path) -> Animator:
    return Animator.from_pretrained(folder, device="cpu")


@pytest.fixture
def request_of(tmp_path: Path) -> Any:
    files: dict[str, Any] = {**write_scene(tmp_path, sound=False), "retarget": "none", "stride": 3}

    def make(number: int, **changes: Any) -> AnimationRequest:
        output = tmp_path / f"{number}.mp4"
        return AnimationRequest.from_dict(
            {**files, "output": output, "seed": number % 2, **changes}
        )

    return make


def test_eight_threads_that_call_one_animator_get_the_frames_of_calls_in_turn(animator, request_of):
    wanted = [frames_digest(animator(request_of(number))) for number in (100, 101)]
    with ThreadPoolExecutor(THREADS) as pool:
        results = list(pool.map(animator, [request_of(number) for number in range(THREADS)]))
    assert [frames_digest(result) for result in results] == [*wanted] * (THREADS // 2)
    assert wanted[0] != wanted[1]


def test_two_animators_with_other_numbers_of_threads_do_not_meet(folder, animator, request_of):
    other = Animator.from_pretrained(folder, device="cpu")
    before = torch.get_num_threads()

    def call(number: int) -> tuple[int, int]:
        asked = number % 2 + 1
        seen: list[int] = []
        caller = (animator, other)[number % 2]
        caller(
            request_of(number, threads=asked),
            on_skeletons=lambda *args, **kwargs: seen.append(torch.get_num_threads()),
        )
        return asked, seen[0]

    with ThreadPoolExecutor(4) as pool:
        assert all(asked == seen for asked, seen in pool.map(call, range(4)))
        after = list(pool.map(lambda number: torch.get_num_threads(), range(4)))
    assert {*after, torch.get_num_threads()} == {before}


def test_calls_in_a_running_event_loop_leave_the_loop_alive(animator, request_of):
    async def serve() -> tuple[list[str], int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        clock = asyncio.create_task(tick())
        results = await asyncio.gather(
            *(asyncio.to_thread(animator, request_of(number)) for number in range(4))
        )
        clock.cancel()
        return [frames_digest(result) for result in results], ticks

    digests, ticks = asyncio.run(serve())
    assert digests[0] == digests[2] != digests[1] == digests[3]
    assert ticks > 10


def test_a_server_that_loads_while_others_call_gives_every_request_its_own_clip(
    folder, animator, request_of
):
    def serve(number: int) -> str:
        used = animator if number % 3 else Animator.from_pretrained(folder, device="cpu")
        return frames_digest(used(request_of(number)))

    with ThreadPoolExecutor(THREADS) as pool:
        digests = list(pool.map(serve, range(9)))
    assert len({*digests[::2]}) == len({*digests[1::2]}) == 1
    assert digests[0] != digests[1]


def test_a_call_that_fails_does_not_hold_up_the_next(animator, request_of):
    good = request_of(0)
    with ThreadPoolExecutor(2) as pool:
        failing = pool.submit(animator, replace(request_of(1), reference=Path("absent.png")))
        assert frames_digest(pool.submit(animator, good).result(timeout=120))
        assert failing.exception(timeout=120) is not None


@pytest.mark.parametrize("computing", [False, True])
def test_a_process_that_is_forked_computes_or_says_why_not(computing: bool) -> None:
    """Forked while another thread computed, it would wait for that thread without end."""
    begun, over = threading.Event(), threading.Event()

    def compute() -> None:
        with queued():
            begun.set()
            over.wait(60)

    thread = threading.Thread(target=compute)
    if computing:
        thread.start()
        begun.wait(60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        child = os.fork()
    if child == 0:
        signal.alarm(30)
        try:
            with queued():
                os._exit(0)
        except RequestError:
            os._exit(3)
    over.set()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == (3 if computing else 0)
    if computing:
        thread.join()
    with queued():
        pass


def test_what_the_caller_lets_torch_choose_changes_no_frame(animator, request_of):
    wanted = frames_digest(animator(request_of(0)))
    with torch.autocast("cpu", torch.bfloat16):
        assert frames_digest(animator(request_of(0, overwrite=True))) == wanted
