"""Comparisons: axes, cells as jobs, the page and the contact sheet, resumed as a batch is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from animate import AnimationRequest, compare
from animate.batch.axes import Axis, axes_of
from animate.batch.compare import plan_cells
from animate.batch.compare_page import MOST_EMBEDDED
from animate.batch.tasks import ClipReport
from animate.cli.main import main
from animate.errors import RequestError, UserError
from animate.media import read_image
from animate.request.values import Lora
from tests.batch.scripted import Scripted, make
from tests.scene import write_scene
from tests.toy import toy_model

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "me.png").write_bytes(b"picture")
    (tmp_path / "dance.mp4").write_bytes(b"video")
    names = {"reference": tmp_path / "me.png", "driving": tmp_path / "dance.mp4"}
    return {**names, "model": "tiny", "size": "64x64"}


def test_an_axis_is_read_as_it_is_typed() -> None:
    assert Axis.parse("sampling.seed=1, 2,3") == Axis(setting="seed", values=(1, 2, 3))
    assert Axis.parse("lock-background=true,false").labels() == ["on", "off"]
    assert Axis.parse("guidance=1:3,2").labels() == ["1:3", "2"]
    lora = Axis.parse("lora=,here/a.safetensors:0.5")
    assert lora.values == (None, (Lora(Path("here/a.safetensors"), 0.5),))
    assert lora.labels() == ["default", "a.safetensors:0.5"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed", "NAME=VALUE"),
        ("sampling.sed=1", "did you mean 'sampling.seed'"),
        ("runtime.seed=1", "unknown setting 'runtime.seed'"),
        ("seed=1,x", "seed 'x' is not a whole number"),
        ("seed=1,1", "value 1 twice"),
        ("retarget=robust,limb", "did you mean 'limbs'"),
        ("output=a.mp4,b.mp4", "says where files go"),
        ("steps=0,1", "out of range"),
    ],
)
def test_an_axis_that_cannot_be_used_is_named(text: str, message: str) -> None:
    with pytest.raises(RequestError, match=re.escape(message)):
        Axis.parse(text)


def test_axes_are_refused_where_there_are_none_too_many_or_one_twice() -> None:
    with pytest.raises(RequestError, match="nothing to compare"):
        axes_of([], {})
    with pytest.raises(RequestError, match="varied twice"):
        axes_of(["tiny"], {"model": ["tiny"]})
    with pytest.raises(RequestError, match="102 cells"):
        axes_of([], {"seed": range(51), "retarget": ["robust", "limbs"]})
    with pytest.raises(RequestError, match="no values"):
        axes_of([], {"seed": []})


def test_cells_are_the_combinations_and_their_names_stay_when_values_are_added(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    axes = axes_of([], {"seed": [1, 2], "smooth": [True, False]})
    manifest, cells = plan_cells(settings, tmp_path / "out", axes)
    assert [cell.title for cell in cells][:2] == ["seed 1, smooth on", "seed 1, smooth off"]
    names = [job.request.output.name for job in manifest.jobs if job.request]
    assert names[0] == "seed-1_smooth-on.mp4"
    more = axes_of([], {"seed": [0, 1, 2], "smooth": [True, False]})
    wider, _ = plan_cells(settings, tmp_path / "out", more)
    assert {*names} < {job.request.output.name for job in wider.jobs if job.request}


def test_models_of_one_folder_name_get_a_file_each(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder / "mine").mkdir(parents=True)
    models = [tmp_path / "a" / "mine", tmp_path / "b" / "mine"]
    manifest, cells = plan_cells(settings, tmp_path / "out", axes_of(models, {}))
    assert len({job.request.output for job in manifest.jobs if job.request}) == 2
    assert cells[0].labels != cells[1].labels


def test_a_combination_that_cannot_be_used_is_a_failed_cell(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    given = {**settings, "overlap": 6}
    comparison = compare(
        given, tmp_path / "out", vary={"window": [4, 8]}, protocol=None, executor=Scripted(make)
    )
    assert [bool(cell.error) for cell in comparison.cells] == [True, False]
    page = comparison.page.read_text()
    assert "overlap 6 is not below the window of 4 frames" in page
    assert comparison.common["overlap"] == "6"
    with pytest.raises(RequestError, match="overlap 6"):
        compare(given, tmp_path / "out", vary={"window": [3, 4]}, protocol=None)


def test_the_same_call_makes_what_is_missing_and_shows_why_a_cell_failed(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    evil = "<b>no</b> face"

    def act(request: AnimationRequest, count: int) -> ClipReport:
        if request.sampling.seed == 2:
            raise RequestError(evil)
        return make(request)

    def again(act: Any) -> tuple[Scripted, Any]:
        by = Scripted(act)
        options = {"vary": {"seed": [1, 2, 3]}, "protocol": None, "executor": by}
        return by, compare(settings, tmp_path / "out", **options)

    by, comparison = again(act)
    assert len(by.seen) == 3
    assert [cell.error for cell in comparison.cells] == ["", evil, ""]
    page = comparison.page.read_text()
    assert evil not in page
    assert "&lt;b&gt;no&lt;/b&gt; face" in page
    figures = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert [cell["status"] for cell in figures["cells"]] == ["done", "failed", "done"]
    assert figures["cells"][0]["seconds"] is None  # which only loaded
    by, comparison = again(make)
    assert [request.sampling.seed for request in by.seen] == [2]
    assert not comparison.failed
    assert "base64" in comparison.page.read_text()
    assert MOST_EMBEDDED > 1 << 20


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a comparison of two seeds by two solvers, scored against a truth."""
    folder = tmp_path_factory.mktemp("compare")
    toy_model(folder / "toy")
    write_scene(folder, 4)
    inputs = {"reference": "reference.png", "driving": "driving.mp4", "poses": "poses.npz"}
    given = [part for k, v in inputs.items() for part in (f"--{k}", str(folder / v))]
    given += ["--model", str(folder / "toy"), "--retarget", "none", "--steps", "1", "--quiet"]
    given += ["--truth", str(folder / "driving.mp4"), "--protocol", "quick", "--work", "none"]
    given += ["--vary", "sampling.seed=1,2,3", "--vary", "window=4,5", "--overlap", "4"]
    command = ["compare", *given, "--output-dir", str(folder / "out"), "--executor", "serial"]
    assert main(command) == 3
    return folder / "out"


def test_cells_are_made_scored_and_failed_through_the_command(made: Path) -> None:
    figures = json.loads((made / "compare.json").read_text())
    assert figures["axes"] == ["seed", "window"]
    failed = [cell for cell in figures["cells"] if cell["error"]]
    assert [cell["values"]["window"] for cell in failed] == ["4"] * 3
    cell = next(cell for cell in figures["cells"] if not cell["error"])
    assert cell["scores"]["psnr"] > 0
    assert 0 < cell["seconds"] <= sum(cell["stages"].values())
    assert cell["memory"] > 2**20


def test_the_sheet_has_a_row_for_each_cell(made: Path) -> None:
    sheet = read_image(made / "compare.png")
    assert sheet.shape[0] > 6 * 120
    assert 4 * 120 < sheet.shape[1] - 250 < 5 * 120  # of clips of 4 frames, each once
    columns = sheet[:, 280:].astype(int)
    grey = (np.abs(columns - (236, 235, 228)).sum(-1) < 6).mean()
    assert 0.25 < grey < 0.6  # the half that failed


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")
def test_players_go_in_step_and_two_lie_over_each_other(made: Path, tmp_path: Path) -> None:
    steps = """
    const notes = [];
    const times = () => [...new Set(players.map(v => v.currentTime.toFixed(2)))].join("/");
    const ready = () => players.every(v => v.readyState >= 1);
    const wait = setInterval(() => {
      if (!ready()) return;
      clearInterval(wait);
      notes.push(players.length, slider.disabled);
      slider.value = 0.08; slider.oninput(); notes.push(times());
      $("next").click(); notes.push(times());
      const picks = document.querySelectorAll("[data-cell]");
      picks[0].click(); notes.push(wipe.hidden); picks[2].click(); notes.push(wipe.hidden);
      notes.push(wipe.querySelectorAll("b")[1].textContent, pair[1].src === players[2].src);
      $("unwipe").click(); notes.push(wipe.hidden);
      const before = root.dataset.theme; $("theme").click();
      notes.push(before !== root.dataset.theme, root.scrollWidth <= innerWidth);
      document.body.dataset.notes = notes.join("|");
    }, 20);
    """
    page = tmp_path / "page.html"
    text = (made / "compare.html").read_text()
    assert "//" not in re.sub(r"base64,[\w+/=]+", "", text)  # no address
    page.write_text(text.replace("</body>", f"<script>{steps}</script></body>"))
    command = [str(CHROMIUM), *_FLAGS, f"--user-data-dir={tmp_path / 'p'}", "--dump-dom"]
    command += ["--virtual-time-budget=20000", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    notes = re.search(r'data-notes="([^"]*)"', done.stdout)
    assert notes is not None
    step = f"{0.08 + 1 / 29:.2f}"
    assert notes[1] == f"3|false|0.08|{step}|true|false|seed 3, window 5|true|true|true|true"


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ({"model": ["tiny", "tny"]}, "no model is called 'tny' and no folder is there; did you"),
        ({"model": ["tiny", "svd-v2"]}, "model svd-v2 lacks files: "),
        ({"poses": [None, "gone.npz"]}, "poses gone.npz does not exist"),
        ({"lora": [(), "gone.safetensors:0.5"]}, "lora gone.safetensors does not exist"),
        ({"driving": ["gone.mp4", "dance.mp4"]}, "driving gone.mp4 does not exist"),
    ],
)
def test_a_value_that_is_not_there_is_refused_before_any_cell_is_made(
    tmp_path: Path,
    settings: dict[str, Any],
    vary: dict[str, Any],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(UserError, match=re.escape(message)):
        compare(settings, tmp_path / "out", vary=vary, protocol=None)
    assert not (tmp_path / "out").exists()
