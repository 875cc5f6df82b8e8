"""A clip under a second name: two jobs whose inputs and settings are the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from animate.clip.record import sidecar_path, write_sidecar
from animate.files import atomic


def copy_clip(source: Path, output: Path) -> None:
    """Copy a finished clip and its sidecar, which then says of what it is a copy."""
    with atomic(output) as partial:
        shutil.copyfile(source, partial)
    record = json.loads(sidecar_path(source).read_text(encoding="utf-8"))
    record["request"] = {**record["request"], "output": str(output)}
    write_sidecar(output, {**record, "copied_from": str(source)})
