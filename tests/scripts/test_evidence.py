"""The paper's figures: counts to the last parameter, and the whole script at toy size."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from animate.errors import UserError
from animate.request.schema import plain
from scripts import evidence
from scripts.paper import convergence, counts
from scripts.paper.figures import Convergence, Run, read_figures
from scripts.paper.laboratory import QUICK, Setting
from scripts.paper.page import render
from scripts.paper.page_training import holds, modulation_answer
from scripts.paper.still_methods import allocated_peak
from scripts.paper.summary import compare, curves

WAYS = (
    "cross normalisation, -S", "zero convolution, -S", "ControlNet, base frozen", "equation 10, -S",
    "modulation per position, -S", "from nothing: cross normalisation",
    "from nothing: zero convolution",
)  # fmt: skip
"""Two curves or more for every picture of the page."""
_TRIAL = ("--quick", "--seeds", "1")


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script's output at toy size, but for stills."""
    output = tmp_path_factory.mktemp("evidence")
    folder = ["--folder", str(output / "runs")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convergence, "WAYS", {name: convergence.WAYS[name] for name in WAYS})
        parts = ["--only", ",".join(part for part in evidence.PARTS if part != "stills")]
        assert evidence.main([*_TRIAL, *parts, "--output", str(output), *folder]) == 0
    return output


@pytest.fixture(scope="module")
def counted(trial: Path) -> dict[tuple[str, str, str], tuple[int, int]]:
    """What was counted, which is the whole networks at toy size too."""
    rows = json.loads((trial / "evidence.json").read_text())["counts"]["counts"]
    return {(r["base"], r["method"], r["network"]): (r["total"], r["learned"]) for r in rows}


@pytest.mark.slow
def test_the_ways_to_control_a_still_are_measured_in_one_run(tmp_path: Path) -> None:
    assert evidence.main([*_TRIAL, "--only", "stills", "--output", str(tmp_path)]) == 0
    rows = json.loads((tmp_path / "evidence.json").read_text())["stills"]["rows"]
    names = [row["method"] for row in rows]
    assert names == ["base", "ControlNet", "T2I-Adapter", "ControlNeXt", "IP-Adapter"]
    base = rows[0]
    assert all(row["total"] > base["total"] for row in rows[1:])
    assert all(row["peak_bytes"] > base["peak_bytes"] for row in rows[1:])
    assert all(row["cpu"] > 0 for row in rows)
    assert "Ways to control a still" in (tmp_path / "evidence.md").read_text()


def test_an_allocation_is_counted_until_it_is_let_go() -> None:
    def run() -> None:
        first = torch.zeros(1 << 20)
        second = first + 1
        del first
        second.sum()

    assert allocated_peak(run) == pytest.approx(2 * 4 * (1 << 20), rel=0.01)


def test_counts_are_those_of_the_published_models(
    counted: dict[tuple[str, str, str], tuple[int, int]],
) -> None:
    assert counted == {
        ("SD1.5", "base", ""): (859_520_964, 859_520_964),
        ("SD1.5", "ControlNet", ""): (1_220_800_084, 361_279_120),
        ("SD1.5", "ControlNeXt", "later"): (863_047_364, 28_332_160),
        ("SD1.5", "ControlNeXt", "first"): (865_131_141, 30_415_937),
        ("SDXL", "base", ""): (2_567_463_684, 2_567_463_684),
        ("SDXL", "ControlNet", ""): (3_818_477_844, 1_251_014_160),
        ("SDXL", "ControlNeXt", "later"): (2_570_990_084, 106_009_600),
        ("SDXL", "ControlNeXt", "first"): (2_573_073_861, 108_093_377),
        ("SVD", "base", ""): (1_524_623_082, 1_524_623_082),
        ("SVD", "ControlNet", ""): (2_206_644_619, 682_021_537),
        ("SVD", "ControlNeXt-S", "later"): (1_528_149_482, 53_137_920),
        ("SVD", "ControlNeXt-F", "later"): (1_528_149_482, 1_528_149_482),
        ("SVD", "ControlNeXt-S", "first"): (1_530_233_259, 55_221_697),
        ("SVD", "ControlNeXt-F", "first"): (1_530_233_259, 1_530_233_259),
    }


def test_the_papers_table_is_the_first_networks(
    counted: dict[tuple[str, str, str], tuple[int, int]],
) -> None:
    compared = 0
    for (base, method, network), (total, learned) in counted.items():
        if method != "base" and network != "later":
            published = counts.PUBLISHED[base][method]
            assert (total // 10**6, learned // 10**6) == published, (base, method)
            compared += 1
    assert compared == 7


def test_every_part_is_measured_and_shown(trial: Path) -> None:
    figures = json.loads((trial / "evidence.json").read_text())
    assert set(evidence.PARTS) - set(figures) == {"stills"}
    assert {len(run["losses"]) for run in figures["convergence"]["runs"]} == {3}
    page = (trial / "evidence.md").read_text()
    assert "Toy sizes" in page
    assert "1,220.80" in page
    for picture in trial.glob("*.png"):
        assert f"({picture.name})" in page
        assert 2_000 < picture.stat().st_size < 60_000
    assert len(list(trial.glob("*.png"))) == 6


def test_the_page_follows_from_the_figures_alone(trial: Path) -> None:
    figures = read_figures(trial / "evidence.json", quick=True)
    pictures = [file.name for file in trial.glob("*.png")]
    page = (trial / "evidence.md").read_text()
    assert render(figures, pictures) == page
    assert figures.times is not None
    base, controlnet, *rows = figures.times.rows
    rows = [base, replace(controlnet, cpu_percent=123.4), *rows]
    times = replace(figures.times, rows=tuple(rows))
    assert "+123.4 %" in render(replace(figures, times=times), pictures)


def test_what_was_measured_is_not_measured_again(
    trial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def again(*_: object) -> None:
        raise AssertionError("a run that is done was done again")

    monkeypatch.setattr(convergence, "WAYS", {name: convergence.WAYS[name] for name in WAYS})
    monkeypatch.setattr(convergence, "run", again)
    before = json.loads((trial / "evidence.json").read_text())
    arguments = ["--quick", "--only", "convergence", "--seeds", "1", "--output", str(trial)]
    assert evidence.main([*arguments, "--folder", str(trial / "runs")]) == 0
    after = json.loads((trial / "evidence.json").read_text())
    assert after["convergence"]["runs"] == before["convergence"]["runs"]
    assert after["times"] == before["times"]


@pytest.mark.slow
def test_every_way_is_trained_at_toy_size(tmp_path: Path) -> None:
    measured = convergence.measure(QUICK, tmp_path, [0], say=lambda line: None)
    assert [run.name for run in measured.runs] == list(convergence.WAYS)


def test_mistakes_are_told_in_a_line(
    trial: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evidence.main(["--only", "count"]) == 2
    assert "there are: counts" in capsys.readouterr().err
    assert evidence.main(["--only", "counts", "--output", str(trial)]) == 2
    assert "toy size; choose another --output" in capsys.readouterr().err
    (tmp_path / "evidence.json").write_text("{")
    assert evidence.main(["--only", "counts", "--output", str(tmp_path)]) == 2
    assert "cannot be read" in capsys.readouterr().err


def run_record(name: str, seed: int, *losses: float) -> Run:
    return Run(
        name=name, seed=seed, steps=(0, 10, 20)[: len(losses)],
        losses=tuple((value - 0.1, value + 0.1) for value in losses),
        with_others_poses=(losses[-1] + 0.2, losses[-1] + 0.4),
        new_parameters=1, learned_parameters=2, seconds=3.0,
    )  # fmt: skip


def records(*runs: Run) -> Convergence:
    return Convergence(setting=Setting(), seeds=(0, 1), runs=runs)


def test_comparisons_are_made_seed_by_seed() -> None:
    runs = [
        run_record("a", 0, 1.0, 0.8, 0.5), run_record("a", 1, 1.0, 0.6, 0.7),
        run_record("b", 0, 1.0, 0.9, 0.7), run_record("b", 1, 1.0, 0.9, 0.85),
    ]  # fmt: skip
    measured = curves(records(*runs))
    assert measured["a"].follows == pytest.approx(0.3)
    pair = compare(measured["a"], measured["b"])
    assert pair.difference == pytest.approx(-0.175)
    assert (pair.wins, pair.seeds, pair.clear) == (2, 2, True)
    # b ends at 0.775; a's mean is 0.7 after 10 steps and 1.0 at the start
    assert pair.reached == pytest.approx(7.5)
    assert pair.verdict == "a ends lower"
    assert holds(pair, False).startswith("holds")
    other = compare(measured["b"], measured["a"])
    assert other.reached is None
    assert holds(other, True).startswith("does not hold")


def test_a_seed_that_one_way_lacks_counts_for_neither() -> None:
    runs = [
        run_record("a", 0, 1.0, 0.5),
        run_record("a", 1, 9.0, 9.0),
        run_record("b", 0, 1.0, 0.6),
    ]
    pair = compare(*curves(records(*runs)).values())
    assert pair.seeds == 1
    assert pair.difference == pytest.approx(-0.1)
    assert pair.reached == pytest.approx(8.0)
    assert pair.ahead_at == (10,)


def test_seeds_that_disagree_show_nothing() -> None:
    runs = [
        run_record("a", 0, 1.0, 0.5), run_record("a", 1, 1.0, 0.9),
        run_record("b", 0, 1.0, 0.6), run_record("b", 1, 1.0, 0.85),
    ]  # fmt: skip
    pair = compare(*curves(records(*runs)).values())
    assert not pair.clear
    assert pair.verdict == "no clear difference"
    assert holds(pair, False).startswith("not shown")
    assert holds(pair, True).startswith("holds within the spread")


def test_one_seed_judges_nothing() -> None:
    runs = [run_record("a", 0, 1.0, 0.5), run_record("b", 0, 1.0, 0.6)]
    pair = compare(*curves(records(*runs)).values())
    assert pair.verdict == "not judged: one seed"
    assert holds(pair, True).startswith("not judged: one seed")


@pytest.mark.parametrize(
    ("ends", "answer"),
    [
        (
            (0.4, 0.41),
            "Yes, and a better one than cross normalisation here: modulation per channel",
        ),
        ((0.6, 0.61), "Yes, but a worse one than cross normalisation here."),
        ((0.4, 0.6), "Yes, but none that is shown to be better"),
        ((0.4,), "Not answered"),
        ((), ""),
    ],
)
def test_the_question_of_modulation_is_answered_from_the_runs(
    ends: tuple[float, ...], answer: str
) -> None:
    runs = [run_record("cross normalisation, -S", seed, 1.0, 0.5) for seed in (0, 1)]
    runs += [
        run_record("modulation per channel, -S", seed, 1.0, end) for seed, end in enumerate(ends)
    ]
    text = "".join(modulation_answer(curves(records(*runs))))
    assert answer in text
    assert bool(text) == bool(ends)


def written(folder: Path, *runs: Run) -> None:
    for run in runs:
        file = convergence.record_file(folder, Setting(), run.name, run.seed)
        file.write_text(json.dumps(plain(run)))


def test_runs_of_the_last_time_stay_if_the_base_is_the_same(tmp_path: Path) -> None:
    cross, zero = "cross normalisation, -S", "zero convolution, -S"
    known = [run_record(cross, 0, 1.0, 0.5), run_record(zero, 0, 1.0, 0.6)]
    former = records(*known)
    lines: list[str] = []

    def collected() -> list[Run]:
        part = convergence.measure(
            Setting(), tmp_path, [0], train=False, former=former, say=lines.append
        )
        return list(part.runs)

    with pytest.raises(UserError, match="no training run is done"):
        collected()
    film = run_record("modulation per channel, -S", 0, 1.0, 0.4)
    written(tmp_path, film)
    assert collected() == [film]
    assert "2 runs of the last time are left out: no run was done again" in lines[-1]
    written(tmp_path, known[0])
    assert collected() == [*known, film]
    again = run_record(cross, 0, 1.0, 0.51)
    written(tmp_path, again)
    assert collected() == [again, film]
    assert "1 runs of the last time are left out: they started from another base" in lines[-1]


def test_the_page_of_the_docs_is_made_of_its_figures() -> None:
    docs = Path(evidence.__file__).parents[1] / "docs"
    figures = read_figures(docs / "evidence.json", quick=False)
    pictures = [file.name for file in docs.glob("evidence-*.png")]
    assert render(figures, pictures) == (docs / "evidence.md").read_text()
