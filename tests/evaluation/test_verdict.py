"""Which of several clips is better, and why, in sentences that a newcomer can act on."""

from __future__ import annotations

from pathlib import Path

import pytest

from animate.evaluation.scores import MEASURES, ClipScores, Evaluation, Score
from animate.evaluation.verdict import _REASONS, SUBJECTS, verdict


def clip(name: str, curve: tuple[float, ...] = (), **values: float) -> ClipScores:
    scores = (Score(measure=measure, value=value, curve=curve) for measure, value in values.items())
    return ClipScores(clip=Path(name), scores=tuple(scores))


def sentences(*clips: ClipScores) -> list[str]:
    return verdict(Evaluation(clips=clips, protocols=("clean",)))


def test_every_subject_is_of_measures_that_can_decide_it() -> None:
    decisive = [measure for subject in SUBJECTS for measure in subject.measures]
    assert len(decisive) == len(set(decisive))
    assert set(decisive) == set(_REASONS) <= set(MEASURES)


def test_each_subject_counts_once_and_says_why() -> None:
    one = clip("a.mp4", pose_share=95, pose_error=0.06, background=20, flicker=0.95)
    two = clip("b.mp4", pose_share=80, pose_error=0.11, background=24, flicker=0.951)
    first, *reasons = sentences(one, two)
    assert first.startswith("a.mp4 and b.mp4 are level on 2 subjects that differ")
    assert "a.mp4 1, b.mp4 1; 1 about equal" in first
    assert reasons == [
        "motion: a.mp4; 95 / 80 % of the joints are where they should be",
        "background: b.mp4; kept at 20 / 24 dB (higher is nearer)",
        "steadiness: about equal; steadiness 0.95 / 0.951 (1 is a still)",
    ]


def test_the_better_clip_is_named_and_the_other_ones_worst_frames() -> None:
    one = clip("a.mp4", curve=(30, 31, 30), psnr=30)
    two = clip("b.mp4", curve=(22, 10, 21), psnr=18)
    first, reason, look = sentences(one, two)
    assert first.startswith("a.mp4 is better on 1 of 1 subjects")
    assert "30 / 18 dB" in reason
    assert look == ("look at b.mp4, frames 1 (likeness to the truth), 2 (likeness to the truth)")


@pytest.mark.parametrize(
    ("measure", "good", "bad"),
    [
        ("identity", 0.3, 0.5),
        ("sharpness", 1.05, 0.5),
        ("sharpness", 0.9, 2.0),
        ("seams", 1.0, 1.3),
        ("duration_difference", -0.02, 0.5),
        ("longest_freeze", 0, 4),
    ],
)
def test_better_is_what_the_measure_says(measure: str, good: float, bad: float) -> None:
    first, *_ = sentences(clip("bad.mp4", **{measure: bad}), clip("good.mp4", **{measure: good}))
    assert first.startswith("good.mp4 is better")


def test_a_measure_that_one_clip_lacks_decides_nothing() -> None:
    one, two = clip("a.mp4", lpips=0.1, ssim=0.8), clip("b.mp4", ssim=0.9)
    assert "SSIM" in sentences(one, two)[1]
    assert sentences(clip("a.mp4", psnr=9), clip("b.mp4", seams=1)) == [
        "the clips have no figure in common: name a --truth, --reference or --driving"
    ]


def test_equal_clips_are_said_to_be_equal_and_one_clip_gets_no_verdict() -> None:
    same = [clip(name, psnr=30, seams=1.0) for name in ("a.mp4", "b.mp4")]
    assert sentences(*same)[0] == "the clips are about equal in everything that was measured"
    assert sentences(same[0]) == []
