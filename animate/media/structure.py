"""Elements of files of several formats: does a file break off, do further ones follow.

Only heads of elements are read, never what is in them.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from av.video.stream import VideoStream

_EBML_HEAD, _EBML_SEGMENT, _EBML_CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
_LARGEST_MASTERS = (_EBML_SEGMENT, _EBML_CLUSTER)


def breaks_off(path: Path, stream: VideoStream) -> bool:
    """True for a file that ends inside one of its elements."""
    name = stream.container.format.name
    size = path.stat().st_size
    with open(path, "rb") as file:
        if "mp4" in name:
            lost = any(entry.pos + entry.size > size for entry in stream.index_entries)
            return lost or (is_fragmented(stream) and _fragment_breaks_off(file, size))
        if "matroska" in name:
            return any(end > size for _, _, end in _elements(file, size))
        if "avi" in name:
            return _riff_breaks_off(file, size)
        if name == "gif":
            return _gif_breaks_off(file)
        if name == "apng":
            return _png_breaks_off(file, size)
    return False


def is_fragmented(stream: VideoStream) -> bool:
    """True for MP4 that was written in fragments, as by streaming services."""
    return "mp4" in stream.container.format.name and not stream.frames


def further_heads(path: Path, form: str) -> tuple[int, ...]:
    """Bytes at which files begin that were joined to the first, for MP4 and Matroska.

    `form` is the library's name for the format.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        if "mp4" in form:
            heads = [start for kind, start, _ in _boxes(file, size) if kind == b"moov"]
        elif "matroska" in form:
            heads = [start for kind, start, _ in _elements(file, size) if kind == _EBML_HEAD]
        else:
            heads = []
    return tuple(heads[1:])


def _fragment_breaks_off(file: BinaryIO, size: int) -> bool:
    """True for a file that ends inside the head of a fragment."""
    boxes = list(_boxes(file, size))
    kind, start, length = boxes[-1] if boxes else (b"", 0, 0)
    return start + length < size or (kind == b"moof" and start + length > size)


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, first byte, length) of each outermost box of an MP4 file."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        head = file.read(16)
        length, kind = struct.unpack(">I4s", head[:8])
        if length == 1 and len(head) == 16:
            (length,) = struct.unpack(">Q", head[8:])
        elif length == 0:
            length = size - position
        if length < 8:
            return
        yield kind, position, length
        position += length


def _riff_breaks_off(file: BinaryIO, size: int) -> bool:
    position = 0
    while position + 8 <= size:
        file.seek(position)
        head = file.read(8)
        length = int.from_bytes(head[4:], "little")
        if head[:4] != b"RIFF" or length == 0:  # a recorder that was stopped states none
            return False
        position += 8 + length + length % 2
    return position > size + 1


def _gif_breaks_off(file: BinaryIO) -> bool:
    """True for a file that ends inside a block; the byte that ends the whole is often left out."""
    screen = file.read(13)
    file.seek(_palette_bytes(screen[10:11]), os.SEEK_CUR)
    while kind := file.read(1):
        if kind == b",":  # a picture: where it lies, perhaps a palette, the size of its codes
            place = file.read(9)
            file.seek(_palette_bytes(place[8:9]) + 1, os.SEEK_CUR)
        elif kind == b"!":
            file.seek(1, os.SEEK_CUR)
        else:  # the end, or what others put behind it
            return False
        while length := file.read(1):
            if length == b"\0":
                break
            file.seek(length[0], os.SEEK_CUR)
        if length != b"\0":
            return True
    return False


def _palette_bytes(flags: bytes) -> int:
    """Bytes of the palette that follows a head with these flags."""
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0


def _png_breaks_off(file: BinaryIO, size: int) -> bool:
    position = 8
    while position + 12 <= size:
        file.seek(position)
        length, kind = struct.unpack(">I4s", file.read(8))
        if kind == b"IEND":
            return False
        position += 12 + length
    return True


def _elements(file: BinaryIO, size: int) -> Iterator[tuple[int, int, int]]:
    """(identity, first byte, end) of the outermost elements of a Matroska file.

    Those of unknown size (live recordings) are entered. One whose head is cut off ends behind the
    file.
    """
    position = 0
    while position < size:
        file.seek(position)
        identity, id_bytes = _ebml_number(file, marked=True)
        length, length_bytes = _ebml_number(file, marked=False)
        if not id_bytes or not length_bytes:
            yield identity, position, size + 1
            return
        start, position = position, position + id_bytes + length_bytes
        if length < 0 and identity not in _LARGEST_MASTERS:
            return  # no structure that is understood; nothing can be said
        position += max(0, length)
        yield identity, start, position


def _ebml_number(file: BinaryIO, *, marked: bool) -> tuple[int, int]:
    """(value, bytes) of a variable-length number; the value -1 for "unknown", 0 bytes at the end.

    `marked` leaves the length marker in, as identifiers are written.
    """
    first = file.read(1)
    if not first or first[0] == 0:
        return 0, 0
    count = 9 - first[0].bit_length()
    data = first + file.read(count - 1)
    if len(data) < count:
        return 0, 0
    value = int.from_bytes(data, "big")
    if marked:
        return value, count
    bits = (1 << 7 * count) - 1
    return (-1 if value & bits == bits else value & bits), count
