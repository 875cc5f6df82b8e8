"""Codecs of clips, and those that the libraries of this machine have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from types import MappingProxyType

import av

from animate.errors import RequestError
from animate.request.wording import nearest, quoted

FORMATS = MappingProxyType(
    {
        ".mp4": "mp4",
        ".m4v": "mp4",
        ".mov": "mov",
        ".mkv": "matroska",
        ".webm": "webm",
        ".avi": "avi",
        ".gif": "gif",
        ".webp": "webp",
    }
)
"""Container format of each file name suffix."""

_THREADS = 4
"""Fixed, because some encoders give other bytes with another number of threads."""
_SMALL = 64


def _reproducible() -> Mapping[str, str]:
    """Options with which x264 gives the same bytes each time.

    Its code for AVX-512 lets memory that nobody has written decide how it spends its bits (build
    165, in the tree of macroblocks), so the code for AVX2 is taken there: as fast, and always the
    bytes of the plain code.
    """
    features = getattr(import_module("numpy._core._multiarray_umath"), "__cpu_features__", {})
    return {"x264-params": "asm=AVX2"} if features.get("AVX512F") else {}


_X265 = "log-level=none:frame-threads=2"
_HARDWARE = ("_nvenc", "_qsv", "_amf", "_vaapi", "_vulkan", "_v4l2m2m", "_videotoolbox")


@dataclass(frozen=True, kw_only=True)
class VideoCodec:
    """One way to compress a clip."""

    name: str
    """The user's name for it."""
    encoder: str
    """The library's encoder."""
    pixel_format: str
    """The library's name for the way in which pixels are stored."""
    formats: tuple[str, ...]
    """Container formats that take it."""
    options: Mapping[str, str]
    """Settings of the encoder that never change."""
    small_options: Mapping[str, str] = field(default_factory=dict)
    """Those that take their place for pictures with a side under 64 pixels."""
    quality_option: str | None = None
    """The encoder's setting for quality; None if it has none."""
    quality: int | None = None
    """Its value unless one is asked for."""
    quality_range: tuple[int, int] = (0, 63)
    """Values that it takes."""
    best_is_low: bool = True
    """True if low values look better, as with rate factors."""
    hardware: bool = False
    """True if it runs on a graphics card, which must be there."""
    alpha: bool = False
    """True if it keeps transparency."""
    tag: str | None = None
    """Four-letter code in mp4 and mov, where players insist on another than the default."""

    @property
    def even_width(self) -> bool:
        """True if pairs of columns share their colour."""
        return self.pixel_format.startswith(("yuv420", "yuv422", "nv12"))

    @property
    def even_height(self) -> bool:
        """True if pairs of rows share their colour."""
        return self.pixel_format.startswith(("yuv420", "nv12"))

    def encoder_options(self, quality: int | None, size: tuple[int, int]) -> dict[str, str]:
        """Settings for the encoder of pictures of a size (width, height).

        Raises RequestError for a quality that it cannot have.
        """
        options = {**self.options, **(self.small_options if min(size) < _SMALL else {})}
        if self.quality_option is None:
            if quality is not None:
                raise RequestError(f"codec {self.name} has no quality setting; leave it out")
            return options
        low, high = self.quality_range
        value = self.quality if quality is None else quality
        if value is None or not low <= value <= high:
            raise RequestError(f"quality of {self.name} must be {low} to {high}, not {quality}")
        return {**options, self.quality_option: str(value)}


_COMMON = ("mp4", "mov", "matroska")
_SOFTWARE = (
    VideoCodec(
        name="h264",
        encoder="libx264",
        pixel_format="yuv420p",
        formats=(*_COMMON, "avi"),
        options={"preset": "medium", "threads": str(_THREADS), **_reproducible()},
        quality_option="crf",
        quality=16,
        quality_range=(0, 51),
    ),
    VideoCodec(
        name="h265",
        encoder="libx265",
        pixel_format="yuv420p",
        formats=_COMMON,
        options={"preset": "medium", "x265-params": _X265},
        # At 48x48 its cost tree writes behind the end of its memory (x265 build 216).
        small_options={"x265-params": f"{_X265}:cutree=0"},
        quality_option="crf",
        quality=20,
        quality_range=(0, 51),
        tag="hvc1",
    ),
    VideoCodec(
        name="av1",
        encoder="libsvtav1",
        pixel_format="yuv420p",
        formats=("mp4", "matroska", "webm"),
        options={"preset": "8"},
        quality_option="crf",
        quality=25,
        quality_range=(1, 63),
    ),
    VideoCodec(
        name="vp9",
        encoder="libvpx-vp9",
        pixel_format="yuv420p",
        formats=("webm", "matroska", "mp4"),
        options={
            "b": "0",
            "deadline": "good",
            "cpu-used": "4",
            "row-mt": "1",
            "threads": str(_THREADS),
        },
        quality_option="crf",
        quality=24,
        quality_range=(0, 63),
    ),
    VideoCodec(
        name="prores",
        encoder="prores_ks",
        pixel_format="yuv422p10le",
        formats=("mov", "matroska"),
        options={"profile": "hq", "vendor": "apl0"},
    ),
    VideoCodec(
        name="prores4444",
        encoder="prores_ks",
        pixel_format="yuva444p10le",
        formats=("mov", "matroska"),
        options={"profile": "4444", "vendor": "apl0", "alpha_bits": "16"},
        alpha=True,
    ),
    VideoCodec(
        name="ffv1",
        encoder="ffv1",
        pixel_format="bgr0",
        formats=("matroska", "avi"),
        options={"level": "3", "slices": "4", "slicecrc": "1", "threads": str(_THREADS)},
    ),
    VideoCodec(name="gif", encoder="gif", pixel_format="pal8", formats=("gif",), options={}),
    VideoCodec(
        name="webp",
        encoder="libwebp_anim",
        pixel_format="bgra",
        formats=("webp",),
        options={"compression_level": "4"},
        quality_option="quality",
        quality=90,
        quality_range=(0, 100),
        best_is_low=False,
        alpha=True,
    ),
)


def _hardware(name: str, maker: str) -> VideoCodec:
    """The same codec by a graphics card's encoder; offered only if a trial encode works."""
    soft = next(codec for codec in _SOFTWARE if codec.name == name)
    family = {"h264": "h264", "h265": "hevc", "av1": "av1"}[name]
    option, fixed = {
        "nvenc": ("cq", {"rc": "vbr", "preset": "p5"}),
        "qsv": ("global_quality", {}),
        "amf": ("qp_i", {"rc": "cqp"}),
    }[maker]
    return VideoCodec(
        name=f"{name}_{maker}",
        encoder=f"{family}_{maker}",
        pixel_format="nv12",
        formats=soft.formats,
        options=fixed,
        quality_option=option,
        quality=23,
        quality_range=(1, 51),
        hardware=True,
        tag=soft.tag,
    )


CODECS: Mapping[str, VideoCodec] = MappingProxyType(
    {codec.name: codec for codec in _SOFTWARE}
    | {
        f"{name}_{maker}": _hardware(name, maker)
        for name in ("h264", "h265", "av1")
        for maker in ("nvenc", "qsv", "amf")
    }
)
"""All codecs by name; whether this machine has one, `available_encoders` tells."""

_DEFAULTS = {"webm": "vp9", "gif": "gif", "webp": "webp"}


def default_codec(form: str, *, alpha: bool = False) -> str:
    """The codec for a container format when none is asked for; with `alpha` one that keeps
    transparency, where there is one."""
    if alpha and form in ("mov", "matroska"):
        return "prores4444"
    return _DEFAULTS.get(form, "h264")


def find_codec(name: str, form: str) -> VideoCodec:
    """The codec called `name`, checked against the container format and this machine.

    Raises RequestError if there is none, the container does not take it, or it does not work here.
    """
    codec = CODECS.get(name)
    if codec is None:
        raise RequestError(
            f"codec {quoted(name)} is not one of {', '.join(CODECS)}{nearest(name, CODECS)}"
        )
    if form not in codec.formats:
        suffixes = ", ".join(suffix for suffix, of in FORMATS.items() if of in codec.formats)
        raise RequestError(f"codec {name} does not go into {form}; name the output {suffixes}")
    if reason := why_not(name):
        raise RequestError(
            f"codec {name} does not work on this machine ({reason}); these do: "
            f"{', '.join(codec.name for codec in available_encoders())}"
        )
    return codec


@cache
def why_not(name: str) -> str:
    """Why codec `name` cannot be written here, in words; empty if it can.

    Hardware encoders are tried on a few frames: being listed by the library says nothing of the
    card, its driver, or whether another program holds it.
    """
    codec = CODECS[name]
    if codec.encoder not in av.codecs_available:
        return f"this build of the video library has no {codec.encoder}"
    if not codec.hardware:
        return ""
    from animate.media.trials import reasons

    return reasons()[name]


def available_encoders() -> tuple[VideoCodec, ...]:
    """The codecs that this machine can write, hardware ones tried out."""
    return tuple(codec for name, codec in CODECS.items() if not why_not(name))


def other_hardware() -> tuple[str, ...]:
    """The library's further hardware encoders, for which there is no name here."""
    encoders = {codec.encoder for codec in CODECS.values()}
    return tuple(
        sorted(
            name
            for name in av.codecs_available
            if name.endswith(_HARDWARE) and name not in encoders and _can_encode(name)
        )
    )


def _can_encode(name: str) -> bool:
    try:
        return av.codec.Codec(name, "w").is_encoder
    except ValueError:  # a decoder of that name
        return False
