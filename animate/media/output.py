"""Pick the writer for an output by its name, and check the name before the work begins."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

from animate import files
from animate.errors import MediaError, RequestError
from animate.files import is_sequence
from animate.media.audio import AudioSource
from animate.media.codecs import default_codec, find_codec
from animate.media.sequences import SequenceWriter, check_sequence
from animate.media.writer import SILENT, ClipWriter, FrameSink, check_clip_size, format_of

SEQUENCES = {"png": 8, "png16": 16}
"""Codecs of numbered still images, and their bits for each colour."""


def check_output(
    path: str | os.PathLike[str],
    overwrite: bool,
    *,
    codec: str | None = None,
    size: tuple[int, int] | None = None,
    probe: bool = True,
    alpha: bool = False,
) -> Path:
    """`path` if a clip can be written there; to be called before the work begins.

    Raises MediaError for an unknown suffix, a folder that is missing or not writable, an existing
    file without `overwrite`, or a `size` (width, height) that the codec cannot have; RequestError
    for a codec that does not fit the suffix or this machine, or keeps no transparency where `alpha`
    is written. `probe` tries the folder for real.
    """
    output = Path(path)
    if is_sequence(output):
        _sequence_bits(codec)
        check_sequence(output, overwrite, probe=probe)
        return output
    form = format_of(output)
    _no_sequence(codec, output)
    chosen = find_codec(default_codec(form, alpha=alpha) if codec is None else codec, form)
    if alpha and not chosen.alpha:
        raise RequestError(
            f"codec {chosen.name} of {output} keeps no transparency; name the output .mov, .webp "
            "or %04d.png, or take --codec prores4444"
        )
    if size is not None:
        check_clip_size(size, chosen, output)
    return files.check_output(output, overwrite=overwrite, error=MediaError, probe=probe)


def takes_sound(path: str | os.PathLike[str]) -> bool:
    """True if a clip of that name can have sound; numbered images and GIF cannot."""
    output = Path(path)
    return not is_sequence(output) and format_of(output) not in SILENT


def open_writer(
    path: str | os.PathLike[str],
    *,
    size: tuple[int, int],
    fps: Fraction,
    codec: str | None = None,
    quality: int | None = None,
    audio: AudioSource | None = None,
    metadata: Mapping[str, str] | None = None,
    overwrite: bool = False,
    before_rename: Callable[[Path], None] | None = None,
    alpha: bool = False,
) -> FrameSink:
    """A writer for `path`: a `ClipWriter`, or a `SequenceWriter` for names like %04d.png.

    Arguments and errors are those of `ClipWriter`. A sequence has no rate, sound or quality;
    `audio` is refused there, and `fps` and `metadata` go into the text of each PNG of 8 bits.
    """
    output = Path(path)
    if not is_sequence(output):
        _no_sequence(codec, output)
        return ClipWriter(
            output,
            size=size,
            fps=fps,
            codec=codec,
            quality=quality,
            audio=audio,
            metadata=metadata,
            overwrite=overwrite,
            before_rename=before_rename,
            alpha=alpha,
        )
    if audio is not None or quality is not None:
        extra = "sound" if audio is not None else "a quality"
        raise RequestError(f"{output}: numbered images cannot have {extra}; leave it out")
    return SequenceWriter(
        output,
        size=size,
        bits=_sequence_bits(codec),
        metadata={"fps": str(fps), **(metadata or {})},
        overwrite=overwrite,
        before_rename=before_rename,
        alpha=alpha,
    )


def _sequence_bits(codec: str | None) -> int:
    if codec not in (None, *SEQUENCES):
        raise RequestError(f"codec {codec} is for a video file; numbered images take png or png16")
    return SEQUENCES[codec or "png"]


def _no_sequence(codec: str | None, output: Path) -> None:
    if codec in SEQUENCES:
        raise RequestError(
            f"codec {codec} makes numbered images; name the output like "
            f"{output.with_suffix('')}/%04d.png"
        )
