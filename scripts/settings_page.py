"""Write docs/settings.md from the fields of the settings: `python -m scripts.settings_page`."""

from __future__ import annotations

from pathlib import Path

from animate.files import write_text
from animate.request.request import AnimationRequest, RuntimeOptions, SamplingOptions
from animate.request.schema import settings_of
from animate.request.setting import Setting

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"
TITLES = {
    AnimationRequest: "The clip",
    SamplingOptions: "Sampling: `sampling`, or beside the others",
    RuntimeOptions: "Device, memory and folders: `runtime`, or beside the others",
}
HEAD = """# Settings

Written by `python -m scripts.settings_page` from the fields in `animate/request/request.py`. The
command line takes these names with dashes (`--max-frames`); Python, YAML files and manifests with
underscores (`max_frames`). A setting without a default is left to the model or to the files.

The role says what follows from a setting. `input`: files that are read; their content counts in the
fingerprint of a clip. `look`: decides the pictures, and counts as it stands. `output`: what is
written and how; the pictures stay the same. `place`: folders and files that are used beside; like
inputs they lie below `--root`. `runtime`: how it is computed; pictures change by rounding alone.
"""


def page() -> str:
    """The whole page."""
    return HEAD + "".join(f"\n## {title}\n\n{_table(kind)}" for kind, title in TITLES.items())


def _table(kind: type) -> str:
    rows = [_row(setting) for setting in settings_of(kind).values() if not setting.group]
    head = "| setting | values | default | role | |\n| --- | --- | --- | --- | --- |\n"
    return head + "".join(rows)


def _row(setting: Setting) -> str:
    default = f"`{setting.default_text}`" if setting.default_text else ""
    cells = (f"`{setting.name}`", _values(setting), default, setting.role, setting.help)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _values(setting: Setting) -> str:
    if setting.choices:
        return ", ".join(f"`{word}`" for word in setting.choices)
    if bool in setting.kinds:
        return "`true`, `false`"
    bounds = [f"from {_number(setting.least)}"] if setting.least is not None else []
    bounds += [f"to {_number(setting.most)}"] if setting.most is not None else []
    kinds = {int: "whole number", float: "number"}
    kind = next((kinds[kind] for kind in setting.kinds if kind in kinds), "text")
    return " ".join([f"`{setting.metavar}`" if setting.metavar else kind, *bounds])


def _number(value: float) -> str:
    return "2^64 - 1" if value == 2**64 - 1 else f"{value:,}".replace(",", " ")


if __name__ == "__main__":
    write_text(PAGE, page())
