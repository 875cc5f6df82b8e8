"""Single changes of a recipe compared at equal time."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from animate.request.schema import plain
from scripts.tiny import changes
from scripts.tiny.changes import AS_IT_IS, CHANGES, Change, Run, config_of, main, read_comparison
from scripts.tiny.evaluation import Figures, Scores

FILE = {
    "recipe": str(Path("scripts/tiny/warped.yaml").resolve()),
    "minutes": 1,
    "clips": 1,
    "settings": {
        "start_from": "tiny",
        "stages": [
            {
                "steps": 100, "batch": 1, "frames": 1, "rate": 1e-3, "final_rate": 1e-4,
                "sets": [{"size": [32, 48], "clips": 2}],
            }
        ],
    },
    "changes": [{"name": "two at once", "stage": {"batch": 2}}],
}  # fmt: skip


def written(folder: Path, **values: object) -> Path:
    path = folder / "changes.yaml"
    path.write_text(yaml.safe_dump({**FILE, **values}))
    return path


def made_up(psnr: float) -> Figures:
    scores = Scores(psnr=psnr, ssim=0.5, iou=0.5, figure_psnr=psnr, background_psnr=psnr)
    return Figures(scores=scores, retrieval=50.0, sharpness=0.5, flicker=1.5)


def test_every_shipped_change_is_one_change_of_the_recipe(tmp_path: Path) -> None:
    comparison = read_comparison(CHANGES)
    kinds = {
        change.name: plain(config_of(comparison, change, 0, tmp_path))
        for change in (Change(name=AS_IT_IS), *comparison.changes)
    }
    base = kinds.pop(AS_IT_IS)
    assert len({str(values) for values in kinds.values()}) == len(comparison.changes)
    assert all(values != base for values in kinds.values())
    assert base["image_latents"] == "warped"
    objective = kinds["no weight on the skeleton"]["objective"]
    assert objective == {**base["objective"], "near_weight": 1.0}


def test_a_run_trains_until_its_time_is_spent_and_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter(range(0, 1000, 25))
    monkeypatch.setattr(changes, "process_time", lambda: float(next(seconds)))
    comparison = read_comparison(written(tmp_path))
    config = config_of(comparison, comparison.changes[0], 0, tmp_path / "runs")
    rates: list[float] = []
    step = changes.TimedTrainer.train_step

    def noted(trainer: changes.TimedTrainer) -> float:
        rates.append(trainer.rate())
        return step(trainer)

    monkeypatch.setattr(changes.TimedTrainer, "train_step", noted)
    warm = replace(config, warm_up=0)
    steps, spent, figures = changes.train_and_measure(comparison, warm)
    assert (steps, spent) == (3, 75.0)
    assert rates[0] == pytest.approx(1e-3)
    assert rates[1] > rates[2] > 1e-4
    assert 3 < figures.scores.psnr < 60
    assert figures.sharpness > 0
    assert figures.flicker > 0
    assert 0 <= figures.retrieval <= 100


def test_the_table_has_the_means_and_what_is_done_is_not_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    order: list[tuple[int, int]] = []

    def train(comparison: object, config: changes.TrainingConfig) -> tuple[int, float, Figures]:
        order.append((config.stages[0].batch, config.seed))
        return 10, 60.0, made_up(20.0 + config.stages[0].batch + config.seed)

    monkeypatch.setattr(changes, "train_and_measure", train)
    given = [str(written(tmp_path)), "--folder", str(tmp_path / "runs")]
    assert main([*given, "--no-train"]) == 2
    assert "no run is done" in capsys.readouterr().err
    assert main([*given, "--json", str(tmp_path / "figures.json")]) == 0
    assert order == [(1, 0), (2, 0), (1, 1), (2, 1)]
    table = capsys.readouterr().out
    assert f"| {AS_IT_IS} | 2 | 21.50 ± 0.50 |" in table
    assert "| two at once | 2 | 22.50 ± 0.50 |" in table
    assert "| 6.000 ± 0.000 |" in table
    assert main([*given, "--no-train"]) == 0
    assert capsys.readouterr().out == table
    renamed = {**FILE["changes"][0], "name": "pairs"}  # type: ignore[index,dict-item]
    more = [renamed, {"name": "threes", "stage": {"batch": 3}}]
    assert main([str(written(tmp_path, changes=more)), *given[1:], "--seeds", "1"]) == 0
    assert order[4:] == [(3, 0)]
    assert "| pairs | 1 | 22.00 |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"minutes": 0}, "minutes must be above 0"),
        ({"changes": [{"name": "a"}, {"name": "a"}]}, "two changes have one name"),
        ({"changes": [{"name": "a", "stage": {"batsh": 2}}]}, "changed by 'a'.*batch"),
        ({"recipe": "gone.yaml"}, "gone.yaml"),
        ({"changes": [{"name": "a", "steps": 2}]}, "unknown setting 'steps'"),
    ],
)
def test_files_that_compare_nothing_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], values: dict[str, object], message: str
) -> None:
    given = [str(written(tmp_path, **values)), "--folder", str(tmp_path / "runs")]
    assert main(given) == 2

    assert re.search(message, capsys.readouterr().err)


def test_a_table_of_runs_has_no_spread_for_one_seed() -> None:
    run = Run(name="a", seed=0, steps=4, seconds=2.0, figures=made_up(20.0))
    assert "±" not in changes.table([run])
    assert "| 0.500 |" in changes.table([run])
