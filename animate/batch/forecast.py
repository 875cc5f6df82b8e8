"""What a batch would do, and roughly what it would take, before it does anything.

Work is counted in units: pixels that go through the UNet, over all steps, windows and guidance
halves. Seconds a unit come from earlier records in the output folder that name the same model;
without such records there is no prediction. Memory is the planner's (`animate.generate.memory`), or
what earlier records of the same model, size and window measured.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from animate.batch.keys import Keys
from animate.batch.manifest import Job
from animate.batch.records import plan_job, read_record
from animate.errors import user_mistakes
from animate.request.request import AnimationRequest

_DONE = ("done", "kept")


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """One job as it would go.

    Attributes:
        job: which.
        wanted: whether it would be done.
        why: the reason, in words.
        problem: what will keep it from being made, so far as it can be known.
        model, frames: of the clip; empty and None where they cannot be known.
        seconds: predicted wall time, None where nothing is known.
        memory: predicted bytes.
    """

    job: Job
    wanted: bool
    why: str
    problem: str = ""
    model: str = ""
    frames: int | None = None
    seconds: float | None = None
    memory: int | None = None


@dataclass(kw_only=True)
class Pace:
    """What earlier records tell, by model.

    Attributes:
        seconds: wall seconds a unit of work, of every record.
        memory: most bytes that a worker had, by model, size and window.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    memory: dict[tuple[str, str, int], int] = field(default_factory=dict)

    def learn(self, record: Mapping[str, Any]) -> None:
        """Take a record's figures in, if it has them."""
        settings = (record.get("key_parts") or {}).get("settings") or {}
        frames, wall = record.get("frames"), record.get("wall_seconds")
        if record.get("status") not in _DONE or not settings or not frames or not wall:
            return
        model = str(record.get("model"))
        size = str(record.get("size"))
        width, height = map(int, size.split("x"))
        amount = units(settings, frames, width * height)
        self.seconds.setdefault(model, []).append(wall / amount)
        at = (model, size, int(settings["window"]))
        self.memory[at] = max(self.memory.get(at, 0), int(record.get("peak_host_bytes") or 0))

    def basis(self) -> str:
        """What predictions of time rest on, in words."""
        if not self.seconds:
            return "no earlier records here, so no prediction of time"
        counts = (f"{len(found)} of {model}" for model, found in sorted(self.seconds.items()))
        return f"time from earlier records in this folder: {', '.join(counts)}"


def units(settings: Mapping[str, Any], frames: int, area: int) -> float:
    """Millions of pixels that go through the UNet for a clip of so many frames."""
    window, overlap = int(settings["window"]), int(settings["overlap"])
    stride = max(1, window - overlap)
    count = 1 if frames <= window else -(-(frames - window) // stride) + 1
    halves = 1 if str(settings["guidance"]) == "1" else 2
    return count * min(window, frames) * int(settings["steps"]) * halves * area / 1e6


def forecast(
    jobs: Iterable[Job],
    *,
    overwrite: bool = False,
    memory_of: Callable[[AnimationRequest, Mapping[str, Any], int], int | None] | None = None,
) -> tuple[list[Forecast], Pace]:
    """What a run over these jobs would do; reads inputs and records, writes nothing."""
    chosen = list(jobs)
    pace = Pace()
    for job in chosen:
        pace.learn(read_record(job.record) or {})
    keys, frames = Keys(), _Frames()
    return [_one(job, keys, frames, pace, overwrite, memory_of) for job in chosen], pace


def _one(
    job: Job, keys: Keys, frames: _Frames, pace: Pace, overwrite: bool, memory_of: Any
) -> Forecast:
    if job.request is None:
        return Forecast(job=job, wanted=False, why="cannot be used", problem=job.mistake)
    request = job.request
    mistakes: tuple[type[Exception], ...] = (*user_mistakes(), OSError)
    try:
        key = keys.of(request)
        count = frames.of(request)
    except mistakes as problem:
        plan = plan_job(job.record, request, None, overwrite=overwrite)
        return Forecast(job=job, wanted=True, why=plan.why, problem=str(problem))
    plan = plan_job(job.record, request, key, overwrite=overwrite)
    model = keys.model(request.model)[0].name
    settings = key.settings
    size = str(settings["size"])
    width, height = map(int, size.split("x"))
    known = pace.seconds.get(model)
    amount = units(settings, count, width * height)
    memory = pace.memory.get((model, size, int(settings["window"])))
    if memory is None and plan.wanted and memory_of is not None:
        memory = memory_of(request, settings, count)
    return Forecast(
        job=job,
        wanted=plan.wanted and not plan.foreign,
        why=plan.why,
        problem=f"{request.output} is there and is not this batch's" if plan.foreign else "",
        model=model,
        frames=count,
        seconds=statistics.median(known) * amount if known else None,
        memory=memory,
    )


class _Frames:
    """How many frames a request's clip has; a video is looked at once."""

    def __init__(self) -> None:
        self._sources: dict[Any, Any] = {}

    def of(self, request: AnimationRequest) -> int:
        from animate.driving.poses import selection_of
        from animate.media import open_video

        at = (request.driving, request.fps)
        if at not in self._sources:
            self._sources[at] = open_video(request.driving, images_fps=request.fps)
        return len(self._sources[at].sampling(selection_of(request)).frames)


class PlannedMemory:
    """The planner's peak for a request: weights need not be here.

    A plan takes seconds, so clips of one shape share it; their lengths are rounded up to a power of
    two, which costs a few latents.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], int | None] = {}

    def __call__(
        self, request: AnimationRequest, settings: Mapping[str, Any], frames: int
    ) -> int | None:
        """Bytes at the highest stage; None where the planner cannot say."""
        names = ("size", "window", "guidance", "decode_chunk")
        rounded = 1 << (frames - 1).bit_length()
        at = (request.model, request.runtime, *(str(settings[n]) for n in names), rounded)
        if at not in self._known:
            self._known[at] = self._plan(request, rounded, settings)
        return self._known[at]

    def _plan(
        self, request: AnimationRequest, frames: int, settings: Mapping[str, Any]
    ) -> int | None:
        from animate.device import choose_device
        from animate.generate.memory import plan_clip_memory
        from animate.generate.settings import settle
        from animate.models.variants import resolve
        from animate.request.values import Size

        variant = resolve(request.model).variant
        settled = settle(request, variant, Size.parse(str(settings["size"])))
        try:
            plan = plan_clip_memory(
                variant,
                settled,
                request.runtime,
                frames=frames,
                device=choose_device(request.runtime.device),
            )
        except user_mistakes():
            return None
        return int(max(plan.peaks.values()))


def lines(found: list[Forecast], pace: Pace, workers: int, shown: int = 20) -> Iterator[str]:
    """The plan for people: what and why, counted, then the first jobs, then the sums."""
    reasons = Counter(_reason(each) for each in found)
    for (to_do, why), count in sorted(reasons.items(), key=lambda entry: -entry[1]):
        yield f"{count:6}  {'to do' if to_do else 'not to do'}: {why}"
    for each in [f for f in found if f.wanted or f.problem][:shown]:
        yield f"  {describe(each)}"
    more = sum(1 for f in found if f.wanted or f.problem) - shown
    if more > 0:
        yield f"  and {more} more"
    wanted = [each for each in found if each.wanted and not each.problem]
    times = [each.seconds for each in wanted if each.seconds is not None]
    yield pace.basis()
    if times and len(times) == len(wanted):
        whole = duration(sum(times) / workers)
        yield f"{len(wanted)} to do, about {whole} with {workers} at a time"
    if peaks := [each.memory for each in wanted if each.memory]:
        yield f"memory of a worker: up to about {max(peaks) / 2**30:.2f} GiB"


def _reason(each: Forecast) -> tuple[bool, str]:
    if each.problem:
        return each.wanted, "will fail, as can be seen already"
    return each.wanted, each.why.split(":")[0]


def describe(each: Forecast) -> str:
    """One job in a line."""
    name = each.job.request.output.name if each.job.request else ""
    if each.problem:
        return f"{each.job.place} {name}: {each.problem}"
    figures = [f"{each.frames} frames", each.model]
    if each.seconds is not None:
        figures.append(f"about {duration(each.seconds)}")
    if each.memory:
        figures.append(f"{each.memory / 2**30:.2f} GiB")
    return f"{each.job.place} {name}: {each.why}; {', '.join(figures)}"


def duration(seconds: float) -> str:
    """`45 s`, `12 min` or `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
