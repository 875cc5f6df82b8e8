"""JSON files of this program, read as what they should be: dataclasses, or a reason why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from animate.errors import RequestError
from animate.files import open_regular
from animate.request.schema import read_value

LARGEST = 16 << 20
"""Bytes of a file that is read."""


def read_json(path: Path, most: int = LARGEST) -> Any:
    """The values in a JSON file of ours, which may have been tampered with.

    Raises ValueError where it is larger than `most` bytes or no JSON, OSError where it cannot be
    read; a pipe is not waited for.
    """
    with open_regular(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it is larger than {most >> 20} MiB")
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("its values are nested too deep") from None


def from_plain(kind: Any, value: Any, name: str = "") -> Any:
    """A value of type `kind` from plain JSON values, as `schema.read_value` reads it.

    Raises ValueError naming the first value that is missing or of another type.
    """
    try:
        return read_value(kind, value, name)
    except RequestError as reason:
        raise ValueError(str(reason)) from None
