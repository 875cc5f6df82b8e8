"""Shards: folders of rendered clips or pictures that appear whole or not at all.

So rendering can be stopped and resumed, and several processes may render one set.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path


def rendered(folder: Path, render: Callable[[Path], None]) -> Path:
    """The shard's folder, filled by `render` unless it is there."""
    if folder.is_dir():
        return folder
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed, by chance
    partial.mkdir(parents=True)
    render(partial)
    try:
        partial.rename(folder)
    except OSError:
        shutil.rmtree(partial)  # another process finished the same shard first
        if not folder.is_dir():
            raise
    return folder
