"""Shipped settings by name: the folder `configs`, and the presets that `--config` knows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from animate.errors import ModelError, RequestError
from animate.request.schema import flat
from animate.request.wording import nearest, quoted


def configs_folder() -> Path:
    """The folder of shipped configurations: `configs` of a checkout or of the installed package."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / "models").is_dir():
            return folder
    raise ModelError(f"the shipped configurations are missing beside {package}; install it again")


def preset_names() -> list[str]:
    """Names of the presets that are shipped."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def config_path(name: str) -> Path:
    """The file that `--config` names: a preset, or a file. Raises RequestError for neither."""
    presets = preset_names()
    if name in presets:
        return _folder() / f"{name}.yaml"
    if "/" in name or "." in name:
        return Path(name)
    raise RequestError(
        f"--config {quoted(name)} is neither a preset nor a file{nearest(name, presets)} "
        f"(presets: {', '.join(presets)}; or the path of a YAML file)"
    )


def read_config(options: type, names: Sequence[str]) -> dict[str, object]:
    """The settings that --config names, by their flat names; later files win.

    Raises RequestError naming the file for unknown names.
    """
    if not names:
        return {}

    from animate.request.yaml_file import read_yaml

    values: dict[str, object] = {}
    for name in names:
        path = config_path(name)
        values.update(flat(options, read_yaml(path), where=str(path)))
    return values


def _folder() -> Path:
    return configs_folder() / "presets"
