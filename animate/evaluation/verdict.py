"""Which of several clips is better, and why: figures turned into sentences by subject."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from animate.evaluation.scores import MEASURES, ClipScores, Evaluation, Score, short_names

_MOST_COMPARED = 8
"""Clips that are compared in words."""
_WORST = 2
"""Frames that are named where a clip is worse."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A question that a viewer asks of a clip, and the measures that answer it."""

    title: str
    measures: tuple[str, ...]
    """The first of them that all clips have decides; the others are not counted again."""


@dataclass(frozen=True, kw_only=True)
class Reason:
    """A measure that may decide a subject."""

    measure: str
    least: float
    """Smallest difference that counts; below it the clips are called equal."""
    words: str
    """Sentence with a field for the figures of all clips."""


SUBJECTS = (
    Subject(title="likeness to the truth", measures=("lpips", "ssim", "psnr", "l1")),
    Subject(title="motion", measures=("pose_share", "pose_error", "missed_frames")),
    Subject(title="the person's face", measures=("identity", "faceless_frames")),
    Subject(title="background", measures=("background",)),
    Subject(title="sharpness", measures=("sharpness",)),
    Subject(title="steadiness", measures=("warping_error", "flicker")),
    Subject(title="windows' borders", measures=("seams",)),
    Subject(title="colours over time", measures=("colour_drift",)),
    Subject(title="broken frames", measures=("longest_freeze", "black_frames")),
    Subject(title="length", measures=("duration_difference",)),
)
"""Subjects in the order of a report; each counts once, however many measures it has."""
_REASONS = {
    reason.measure: reason
    for reason in (
        Reason(measure="lpips", least=0.01, words="LPIPS {} (lower is nearer)"),
        Reason(measure="ssim", least=0.01, words="SSIM {} (1 is equal)"),
        Reason(measure="psnr", least=0.5, words="PSNR {} dB (higher is nearer)"),
        Reason(measure="l1", least=0.002, words="L1 {} (lower is nearer)"),
        Reason(measure="pose_share", least=2, words="{} % of the joints are where they should be"),
        Reason(measure="pose_error", least=0.01, words="joints are off by {} trunks"),
        Reason(measure="missed_frames", least=0.5, words="nobody is seen in {} frames"),
        Reason(
            measure="identity",
            least=0.03,
            words="faces lie {} from the reference's (at most 0.6: one person)",
        ),
        Reason(measure="faceless_frames", least=0.5, words="no face is seen in {} frames"),
        Reason(measure="background", least=0.5, words="kept at {} dB (higher is nearer)"),
        Reason(measure="sharpness", least=0.05, words="{} of the reference's (1 is as sharp)"),
        Reason(measure="warping_error", least=0.05, words="warping error {} (lower is steadier)"),
        Reason(measure="flicker", least=0.003, words="steadiness {} (1 is a still)"),
        Reason(measure="seams", least=0.05, words="{} times as rough as elsewhere (1 is unseen)"),
        Reason(measure="colour_drift", least=1, words="colours move by {} dE in 100 frames"),
        Reason(measure="longest_freeze", least=0.5, words="{} frames stand still at most"),
        Reason(measure="black_frames", least=0.5, words="{} frames are black"),
        Reason(measure="duration_difference", least=0.05, words="{} s longer than asked for"),
    )
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The answer to one subject."""

    subject: str
    best: int | None
    """Index of the better clip; None where no difference counts."""
    words: str


def verdict(evaluation: Evaluation) -> list[str]:
    """Sentences on which of several clips is better, and why; empty for one clip."""
    clips = [clip for clip in evaluation.clips if not clip.error]
    if not 2 <= len(clips) <= _MOST_COMPARED:
        return []
    names = short_names([clip.clip for clip in clips])
    findings = [finding for finding in (_finding(s, clips) for s in SUBJECTS) if finding]
    if not findings:
        return ["the clips have no figure in common: name a --truth, --reference or --driving"]
    lines = [_summary(findings, names)]
    for finding in findings:
        better = "about equal" if finding.best is None else names[finding.best]
        lines.append(f"{finding.subject}: {better}; {finding.words}")
    return lines + _worst(findings, clips, names)


def _finding(subject: Subject, clips: Sequence[ClipScores]) -> Finding | None:
    for measure in subject.measures:
        values = [clip.value(measure) for clip in clips]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            continue
        reason, definition = _REASONS[measure], MEASURES[measure]
        distances = [definition.distance(value) for value in known]
        order = sorted(range(len(known)), key=lambda index: distances[index])
        away = distances[order[1]] - distances[order[0]]
        counts = math.isfinite(distances[order[0]]) and away >= reason.least
        figures = " / ".join(f"{value:.3g}" for value in known)
        return Finding(
            subject=subject.title,
            best=order[0] if counts else None,
            words=reason.words.format(figures),
        )
    return None


def _summary(findings: Sequence[Finding], names: Sequence[str]) -> str:
    counts = [sum(finding.best == index for finding in findings) for index in range(len(names))]
    decided = sum(counts)
    if not decided:
        return "the clips are about equal in everything that was measured"
    most = max(counts)
    first = [name for name, count in zip(names, counts, strict=True) if count == most]
    tally = ", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True))
    equal = len(findings) - decided
    scale = f"{decided} subjects that differ ({tally}; {equal} about equal)"
    if len(first) > 1:
        return f"{' and '.join(first)} are level on {scale}: what matters to you decides"
    return f"{first[0]} is better on {most} of {scale}"


def _worst(
    findings: Sequence[Finding], clips: Sequence[ClipScores], names: Sequence[str]
) -> list[str]:
    """The frames at which a clip that lost a subject is to be looked at."""
    lines = []
    lost = {finding.subject: finding.best for finding in findings if finding.best is not None}
    for index, clip in enumerate(clips):
        frames: dict[int, list[str]] = {}
        for subject in SUBJECTS:
            if lost.get(subject.title, index) == index:
                continue
            score = _decisive(subject, clip)
            for frame in score.worst_frames(_WORST) if score is not None else []:
                frames.setdefault(frame, []).append(subject.title)
        if frames:
            seen = sorted(frames)[:4]
            listed = ", ".join(f"{frame} ({', '.join(frames[frame])})" for frame in seen)
            lines.append(f"look at {names[index]}, frames {listed}")
    return lines


def _decisive(subject: Subject, clip: ClipScores) -> Score | None:
    """The first score of a subject that has a curve."""
    by_name = {score.measure: score for score in reversed(clip.scores) if score.curve}
    return next((by_name[name] for name in subject.measures if name in by_name), None)
