"""Scoring clips from the outside: pair them, score each, report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from animate.errors import UserError, raises_ours
from animate.evaluation.extractors import Networks
from animate.evaluation.page import write_page
from animate.evaluation.pairs import PathLike, pair_clips
from animate.evaluation.protocols import with_neighbours
from animate.evaluation.scorer import Scorer
from animate.evaluation.scores import ClipScores, Evaluation
from animate.progress import Progress, Quiet
from pose.errors import PoseError

_MOST_PREVIEWS = 8
"""Clips whose players are in a report."""


@raises_ours
def evaluate(
    clips: PathLike | Sequence[PathLike],
    *,
    truth: PathLike | None = None,
    reference: PathLike | None = None,
    driving: PathLike | None = None,
    protocol: str | Sequence[str] = "clean",
    weights: PathLike | None = None,
    report: PathLike | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Score clips: files, numbered images, or folders of clips that are paired by name.

    Args:
        clips: one or several. What the other arguments leave open is taken from the record beside
            a clip, where its files are still there.
        truth: video, numbered images, or a folder of videos named as the clips.
        reference: the image whose person the clips show, or a folder of images likewise.
        driving: the video or pose file that the clips follow, or a folder likewise.
        protocol: name of a protocol, or of several; see `animate.evaluation.protocols`.
        weights: folder with the networks of LPIPS, FID, FID-VID and FVD, which no package
            carries; see `animate.evaluation.network_files`. Without them these are left out.
        report: an HTML file to write: players, curves, worst frames, a table.

    A clip that cannot be read among several has its reason in `error`. Raises MediaError,
    RequestError or MotionError where an argument cannot be used.
    """
    names = [protocol] if isinstance(protocol, str) else list(protocol)
    protocols = with_neighbours(names)
    pairs = pair_clips(clips, truth=truth, reference=reference, driving=driving)
    progress = progress or Quiet()
    scorer = Scorer(
        protocols,
        progress,
        networks=Networks(None if weights is None else Path(weights)),
        previews=_MOST_PREVIEWS if report is not None else 0,
    )
    scored = []
    for pair in pairs:
        try:
            scored.append(scorer(pair))
        except (UserError, PoseError) as reason:
            if len(pairs) == 1:
                raise
            progress.warn(f"{pair.clip} is not scored: {reason}")
            scored.append(ClipScores(clip=pair.clip, error=str(reason)))
    if all(clip.error for clip in scored):
        raise UserError(f"none of {len(scored)} clips could be scored; first: {scored[0].error}")
    evaluation = Evaluation(
        clips=tuple(scored),
        protocols=tuple(p.name for p in protocols),
        quirks={p.name: p.quirks for p in protocols if p.quirks},
        pooled=scorer.pooled() if len(scored) > 1 else (),
    )
    if report is not None:
        write_page(evaluation, scorer.previews, Path(report), _title(evaluation))
    return evaluation


def _title(evaluation: Evaluation) -> str:
    clips = evaluation.clips
    return clips[0].clip.name if len(clips) == 1 else f"{len(clips)} clips compared"
