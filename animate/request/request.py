"""What one animation is made of: the request, its options, and what comes back.

These dataclasses are the only schema. The command line, YAML files, the Python interface and
everything that runs many clips build the same objects, so a setting means the same everywhere.
A value of None means "the model variant's own default", which is filled in before anything runs
and recorded beside the clip.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, Generic, Literal, get_args, get_type_hints

from typing_extensions import TypeVar

from animate.errors import RequestError
from animate.files import is_sequence
from animate.request.values import (
    FrameNumber,
    Guidance,
    Lora,
    NoiseInterval,
    Size,
    parse_bytes,
    parse_rate,
    parse_time,
)

Schedule = Literal[
    "static", "anchored", "shifting", "controlnext-v1", "controlnext-v2", "mimicmotion"
]
Fusing = Literal["flat", "triangular", "overlap-linear", "relative"]
Noise = Literal["independent", "repeated", "shuffled-block"]
Solver = Literal["euler", "heun", "dpmpp-2m", "unipc"]
Levels = Literal["model", "align-your-steps"]
Retarget = Literal["none", "affine", "robust", "limbs"]
EstimatorName = Literal["blazepose", "dwpose", "controlnet-aux"]
Fit = Literal["crop", "pad", "stretch"]
Precision = Literal["auto", "float32", "float16", "bfloat16", "int8"]
Offload = Literal["none", "model", "stream"]
Open = TypeVar("Open", covariant=True, default=None)
"""None in options that may leave a value open, Never in those where every value is there."""


def option(
    default: Any,
    help: str,
    *,
    parse: Any = None,
    least: float | None = None,
    most: float | None = None,
    metavar: str | None = None,
) -> Any:
    """A documented field: `parse` reads text and file values, `least`/`most` bound numbers."""
    metadata = {"help": help, "parse": parse, "least": least, "most": most, "metavar": metavar}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class SamplingOptions(Generic[Open]):
    """How latents become a clip. None takes the model variant's default.

    The variant's own defaults are of this class, and so is what a clip is made with
    (`animate.generate.settings.ClipSettings`), where nothing is open any more.

    Raises RequestError for values out of range.
    """

    seed: int = option(0, "seed of the noise; with the frame's number it decides", least=0)
    steps: int | Open = option(None, "denoising steps", least=1, most=1000)
    window: int | Open = option(None, "frames denoised together", least=1, most=1024)
    overlap: int | Open = option(None, "frames that neighbouring windows share", least=0)
    schedule: Schedule | Open = option(None, "how windows lie over the clip")
    fusing: Fusing | Open = option(None, "weights of a window's frames where windows overlap")
    guidance: Guidance | Open = option(
        None,
        "guidance scale, or its values at a window's first and last frame",
        parse=Guidance.parse,
        metavar="MIN[:MAX]",
    )
    control_weight: float | Open = option(
        None, "weight of the control features", least=0.0, most=10.0
    )
    noise: Noise = option("independent", "how the noise of frames is related")
    solver: Solver = option("euler", "solver; heun calls the UNet twice a step, and wants ten")
    levels: Levels = option("model", "noise levels of the steps: the model's, or few chosen ones")
    guidance_interval: NoiseInterval | None = option(
        None, "guide only at these noise levels", parse=NoiseInterval.parse, metavar="LOW:HIGH"
    )
    keep_features: int = option(
        1, "compute the UNet's deep features at one step in N (1: at every step)", least=1, most=16
    )
    decode_chunk: int | Open = option(
        None, "frames decoded together; fewer need less memory, but may flicker", least=1, most=256
    )

    def __post_init__(self) -> None:
        validate(self)
        window, overlap = self.window, self.overlap
        if isinstance(window, int) and isinstance(overlap, int) and overlap >= window:
            raise RequestError(
                f"overlap {overlap} is not below the window of {window} frames; "
                f"use at most {window - 1}"
            )


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions:
    """Where and how it runs. What is made changes by rounding alone, but for 8-bit weights, named
    pose networks, and frames that too little memory does not let be decoded together."""

    device: str = option("auto", "auto, cpu, cuda or cuda:N", metavar="DEVICE")
    precision: Precision = option("auto", "arithmetic of the networks")
    memory: int | None = option(
        None, "memory to stay within, such as 8GiB", parse=parse_bytes, metavar="SIZE"
    )
    offload: Offload | None = option(None, "keep weights on the host until a GPU needs them")
    threads: int | None = option(
        None, "CPU threads; fewer than all where others share the machine", least=1, most=1024
    )
    workers: int | None = option(
        None, "Ray workers that share the windows of the clip, a GPU each", least=1, most=1024
    )
    ray_address: str | None = option(
        None, "Ray cluster to use (default: this machine alone)", metavar="HOST:PORT"
    )
    worker_limit: float = option(
        1800.0, "seconds in which some worker must finish a window", least=1.0, most=864000.0
    )
    compile: bool = option(False, "compile the UNet with torch first, which takes minutes")
    estimator_folder: Path | None = option(
        None, "folder with the files of a pose estimator", parse=Path, metavar="FOLDER"
    )
    estimator_device: Literal["cpu", "cuda"] = option("cpu", "where poses are estimated")
    cache: Path | None = option(
        None,
        "folder that keeps poses between runs (default: the user's cache), or none",
        parse=Path,
        metavar="FOLDER",
    )
    work: Path | None = option(
        None,
        "folder that keeps unfinished work (default: .CLIP.work beside the clip), or none",
        parse=Path,
        metavar="FOLDER",
    )
    keep_work: bool = option(False, "leave that folder when the clip is done")
    save_every: float = option(
        10.0, "seconds between two savings of the work, at least", least=0.0, most=86400.0
    )

    sign: str | None = option(
        None,
        "sign the clip with Content Credentials: PEM files of a certificate chain and its key",
        metavar="CERT:KEY",
    )

    def __post_init__(self) -> None:
        validate(self)
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", self.device):
            raise RequestError(f"device {self.device!r} is not auto, cpu, mps, cuda or cuda:N")


@dataclass(frozen=True, kw_only=True)
class AnimationRequest:
    """One clip: a still image, a driving video, where to write, and every setting.

    Raises RequestError when a value is out of range or two settings contradict each other.
    """

    reference: Path = option(
        None, "still image of the person to animate", parse=Path, metavar="IMAGE"
    )
    driving: Path = option(
        None, "video, or numbered images, whose motion is taken", parse=Path, metavar="VIDEO"
    )
    output: Path = option(
        None, "clip to write; its suffix decides the kind", parse=Path, metavar="CLIP"
    )
    model: str = option("auto", "model variant or folder", metavar="NAME|FOLDER")
    lora: tuple[Lora, ...] = option(
        (),
        "adapters for the UNet, and their weight (default 1); may be given several times",
        parse=Lora.parse_all,
        metavar="FILE[:WEIGHT]",
    )
    size: Size | None = option(None, "size of the clip", parse=Size.parse, metavar="WxH")
    fit: Fit = option("crop", "how a reference of another shape is brought to that size")
    stride: int = option(1, "take every N-th frame of the driving video", least=1, metavar="N")
    start: Fraction | FrameNumber | None = option(
        None, "where to begin: seconds, h:m:s, or frames as 36f", parse=parse_time, metavar="TIME"
    )
    end: Fraction | FrameNumber | None = option(
        None, "where to stop, exclusive", parse=parse_time, metavar="TIME"
    )
    max_frames: int | None = option(None, "frames of the clip at most", least=1, metavar="N")
    fps: Fraction | None = option(
        None,
        "resample the driving video to this rate; of images, their rate",
        parse=parse_rate,
        metavar="RATE",
    )
    poses: Path | None = option(
        None, "pose file, or rendered skeletons (video, folder)", parse=Path, metavar="FILE"
    )
    estimator: EstimatorName = option("blazepose", "pose estimator")
    person: str = option("main", "whom to follow: main, left, right or a number", metavar="WHO")
    retarget: Retarget = option("robust", "how driving poses are fitted to the reference")
    smooth: bool = option(True, "smooth the driving poses and fill short gaps")
    audio: bool = option(True, "copy the driving video's sound")
    interpolate: bool = option(
        False, "fill in what a stride or lower fps left out, by optical flow: the video's own rate"
    )
    lock_background: bool = option(
        False, "put the reference's own background back behind the moving person"
    )
    anchor_colour: bool = option(
        False, "hold the colours of person and background to the reference's, over the whole clip"
    )
    side_by_side: Path | None = option(
        None, "also write reference, pose and result in one video", parse=Path, metavar="CLIP"
    )
    contact_sheet: Path | None = option(
        None, "also write a picture of evenly chosen frames (.png)", parse=Path, metavar="FILE"
    )
    codec: str | None = option(
        None, "compression: h264, h265, av1, vp9, prores, ffv1, ...; the suffix's usual otherwise"
    )
    quality: int | None = option(None, "quality in the codec's own scale", least=0, most=100)
    overwrite: bool = option(False, "replace an existing clip")
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)

    def __post_init__(self) -> None:
        for name in ("reference", "driving", "output"):
            if getattr(self, name) in (None, ""):
                raise RequestError(f"{name} is missing: give its path")
        validate(self)
        # Images have no rate of their own: there, fps is what the stride divides.
        images = self.driving.is_dir() or is_sequence(self.driving)
        if self.fps is not None and self.stride != 1 and not images:
            raise RequestError("stride and fps both set the output's rate; give one of them")
        start, end = self.start, self.end
        if start is not None and end is not None and type(start) is type(end) and end <= start:
            raise RequestError(f"end {end} is not after start {start}")
        if not re.fullmatch(r"main|left|right|\d+", self.person):
            raise RequestError(f"person {self.person!r} is not main, left, right or a number")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AnimationRequest:
        """From plain values, nested or flat (`steps` may stand beside `reference`).

        Raises RequestError for an unknown name (with the nearest known one) and bad values.
        """
        return build(cls, values)

    def settings(self) -> dict[str, Any]:
        """Every setting as plain JSON values, paths as given."""
        return plain(self)

    def digest(self, **resolved: Any) -> str:
        """SHA-256 over everything that decides the pictures, and the resolved values given.

        Paths, `overwrite` and runtime options do not count; pass digests of the inputs, which
        those of adapters are among.
        """
        files = ("reference", "driving", "output", "poses", "overwrite", "audio")
        ignored = (*files, "side_by_side", "contact_sheet", "codec", "quality", "runtime")
        counted = {k: v for k, v in self.settings().items() if k not in (*ignored, "lora")}
        if self.lora:
            counted["lora"] = [one.weight for one in self.lora]
        text = json.dumps({**counted, **plain(resolved)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class AnimationResult:
    """What a finished animation reports.

    Attributes:
        output: the clip.
        sidecar: JSON file with every setting, digest, timing and peak.
        frames: number of frames written.
        fps: exact frame rate.
        size: (width, height) in pixels.
        model: name of the variant that made it.
        seconds: wall time of each stage.
        peak_host_bytes: largest resident memory of the process so far.
        peak_device_bytes: largest allocation on the accelerator, None on a CPU.
        warnings: what a person should know about this clip.
    """

    output: Path
    sidecar: Path
    frames: int
    fps: Fraction
    size: Size
    model: str
    seconds: Mapping[str, float]
    peak_host_bytes: int
    peak_device_bytes: int | None = None
    warnings: tuple[str, ...] = ()

    @property
    def duration(self) -> Fraction:
        """Seconds, exact."""
        return self.frames / self.fps


def validate(options: Any) -> None:
    """Parse and check every field in place of a frozen dataclass. Raises RequestError."""
    kind: Any = type(options)
    hints = _hints(kind)
    for item in fields(options):
        value = getattr(options, item.name)
        if is_dataclass(value) or not item.metadata or value is None:
            continue
        value = _checked(item.name, value, hints[item.name], item.metadata)
        object.__setattr__(options, item.name, value)


@cache
def _hints(cls: Any) -> dict[str, Any]:
    """Types of a dataclass's fields; kept, since thousands of requests are read from one file."""
    return get_type_hints(cls)


def _checked(name: str, value: Any, hint: Any, metadata: Mapping[str, Any]) -> Any:
    if metadata["parse"] is not None:
        return metadata["parse"](value)
    kinds = [kind for kind in (get_args(hint) or (hint,)) if kind is not type(None)]
    literals = [v for kind in kinds for v in (get_args(kind) or (kind,)) if isinstance(v, str)]
    if literals:
        if value not in literals:
            raise RequestError(f"{name} {value!r} is not one of {', '.join(literals)}")
        return value
    kind = kinds[0]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise RequestError(f"{name} {value!r} is not {_article(kind)}")
    least, most = metadata["least"], metadata["most"]
    # Written so that NaN fails as well.
    if (least is not None and not value >= least) or (most is not None and not value <= most):
        bounds = [f"at least {least}"] if least is not None else []
        bounds += [f"at most {most}"] if most is not None else []
        raise RequestError(f"{name} {value} is out of range: {' and '.join(bounds)}")
    return value


def _article(kind: type) -> str:
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return names.get(kind, kind.__name__)


def build(cls: Any, values: Mapping[str, Any]) -> Any:
    """A dataclass from plain values; nested groups may be written nested or flat."""
    if not isinstance(values, Mapping):
        raise RequestError(f"settings must be names with values, not {type(values).__name__}")
    hints = _hints(cls)
    groups = {f.name: hints[f.name] for f in fields(cls) if is_dataclass(hints[f.name])}
    own = {f.name for f in fields(cls)} - set(groups)
    nested: dict[str, dict[str, Any]] = {name: {} for name in groups}
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = str(key).replace("-", "_")
        home = next((g for g, kind in groups.items() if name in {f.name for f in fields(kind)}), "")
        if name in own:
            flat[name] = value
        elif name in groups:
            if is_dataclass(value):
                value = plain(value)
            if not isinstance(value, Mapping):
                raise RequestError(f"{name} must hold names with values")
            nested[name].update({str(k).replace("-", "_"): v for k, v in value.items()})
        elif home:
            nested[home][name] = value
        else:
            known = own | set(groups) | {f.name for kind in groups.values() for f in fields(kind)}
            raise RequestError(f"unknown setting {key!r}{nearest(name, known)}")
    return cls(**flat, **{name: build(kind, nested[name]) for name, kind in groups.items()})


def nearest(name: str, known: set[str] | list[str]) -> str:
    """`; did you mean ...?` for a misspelt name, or an empty string."""
    close = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def plain(value: Any) -> Any:
    """Values as JSON knows them: paths and fractions as text, dataclasses as objects."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (Size, Guidance, NoiseInterval, Path, Fraction, FrameNumber)):
        return str(value)
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    return value
