"""The whole way in a real browser: from two files to a mended, compared clip."""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from animate import AnimationRequest, Animator
from animate.clip.record import ClipRecord
from animate.media import open_writer, source_digest, write_png
from pose.layout import LEFT_WRIST
from pose.sequence import PoseSequence
from scripts.tiny.characters import render_clip
from scripts.tiny.make_demo import CYCLES_A_FRAME, DRIVING_SEED, FPS, REFERENCE_SEED, SIZE

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed"),
    pytest.mark.timeout(1200),
]
FRAMES = 9
SLOW = 240_000
"""Milliseconds that a step may take on a machine that is busy with something else."""


@contextmanager
def running(folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A studio of its own process, and its address."""
    command = [sys.executable, "-m", "animate.cli.main", "studio", str(folder), "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    try:
        assert process.stdout is not None
        address = re.search(r"http://\S+", process.stdout.readline())
        assert address is not None
        yield address[0], process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(300)
        process.stdout.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield chromium
        chromium.close()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A photo of one procedural character, and a short video of another."""
    write_png(
        tmp_path / "reference.png", render_clip(REFERENCE_SEED, 1, SIZE, shot="full").reference
    )
    take = render_clip(DRIVING_SEED, FRAMES, SIZE, shot="full", speed=CYCLES_A_FRAME)
    with open_writer(tmp_path / "driving.mp4", size=SIZE, fps=FPS) as writer:
        for frame in take.frames:
            writer.write(frame)
    return tmp_path


def opened(browser: Any, address: str, **options: Any) -> Any:
    page = browser.new_page(viewport={"width": 1400, "height": 900}, **options)
    page.set_default_timeout(SLOW)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.faults = faults
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    return page


def spot_of(page: Any, address: str, frame: int) -> tuple[float, float]:
    """Where on the screen the left wrist of a frame lies."""
    origin = address.partition("/?")[0]
    query = f"poses=driving.npz&layer=edited&first={frame}&stop={frame + 1}"
    data = page.request.get(f"{origin}/api/motion/points?{query}").body()
    points = np.frombuffer(data, "<f4").reshape(-1, 134, 3)[0]
    box = page.locator("#motion .stage canvas").first.bounding_box()
    scale = min(box["width"] / 384, box["height"] / 576)
    left = box["x"] + (box["width"] - 384 * scale) / 2
    top = box["y"] + (box["height"] - 576 * scale) / 2
    return float(left + points[LEFT_WRIST, 0] * scale), float(top + points[LEFT_WRIST, 1] * scale)


def choose(page: Any) -> None:
    page.locator("#sources .thumb", has_text="reference.png").click()
    page.locator("#sources .thumb", has_text="driving.mp4").click()


def finished(page: Any, name: str) -> None:
    page.locator(".clip[data-status=done]", has_text=name).wait_for()


def test_from_two_files_to_a_mended_compared_clip(browser: Any, project: Path) -> None:
    with running(project) as (address, _):
        page = opened(browser, address)
        choose(page)
        page.get_by_role("button", name="Look at the motion").click()
        page.wait_for_selector("#motion .tools:not([inert])")
        # A second window sees the same, and learns of an edit.
        other = opened(browser, address)
        choose(other)
        other.click("nav [data-view=motion]")
        other.wait_for_selector("#motion .tools:not([inert])")

        for _ in range(3):
            page.keyboard.press("ArrowRight")
        page.wait_for_timeout(300)
        x, y = spot_of(page, address, 3)
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 40, y - 30, steps=3)
        page.mouse.up()
        other.get_by_text("edits are not saved").wait_for()
        page.keyboard.press("s")
        other.get_by_text("edits are saved").wait_for()
        edited = PoseSequence.load(project / "driving.edited.npz")
        assert edited.source == source_digest(project / "driving.mp4")

        page.click("nav [data-view=make]")
        page.locator("#start").click()
        finished(page, "reference_driving.mp4")
        page.get_by_label("follow the corrected poses").uncheck()
        page.locator("#start").click()
        # A reload in the middle changes nothing.
        page.reload()
        page.wait_for_selector("body[data-ready]")
        page.click("nav [data-view=make]")
        finished(page, "reference_driving-2.mp4")

        for name in ("reference_driving.mp4", "reference_driving-2.mp4"):
            page.click("nav [data-view=make]")
            page.locator(".clip", has=page.get_by_text(name, exact=True)).get_by_role(
                "button", name="Compare"
            ).click()
        for mode in ("Side by side", "Difference", "Wipe"):
            page.get_by_role("radio", name=mode).click()
        page.get_by_role("row", name=re.compile("poses", re.I)).first.wait_for()
        assert page.faults == []
        assert other.faults == []

    request = AnimationRequest(
        reference=project / "reference.png",
        driving=project / "driving.mp4",
        poses=project / "driving.edited.npz",
        smooth=False,
        output=project / "by-hand.mp4",
    )
    result = Animator.for_request(request)(request)
    by_hand = ClipRecord.read(result.sidecar)
    in_studio = ClipRecord.read(project / "reference_driving.json")
    assert in_studio.digest == by_hand.digest
    assert in_studio.output.frames_sha256 == by_hand.output.frames_sha256
    plain = ClipRecord.read(project / "reference_driving-2.json")
    assert plain.output.frames_sha256 != in_studio.output.frames_sha256


@pytest.mark.slow
def test_a_stopped_clip_and_a_killed_studio_go_on(browser: Any, project: Path) -> None:
    with running(project) as (address, process):
        page = opened(browser, address)
        choose(page)
        page.click("nav [data-view=make]")
        page.locator("#start").click()
        page.locator(".clip[data-status=running]").get_by_role("button", name="Stop").click()
        page.locator(".clip[data-status=stopped]").get_by_role("button", name="Go on").click()
        page.locator(".clip[data-status=running]").wait_for()
        process.kill()
        process.wait()
        page.close()
    with running(project) as (address, process):
        page = opened(browser, address)
        page.click("nav [data-view=make]")
        page.locator(".clip[data-status=running]").wait_for()
        page.close()  # nobody watches, and it goes on
        page = opened(browser, address)
        page.click("nav [data-view=make]")
        finished(page, "reference_driving.mp4")
        assert page.faults == []
        page.close()
    assert (project / "reference_driving.mp4").is_file()
    assert not list(project.glob(".*.work"))


DROPPED = """names => Promise.all(names.map(async ([name, type, data]) =>
    new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], name, { type })))
  .then((files) => {
    const dataTransfer = new DataTransfer();
    for (const file of files) dataTransfer.items.add(file);
    document.querySelector("header").dispatchEvent(
      new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
  })"""
FOLLOWS = """async () => {
    const { store } = await import("/static/store.js");
    const settings = { driving: "new.mp4", start: "4f", end: "8f" };
    store.clips = [{ output: "part.mp4", settings, scores: {}, status: "waiting" }];
  }"""


@pytest.mark.slow
def test_files_dropped_anywhere_find_their_place_and_keys_trim(
    browser: Any, tmp_path: Path, project: Path
) -> None:
    shoot = tmp_path / "shoot"
    shoot.mkdir()
    with open_writer(shoot / "part.mp4", size=SIZE, fps=FPS) as writer:
        for _ in range(4):
            writer.write(np.zeros((SIZE[1], SIZE[0], 3), np.uint8))
    with running(shoot) as (address, _):
        page = opened(browser, address)
        held: list[Any] = []  # a long video takes a while to open
        page.route("**/api/video?*", lambda route: held.append(route))
        files = [("new.mp4", "video/mp4", "driving.mp4"), ("me.png", "image/png", "reference.png")]
        page.evaluate(DROPPED, [
            (name, kind, base64.b64encode((project / source).read_bytes()).decode())
            for name, kind, source in files
        ])  # fmt: skip
        page.get_by_text("me.png will move as in new.mp4").wait_for()
        page.get_by_role("button", name="Look at the motion").click()
        page.get_by_text("Opening the video").wait_for()
        for route in held:
            route.continue_()
        page.unroute("**/api/video?*")
        page.wait_for_selector("#motion .tools:not([inert])")
        for key in ("End", "ArrowLeft", "n", "Home", "ArrowRight", "ArrowRight", "b"):
            page.keyboard.press(key)
        page.get_by_text(f"Frames 2 to {FRAMES - 2} of {FRAMES} become the clip").wait_for()
        # Beside a clip of a part, the video shows that part.
        page.evaluate(FOLLOWS)
        page.click("nav [data-view=compare]")
        for name in ("part.mp4", "new.mp4"):
            page.locator("#compare .chip", has_text=name).click()
        page.locator("#compare .counter", has_text="0 / 3").wait_for()
        page.get_by_label("edge").press("End")
        assert page.get_by_label("edge").input_value() == "1"
        assert page.faults == []


def test_a_foreign_page_gets_nothing(browser: Any, project: Path) -> None:
    with running(project) as (address, _):
        opened(browser, address).close()
        origin = address.partition("/?")[0]
        page = browser.new_page()
        answer = page.goto(f"{origin}/?token=wrong")
        assert answer.status == 403
        page.goto("data:text/html,<p>elsewhere</p>")
        fetched = page.evaluate(
            "at => fetch(at, {credentials: 'include'}).then(() => 'read', () => 'refused')",
            f"{origin}/api/state",
        )
        assert fetched == "refused"
        page.close()
