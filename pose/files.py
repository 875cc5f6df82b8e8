"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pose.errors import PoseError


def write_whole(path: str | Path, write: Callable[[BinaryIO], None]) -> Path:
    """Let `write` fill a file beside `path`, then rename it into place; return the path.

    Raises `PoseError` when the folder is missing or the file cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with temporary.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise PoseError(
            f"{path} cannot be written: {error.strerror or error}; choose a folder that exists and "
            "has room."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path
