"""One small repository of the stand-in hub, and what its tests look at."""

from __future__ import annotations

import hashlib
from pathlib import Path

from animate.models import download
from animate.models.config import Source
from animate.models.store import ModelFile
from animate.progress import Remembering

WEIGHTS = bytes(range(256)) * 20_000
SETTINGS = b'{"layers": 2}'
DIGEST = hashlib.sha256(WEIGHTS).hexdigest()
NAME = "someone/model/net/model.bin"


def remote(path: str = "net/model.bin", digest: str | None = None, **changes) -> ModelFile:
    values = {"repository": "someone/model", "revision": "main", "licence": "MIT", **changes}
    return ModelFile(path=path, source=Source(**values), digest=digest)


def parts(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.endswith((download.PART, "incomplete"))]


class Remarks(Remembering):
    """Notes and the largest total of a stage."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.totals: list[int | None] = []
        self.steps = 0

    def stage(self, name, total):
        from contextlib import nullcontext

        self.totals.append(total)
        return nullcontext(self)

    def advance(self, steps: int = 1) -> None:
        self.steps += steps

    def skip(self, steps: int = 1) -> None:
        self.advance(steps)

    def note(self, text: str) -> None:
        self.notes.append(text)
