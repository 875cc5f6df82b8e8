"""Two thousand frames under the hand: every step is shown, and the times are printed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from animate.media import open_writer, source_digest
from scripts.benchmarks._dancer import dancer
from tests.studio.test_browser import CHROMIUM, browser, opened, running

FRAMES = 2000
SIZE = (384, 576)
__all__ = ["browser"]  # the fixture
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed"),
    pytest.mark.timeout(1200),
]

SCRUB = """async () => {
  const { views } = await import("/static/main.js");
  const view = views.motion;
  const painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  const wait = (pause) => new Promise((done) => setTimeout(done, pause));
  while (!view.points.get(0, 0) || !view.points.get(1999, 0)) await wait(50);
  const work = []; let exact = 0; let some = 0; const steps = 240;
  for (let step = 0; step < steps; step += 1) {
    const frame = Math.round(step * 1999 / (steps - 1));
    const begun = performance.now();
    view.seek(frame);
    view.stage.render();
    view.timeline.draw();
    work.push(performance.now() - begun);
    await painted();
    exact += view.pictures.bitmaps.has(frame) ? 1 : 0;
    some += view.stage.picture ? 1 : 0;
  }
  const settle = [];
  for (const frame of [1500, 40, 999, 1800, 7]) {
    const begun = performance.now();
    view.seek(frame);
    while (!view.pictures.bitmaps.has(frame)) await wait(5);
    settle.push(performance.now() - begun);
  }
  const walk = [];
  for (let frame = 8; frame < 128; frame += 1) {
    const begun = performance.now();
    view.seek(frame);
    while (!view.pictures.bitmaps.has(frame)) await wait(1);
    walk.push(performance.now() - begun);
  }
  return { work, exact, some, steps, settle, walk };
}"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    wall = cv2.GaussianBlur(rng.integers(0, 255, (*SIZE[::-1], 3), np.uint8), (0, 0), 3)
    with open_writer(tmp_path / "driving.mp4", size=SIZE, fps=25) as writer:
        for number in range(FRAMES):
            writer.write(np.roll(wall, number % SIZE[0], axis=1))
    digest = source_digest(tmp_path / "driving.mp4")
    replace(dancer(FRAMES), source=digest).save(tmp_path / "driving.npz")
    shutil.copy(Path(__file__).parents[2] / "docs" / "result.png", tmp_path / "me.png")
    return tmp_path


def test_two_thousand_frames_are_scrubbed(
    browser: Any, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(project) as (address, _):
        page = opened(browser, address)
        page.locator("#sources .thumb", has_text="driving.mp4").click()
        page.click("nav [data-view=motion]")
        page.wait_for_selector("#motion .tools:not([inert])")
        seen = page.evaluate(SCRUB)
        assert page.faults == []
        page.close()
    work, walk, settle = (np.array(seen[name]) for name in ("work", "walk", "settle"))
    with capsys.disabled():
        print(
            f"\n{FRAMES} frames, {seen['steps']} steps over all of them: "
            f"{np.median(work):.1f} ms a step, 95 % {np.percentile(work, 95):.1f} ms; "
            f"{seen['exact']} showed their own frame at once; to the frame after a jump "
            f"{np.median(settle):.0f} ms; frame by frame {np.median(walk):.1f} ms, 95 % "
            f"{np.percentile(walk, 95):.1f} ms"
        )
    assert seen["some"] == seen["steps"]  # never an empty stage
    assert len(walk) == 120
