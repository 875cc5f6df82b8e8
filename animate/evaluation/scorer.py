"""The order of work of scoring one clip: align, estimate poses again, measure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from animate.driving.poses import selection_of
from animate.errors import UserError
from animate.evaluation.alignment import beside, frame_count, open_clip
from animate.evaluation.asked import ask, read_record
from animate.evaluation.extractors import FeatureMeter, Networks, frechet_scores
from animate.evaluation.frechet import Statistics
from animate.evaluation.identity import FaceEmbedder
from animate.evaluation.meters import (
    BackgroundMeter,
    IdentityMeter,
    LookMeter,
    Meter,
    MotionMeter,
    PairMeter,
    PictureMeter,
    Step,
    TruthMeter,
    picture_measures,
)
from animate.evaluation.network_files import FILES
from animate.evaluation.pairs import Pair
from animate.evaluation.pose_error import clip_poses_again, likeliest_person, on_clip, pose_scores
from animate.evaluation.previews import (
    ClipPreview,
    Panes,
    PreviewWriter,
    jpeg,
    worst_frames,
)
from animate.evaluation.protocols import GROUPS, Comparison, Protocol, comparisons
from animate.evaluation.scores import MEASURES, ClipScores, Score
from animate.evaluation.sound import audio_offset
from animate.evaluation.subject import Subject, frames_with_shots, missing_reason
from animate.evaluation.vmaf import MISSING, VmafMeter, ffmpeg_with_vmaf
from animate.media import FrameSelection
from animate.media.info import Image
from animate.progress import Progress
from pose.errors import PoseError
from pose.estimators import load_estimator
from pose.estimators.base import Estimator
from pose.sequence import PoseSequence
from temporal.errors import TemporalError

_NEED_POSES = ("pose_error", "identity", "background")


class Scorer:
    """Scores clips one by one by the same protocols; networks are opened once."""

    def __init__(
        self,
        protocols: Sequence[Protocol],
        progress: Progress,
        *,
        networks: Networks,
        previews: int = 0,
    ) -> None:
        """Make pictures for the report of the first `previews` clips."""
        self.previews: dict[Path, ClipPreview] = {}
        self._most_previews = previews
        self._networks = networks
        self._pools: dict[tuple[str, str], tuple[Statistics, Statistics]] = {}
        self._protocols = protocols
        self._progress = progress
        self._estimator: Estimator | None = None
        self._embed: FaceEmbedder | None = None
        limits = [p.max_frames for p in protocols if p.max_frames is not None]
        self._max_frames = max(limits) if len(limits) == len(protocols) else None

    def __call__(self, pair: Pair) -> ClipScores:
        """All figures of one clip. Raises MediaError or PoseError."""
        source, notes = open_clip(pair.clip, pair.truth)
        selection = FrameSelection(max_frames=self._max_frames)
        count = frame_count(source, selection)
        clip = Subject(pair=pair, source=source, selection=selection, count=count)
        clip.notes += [*pair.notes, *notes]
        self._read_record(clip)
        self._open_truth(clip)
        self._ask(clip)
        self._estimate_poses(clip)
        with ExitStack() as stack:
            meters = self._meters(clip, stack)
            preview = None
            if len(self.previews) < self._most_previews:
                preview = stack.enter_context(PreviewWriter(clip.panes, source.info.fps))
            cuts = self._measure(clip, meters, preview)
            for meter in meters:
                clip.scores += meter.scores()
                if isinstance(meter, TruthMeter):
                    self._pool(meter)
            if preview is not None:
                self.previews[pair.clip] = _preview(clip, preview)
        self._compare_times(clip)
        self._say_what_is_missing(clip)
        order = list(MEASURES)
        return ClipScores(
            clip=pair.clip,
            frames=count,
            fps=source.info.fps,
            size=clip.size,
            scores=tuple(sorted(clip.scores, key=lambda score: order.index(score.measure))),
            left_out=tuple(sorted(clip.left_out.items(), key=lambda item: order.index(item[0]))),
            notes=tuple(dict.fromkeys(clip.notes)),
            borders=clip.borders,
            cuts=cuts,
        )

    def _wants(self, *measures: str) -> bool:
        return any(protocol.wants(name) for protocol in self._protocols for name in measures)

    def _read_record(self, clip: Subject) -> None:
        try:
            clip.record = read_record(clip.pair.clip)
            if clip.record is None:
                clip.left_out["seams"] = "no record beside the clip says how its windows lie"
            else:
                whole = frame_count(clip.source, FrameSelection())
                borders = clip.record.borders(whole)
                clip.borders = tuple(frame for frame in borders if frame < clip.count)
        except (UserError, TemporalError) as reason:
            clip.left_out["seams"] = str(reason)

    def _open_truth(self, clip: Subject) -> None:
        path = clip.pair.truth
        if path is None:
            return
        selection = None
        driving = clip.record.path("driving") if clip.record else None
        if clip.record and driving and driving.exists() and driving.samefile(path):
            selection = selection_of(clip.record.request)
        clip.truth = beside(path, clip.source, clip.count, role="truth", selection=selection)
        clip.notes += clip.truth.notes

    def _ask(self, clip: Subject) -> None:
        if not self._wants(*_NEED_POSES, "sharpness", *GROUPS["time"]):
            return
        if self._wants(*_NEED_POSES) and self._estimator is None:
            self._estimator = load_estimator()
        pair = clip.pair
        clip.asked = ask(
            clip.source,
            clip.record,
            pair.reference,
            pair.driving,
            self._estimator if self._wants(*_NEED_POSES) else None,
            self._progress,
        )
        clip.notes += clip.asked.notes

    def _estimate_poses(self, clip: Subject) -> None:
        """Estimate poses on the clip, and on the truth where nothing else says what was asked."""
        if self._estimator is None:
            return
        clip.estimated = self._poses_of(clip, clip.frames(), clip.count)
        control = clip.asked.control
        if control is None and clip.truth is not None:
            count = min(clip.count, clip.truth.frames)
            poses = self._poses_of(clip, islice(clip.truth.read(), count), count)
            if poses.people:
                control = poses.person(0)
                clip.notes.append("poses are compared with those of the truth")
        if control is not None:
            clip.control = on_clip(control, clip.source.info.fps, clip.count)
            try:
                clip.scores += pose_scores(clip.control, clip.estimated)
            except PoseError as reason:
                clip.asked.reasons["control"] = str(reason)

    def _poses_of(self, clip: Subject, pictures: Iterable[Image], count: int) -> PoseSequence:
        assert self._estimator is not None
        return clip_poses_again(
            pictures,
            self._estimator,
            fps=clip.source.info.fps,
            count=count,
            size=clip.size,
            progress=self._progress,
        )

    def pooled(self) -> tuple[Score, ...]:
        """Fréchet distances over the features of all clips so far."""
        return tuple(
            score
            for (measure, protocol), (clips, truths) in self._pools.items()
            for score in frechet_scores(measure, protocol, clips, truths)
        )

    def _pool(self, meter: TruthMeter) -> None:
        for features in meter.meters:
            if not isinstance(features, FeatureMeter):
                continue
            for protocol, (clip, truth) in features.statistics.items():
                key = (features.measure, protocol)
                clips, truths = self._pools.setdefault(key, (Statistics(), Statistics()))
                clips.merge(clip)
                truths.merge(truth)

    def _meters(self, clip: Subject, stack: ExitStack) -> list[Meter]:
        meters: list[Meter] = []
        if (truth := clip.truth) is not None:
            compared = comparisons(self._protocols, clip.size, truth.size)
            meters += [self._truth_meter(clip, comparison, stack) for comparison in compared]
        meters.append(
            MotionMeter(
                clip.borders,
                with_flow=self._wants("warping_error"),
                with_faults=self._wants("black_frames"),
            )
        )
        if self._wants("sharpness", "colour_drift"):
            meters.append(LookMeter(clip.asked.picture, with_drift=self._wants("colour_drift")))
        if self._wants("background"):
            meters += self._background_meter(clip)
        if self._wants("identity"):
            meters += self._identity_meter(clip)
        return meters

    def _truth_meter(self, clip: Subject, comparison: Comparison, stack: ExitStack) -> TruthMeter:
        wanted = []
        for protocol in comparison.protocols:
            measures, small = picture_measures(protocol, comparison.size)
            wanted.append((protocol, measures))
            for name, least in small.items():
                clip.left_out[name] = f"pictures of {comparison.size} are below {least} pixels"
        meters: list[PairMeter] = [PictureMeter(wanted), *self._networks.meters(comparison)]
        protocols = comparison.wanting("vmaf")
        program = ffmpeg_with_vmaf() if protocols else None
        if program is not None:
            vmaf = VmafMeter(program, protocols, comparison.size, str(clip.source.info.fps))
            stack.callback(vmaf.close)
            meters.append(vmaf)
        return TruthMeter(comparison, meters)

    def _background_meter(self, clip: Subject) -> list[Meter]:
        asked = clip.asked
        known = [poses for poses in (clip.control, clip.estimated) if poses is not None]
        people = [poses for poses in known if poses.present.any()]
        if asked.picture is None or asked.picture_pose is None or not people:
            return []
        return [BackgroundMeter(asked.picture, asked.picture_pose, people)]

    def _identity_meter(self, clip: Subject) -> list[Meter]:
        asked = clip.asked
        if asked.original is None or asked.original_pose is None or clip.estimated is None:
            return []
        if not asked.original_pose.present.any():
            return []
        if self._embed is None:
            self._embed = FaceEmbedder()
        pose = asked.original_pose
        reference = self._embed(asked.original, pose.points[0, 0], pose.scores[0, 0])
        if reference is None:
            asked.reasons["face"] = "no face is seen well enough in the reference"
            return []
        person = clip.estimated
        if clip.control is not None and person.people > 1:
            person = person.person(likeliest_person(clip.control, person))
        return [IdentityMeter(self._embed, reference, person)]

    def _measure(
        self, clip: Subject, meters: Sequence[Meter], preview: PreviewWriter | None
    ) -> tuple[int, ...]:
        """Pass all frames through the meters once; returns the cuts."""
        cuts, before = [], None
        driving = clip.driving_frames() if preview is not None else iter(())
        with self._progress.stage("frames", clip.count) as stage:
            for index, (frame, truth, starts) in enumerate(frames_with_shots(clip)):
                if preview is not None:
                    preview.add(Panes(clip=frame, truth=truth, driving=next(driving, None)))
                if starts and index:
                    cuts.append(index)
                step = Step(
                    index=index, frame=frame, before=before, truth=truth, starts_shot=starts
                )
                for meter in meters:
                    meter.add(step)
                before = frame
                stage.advance()
        return tuple(cuts)

    def _compare_times(self, clip: Subject) -> None:
        asked = clip.asked
        if asked.driving is None or asked.selection_duration is None:
            return
        if self._wants("duration_difference"):
            duration = float(clip.count / clip.source.info.fps)
            value = duration - asked.selection_duration
            clip.scores.append(Score(measure="duration_difference", value=value))
        if not self._wants("audio_offset"):
            return
        if not (clip.source.info.has_audio and asked.driving.info.has_audio):
            clip.left_out["audio_offset"] = "the clip or the driving video has no sound"
            return
        offset = audio_offset(clip.pair.clip, asked.driving.info.path, asked.selection_start)
        if offset is None:
            clip.left_out["audio_offset"] = "the sound is silent or has nothing in common"
        else:
            clip.scores.append(Score(measure="audio_offset", value=offset))

    def _say_what_is_missing(self, clip: Subject) -> None:
        """Give a reason for every measure that was wanted and has no figure."""
        scored = {score.measure for score in clip.scores}
        for measure in MEASURES:
            if not self._wants(measure) or measure in scored:
                clip.left_out.pop(measure, None)
            else:
                reason = clip.truth and self._network_is_missing(measure)
                clip.left_out.setdefault(measure, reason or missing_reason(measure, clip))

    def _network_is_missing(self, measure: str) -> str:
        if measure == "vmaf":
            return "" if ffmpeg_with_vmaf() is not None else MISSING
        return self._networks.missing(measure) if measure in FILES else ""


def _preview(clip: Subject, writer: PreviewWriter) -> ClipPreview:
    """The finished player, and pictures of the worst frames, for which the clip is read again."""
    wanted = worst_frames(clip.scores, 1)
    truth = iter(()) if clip.truth is None else clip.truth.read()
    driving = clip.driving_frames()
    worst = []
    last = max(wanted, default=-1)
    for index, frame in enumerate(islice(clip.frames(), last + 1)):
        panes = Panes(clip=frame, truth=next(truth, None), driving=next(driving, None))
        if index in wanted:
            worst.append((index, ", ".join(wanted[index]), jpeg(panes, writer.panes)))
    return ClipPreview(
        panes=writer.panes, video=writer.video(), frames=writer.frames, worst=tuple(worst)
    )
