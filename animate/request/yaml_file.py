"""YAML as people mean it.

PyYAML follows YAML 1.1, where `1:30` is the number 90, `no` is false and `012` is octal. A file of
settings has frame ranges, guidance `1:3` and names in it, so only the JSON-like types of YAML 1.2's
core schema are recognised here, and a name that is given twice is an error.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from animate.errors import RequestError, UserError


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's core schema."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
     r"|[-+]?\.inf|\.nan", "-+.0123456789"),
):  # fmt: skip
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first)
    )


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    names = [loader.construct_object(key, deep=True) for key, _ in node.value]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise yaml.constructor.ConstructorError(
                None, None, f"{name!r} is given twice", node.value[index][0].start_mark
            )
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def read_yaml(path: Path | str, error: type[UserError] = RequestError) -> dict[str, Any]:
    """The mapping in a YAML file; an empty file is an empty mapping.

    Raises `error`, naming file and line, when it cannot be read, is not YAML, names something
    twice, or is not a mapping.
    """
    place = Path(path)
    try:
        content = yaml.load(place.read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError:
        raise error(f"{place} does not exist; check the path") from None
    except (OSError, UnicodeDecodeError) as reason:
        raise error(f"{place} cannot be read: {reason}") from reason
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as reason:
        mark = getattr(reason, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise error(f"{place}{line}: {getattr(reason, 'problem', reason)}") from reason
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise error(f"{place} must hold names with values, not {type(content).__name__}")
    return content
