"""Forecasts of a batch: the jobs that it would do, their time and memory, before any work.

Work is counted in units: pixels that go through the UNet, over all steps, windows and guidance
halves. Seconds a unit come from earlier records in the output folder that name the same model;
without such records there is no prediction. Memory is the planner's (`animate.generate.memory`)
with the process itself, or what earlier records of the same model, size and window measured.
"""

from __future__ import annotations

import os
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from animate.batch.jobs import Job
from animate.batch.keys import Keys
from animate.batch.kinds import kind_of, products_of
from animate.batch.outputs import plan_job
from animate.batch.records import JobRecord, Request, read_record
from animate.errors import RequestError, user_mistakes
from animate.progress import clock_text
from animate.request.request import AnimationRequest
from animate.request.still import StillRequest
from animate.request.values import Size
from animate.request.wording import listed

if TYPE_CHECKING:
    from animate.media.source import FrameSource

_FINISHED = ("done", "kept")


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """One job as it would go."""

    job: Job
    due: bool
    """It would be done."""
    why: str
    """The reason, in words."""
    problem: str = ""
    """The fault that will keep it from being made, so far as it can be known."""
    model: str = ""
    """Name of the variant; empty where it cannot be known."""
    frames: int | None = None
    """Frames of the clip; None where they cannot be known."""
    seconds: float | None = None
    """Predicted wall time, None where nothing is known."""
    memory: int | None = None
    """Predicted bytes of a worker."""


@dataclass(kw_only=True)
class Pace:
    """The figures of earlier records, by model."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    """Wall seconds a unit of work, of every record."""
    memory: dict[tuple[str, str, int], int] = field(default_factory=dict)
    """Most bytes that a worker had, by model, size and window."""

    def learn(self, record: JobRecord) -> None:
        """Take a record's figures in, if it has them."""
        if record.status not in _FINISHED or record.key is None:
            return
        frames, wall, shape = record.frames, record.wall_seconds, _shape(record.key.settings)
        if not frames or not wall or shape is None:
            return
        self.seconds.setdefault(record.model, []).append(wall / shape.units(frames))
        at = (record.model, record.size, shape.window)
        self.memory[at] = max(self.memory.get(at, 0), record.peak_host_bytes or 0)

    def basis(self) -> str:
        """The ground that predictions of time stand on, in words."""
        if not self.seconds:
            return "no earlier records here, so no prediction of time"
        counts = (f"{len(paces)} of {model}" for model, paces in sorted(self.seconds.items()))
        return f"time from earlier records in this folder: {', '.join(counts)}"


@dataclass(frozen=True, kw_only=True)
class _Shape:
    """The settings that the amount of work depends on."""

    size: Size
    window: int
    overlap: int
    steps: int
    halves: int
    """Passes through the UNet a step: two with guidance."""

    def units(self, frames: int) -> float:
        """Millions of pixels that go through the UNet for a clip of so many frames."""
        stride = max(1, self.window - self.overlap)
        windows = 1 if frames <= self.window else -(-(frames - self.window) // stride) + 1
        area = self.size.width * self.size.height
        return windows * min(self.window, frames) * self.steps * self.halves * area / 1e6


def _shape(settings: Mapping[str, object]) -> _Shape | None:
    """The shape that a key's settings state; None where they do not."""
    try:
        return _Shape(
            size=Size.parse(settings["size"]),
            window=int(str(settings["window"])),
            overlap=int(str(settings["overlap"])),
            steps=int(str(settings["steps"])),
            halves=1 if str(settings["guidance"]) == "1" else 2,
        )
    except (KeyError, ValueError, RequestError):
        return None


def forecast(
    jobs: Iterable[Job],
    *,
    overwrite: bool = False,
    memory_of: PlannedMemory | None = None,
    records: Iterable[JobRecord] = (),
) -> tuple[list[Forecast], Pace]:
    """The course of a run over these jobs; reads inputs and records, writes nothing.

    records: of other jobs, whose figures predictions may stand on too
    """
    chosen = list(jobs)
    pace = Pace()
    for earlier in records:
        pace.learn(earlier)
    for job in chosen:
        if (record := read_record(job.record)) is not None:
            pace.learn(record)
    keys, frames = Keys(), _Frames()
    return [_forecast_job(job, keys, frames, pace, overwrite, memory_of) for job in chosen], pace


def _forecast_job(
    job: Job,
    keys: Keys,
    frames: _Frames,
    pace: Pace,
    overwrite: bool,
    memory_of: PlannedMemory | None,
) -> Forecast:
    if job.request is None:
        return Forecast(job=job, due=False, why="cannot be used", problem=job.mistake)
    request, products = job.request, products_of(job.request)
    overwrite = overwrite or request.overwrite
    mistakes: tuple[type[Exception], ...] = (*user_mistakes(), OSError)
    try:
        key = kind_of(request).key(request, keys)
        count = frames.of(request) if isinstance(request, AnimationRequest) else request.count
        _check_device(request)
    except mistakes as problem:
        plan = plan_job(products, None, overwrite=overwrite)
        return Forecast(job=job, due=True, why=plan.why, problem=str(problem))
    plan = plan_job(products, key, overwrite=overwrite)
    foreign = f"{plan.foreign} is there and is not this batch's" if plan.foreign else ""
    shape = _shape(key.settings)
    if shape is None or not isinstance(request, AnimationRequest):  # of stills there is no pace
        return Forecast(
            job=job,
            due=plan.due and not plan.foreign,
            why=plan.why,
            problem=foreign,
            model=str(key.settings["model"]),
            frames=count,
        )
    model = keys.model(request.model)[0].name
    paces = pace.seconds.get(model)
    memory = pace.memory.get((model, str(shape.size), shape.window))
    if memory is None and plan.due and memory_of is not None:
        memory = memory_of(request, shape.size, count)
    return Forecast(
        job=job,
        due=plan.due and not plan.foreign,
        why=plan.why,
        problem=foreign,
        model=model,
        frames=count,
        seconds=statistics.median(paces) * shape.units(count) if paces else None,
        memory=memory,
    )


def _check_device(request: Request) -> None:
    """Raise RequestError where the device of a request is not on this machine."""
    from animate.device import choose_device

    named = request.runtime if isinstance(request, AnimationRequest) else request
    choose_device(named.device)


class _Frames:
    """Counts the frames of a request's clip; a video is looked at once."""

    def __init__(self) -> None:
        self._sources: dict[tuple[Path, Fraction | None], FrameSource] = {}

    def of(self, request: AnimationRequest) -> int:
        from animate.driving.poses import selection_of
        from animate.media import open_video

        at = (request.driving, request.fps)
        if at not in self._sources:
            self._sources[at] = open_video(request.driving, stated_fps=request.fps)
        return len(self._sources[at].sampling(selection_of(request)).frames)


class PlannedMemory:
    """Predicts the memory of a worker; weights need not be here.

    On a CPU that is the planner's peak and the process itself, as this process is when it has
    loaded the same libraries; on an accelerator the planner's peak of the device. A plan takes
    seconds, so clips of one shape share it; their lengths are rounded up to a power of two, which
    costs a few latents.
    """

    def __init__(self) -> None:
        self._peaks: dict[tuple[object, ...], int | None] = {}

    def __call__(self, request: AnimationRequest, size: Size, frames: int) -> int | None:
        """Bytes at the highest stage; None where the planner cannot say."""
        rounded = 1 << (frames - 1).bit_length()
        at = (request.model, request.runtime, request.sampling, size, rounded)
        if at not in self._peaks:
            self._peaks[at] = self._plan(request, size, rounded)
        return self._peaks[at]

    def _plan(self, request: AnimationRequest, size: Size, frames: int) -> int | None:
        from animate.device import choose_device
        from animate.generate.memory import plan_clip_memory
        from animate.generate.settings import settle
        from animate.models.variants import resolve

        variant = resolve(request.model).variant
        settled = settle(request, variant, size)
        device = choose_device(request.runtime.device)
        try:
            plan = plan_clip_memory(variant, settled, request.runtime, frames=frames, device=device)
        except user_mistakes():
            return None
        process = process_bytes() if device.type == "cpu" else 0
        return int(max(plan.peaks.values())) + process


def process_bytes() -> int:
    """Resident memory of this process with all that a worker loads besides its networks."""
    from animate import animator  # noqa: F401 - loads torch, diffusers and the media libraries
    from pose.estimators import sessions  # noqa: F401 - loads onnxruntime

    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def lines(forecasts: list[Forecast], pace: Pace, workers: int, most: int = 20) -> Iterator[str]:
    """The plan for people: reasons with their counts, the first jobs, then the sums."""
    reasons = Counter(_reason(each) for each in forecasts)
    for (to_do, why), count in sorted(reasons.items(), key=lambda entry: -entry[1]):
        yield f"{count:6}  {'to do' if to_do else 'not to do'}: {why}"
    notable = [each for each in forecasts if each.due or each.problem]
    if notable:
        described = [f"  {describe(each)}" for each in notable[:most]]
        yield listed([*described, *notable[most:]], most, "\n")
    due = [each for each in forecasts if each.due and not each.problem]
    times = [each.seconds for each in due if each.seconds is not None]
    yield pace.basis()
    if times and len(times) == len(due):
        total = clock_text(sum(times) / workers)
        yield f"{len(due)} to do, about {total} with {workers} at a time"
    if peaks := [each.memory for each in due if each.memory]:
        yield f"memory of a worker: up to about {max(peaks) / 2**30:.2f} GiB"


def _reason(forecast: Forecast) -> tuple[bool, str]:
    if forecast.problem:
        return forecast.due, "will fail, as can be seen already"
    return forecast.due, forecast.why.split(":")[0]


def describe(forecast: Forecast) -> str:
    """One job in a line."""
    job = forecast.job
    name = job.request.output.name if job.request else ""
    if forecast.problem:
        return f"{job.label} {name}: {forecast.problem}"
    word = "pictures" if isinstance(job.request, StillRequest) else "frames"
    figures = [f"{forecast.frames} {word}", forecast.model]
    if forecast.seconds is not None:
        figures.append(f"about {clock_text(forecast.seconds)}")
    if forecast.memory:
        figures.append(f"{forecast.memory / 2**30:.2f} GiB")
    return f"{job.label} {name}: {forecast.why}; {', '.join(figures)}"
