"""The pose file: one `.npz` with a sequence, its version and a digest of its content.

Inside are the arrays `points`, `scores` and `times`, and `header`, a JSON text as UTF-8 bytes.
Nothing is pickled. The version rises whenever an older reader would misread the file.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose.errors import PoseError

FORMAT = "cnx-pose"
VERSION = 1
_ZIP = b"PK"
"""Bytes that a file of arrays begins with."""
_OTHER = "{} is not a pose file; `cnx pose extract` writes one"
_ARRAYS = ("points", "scores", "times")
AGAIN = "extract the poses again"
_LARGEST = 2 << 30
"""Bytes of an unpacked file: ten hours of one person. Zeros pack a thousand times smaller."""


def to_bytes(header: Mapping[str, object], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The pose file of a sequence's header, its digest among it, and its three arrays."""
    text = json.dumps({"format": FORMAT, "version": VERSION, **header})
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        points=arrays["points"],
        scores=arrays["scores"],
        times=arrays["times"],
        header=np.frombuffer(text.encode(), dtype=np.uint8),
    )
    return buffer.getvalue()


def read(path: Path) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
    """The header and the arrays of a pose file of this version. Raises `PoseError`."""
    header, arrays = _unpacked(path)
    _check_header(header, path)
    missing = [name for name in _ARRAYS if name not in arrays]
    if missing:
        raise PoseError(f"the pose file {path} lacks {', '.join(missing)}; {AGAIN}")
    return header, arrays


def _unpacked(path: Path) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
    if not path.is_file():
        raise PoseError(f"there is no pose file {path}; check the name")
    try:
        # Opened here, since numpy leaves a file open that turns out to be damaged.
        with path.open("rb") as raw:
            if raw.read(len(_ZIP)) != _ZIP:
                raise PoseError(_OTHER.format(path))
            raw.seek(0)
            file = np.load(raw, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile) or "header" not in file.files:
                raise PoseError(_OTHER.format(path))
            _check_size(file, path)
            header = json.loads(file["header"].tobytes().decode())
            arrays = {name: file[name] for name in _ARRAYS if name in file.files}
    except PoseError:
        raise
    except Exception as error:
        # zipfile, zlib, json and numpy's parser of array headers raise a dozen kinds for damage.
        raise PoseError(
            f"the pose file {path} cannot be read; it is truncated, damaged or not a pose file "
            f"({error}); {AGAIN}"
        ) from error
    if not isinstance(header, dict):
        raise PoseError(f"{path} is not a pose file: its header is no table; {AGAIN}")
    return header, arrays


def _check_size(file: np.lib.npyio.NpzFile, path: Path) -> None:
    """Raise `PoseError` before a small file is unpacked into more than poses take."""
    unpacked = sum(entry.file_size for entry in file.zip.infolist()) if file.zip else 0
    if unpacked > _LARGEST:
        raise PoseError(
            f"the pose file {path} holds {unpacked:,} bytes when it is unpacked, and at most "
            f"{_LARGEST:,} are read; {AGAIN}, in parts (--start, --end)"
        )


def _check_header(header: Mapping[str, Any], path: Path) -> None:
    if header.get("format") != FORMAT:
        raise PoseError(_OTHER.format(path))
    if header.get("version") != VERSION:
        raise PoseError(
            f"the pose file {path} has version {header.get('version')}, this program reads version "
            f"{VERSION}; {AGAIN} with this program"
        )
