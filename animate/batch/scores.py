"""Scores of a batch's clips, kept in their jobs' records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from animate.batch.jobs import Job
from animate.batch.outputs import is_clip_of
from animate.batch.records import JobRecord, read_record
from animate.clip.fingerprint import FileDigests
from animate.errors import UserError
from animate.evaluation.extractors import Networks
from animate.evaluation.network_files import remembered_folder
from animate.evaluation.pairs import Pair
from animate.evaluation.protocols import with_neighbours
from animate.evaluation.scorer import Scorer
from animate.progress import Progress
from animate.request.still import StillRequest
from pose.errors import PoseError


def score_clips(
    jobs: Iterable[Job], protocol: str, progress: Progress, *, truth: Path | None = None
) -> int:
    """Score the clips of all finished jobs that this protocol has not scored; returns how many.

    Reference, driving video and windows are those of the records beside the clips; `truth` is a
    true clip of all jobs. Networks of measures are those of the folder that was named last. A clip
    that cannot be scored is warned of. Raises RequestError for an unknown protocol, and MediaError
    where a job's record or the truth cannot be used.
    """
    protocols = with_neighbours([protocol])
    scorer = Scorer(protocols, progress, networks=Networks(remembered_folder()))
    label = protocol_label(protocol, truth)
    scored = 0
    for job in jobs:
        record = read_record(job.record)
        if isinstance(job.request, StillRequest) or record is None or record.output is None:
            continue
        if not _is_to_be_scored(record, label):
            continue
        progress.note(f"scoring {record.output.name}")
        try:
            scores = scorer(Pair(clip=record.output, truth=truth))
        except (UserError, PoseError) as reason:
            progress.warn(f"{record.output} is not scored: {reason}")
            continue
        chosen = [s for s in scores.scores if s.protocol in ("", protocols[0].name)]
        figures = {score.measure: score.value for score in chosen}
        replace(record, scores=figures, scored_by=label).write()
        scored += 1
    return scored


def protocol_label(protocol: str, truth: Path | None) -> str:
    """The name that records keep of a protocol, with the truth that the clips are compared with."""
    if truth is None:
        return protocol
    return f"{protocol}, truth {FileDigests().of_driving(truth)[:12]}"


def _is_to_be_scored(record: JobRecord, label: str) -> bool:
    if record.status not in ("done", "kept") or record.output is None:
        return False
    return record.scored_by != label and is_clip_of(record, record.output)
