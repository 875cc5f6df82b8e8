"""The report: what it says, that it needs nothing but itself, and that a browser shows it."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from animate.batch.manifest import load_manifest
from animate.batch.pictures import jpeg
from animate.batch.records import JobRecord, Pictures
from animate.batch.report import STAGE_COLOURS, write_report
from animate.errors import RequestError
from tests.scene import write_video

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]


def picture(shade: int) -> str:
    return jpeg(np.full((96, 64, 3), (shade, 120, 90), np.uint8))


def record(folder: Path, number: int, **changes: Any) -> JobRecord:
    output = folder / f"clip{number}.mp4"
    values: dict[str, Any] = {
        "number": number,
        "label": f"row {number}",
        "status": "done",
        "record": output.with_suffix(".job.json"),
        "output": output,
        "request": {"reference": "me.png", "sampling": {"seed": number}},
        "frames": 12,
        "fps": "24000/1001",
        "size": "64x96",
        "model": "tiny",
        "seconds": {"load": 1.5, "generate and write": 2.25},
        "wall_seconds": 3.75,
        "peak_host_bytes": 2**29,
        "pictures": Pictures(
            reference=picture(10),
            driving=picture(60),
            pose=picture(110),
            results=(picture(160), picture(200)),
        ),
    }
    return JobRecord(**{**values, **changes})


def failed(folder: Path, number: int, kind: Any = "pose") -> JobRecord:
    error = 'no person was found in <dance> & "co".mp4; choose one\nin which a person is seen'
    return record(folder, number, status="failed", error_kind=kind, error=error, frames=None)


class Page(HTMLParser):
    """Cards, addresses and text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.cards: list[dict[str, str | None]] = []
        self.addresses: list[str] = []
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "article":
            self.cards.append(values)
        for name in ("src", "href", "data-clip"):
            if values.get(name):
                self.addresses.append(str(values[name]))


def test_failures_come_first_and_everything_is_counted(tmp_path: Path) -> None:
    records = [record(tmp_path, 1), failed(tmp_path, 2), record(tmp_path, 3, attempt=2)]
    page = Page(write_report(records, tmp_path))
    assert [card["data-number"] for card in page.cards] == ["2", "1", "3"]
    assert "<h1>3 clips: 1 failed, 2 done</h1>" in page.text
    assert "12 frames at 23.976 fps" in page.text
    assert "done, attempt 2" in page.text
    assert 'data-filter="pose"' in page.text
    figures = json.loads((tmp_path / "report.json").read_text())
    assert figures["counts"] == {"failed": 1, "running": 0, "waiting": 0, "done": 2}
    assert [job["number"] for job in figures["jobs"]] == [1, 2, 3]
    assert figures["wall_seconds"] == 11.25
    assert "pictures" not in figures["jobs"][0]


def test_links_in_place_of_what_nobody_has_named_are_replaced(tmp_path: Path) -> None:
    precious, out = tmp_path / "precious", tmp_path / "out"
    precious.write_text("mine")
    out.mkdir()
    one = record(out, 1)
    names = ("report.html", "report.json", one.record.name)
    for name in names:
        (out / name).symlink_to(precious)
    one.write()
    write_report([one], out)
    assert precious.read_text() == "mine"
    assert not any((out / name).is_symlink() for name in names)


def test_what_comes_from_outside_is_text_and_never_markup(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>\"'&"
    one = record(tmp_path, 1, label=evil, warnings=(evil,), worker=evil, model=evil)
    one = JobRecord(**{**one.__dict__, "output": tmp_path / f"{evil.replace('/', '')}.mp4"})
    page = Page(write_report([one, failed(tmp_path, 2)], tmp_path))
    assert "<img src=x" not in page.text
    assert "&lt;dance&gt; &amp;" in page.text
    assert len(page.cards) == 2


def test_the_page_needs_nothing_but_itself_and_the_clips_beside_it(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    inside = record(tmp_path / "sub", 1, output=tmp_path / "sub" / "a clip #1.mp4")
    page = Page(write_report([inside], tmp_path))
    outside = {address for address in page.addresses if not address.startswith("data:")}
    assert outside == {"sub/a%20clip%20%231.mp4"}
    assert not re.search(r"https?://", page.text)
    assert "default-src 'none'" in page.text
    for address in page.addresses:
        if address.startswith("data:"):
            content = base64.b64decode(address.partition(",")[2])
            assert PIL.Image.open(io.BytesIO(content)).format == "JPEG"


def test_stages_have_colours_by_their_names(tmp_path: Path) -> None:
    stages = {"load": 1.0, "poses": 2.0, "generate and write": 3.0, "sign": 1.0, "close": 0.001}
    page = Page(write_report([record(tmp_path, 1, seconds=stages)], tmp_path))
    bar = re.findall(r'<i class="stage-(\w+)" style="flex:([\d.]+)">', page.text)
    assert bar == [
        ("load", "1.0000"),
        ("poses", "2.0000"),
        ("denoise", "3.0000"),
        ("other", "1.0000"),
    ]
    for colour in {colour for colour, _ in bar} | set(STAGE_COLOURS.values()):
        assert page.text.count(f"--{colour}: #") == 2  # light and dark
    assert '<span class="stage-denoise">generate and write 3.0 s</span>' in page.text


def test_a_manifests_report_has_all_its_jobs(tmp_path: Path) -> None:
    rows = [{"reference": "a.png", "driving": f"{n}.mp4"} for n in range(3)]
    path = tmp_path / "jobs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    manifest = load_manifest(path, tmp_path / "out", rows=[2])
    done = manifest.jobs[0]
    record(tmp_path / "out", 9, output=done.request.output, record=done.record).write()  # type: ignore[union-attr]
    page = Page(write_report(manifest))
    assert [card["data-state"] for card in page.cards] == ["waiting", "waiting", "done"]
    assert page.cards[2]["data-number"] == "2"
    assert "2 not begun" in page.text


def test_records_alone_need_a_folder(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="folder"):
        write_report([record(tmp_path, 1)])


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")
class TestBrowser:
    def browse(self, page: Path, profile: Path, *more: str) -> str:
        command = [str(CHROMIUM), *_FLAGS, f"--user-data-dir={profile}", *more, page.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout

    @pytest.mark.parametrize("count", [1, 200])
    def test_it_is_drawn(self, tmp_path: Path, count: int) -> None:
        records = [record(tmp_path, n) for n in range(2, count + 1)] + [failed(tmp_path, 1)]
        page = write_report(records, tmp_path)
        shot = tmp_path / "shot.png"
        self.browse(page, tmp_path / "p", f"--screenshot={shot}", "--window-size=1400,1000")
        image = np.asarray(PIL.Image.open(shot).convert("RGB")).astype(int)
        assert image.shape == (1000, 1400, 3)
        # The failed part of the bar under the headline, and the reference's own colour.
        red = (np.abs(image - (179, 54, 42)).sum(axis=2) < 12).sum()
        shown = (np.abs(image - (10, 120, 90)).sum(axis=2) < 30).sum()
        assert red > 20
        assert shown > 2000

    def test_filters_search_order_and_the_clip_work(self, tmp_path: Path) -> None:
        write_video(tmp_path / "clip1.mp4", 12)
        slow = record(tmp_path, 3, wall_seconds=99.0)
        page = write_report([record(tmp_path, 1), failed(tmp_path, 2), slow], tmp_path)
        steps = """
        const seen = () => cards.filter(c => !c.hidden).map(c => c.dataset.number).join("");
        const notes = [];
        document.querySelector('[data-filter="failed"]').click(); notes.push(seen());
        document.querySelector('[data-filter="pose"]').click(); notes.push(seen());
        document.querySelector('[data-filter="all"]').click();
        find.value = "clip3"; find.oninput(); notes.push(seen());
        find.value = "nothing"; find.oninput(); notes.push(none.hidden);
        find.value = ""; find.oninput();
        const order = document.getElementById("order");
        order.value = "seconds"; order.onchange({target: order}); notes.push(seen());
        order.value = "rank"; order.onchange({target: order}); notes.push(seen());
        const before = document.documentElement.dataset.theme;
        document.getElementById("theme").click();
        notes.push(before !== document.documentElement.dataset.theme);
        notes.push(document.documentElement.scrollWidth <= innerWidth);
        document.querySelector('[data-clip="clip1.mp4"]').click();
        const video = document.querySelector("video");
        document.body.dataset.notes = notes.join();
        video.onloadeddata = () => { document.body.dataset.video = video.videoWidth; };
        """
        text = page.read_text().replace("</body>", f"<script>{steps}</script></body>")
        page.write_text(text)
        shown = self.browse(page, tmp_path / "p", "--dump-dom", "--virtual-time-budget=20000")
        assert 'data-notes="2,2,3,false,312,213,true,true"' in shown
        assert 'data-video="64"' in shown
