"""One job's card in the report, as HTML. Every text that comes from outside is escaped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

STATES = {"failed": "failed", "running": "unfinished", "waiting": "not begun", "done": "done"}
"""States in the order in which cards come, with their words."""

_SHOWN = {"reference": "reference", "driving": "driving frame", "pose": "pose"}
_PLAYED = (".mp4", ".webm", ".m4v")


def state_of(values: Mapping[str, Any]) -> str:
    """A record's state as the report has it; what an earlier run made is done."""
    status = str(values.get("status"))
    return "done" if status == "kept" else status if status in STATES else "running"


def card(values: Mapping[str, Any], *, link: str) -> str:
    """The card of a record; `link` is its clip's quoted address, empty where there is none."""
    state = state_of(values)
    name = str(values.get("output") or values["place"]).rsplit("/", 1)[-1]
    kind = escape(str(values.get("error_kind") or ""))
    seconds = float(values.get("wall_seconds") or 0)
    return (
        f'<article class="{state}" data-state="{state}" data-kind="{kind}" '
        f'data-rank="{list(STATES).index(state)}" data-number="{int(values["number"])}" '
        f'data-seconds="{seconds}" '
        f'data-text="{escape(_searched(values, name))}">'
        f'<div class="head">{_title(name, link, state)}'
        f'<span class="state">{escape(_state_words(values, state))}</span></div>'
        f'<div class="facts">{escape(" · ".join(_facts(values)))}</div>'
        f"{_inputs(values)}{_result(values, link, state)}{_remarks(values)}"
        f'<div class="foot">{_timings(values)}{_details(values)}</div></article>'
    )


def _title(name: str, link: str, state: str) -> str:
    if state == "done" and link:
        return f'<h2><a href="{escape(link)}">{escape(name)}</a></h2>'
    return f"<h2>{escape(name)}</h2>"


def _state_words(values: Mapping[str, Any], state: str) -> str:
    tries = int(values.get("attempt") or 1)
    words = STATES[state] + (f", attempt {tries}" if tries > 1 else "")
    return f"{words}, a copy" if values.get("copied_from") else words


def _facts(values: Mapping[str, Any]) -> list[str]:
    facts = [str(values["place"])]
    if values.get("frames"):
        rate = str(values.get("fps") or "")
        facts.append(f"{values['frames']} frames" + (f" at {_rate(rate)} fps" if rate else ""))
    facts += [str(values[name]) for name in ("size", "model") if values.get(name)]
    if values.get("wall_seconds"):
        facts.append(time_text(float(values["wall_seconds"])))
    for name, words in (("peak_host_bytes", ""), ("peak_device_bytes", " on the device")):
        if values.get(name):
            facts.append(f"{values[name] / 2**30:.2f} GiB{words}")
    return facts


def _rate(text: str) -> str:
    top, _, bottom = text.partition("/")
    return f"{int(top) / int(bottom or 1):.5g}"


def _inputs(values: Mapping[str, Any]) -> str:
    """Reference, driving frame and pose; of a job that failed, what could be read of them."""
    pictures = values.get("pictures") or {}
    if not pictures:
        return ""
    shown = [name for name in _SHOWN if name in pictures or name != "pose"]
    found = [_figure(pictures.get(name), _SHOWN[name]) for name in shown]
    return f'<div class="seen">{"".join(found)}</div>'


def _result(values: Mapping[str, Any], link: str, state: str) -> str:
    pictures = (values.get("pictures") or {}).get("results")
    if not pictures or state != "done":
        return ""
    frames = "".join(_image(picture, "a frame of the result") for picture in pictures)
    button = ""
    if link.lower().endswith(_PLAYED):
        button = f'<button type="button" class="play" data-clip="{escape(link)}">▶ Play</button>'
    return (
        f'<figure class="result"><div class="strip">{frames}</div>'
        f"<figcaption>result, from first frame to last{button}</figcaption></figure>"
    )


def _figure(picture: str | None, words: str) -> str:
    content = _image(picture, words) if picture else '<div class="empty">cannot be read</div>'
    return f"<figure>{content}<figcaption>{escape(words)}</figcaption></figure>"


def _image(picture: Any, words: str) -> str:
    address = f"data:image/jpeg;base64,{escape(str(picture))}"
    return f'<img loading="lazy" alt="{escape(words)}" src="{address}">'


def _remarks(values: Mapping[str, Any]) -> str:
    remarks = ""
    if values.get("error"):
        kind = str(values.get("error_kind") or "").replace("-", " ")
        remarks += (
            f'<div class="error"><strong>{escape(kind)}</strong> {escape(values["error"])}</div>'
        )
    for warning in values.get("warnings") or ():
        remarks += f'<div class="warning">{escape(str(warning))}</div>'
    return remarks


def _timings(values: Mapping[str, Any]) -> str:
    """A bar of stages, and their seconds."""
    stages = {k: float(v) for k, v in (values.get("seconds") or {}).items() if float(v) >= 0.005}
    if not stages:
        return ""
    bar = "".join(f'<i style="flex:{value:.4f}"></i>' for value in stages.values())
    legend = "".join(
        f"<span>{escape(name)} {time_text(value)}</span>" for name, value in stages.items()
    )
    return f'<div class="bar">{bar}</div><div class="legend">{legend}</div>'


def _details(values: Mapping[str, Any]) -> str:
    parts = {
        name: values[name]
        for name in ("why", "worker", "finished", "key", "copied_from", "record", "request")
        if values.get(name)
    }
    if not parts:
        return ""
    text = json.dumps(parts, indent=2, ensure_ascii=False)
    trace = f"<pre>{escape(str(values['trace']))}</pre>" if values.get("trace") else ""
    return f"<details><summary>All settings</summary><pre>{escape(text)}</pre>{trace}</details>"


def _searched(values: Mapping[str, Any], name: str) -> str:
    """Lower-case text that the search box looks through."""
    request = values.get("request") or {}
    words = [name, values["place"], values.get("error_kind"), values.get("error")]
    words += [request.get(part) for part in ("reference", "driving", "model", "size")]
    words += [f"seed {(request.get('sampling') or {}).get('seed')}" if request else ""]
    return " ".join(str(word) for word in words if word).lower()


def time_text(seconds: float) -> str:
    """`0.42 s`, `4.2 s`, `42 s`, `4:20 min` or `1:05 h`."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"
