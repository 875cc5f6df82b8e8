"""Definitions of the measures, and the figures of a clip."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal

from animate.errors import MediaError, reason_of
from animate.files import write_text
from animate.request.values import Size

SCHEMA = 1
_NO_SIZE = Size(0, 0)
Better = Literal["higher", "lower", "near zero", "near one", ""]
Against = Literal["truth", "request", "clip"]


@dataclass(frozen=True, kw_only=True)
class Definition:
    """One measure: docs/evaluation.md has its formula and source."""

    title: str
    unit: str = ""
    better: Better
    against: Against
    """The other side of the comparison: a true clip, the request, or the clip itself."""

    def distance(self, value: float) -> float:
        """A number that is smaller for a better value."""
        match self.better:
            case "higher":
                return -value
            case "near zero":
                return abs(value)
            case "near one":
                return abs(math.log(value)) if value > 0 else math.inf
            case _:
                return value


def _defined(title: str, better: Better, against: Against, unit: str = "") -> Definition:
    return Definition(title=title, unit=unit, better=better, against=against)


MEASURES: dict[str, Definition] = {
    "psnr": _defined("PSNR", "higher", "truth", "dB"),
    "psnr_uint8": _defined("PSNR in 8-bit arithmetic (a fault)", "higher", "truth", "dB"),
    "ssim": _defined("SSIM", "higher", "truth"),
    "ms_ssim": _defined("MS-SSIM", "higher", "truth"),
    "l1": _defined("L1", "lower", "truth"),
    "lpips": _defined("LPIPS (VGG)", "lower", "truth"),
    "fid": _defined("FID", "lower", "truth"),
    "fid_vid": _defined("FID-VID", "lower", "truth"),
    "fvd": _defined("FVD", "lower", "truth"),
    "vmaf": _defined("VMAF", "higher", "truth"),
    "pose_error": _defined("pose error, body", "lower", "request", "trunks"),
    "pose_share": _defined("joints within a fifth of a trunk", "higher", "request", "%"),
    "pose_error_hands": _defined("pose error, hands", "lower", "request", "trunks"),
    "pose_share_hands": _defined("hand points within a fifth", "higher", "request", "%"),
    "pose_error_face": _defined("pose error, face", "lower", "request", "trunks"),
    "pose_share_face": _defined("face points within a fifth", "higher", "request", "%"),
    "pose_seen": _defined("asked joints that are seen", "higher", "request", "%"),
    "missed_frames": _defined("frames without the person asked for", "lower", "request", "frames"),
    "identity": _defined("distance of face embeddings", "lower", "request"),
    "identity_share": _defined("faces of the same person", "higher", "request", "%"),
    "faceless_frames": _defined("frames without a face", "lower", "request", "frames"),
    "background": _defined("background kept", "higher", "request", "dB"),
    "sharpness": _defined("sharpness over the reference's", "near one", "request"),
    "duration_difference": _defined("longer than asked for", "near zero", "request", "s"),
    "audio_offset": _defined("sound late by", "near zero", "request", "s"),
    "seams": _defined("roughness at windows' borders", "near one", "clip"),
    "flicker": _defined("steadiness (255 - MAE) / 255", "higher", "clip"),
    "warping_error": _defined("warping error", "lower", "clip", "1e-3"),
    "colour_drift": _defined("colour drift", "lower", "clip", "dE / 100 frames"),
    "sharpness_drift": _defined("sharpness drift", "near zero", "clip", "% / 100 frames"),
    "black_frames": _defined("black frames", "lower", "clip", "frames"),
    "repeated_frames": _defined("repeated frames", "lower", "clip", "frames"),
    "longest_freeze": _defined("longest freeze", "lower", "clip", "frames"),
}


@dataclass(frozen=True, kw_only=True)
class Score:
    """One measure of one clip."""

    measure: str
    """A key of `MEASURES`."""
    value: float
    curve: tuple[float | None, ...] = ()
    """The value of each frame, None where there is none; empty without such values."""
    protocol: str = ""
    """Protocol that decides the value; empty where every protocol gives the same."""

    @property
    def definition(self) -> Definition:
        return MEASURES[self.measure]

    def worst_frames(self, count: int) -> list[int]:
        """Frames with the worst values, worst first."""
        known = [
            (self.definition.distance(v), i) for i, v in enumerate(self.curve) if v is not None
        ]
        return [index for _, index in sorted(known, reverse=True)[:count]]


@dataclass(frozen=True, kw_only=True)
class ClipScores:
    """All figures of one clip."""

    clip: Path
    frames: int = 0
    """Frames that were compared."""
    fps: Fraction = Fraction(0)
    size: Size = _NO_SIZE
    scores: tuple[Score, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    """(measure, reason) of measures that this clip has no figure of."""
    notes: tuple[str, ...] = ()
    """Remarks on alignment and inputs."""
    borders: tuple[int, ...] = ()
    """Frames at which a window of the clip's plan begins, or the one before has ended."""
    cuts: tuple[int, ...] = ()
    """First frame of every shot but the first."""
    error: str = ""
    """Reason why the clip could not be scored at all; empty where it was."""

    def value(self, measure: str, protocol: str | None = None) -> float | None:
        """A measure's figure: of a protocol, or of the first that has one."""
        return next(
            (
                score.value
                for score in self.scores
                if score.measure == measure and protocol in (None, score.protocol)
            ),
            None,
        )

    @property
    def protocols(self) -> tuple[str, ...]:
        """Protocols that figures were made by, in their order."""
        return tuple(dict.fromkeys(score.protocol for score in self.scores if score.protocol))

    def to_dict(self, *, curves: bool = True) -> dict[str, object]:
        """As JSON values."""
        first = {name: self.value(name) for name in dict.fromkeys(s.measure for s in self.scores)}
        values: dict[str, object] = {
            "clip": str(self.clip),
            "frames": self.frames,
            "fps": str(self.fps),
            "size": str(self.size),
            "scores": first,
            "protocols": {
                name: {s.measure: s.value for s in self.scores if s.protocol == name}
                for name in self.protocols
            },
            "left_out": dict(self.left_out),
            "notes": list(self.notes),
            "windows_borders": list(self.borders),
            "cuts": list(self.cuts),
        }
        if curves:
            values["curves"] = {
                key_of(score): list(score.curve) for score in self.scores if score.curve
            }
        return {**values, "error": self.error} if self.error else values


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The figures of clips that were scored together."""

    clips: tuple[ClipScores, ...]
    protocols: tuple[str, ...]
    quirks: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Departures of a protocol from the measures' definitions, by protocol and measure."""
    pooled: tuple[Score, ...] = ()
    """Measures that need all clips at once (FID, FVD over a set)."""

    def to_dict(self, *, curves: bool = True) -> dict[str, object]:
        """As JSON values; `mean` is over the clips that have a figure."""
        return {
            "schema": SCHEMA,
            "protocols": list(self.protocols),
            "quirks": {name: dict(quirks) for name, quirks in self.quirks.items()},
            "clips": [clip.to_dict(curves=curves) for clip in self.clips],
            "mean": {key_of(score): score.value for score in self.means()},
            "pooled": {key_of(score): score.value for score in self.pooled},
        }

    def means(self) -> list[Score]:
        """The mean of every measure over the clips that have a figure of it."""
        keys = dict.fromkeys(
            (score.measure, score.protocol) for clip in self.clips for score in clip.scores
        )
        means = []
        for measure, protocol in keys:
            values = [clip.value(measure, protocol) for clip in self.clips]
            known = [value for value in values if value is not None]
            mean = sum(known) / len(known)
            means.append(Score(measure=measure, protocol=protocol, value=mean))
        return means

    def write_json(self, path: Path) -> None:
        """Write the figures atomically. Raises MediaError."""
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
        try:
            write_text(path, text + "\n")
        except OSError as reason:
            raise MediaError(f"{path} cannot be written: {reason_of(reason)}") from reason


def key_of(score: Score) -> str:
    """`measure`, or `measure (protocol)`."""
    return f"{score.measure} ({score.protocol})" if score.protocol else score.measure


def best_of(measure: str, values: Sequence[float | None]) -> set[int]:
    """Indices of the better values; empty where fewer than two differ."""
    definition = MEASURES[measure]
    distances = [None if v is None else definition.distance(v) for v in values]
    known = [d for d in distances if d is not None]
    if len(known) < 2 or math.isclose(min(known), max(known), rel_tol=1e-6, abs_tol=1e-9):
        return set()
    return {i for i, d in enumerate(distances) if d == min(known)}


def short_names(paths: Sequence[Path]) -> list[str]:
    """File names, with their folders where two are the same."""
    names = [path.name for path in paths]
    return [
        name if names.count(name) == 1 else str(p) for name, p in zip(names, paths, strict=True)
    ]


def mean_score(
    measure: str, curve: Iterable[float | None], protocol: str = "", scale: float = 1.0
) -> Score | None:
    """The mean of a curve over the frames that have a value, times `scale`; None without any."""
    values = tuple(None if v is None or not math.isfinite(v) else scale * v for v in curve)
    known = [value for value in values if value is not None]
    if not known:
        return None
    mean = math.fsum(known) / len(known)
    return Score(measure=measure, value=mean, curve=values, protocol=protocol)
