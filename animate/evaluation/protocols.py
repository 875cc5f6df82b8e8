"""Protocols as data: which measures, at which size and range, with which published quirks.

A protocol is a YAML file, `configs/protocols/NAME.yaml` or any file named by its path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import cv2
import numpy as np
import PIL.Image

from animate.errors import RequestError
from animate.evaluation import measures
from animate.evaluation.scores import MEASURES
from animate.media.info import Image
from animate.request.presets import configs_folder
from animate.request.schema import build
from animate.request.values import Size
from animate.request.wording import nearest
from animate.request.yaml_file import read_yaml

Resize = Literal["area-cubic", "pil-bicubic"]
Ssim = Literal["colour-gaussian-11", "grey-uniform-7"]
L1 = Literal["mean", "mean-over-pixels"]
ClipFeatures = Literal["each", "mean"]

GROUPS = {
    "pose": (*(name for name in MEASURES if name.startswith("pose_")), "missed_frames"),
    "identity": ("identity", "identity_share", "faceless_frames"),
    "drift": ("colour_drift", "sharpness_drift"),
    "faults": ("black_frames", "repeated_frames", "longest_freeze"),
    "time": ("duration_difference", "audio_offset"),
}
"""Names in a protocol that stand for several measures."""
EQUAL_PSNR = 100.0
"""Decibels that equal frames count as, in a mean over frames."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One way to score clips. Raises RequestError for values that it does not know."""

    name: str
    summary: str
    measures: tuple[str, ...]
    """Measures and groups of them; see `MEASURES` and `GROUPS`."""
    size: Size | Literal["truth"] = "truth"
    """Size at which pictures are compared."""
    resize: Resize = "area-cubic"
    """Area means where a picture shrinks and bicubic where it grows, or PIL's bicubic."""
    psnr: Literal["float64"] = "float64"
    ssim: Ssim = "colour-gaussian-11"
    l1: L1 = "mean"
    lpips_range: tuple[float, float] = (-1.0, 1.0)
    """Values that black and white have in the network's input."""
    clip_length: int = 16
    """Frames of a clip that a video network sees."""
    clip_features: ClipFeatures = "each"
    """Every clip's features count, or their mean over a video."""
    max_frames: int | None = None
    """Frames compared with the truth at most. What needs no truth is measured over the most frames
    of all protocols of a run."""
    beside: str = ""
    """Another protocol that is computed in the same run, to compare with."""
    quirks: Mapping[str, str] = field(default_factory=dict)
    """Departures from the measures' definitions, by measure."""
    libraries: Mapping[str, str] = field(default_factory=dict)
    """Libraries and versions whose figures these are."""

    def __post_init__(self) -> None:
        known = [*MEASURES, *GROUPS]
        for name in self.measures:
            if name not in known:
                raise RequestError(f"unknown measure {name!r}{nearest(name, known)}")
        for name, values in (
            ("resize", get_args(Resize)),
            ("ssim", get_args(Ssim)),
            ("l1", get_args(L1)),
            ("clip_features", get_args(ClipFeatures)),
        ):
            if getattr(self, name) not in values:
                value = getattr(self, name)
                raise RequestError(f"{name} {value!r} is not one of {', '.join(values)}")

    def wants(self, measure: str) -> bool:
        """True where the protocol has this measure, by name or in a group."""
        return measure in self.measures or any(
            measure in GROUPS[name] for name in self.measures if name in GROUPS
        )

    def resized(self, picture: Image, size: Size) -> Image:
        """A picture (h,w,3) at another size, in the protocol's way."""
        height, width = picture.shape[:2]
        if (width, height) == tuple(size):
            return picture
        if self.resize == "pil-bicubic":
            image = PIL.Image.fromarray(picture)
            return np.asarray(image.resize(size, PIL.Image.Resampling.BICUBIC))
        shrinks = size.width < width or size.height < height
        method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        return np.asarray(cv2.resize(picture, tuple(size), interpolation=method))

    def formula(self, name: str) -> str:
        """The definition of a picture measure where protocols differ in it."""
        return {"ssim": self.ssim, "l1": self.l1}.get(name, "")

    def picture_measure(self, name: str, picture: Image, truth: Image) -> float:
        """One of psnr, psnr_uint8, ssim, ms_ssim and l1, of two pictures of one size."""
        match name:
            case "psnr":
                return min(EQUAL_PSNR, measures.psnr(picture, truth))
            case "psnr_uint8":
                return measures.psnr_uint8(picture, truth)
            case "ssim":
                grey = self.ssim == "grey-uniform-7"
                return (measures.ssim_grey if grey else measures.ssim)(picture, truth)
            case "ms_ssim":
                return measures.ms_ssim(picture, truth)
            case "l1":
                value = measures.l1(picture, truth)
                pixels = truth.shape[0] * truth.shape[1]
                return value if self.l1 == "mean" else 255 * value / pixels
        raise ValueError(name)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Protocols that compare the same pictures: as many, of one size, resized in one way."""

    protocols: tuple[Protocol, ...]
    size: Size
    max_frames: int | None = None
    """Frames compared at most."""

    def pictures(self, frame: Image, truth: Image) -> tuple[Image, Image]:
        """Both pictures at the size."""
        protocol = self.protocols[0]
        return protocol.resized(frame, self.size), protocol.resized(truth, self.size)

    def wanting(self, measure: str) -> tuple[Protocol, ...]:
        """The protocols that have a measure."""
        return tuple(protocol for protocol in self.protocols if protocol.wants(measure))


def comparisons(protocols: Sequence[Protocol], clip: Size, truth: Size) -> list[Comparison]:
    """The comparisons of a clip's pictures with true ones, each made once for all its protocols."""
    groups: dict[tuple[Size, str, int | None], list[Protocol]] = {}
    for protocol in protocols:
        size = truth if protocol.size == "truth" else protocol.size
        way = "" if clip == truth == size else protocol.resize
        groups.setdefault((size, way, protocol.max_frames), []).append(protocol)
    return [
        Comparison(protocols=tuple(members), size=size, max_frames=most)
        for (size, _, most), members in groups.items()
    ]


PICTURE_MEASURES = ("psnr", "psnr_uint8", "ssim", "ms_ssim", "l1")


def protocol_names() -> list[str]:
    """Names of the shipped protocols."""
    return sorted(path.stem for path in (configs_folder() / "protocols").glob("*.yaml"))


def load_protocol(name: str | Path) -> Protocol:
    """A shipped protocol by name, or a YAML file by its path. Raises RequestError."""
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        names = protocol_names()
        if str(name) not in names:
            hint = nearest(str(name), names)
            known = f"; there are {', '.join(names)}, or name a YAML file"
            raise RequestError(f"unknown protocol {str(name)!r}{hint or known}")
        path = configs_folder() / "protocols" / f"{name}.yaml"
    values = read_yaml(path)
    if "name" in values:
        raise RequestError(f"{path}: unknown setting 'name'; the file's own name is meant")
    return build(Protocol, {**values, "name": path.stem}, str(path))


def with_neighbours(names: list[str] | tuple[str, ...]) -> tuple[Protocol, ...]:
    """The protocols of these names, and those that they are to be compared with."""
    protocols: dict[str, Protocol] = {}
    for name in names:
        protocol = load_protocol(name)
        protocols.setdefault(protocol.name, protocol)
        if protocol.beside:
            protocols.setdefault(protocol.beside, load_protocol(protocol.beside))
    return tuple(protocols.values())
