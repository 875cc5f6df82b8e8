"""`cnx encoders`: how clips can be compressed on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from animate.cli.arguments import Parser, make_parser, parse, progress_of
from animate.progress import JsonLines

if TYPE_CHECKING:
    from animate.media.codecs import VideoCodec

HEADS = {
    "codec": "codec",
    "encoder": "encoder",
    "files": "files",
    "quality": "quality",
    "works": "works here",
}


def parser() -> Parser:
    """The arguments of the command."""
    command = make_parser(
        "encoders",
        "List the ways to compress a clip (--codec NAME of cnx run): what they go into, their\n"
        "scale of quality, and whether they work here. Hardware encoders are tried on a few\n"
        "frames; a * marks what a file takes unless --codec says another.",
        "cnx encoders",
    )
    return command


def main(argv: list[str]) -> int:
    """Try what needs trying and print a table; returns the exit code."""
    arguments = parse(parser(), argv)
    progress = progress_of(arguments)

    from animate.media.codecs import other_hardware

    encoders = rows()
    if isinstance(progress, JsonLines):
        for row in encoders:
            progress.event("encoder", **row)
        return 0
    for line in table(encoders):
        progress.note(line)
    if more := other_hardware():
        progress.note(f"also in the video library, but not offered here: {', '.join(more)}")
    return 0


def rows() -> list[dict[str, str]]:
    """Codec, encoder, files, quality and state, each in words."""
    from animate.media.codecs import CODECS, FORMATS, default_codec, why_not
    from animate.media.output import SEQUENCES

    encoders = []
    for name, codec in CODECS.items():
        files = [
            suffix + ("*" if default_codec(form) == name else "")
            for suffix, form in FORMATS.items()
            if form in codec.formats
        ]
        reason = why_not(name)
        encoders.append(
            {
                "codec": name,
                "encoder": codec.encoder,
                "files": " ".join(files),
                "quality": _quality(codec),
                "works": f"no: {reason}" if reason else "yes",
            }
        )
    for name, bits in SEQUENCES.items():
        encoders.append(
            {
                "codec": name,
                "encoder": f"PNG, {bits} bits",
                "files": "%04d.png" + ("*" if bits == 8 else ""),
                "quality": "exact",
                "works": "yes",
            }
        )
    return encoders


def _quality(codec: VideoCodec) -> str:
    if codec.quality_option is None:
        return "exact" if codec.name == "ffv1" else "fixed"
    low, high = codec.quality_range
    best = low if codec.best_is_low else high
    return f"{low}-{high}, best {best}, usual {codec.quality}"


def table(encoders: list[dict[str, str]]) -> list[str]:
    """Lines of aligned columns."""
    lines = [HEADS, *encoders]
    widths = {key: max(len(line[key]) for line in lines) for key in HEADS}
    return ["  ".join(line[key].ljust(widths[key]) for key in HEADS).rstrip() for line in lines]
