"""The fields that every recipe of a bundled model has, and the one reader of recipes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from animate.errors import TrainingError
from animate.request.schema import build, plain
from animate.request.yaml_file import read_yaml

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class BundledRecipe:
    """A run from which a model is exported. Raises `TrainingError` for an unknown precision."""

    name: str
    summary: str
    seed: int = 0
    folder: Path
    """Folder of checkpoints and logs, beside what was rendered; it does not change the result."""
    warm_up: int = 100
    """Steps over which the learning rate rises from 0."""
    ema: float = 0.998
    """Share that the moving average of the weights keeps at a step."""
    checkpoint_every: int = 100
    """Steps between two checkpoints."""
    precision: str = "bfloat16"
    """"bfloat16" (autocast; weights stay float32) or "float32"."""

    def __post_init__(self) -> None:
        if self.precision not in ("bfloat16", "float32"):
            raise TrainingError(f"precision {self.precision!r} is not bfloat16 or float32")
        if not 0 <= self.ema < 1:
            raise TrainingError(f"ema must lie in [0,1), not {self.ema}")

    @property
    def half(self) -> bool:
        """True for bfloat16."""
        return self.precision == "bfloat16"


def deciding(recipe: object, free: Collection[str]) -> dict[str, object]:
    """Plain values of a recipe's fields but for those that do not change the result."""
    return {name: value for name, value in plain(recipe).items() if name not in free}


def read_recipe(kind: type[T], path: Path | str, **changes: object) -> T:
    """The recipe in a YAML file, some of its fields changed.

    Raises `TrainingError`, naming the file, for unknown names and impossible values.
    """
    recipe: Any = build(kind, read_yaml(path, TrainingError), str(path), TrainingError)
    return cast(T, replace(recipe, **changes))
