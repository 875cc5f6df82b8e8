"""A toy base model, a folder of videos with known poses, and a recipe that takes seconds."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml

from animate.driving.cache import cache_file
from animate.files import sha256
from animate.media import FrameSelection
from animate.progress import Quiet
from animate.training.finetune_config import FineTuneConfig, load_finetune_config
from pose.estimators import load_estimator
from tests.scene import poses, write_video
from tests.toy import toy_model

SIZE = (96, 96)


class Heard(Quiet):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def write_videos(folder: Path, cache: Path, names: tuple[str, ...], frames: int = 14) -> None:
    """Videos of the drawn figure, its poses already in the cache: no estimation."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        video = write_video(folder / name, frames + number, size=SIZE, fps=Fraction(12))
        keep_poses(video, cache, frames + number)


def keep_poses(video: Path, cache: Path, frames: int) -> None:
    """Put the figure's true poses where the toolkit looks for estimated ones."""
    digest = sha256(video)
    place = cache_file(cache, digest, load_estimator("blazepose"), FrameSelection())
    assert place is not None
    place.parent.mkdir(parents=True, exist_ok=True)
    poses(frames, size=SIZE, fps=Fraction(12), source=digest).save(place)


def prepare(folder: Path) -> Path:
    """`base`, `videos` and `cache` in a folder."""
    toy_model(folder / "base")
    write_videos(folder / "videos", folder / "cache", ("a.mp4", "b.mp4", "c.mp4"))
    return folder


def values(folder: Path, run: str, **changes: Any) -> dict[str, Any]:
    """A recipe as its YAML has it."""
    settings: dict[str, Any] = {
        "name": "toy-tuned",
        "folder": str(folder / run),
        "base": str(folder / "base"),
        "train": "selective",
        "data": {
            "videos": {
                "folder": str(folder / "videos"),
                "size": "64x64",
                "gap": 2,
                "cache": str(folder / "cache"),
                "hold_out": 1,
            }
        },
        "validation": {"every": 0},
        "steps": 4,
        "batch": 1,
        "frames": 3,
        "rate": 1.0e-3,
        "warm_up": 1,
        "checkpoint_every": 1,
        "precision": "float32",
        "threads": 1,
    }
    return {**settings, **changes}


def recipe_file(folder: Path, run: str, **changes: Any) -> Path:
    """The recipe written beside its run."""
    place = folder / f"{run}.yaml"
    place.write_text(yaml.safe_dump(values(folder, run, **changes)))
    return place


def recipe(folder: Path, run: str, **changes: Any) -> FineTuneConfig:
    """The recipe as it is read."""
    return load_finetune_config(recipe_file(folder, run, **changes))


def nobody(folder: Path, name: str) -> Path:
    """A video without a person."""
    return write_video(folder / name, 14, size=SIZE, fps=Fraction(12), person=False)
