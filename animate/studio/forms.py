"""Settings of a clip as a form: what there is to set, what it will take, and the command for it.

Everything comes from the fields of the one schema; a setting that is added there appears here.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_origin

from animate.batch.forecast import PlannedMemory, forecast
from animate.batch.jobs import Job
from animate.batch.paths import record_path, with_absolute_paths
from animate.batch.records import JobRecord
from animate.errors import user_mistakes
from animate.generate.settings import cautions, settle, unusual_size
from animate.media import read_image
from animate.models.variants import list_variants, resolve
from animate.progress import clock_text
from animate.request.presets import config_path, preset_names, read_config
from animate.request.request import AnimationRequest
from animate.request.schema import flat, plain, settings_of
from animate.request.setting import NONE, Setting
from animate.request.values import Size
from animate.studio.project import Project

ELSEWHERE = ("reference", "driving", "output", "poses")
"""Settings that pages ask for by files, outside the form."""
FieldKind = Literal["switch", "choice", "whole", "number", "text", "list"]


@dataclass(frozen=True, kw_only=True)
class Field:
    """One setting in a form."""

    name: str
    kind: FieldKind
    help: str
    choices: tuple[str, ...]
    """The allowed words; empty where other values are allowed."""
    default: object
    """Plain value; None: the model's own, or the files'."""
    least: float | None
    most: float | None
    hint: str
    """The shape of a value, such as WxH."""
    role: str
    usual: bool
    """True for what is open at once."""


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """A model variant, for somebody who chooses one."""

    name: str
    summary: str
    licence: str
    commercial: bool | None
    """Commercial use by its licence; None: see the licence."""
    installed: bool
    """Its files are on this machine."""
    chosen: bool
    """It is what `auto` takes."""
    sizes: tuple[str, ...]
    """Sizes that it was made for."""
    multiple: int
    """Both sides of a clip are multiples of this."""
    defaults: Mapping[str, object]
    """Sampling settings that it takes where they are left open."""


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """A clip before it is made."""

    problem: str
    """The fault that will keep it from being made; empty if none is known."""
    model: str
    size: str
    frames: int | None
    time: str
    """In words; empty where no earlier clip of this model says."""
    basis: str
    """The ground that the time stands on."""
    memory: int | None
    """Bytes that a worker takes at most."""
    remarks: tuple[str, ...]
    command: str
    """The same by the command line, in the project's folder."""


def fields() -> tuple[Field, ...]:
    """Every setting of a clip, the usual ones first, but for its files."""
    settings = settings_of(AnimationRequest).values()
    chosen = [_field(setting) for setting in settings if setting.name not in ELSEWHERE]
    return tuple(sorted(chosen, key=lambda item: not item.usual))


def _field(setting: Setting) -> Field:
    default = setting.default
    return Field(
        name=setting.name,
        kind=_kind(setting),
        help=setting.help,
        choices=setting.choices,
        default=None if default == () else plain(default),
        least=setting.least,
        most=setting.most,
        hint=setting.metavar or "",
        role=setting.role,
        usual=setting.usual,
    )


def _kind(setting: Setting) -> FieldKind:
    if get_origin(setting.hint) is tuple:
        return "list"
    if setting.choices:
        return "choice"
    if setting.parse is None:
        words: dict[Any, FieldKind] = {bool: "switch", int: "whole", float: "number"}
        for kind in setting.kinds:
            if kind in words:
                return words[kind]
    return "text"


def model_cards() -> tuple[ModelCard, ...]:
    """The variants that a clip can be made with, those on this machine first."""
    automatic = resolve("auto").variant.name
    cards = [
        ModelCard(
            name=variant.name,
            summary=variant.summary,
            licence=variant.licence,
            commercial=variant.commercial,
            installed=not variant.missing(),
            chosen=variant.name == automatic,
            sizes=tuple(str(size) for size in variant.sizes),
            multiple=variant.size_multiple,
            defaults=plain(variant.defaults),
        )
        for variant in list_variants()
    ]
    return tuple(sorted(cards, key=lambda card: not card.installed))


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Shipped settings that are chosen together."""

    name: str
    text: str
    """A sentence on what they are for."""
    settings: Mapping[str, object]
    """Plain values by flat names."""


def presets() -> tuple[Preset, ...]:
    """The presets that `--config` knows by name."""
    return tuple(_preset(name) for name in preset_names())


def _preset(name: str) -> Preset:
    first = config_path(name).read_text(encoding="utf-8").partition("\n")[0]
    return Preset(
        name=name,
        text=first.removeprefix("#").strip(),
        settings=plain(read_config(AnimationRequest, [name])),
    )


def read_request(project: Project, values: Mapping[str, object]) -> AnimationRequest:
    """The request of a form: files by their names, settings as plain values or as they were typed.

    Raises RequestError for a value that cannot be, OutsideError for a file outside the project.
    """
    settings = settings_of(AnimationRequest)
    entered = {name: value for name, value in values.items() if value not in (None, "")}
    typed = {
        name: settings[name].read_text(value)
        if isinstance(value, str) and name not in ELSEWHERE
        else value
        for name, value in flat(AnimationRequest, entered).items()
    }
    with_folders = with_absolute_paths(typed, project.root)
    for name, setting in settings.items():
        if setting.role == "output" and setting.holds_paths and with_folders.get(name):
            with_folders[name] = project.path(str(with_folders[name]))
    request = AnimationRequest.from_dict(with_folders)
    for _, path in request.paths("input", "place", "output"):
        if path != NONE:
            project.check_inside(path)
    return request


def outlook(
    project: Project,
    request: AnimationRequest,
    records: list[JobRecord],
    memory_of: PlannedMemory | None,
) -> Outlook:
    """The forecast of a clip, with `records` of earlier ones for its pace."""
    job = Job(number=1, label="the clip", record=record_path(request.output), request=request)
    [plan], pace = forecast([job], records=records, memory_of=memory_of)
    remarks: tuple[str, ...] = ()
    size = ""
    try:
        variant = resolve(request.model).variant
        height, width = read_image(request.reference).shape[:2]
        settings = settle(request, variant, Size(width, height))
        size = str(settings.size)
        remarks = tuple(cautions(settings, variant))
        if caution := unusual_size(settings, variant):
            remarks += (caution,)
    except user_mistakes():
        pass  # which the forecast has named
    return Outlook(
        problem=plan.problem,
        model=plan.model,
        size=size,
        frames=plan.frames,
        time="" if plan.seconds is None else clock_text(plan.seconds),
        basis=pace.basis(),
        memory=plan.memory,
        remarks=remarks,
        command=command_of(project, request),
    )


def command_of(project: Project, request: AnimationRequest) -> str:
    """The command that makes the same clip, in the project's folder."""
    relative = request.with_paths(lambda path: _below(project, path))
    words = ["cnx", "run"]
    for setting in settings_of(AnimationRequest).values():
        words += _words(setting, setting.value(relative))
    return shlex.join(words)


def changed_settings(project: Project, request: AnimationRequest) -> dict[str, object]:
    """Plain values of the settings that are not as by default; files by their names."""
    relative = request.with_paths(lambda path: _below(project, path))
    values = ((s, s.value(relative)) for s in settings_of(AnimationRequest).values())
    return {s.name: plain(value) for s, value in values if value != s.default}


def _below(project: Project, path: Path) -> Path:
    return path.relative_to(project.root) if path.is_relative_to(project.root) else path


def _words(setting: Setting, value: Any) -> Iterator[str]:
    if value is None or (value == setting.default and setting.name not in ELSEWHERE):
        return
    if isinstance(value, bool):
        yield setting.flag if value else f"--no-{setting.flag[2:]}"
        return
    for item in value if get_origin(setting.hint) is tuple else (value,):
        yield from (setting.flag, str(item))
