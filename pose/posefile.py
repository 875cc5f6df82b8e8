"""The pose file: one `.npz` with a sequence, its version and a digest of its content.

Inside are the arrays `points`, `scores` and `times`, and `header`, a JSON text as UTF-8 bytes.
Nothing is pickled. The version rises whenever an older reader would misread the file.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose.errors import PoseError
from pose.sequence import PoseSequence

FORMAT = "cnx-pose"
VERSION = 1
_ARRAYS = ("points", "scores", "times")
_AGAIN = "extract the poses again"


def to_bytes(sequence: PoseSequence) -> bytes:
    """The pose file of a sequence."""
    header = {
        "format": FORMAT,
        "version": VERSION,
        "digest": sequence.digest,
        **sequence.header(),
    }
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        points=sequence.points,
        scores=sequence.scores,
        times=sequence.times,
        header=np.frombuffer(json.dumps(header).encode(), dtype=np.uint8),
    )
    return buffer.getvalue()


def load(path: str | Path, *, source: str | None = None) -> PoseSequence:
    """Read a pose file; see `PoseSequence.load` for what is refused.

    `source` is the digest of the video that the poses should be of; a file that does not know its
    video (source "") is then refused too. None asks nothing.
    """
    path = Path(path)
    header, arrays = _read(path)
    _check_header(header, path)
    sequence = _sequence(header, arrays, path)
    if sequence.digest != header.get("digest"):
        raise PoseError(
            f"the pose file {path} was changed after it was written: its content does not match "
            f"its digest; {_AGAIN}"
        )
    if source is not None:
        check_source(sequence, source, path)
    return sequence


def check_source(sequence: PoseSequence, source: str, name: str | Path = "given") -> None:
    """Raise `PoseError` unless the poses are of the video with the digest `source`."""
    if sequence.source != source:
        theirs = f"{sequence.source[:12]}…" if sequence.source else "unknown"
        raise PoseError(
            f"the poses in {name} are not of this video: their video's digest is {theirs}, this "
            f"one's {source[:12]}…; give the poses of this video, or extract them again"
        )


def _read(path: Path) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
    if not path.is_file():
        raise PoseError(f"there is no pose file {path}; check the name")
    try:
        # Opened here, since numpy leaves a file open that turns out to be damaged.
        with path.open("rb") as raw:
            file = np.load(raw, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile) or "header" not in file.files:
                raise PoseError(f"{path} is not a pose file; `cnx pose extract` writes one")
            header = json.loads(file["header"].tobytes().decode())
            arrays = {name: file[name] for name in _ARRAYS if name in file.files}
    except PoseError:
        raise
    except Exception as error:
        # zipfile, zlib, json and numpy's parser of array headers raise a dozen kinds for damage.
        raise PoseError(
            f"the pose file {path} cannot be read; it is truncated, damaged or not a pose file "
            f"({error}); {_AGAIN}"
        ) from error
    if not isinstance(header, dict):
        raise PoseError(f"{path} is not a pose file: its header is no table; {_AGAIN}")
    return header, arrays


def _check_header(header: Mapping[str, Any], path: Path) -> None:
    if header.get("format") != FORMAT:
        raise PoseError(f"{path} is not a pose file; `cnx pose extract` writes one")
    if header.get("version") != VERSION:
        raise PoseError(
            f"the pose file {path} has version {header.get('version')}, this program reads version "
            f"{VERSION}; {_AGAIN} with this program"
        )


def _sequence(
    header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], path: Path
) -> PoseSequence:
    missing = [name for name in _ARRAYS if name not in arrays]
    if missing:
        raise PoseError(f"the pose file {path} lacks {', '.join(missing)}; {_AGAIN}")
    try:
        return PoseSequence(
            **arrays,
            canvas=tuple(header["canvas"]),
            fps=Fraction(header["fps"]),
            source=str(header["source"]),
            estimator=str(header["estimator"]),
            cuts=tuple(header["cuts"]),
        )
    except PoseError as error:
        raise PoseError(f"the pose file {path} cannot be used: {error}") from error
    except (KeyError, TypeError, ValueError, IndexError, ZeroDivisionError) as error:
        raise PoseError(
            f"the pose file {path} has a damaged header ({type(error).__name__}: {error}); {_AGAIN}"
        ) from error
