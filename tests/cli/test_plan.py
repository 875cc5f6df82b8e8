from __future__ import annotations

import json
import re

import pytest

from animate.cli.main import main


def peaks(shown: str) -> dict[str, float]:
    found = re.findall(r"peak, (\w+) +([\d.]+) GiB", shown)
    return {stage: float(size) for stage, size in found}


def plan(*given: str) -> int:
    return main(["plan", "--model", "svd-v2", "--size", "576x1024", "--window", "24", *given])


def test_a_smaller_budget_gives_a_smaller_plan_without_any_weights(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert plan("--memory", "16GiB") == 0
    large = peaks(capsys.readouterr().out)
    assert plan("--memory", "4GiB") == 0
    small = peaks(capsys.readouterr().out)
    assert small.keys() == large.keys() == {"encode", "denoise", "decode"}
    assert max(small.values()) <= 4 < large["denoise"] <= 16


def test_a_plan_is_one_object_for_programs_and_nothing_for_the_quiet(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert plan("--memory", "8GiB", "--json-progress") == 0
    [line] = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert (told["event"], told["model"], told["size"]) == ("plan", "svd-v2", "576x1024")
    assert told["budget"] == 8 * 2**30
    assert max(told["peaks"].values()) <= told["budget"]
    assert plan("--memory", "8GiB", "--quiet") == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--memory", "0.5GiB"], "nearest budget that works"),
        (["--memory", "0"], "nearest budget that works"),
        (["--memory", "lots"], "8GiB"),
        (["--memory", "8GiB", "--window", "0"], "at least 1"),
        (["--memory", "8GiB", "--frames", "0"], "at least 1"),
    ],
)
def test_impossible_plans_name_the_way_out(
    given: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plan(*given) == 2
    assert message in capsys.readouterr().err
