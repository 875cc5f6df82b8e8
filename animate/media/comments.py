"""Comments in animated pictures, whose muxers drop a clip's metadata: GIF's and WebP's own places.

A GIF has comment extensions, kept here in front of its first frame. A WebP has an XMP packet, whose
description is the comment, as its last chunk.
"""

from __future__ import annotations

import re
import struct
from html import escape, unescape
from pathlib import Path

from animate.errors import MediaError, reason_of

COMMENTED = (".gif", ".webp")
"""Suffixes of files that are commented here."""
_GIF_TABLE, _GIF_HEADER = 10, 13
"""Offset of the byte that states a GIF's colour table, and the bytes in front of that table."""
_XMP_FLAG = 0x04
_PACKET = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:description>{}</dc:description>'
    "</rdf:Description></rdf:RDF></x:xmpmeta>"
)
_MOST_READ = 1 << 20
"""Bytes of a comment at most; what is longer is not ours."""


def write_comment(path: Path, kind: str, comment: str) -> None:
    """Put a comment into a GIF or WebP that has none; `kind` is its container format.

    A WebP of a single frame without an extended header stays as it is. Raises MediaError for
    a file that cannot be changed.
    """
    try:
        content = path.read_bytes()
        path.write_bytes({"gif": _with_gif_comment, "webp": _with_xmp}[kind](content, comment))
    except OSError as reason:
        raise MediaError(f"{path} cannot be written: {reason_of(reason)}") from reason


def read_comment(path: Path) -> str:
    """The comment in a GIF or WebP; empty where there is none. Raises OSError."""
    content = path.read_bytes()
    if content[:3] == b"GIF":
        return _gif_comment(content)
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return _xmp_description(content)
    return ""


def _with_gif_comment(content: bytes, comment: str) -> bytes:
    start = _after_table(content)
    text = comment.encode()
    blocks = b"".join(
        bytes([len(part)]) + part
        for part in (text[at : at + 255] for at in range(0, len(text), 255))
    )
    return content[:start] + b"\x21\xfe" + blocks + b"\0" + content[start:]


def _gif_comment(content: bytes) -> str:
    at = _after_table(content)
    if content[at : at + 2] != b"\x21\xfe":
        return ""
    at, text = at + 2, bytearray()
    while at < len(content) and content[at] and len(text) < _MOST_READ:
        text += content[at + 1 : at + 1 + content[at]]
        at += 1 + content[at]
    return text.decode(errors="replace")


def _after_table(content: bytes) -> int:
    """Offset behind a GIF's header and global colour table."""
    packed = content[_GIF_TABLE] if len(content) > _GIF_TABLE else 0
    return _GIF_HEADER + (3 * 2 ** ((packed & 7) + 1) if packed & 0x80 else 0)


def _with_xmp(content: bytes, comment: str) -> bytes:
    if content[12:16] != b"VP8X":
        return content
    packet = _PACKET.format(escape(comment)).encode()
    chunk = b"XMP " + struct.pack("<I", len(packet)) + packet + b"\0" * (len(packet) % 2)
    total = len(content) + len(chunk)
    flags = bytes([content[20] | _XMP_FLAG])
    size = struct.pack("<I", total - 8)
    return content[:4] + size + content[8:20] + flags + content[21:] + chunk


def _xmp_description(content: bytes) -> str:
    at = 12
    while at + 8 <= len(content):
        name, size = content[at : at + 4], struct.unpack_from("<I", content, at + 4)[0]
        if name == b"XMP ":
            packet = content[at + 8 : at + 8 + min(size, _MOST_READ)].decode(errors="replace")
            match = re.search(r"<dc:description>([^<]*)</dc:description>", packet)
            return unescape(match[1]) if match else ""
        at += 8 + size + size % 2
    return ""
