"""The report: one file with players, curves, worst frames and a table, also in a browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from animate import evaluate
from tests.evaluation.scenes import images, noisy, sliding, video
from tests.evaluation.test_evaluate import write_record

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")


class Addresses(HTMLParser):
    """Everything that a page loads or links to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attributes if name in ("src", "href")]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    frames = sliding(8)
    truth = images(folder / "truth", frames)
    better = video(folder / "good <b>.mkv", frames)
    worse = video(folder / "bad.mkv", noisy(frames, 20))
    for clip in (better, worse):
        write_record(clip, window=5, overlap=2)
    report = folder / "report.html"
    driving = video(folder / "driving.mp4", sliding(8, step=1))
    evaluate([better, worse], truth=truth, driving=driving, protocol="quick", report=report)
    return report


def test_it_is_one_file_that_loads_nothing_and_escapes_names(page: Path) -> None:
    text = page.read_text()
    addresses = Addresses(text).found
    assert len([a for a in addresses if a.startswith("data:video/mp4")]) == 2
    assert all(address.startswith("data:") for address in addresses)
    assert "good &lt;b&gt;.mkv" in text
    assert "good <b>" not in text
    assert "default-src 'none'" in text


def test_borders_curves_and_better_values_are_marked(page: Path) -> None:
    text = page.read_text()
    # Windows 0-4 and 3-7 of 8 frames: borders at 3 and 5 of 8 frames on 720 units.
    assert 'class="border" x1="270.0"' in text
    assert 'class="border" x1="450.0"' in text
    row = re.search(r"<tr><td>PSNR.*?</tr>", text, re.DOTALL)
    assert row is not None
    assert re.findall(r"<td( class=\"best\")?>[\d.]+<", row[0]) == [' class="best"', ""]
    assert "good &lt;b&gt;.mkv is better on" in text
    assert "Worst frames of bad.mkv" in text


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")
class TestBrowser:
    def browse(self, page: Path, profile: Path, *more: str) -> str:
        command = [str(CHROMIUM), *_FLAGS, f"--user-data-dir={profile}", *more, page.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout

    def test_players_seek_together_from_slider_chart_and_worst_frame(
        self, page: Path, tmp_path: Path
    ) -> None:
        steps = """
        const notes = [];
        const times = () => videos.map(v => v.currentTime.toFixed(2)).join("/");
        slider.value = 0.12; slider.oninput(); notes.push(times());
        const chart = document.querySelector("svg"), box = chart.getBoundingClientRect();
        chart.onclick({clientX: box.left + box.width / 2}); notes.push(times());
        notes.push(chart.querySelector(".now").getAttribute("x1"));
        document.querySelector("[data-time]").onclick(); notes.push(videos.length);
        notes.push(document.documentElement.scrollWidth <= innerWidth);
        document.body.dataset.notes = notes.join();
        setInterval(() => { document.body.dataset.width = videos[0].videoWidth; }, 50);
        """
        changed = tmp_path / "page.html"
        text = page.read_text().replace("</body>", f"<script>{steps}</script></body>")
        changed.write_text(text)
        shown = self.browse(changed, tmp_path / "p", "--dump-dom", "--virtual-time-budget=200000")
        assert 'data-notes="0.12/0.12,0.16/0.16,360,2,true"' in shown
        # Four panes of 280x256: clip, truth, driving, difference.
        assert 'data-width="1120"' in shown

    def test_it_is_drawn(self, page: Path, tmp_path: Path) -> None:
        shot = tmp_path / "shot.png"
        self.browse(page, tmp_path / "p", f"--screenshot={shot}", "--window-size=1200,1600")
        from animate.media import read_image

        picture = read_image(shot)
        assert picture.shape == (1600, 1200, 3)
        blue, orange = (47, 110, 168), (192, 99, 43)  # the two clips' curves
        for colour in (blue, orange):
            near = np.abs(picture.astype(int) - colour).sum(-1) < 40
            assert near.sum() > 100
