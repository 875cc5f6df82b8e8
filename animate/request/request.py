"""The settings of one animation: the request, its groups of options, and the result.

These dataclasses are the only schema. The command line, YAML files, the Python interface and
everything that runs many clips build the same objects, so a setting means the same everywhere.
A value of None means "the model variant's own default", which is filled in before anything runs
and recorded beside the clip.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, get_args

from animate.errors import RequestError
from animate.request.runtime import Precision, RuntimeOptions
from animate.request.sampling import Levels, Open, SamplingOptions, Solver
from animate.request.schema import build, plain, settings_of, validate
from animate.request.setting import Converted, Role, group, option
from animate.request.setting_paths import paths_of, with_paths
from animate.request.values import (
    Fill,
    FrameNumber,
    Lora,
    ModelName,
    Size,
    Strength,
    parse_rate,
    parse_time,
)
from animate.request.wording import nearest, quoted
from pose.kinds import Absence, EstimatorName, RetargetMode

__all__ = [
    "AnimationRequest", "AnimationResult", "Fit", "Levels", "LoraText", "Open", "Panel",
    "Precision", "RuntimeOptions", "SamplingOptions", "SizeText", "Solver", "TimeText",
    "parse_panels",
]  # fmt: skip

Fit = Literal["crop", "pad", "stretch"]
"""Ways to bring a picture of another shape to the clip's size; see `animate.driving.placement`."""
Panel = Literal["driving", "reference", "pose", "result"]
"""Pictures that can stand side by side; see `animate.finish.montage`."""
USUAL_PANELS: tuple[Panel, ...] = ("reference", "pose", "result")
SizeText = Size | tuple[int, int] | str | None
TimeText = Fraction | FrameNumber | float | str | None
LoraText = Lora | tuple[Path | str, float] | Path | str


def parse_panels(value: Any) -> tuple[Panel, ...]:
    """`driving,result`, or names in a list; each once. Raises RequestError."""
    words = value.split(",") if isinstance(value, str) else value
    known = get_args(Panel)
    names = list(words) if isinstance(words, list | tuple) and len(words) <= len(known) else []
    if not names or any(name not in known or names.count(name) > 1 for name in names):
        unknown = [name for name in names if isinstance(name, str) and name not in known]
        raise RequestError(
            f"panels {quoted(value)} are not some of {', '.join(known)}, each once, such as "
            f"driving,result{nearest(unknown[0], known) if unknown else ''}"
        )
    return tuple(names)


@dataclass(frozen=True, kw_only=True)
class AnimationRequest:
    """One clip: a still image, a driving video, where to write, and every setting.

    Raises RequestError when a value is out of range or two settings contradict each other.
    """

    reference: Converted[Path, Path | str] = option(
        None, "still image of the person to animate", metavar="IMAGE", role="input", usual=True
    )
    driving: Converted[Path, Path | str] = option(
        None,
        "video, or numbered images, whose motion is taken",
        metavar="VIDEO",
        role="input",
        usual=True,
    )
    output: Converted[Path, Path | str] = option(
        None,
        "clip to write; its suffix decides the kind",
        metavar="CLIP",
        role="output",
        usual=True,
    )
    model: Converted[ModelName, Path | str] = option(
        ModelName("auto"),
        "model variant or folder",
        metavar="NAME|FOLDER",
        role="input",
        usual=True,
        timed=True,
    )
    lora: Converted[tuple[Lora, ...], LoraText | Sequence[LoraText]] = option(
        (),
        "adapters for the UNet, and their weight (default 1); may be given several times",
        parse=Lora.parse_all,
        metavar="FILE[:WEIGHT]",
        role="input",
    )
    identity: Converted[Path | None, Path | str | None] = option(
        None,
        "another picture of the face, for models that are given one (default: the reference)",
        metavar="IMAGE",
        role="input",
    )
    restyle: str | None = option(
        None,
        "make the reference anew first, as this text says, in the driving video's first pose",
        metavar="PROMPT",
        timed=False,
    )
    still_model: Converted[ModelName, Path | str] = option(
        ModelName("auto"),
        "model that --restyle is done with, as for `cnx still`",
        metavar="NAME|FOLDER|FILE",
        role="input",
    )
    still_lora: Converted[tuple[Lora, ...], LoraText | Sequence[LoraText]] = option(
        (),
        "adapters for that model; may be given several times",
        parse=Lora.parse_all,
        metavar="FILE[:WEIGHT]",
        role="input",
    )
    restyle_strength: float = option(
        0.6,
        "share of the reference that --restyle changes",
        least=0.05,
        most=1.0,
        metavar="X",
        timed=False,
    )
    size: Converted[Size | None, SizeText] = option(
        None, "width x height of the clip in pixels", metavar="WxH", usual=True
    )
    enlarge_to: Converted[Size | None, SizeText] = option(
        None,
        "generate at the model's nearest size, or at --size, and enlarge the frames to this width "
        "x height",
        metavar="WxH",
        usual=True,
    )
    upscale: Converted[Path | None, Path | str | None] = option(
        None,
        "weights of an upscaler (.safetensors or .pth) that enlarges the frames, in place of "
        "Lanczos; alone it enlarges by its own factor",
        metavar="FILE",
        role="input",
        usual=True,
        timed=True,
    )
    fit: Fit = option(
        "crop", "how a reference of another shape is brought to that size", usual=True, timed=False
    )
    fill: Converted[Fill, str] = option(
        Fill("edge"),
        "what lies around a reference that --fit pad shows whole: edge, blur or a colour",
        metavar="edge|blur|#RRGGBB",
        timed=False,
    )
    stride: int = option(
        1, "take every N-th frame of the driving video", least=1, metavar="N", usual=True
    )
    start: Converted[Fraction | FrameNumber | None, TimeText] = option(
        None,
        "where to begin: seconds, h:m:s, or frames as 36f",
        parse=parse_time,
        metavar="TIME",
        usual=True,
        timed=False,
    )
    end: Converted[Fraction | FrameNumber | None, TimeText] = option(
        None, "where to stop, exclusive", parse=parse_time, metavar="TIME", usual=True, timed=False
    )
    max_frames: int | None = option(
        None, "frames of the clip at most", least=1, metavar="N", usual=True, timed=False
    )
    fps: Converted[Fraction | None, Fraction | float | str | None] = option(
        None,
        "resample the driving video to this rate; of images, their rate",
        parse=parse_rate,
        metavar="RATE",
        usual=True,
    )
    poses: Converted[Path | None, Path | str | None] = option(
        None,
        "pose file, folder of OpenPose frames, or rendered skeletons (video, folder, %04d.png); "
        "alone they are the driving motion",
        metavar="FILE",
        role="input",
        usual=True,
    )
    estimator: EstimatorName = option("blazepose", "pose estimator", usual=True)
    person: str = option(
        "main",
        "whom to follow: main, left, right or a number",
        metavar="WHO",
        usual=True,
        timed=False,
    )
    retarget: RetargetMode = option(
        "robust", "how driving poses are fitted to the reference", usual=True, timed=False
    )
    smooth: bool = option(True, "smooth the driving poses and fill short gaps", timed=False)
    strength: Converted[Strength, Strength | Mapping[str, float] | str] = option(
        Strength(),
        "strength of a skeleton's parts in the control pictures, from 0 to 1",
        metavar="PART=X,...",
        timed=False,
    )
    absence: Absence = option(
        "fade", "frames without the person: fade out, hold the pose, or empty", timed=False
    )
    audio: bool = option(True, "copy the driving video's sound", role="output", timed=False)
    interpolate: bool = option(
        False,
        "fill in what a stride or lower fps left out, by optical flow: the video's own rate",
        usual=True,
    )
    lock_background: bool = option(
        False, "put the reference's own background back behind the moving person", usual=True
    )
    keep_face: bool = option(
        False,
        "lay the reference's own face over the frames, where the head is turned as it is there; "
        "the expression stays the reference's",
        usual=True,
    )
    place_in_driving: bool = option(
        False,
        "put the animated person into the driving shot, over its own background, in place of the "
        "person there",
        usual=True,
    )
    anchor_colour: bool = option(
        False,
        "hold the colours of person and background to the reference's, over the whole clip",
        usual=True,
    )
    side_by_side: Converted[Path | None, Path | str | None] = option(
        None,
        "also write reference, pose and result in one video",
        metavar="CLIP",
        role="output",
        usual=True,
    )
    panels: Converted[tuple[Panel, ...], str | Sequence[Panel]] = option(
        USUAL_PANELS,
        "pictures side by side, of driving, reference, pose and result, in this order",
        parse=parse_panels,
        metavar="NAME,...",
        role="output",
    )
    mask_output: Converted[Path | None, Path | str | None] = option(
        None,
        "also write the person's mask, white on black: a clip or numbered images",
        metavar="CLIP",
        role="output",
    )
    alpha: bool = option(
        False,
        "write the person alone on a transparent ground (.mov as ProRes 4444, %04d.png, .webp)",
        role="output",
    )
    contact_sheet: Converted[Path | None, Path | str | None] = option(
        None,
        "also write a picture of evenly chosen frames (.png)",
        metavar="FILE",
        role="output",
        usual=True,
    )
    preview: Converted[Path | None, Path | str | None] = option(
        None,
        "also keep a small picture of the clip so far (.png), renewed at every step",
        metavar="FILE",
        role="output",
        usual=True,
    )
    codec: str | None = option(
        None,
        "compression, by a name that `cnx encoders` lists; the suffix's usual otherwise",
        metavar="CODEC",
        role="output",
    )
    quality: int | None = option(
        None, "quality in the codec's own scale (`cnx encoders`)", least=0, most=100, role="output"
    )
    overwrite: bool = option(
        False, "replace an existing clip", role="runtime", usual=True, timed=False
    )
    sampling: SamplingOptions = group(SamplingOptions)
    runtime: RuntimeOptions = group(RuntimeOptions)

    def __post_init__(self) -> None:
        if self.driving in (None, "") and self.poses is not None:  # which have a rate and a length
            object.__setattr__(self, "driving", self.poses)
        for name in ("reference", "driving", "output"):
            if getattr(self, name) in (None, ""):
                alone = ", or poses alone" if name == "driving" else ""
                raise RequestError(f"{name} is missing: give its path{alone}")
        validate(self)
        if self.fps is not None and self.stride != 1 and not self._drives_by_images():
            raise RequestError("--stride and --fps both set the output's rate; give one of them")
        start, end = self.start, self.end
        if start is not None and end is not None and type(start) is type(end) and end <= start:
            raise RequestError(f"end {end} is not after start {start}")
        if not re.fullmatch(r"main|left|right|\d{1,9}", self.person):
            raise RequestError(
                f"person {quoted(self.person)} is not main, left, right or a number"
                f"{nearest(self.person, ('main', 'left', 'right'))}"
            )

    def _drives_by_images(self) -> bool:
        """True for images, which have no rate of their own: fps is what the stride divides."""
        from animate.files import is_sequence

        return is_sequence(self.driving) or os.path.isdir(self.driving)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AnimationRequest:
        """From plain values, nested or flat (`steps` may stand beside `reference`).

        Raises RequestError for an unknown name (with the nearest known one) and bad values.
        """
        return build(cls, values)

    def settings(self) -> dict[str, object]:
        """Every setting as plain JSON values, paths as given."""
        return plain(self)

    def look(self) -> dict[str, object]:
        """The settings that decide the pictures, by name, as plain JSON values.

        Those whose role is `look`, and the weights of adapters; never a path.
        """
        known = settings_of(type(self)).values()
        values = {s.name: plain(s.value(self)) for s in known if s.role == "look"}
        if self.restyle is not None:
            values["still_model"] = Path(self.still_model).name
            values["still_lora"] = [adapter.weight for adapter in self.still_lora]
        return {**values, "lora": [adapter.weight for adapter in self.lora]}

    def paths(self, *roles: Role) -> Iterator[tuple[str, Path]]:
        """Every path that the settings of these roles name, with the setting's name."""
        return ((setting.name, path) for setting, path in paths_of(self, *roles))

    def besides(self) -> dict[str, Path]:
        """The files that are written beside the clip, by the name of their setting."""
        return {name: path for name, path in self.paths("output") if name != "output"}

    def with_paths(self, change: Callable[[Path], Path]) -> AnimationRequest:
        """The same request with every path in it changed, such as by `Path.absolute`."""
        return with_paths(self, change)


@dataclass(frozen=True, kw_only=True)
class AnimationResult:
    """The report on a finished animation."""

    output: Path
    """The clip."""
    sidecar: Path
    """JSON file with every setting, digest, timing and peak."""
    frames: int
    fps: Fraction
    """Exact frame rate."""
    size: Size
    """(width, height) in pixels."""
    model: str
    """Name of the variant that made it."""
    seconds: Mapping[str, float]
    """Wall time of each stage."""
    peak_host_bytes: int
    """Largest resident memory of the process so far."""
    peak_device_bytes: int | None = None
    """Largest allocation on the accelerator; None on a CPU."""
    warnings: tuple[str, ...] = ()
    """Warnings about this clip, in sentences."""

    @property
    def duration(self) -> Fraction:
        """Seconds, exact."""
        return self.frames / self.fps
