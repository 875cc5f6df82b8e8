"""Names of many clips: a template with the names of their inputs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from animate.errors import RequestError
from animate.request.wording import nearest

USUAL = "{reference}_{driving}.mp4"
FIELDS = ("row", "reference", "driving", "seed", "model")
_FIELD = re.compile(r"\{([^{}]*)\}")
_INSIDE = re.compile(r"(\w+)(?::(0?\d{1,2}))?")


def check_template(template: str) -> str:
    """`template` if every field in it is known. Raises RequestError with the nearest name."""
    fill(template, dict.fromkeys(FIELDS, 0))
    return template


def fill(template: str, values: Mapping[str, Any]) -> str:
    """`template` with `{reference}`, `{row:04}` and so on replaced by values.

    Only names are replaced: nothing of a value can be reached through it. Raises RequestError.
    """

    def replaced(match: re.Match[str]) -> str:
        inside = _INSIDE.fullmatch(match[1])
        if not inside or inside[1] not in values:
            known = ", ".join(f"{{{name}}}" for name in values)
            hint = nearest(match[1], list(values))
            raise RequestError(f"name {template!r} has {match[0]}{hint} It may have {known}")
        width = int(inside[2] or 0)
        return str(values[inside[1]]).rjust(
            width, "0" if (inside[2] or "").startswith("0") else " "
        )

    return _FIELD.sub(replaced, str(template))


def values_of(row: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a template may use of one job: files by their names without suffix."""
    model = Path(str(settings.get("model", "auto"))).name
    return {
        "row": row,
        "reference": _stem(settings.get("reference")),
        "driving": _stem(settings.get("driving")),
        "seed": settings.get("seed", 0),
        "model": model,
    }


def _stem(path: Any) -> str:
    # A percent sign would make numbered images of the name.
    return Path(str(path or "")).stem.replace("%", "_")
