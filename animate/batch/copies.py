"""A clip under a second name: two jobs whose inputs and settings are the same."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from animate.clip.record import ClipRecord, sidecar_path
from animate.files import atomic


def copy_clip(source: Path, output: Path) -> None:
    """Copy a finished clip and its sidecar, which then says of what it is a copy."""
    with atomic(output) as partial:
        shutil.copyfile(source, partial)
    record = ClipRecord.read(sidecar_path(source))
    copied = replace(
        record,
        request={**record.request, "output": str(output)},
        clip=record.clip and replace(record.clip, name=output.name),
        copied_from=str(source),
    )
    copied.write(sidecar_path(output))
