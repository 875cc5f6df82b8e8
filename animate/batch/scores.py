"""Scores of a batch's clips, kept in their jobs' records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from animate.batch.manifest import Job
from animate.batch.records import JobRecord, is_clip_of, read_record
from animate.errors import UserError
from animate.evaluation.extractors import Networks
from animate.evaluation.pairs import Pair
from animate.evaluation.protocols import with_neighbours
from animate.evaluation.scorer import Scorer
from animate.progress import Progress
from pose.errors import PoseError


def score_clips(jobs: Iterable[Job], protocol: str, progress: Progress) -> int:
    """Score the clips of all finished jobs that this protocol has not scored; returns how many.

    Reference, driving video and windows are those of the records beside the clips. A clip that
    cannot be scored is warned of. Raises RequestError for an unknown protocol, and MediaError where
    a job's record cannot be written.
    """
    scorer = Scorer(with_neighbours([protocol]), progress, networks=Networks(None))
    scored = 0
    for job in jobs:
        record = read_record(job.record)
        if record is None or record.output is None or not _is_to_be_scored(record, protocol):
            continue
        try:
            scores = scorer(Pair(clip=record.output))
        except (UserError, PoseError) as reason:
            progress.warn(f"{record.output} is not scored: {reason}")
            continue
        figures = {score.measure: score.value for score in scores.scores}
        replace(record, scores=figures, scored_by=protocol).write()
        scored += 1
    return scored


def _is_to_be_scored(record: JobRecord, protocol: str) -> bool:
    if record.status not in ("done", "kept") or record.output is None:
        return False
    return record.scored_by != protocol and is_clip_of(record, record.output)
