"""Values that no user gives and that a program must refuse with a message."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from animate.request.request import AnimationRequest, SamplingOptions

_PATHS = ("reference", "driving", "poses", "output", "model", "lora", "contact_sheet")
_NUMBERS = ("seed", "steps", "window", "overlap", "stride", "max_frames", "quality")
_DEEP = 100_000
_MANY = 30_000
_LONG = 1_000_000


def text_value(rng: random.Random) -> str:
    """Text that is no path, number or word."""
    return rng.choice(
        ["a\0b", "\ud800", "", " ", "x" * 5000, "../" * 50 + "etc/passwd", "/dev/zero",
         "/proc/self/mem", "%n%s", "{row.__class__}", "$(id)", "\u202egpj.4pm", "-", "nan",
         "9" * 5000, "1e999", "/dev/stdin", "http://127.0.0.1:9/a.mp4", "concat:a|b",
         "zip://a.mp4::file:///etc/passwd", "reference://a", "simplecache::memory://a"]
    )  # fmt: skip


def json_value(rng: random.Random) -> Any:
    """A JSON value of a kind that no setting has."""
    return rng.choice(
        [{}, {"a": {"b": 1}}, [[]], [{}], [None, [1]], 2**64, -(2**63), 10**400, -1e308, True,
         [["a"] * 100] * 3, {"": ""}, text_value(rng)]
    )  # fmt: skip


def row(rng: random.Random) -> tuple[str, str]:
    """A line of a manifest that cannot be used, and the name of what is wrong with it."""
    good = {"reference": "a.png", "driving": "b.mp4", "output": "other.mp4"}
    makers: dict[str, Callable[[], str]] = {
        "path": lambda: json.dumps({**good, rng.choice(_PATHS): json_value(rng)}),
        "number": lambda: json.dumps({**good, rng.choice(_NUMBERS): json_value(rng)}),
        "setting": lambda: json.dumps({**good, rng.choice(_settings()): json_value(rng)}),
        "group": lambda: json.dumps({**good, "sampling": json_value(rng)}),
        "deep": lambda: '{"reference": ' + "[" * _DEEP,
        "doubled": lambda: "{" + ", ".join(f'"n{i % 999}": 1' for i in range(_MANY)) + "}",
        "many": lambda: json.dumps({f"name{i}": i for i in range(_MANY)}),
        "long": lambda: json.dumps({**good, "person": "x" * _LONG}),
        "combinations": lambda: json.dumps(
            {**good, "seed": list(range(_MANY)), "driving": ["b"] * 999}
        ),
        "no object": lambda: json.dumps(json_value(rng)) if rng.random() < 0.5 else '"\ud83d',
        "no JSON": lambda: rng.choice(["{", "}", "NaN", "\x7f", "{'a': 1}", "[1,]", "Infinity"]),
    }
    name = rng.choice(list(makers))
    text = makers[name]()
    return text.encode(errors="replace").decode().replace("\n", " "), name


def settings(rng: random.Random) -> tuple[str, str]:
    """A YAML file of settings that cannot be used, and the name of what is wrong with it."""
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
    )
    texts = {
        "bomb": bomb + "seed: *a11\n",
        "binary": f"{rng.choice(_settings())}: !!binary aGVsbG8=\n",
        "timestamp": f"{rng.choice(_settings())}: !!timestamp 2001-12-14\n",
        "set": f"{rng.choice(_settings())}: !!set {{a, b}}\n",
        "object": "seed: !!python/object/apply:os.system ['true']\n",
        "deep": "seed: " + "[" * 5000,
        "deep mapping": "".join(" " * i + "a:\n" for i in range(2000)),
        "doubled": "seed: 1\nseed: 2\n",
        "many": "".join(f"name{i}: {i}\n" for i in range(_MANY)),
        "merge": "<<: {seed: 1}\n? [a, b]\n: 1\n",
        "recursive": "seed: &a [*a]\n",
        "list": "- 1\n- 2\n",
        "value": f"{rng.choice(_NUMBERS)}: {json.dumps(rng.choice([{}, [[]], 2**64, -1, 'x']))}\n",
        "no YAML": rng.choice(["%", "{", "a: b: c", "\t", "!", "&", "*a", "@"]),
    }
    name = rng.choice(list(texts))
    return texts[name], name


def option(rng: random.Random) -> tuple[str, str]:
    """An option of the command line and a value that it does not take."""
    choices = {
        "size": ("0x0", "63x64", "99999x99999", "axb", "-32x32", "", "32x32x32"),
        "steps": ("0", "-1", "1e9", "9" * 30, "nan", ""),
        "seed": ("-1", str(2**70), "nan", "1.5"),
        "guidance": ("nan", "1:2:3", "-1", "inf", ""),
        "overlap": ("3", "-1", "x"),
        "window": ("0", "99999", "x"),
        "start": ("99999999", "-1", "1:2:3:4", "nan", "5f5"),
        "end": ("0", "0f", "-0.1"),
        "model": ("nobody", "/dev/null", "../..", "a" * 5000),
        "reference": ("/dev/null", "/proc/self/mem", "x" * 5000, "/", ""),
        "driving": ("/dev/null", "/", "concat:a|b", "http://127.0.0.1:9/a.mp4"),
        "output": ("/", "/dev/null", "x.exe", "/proc/x.mp4", "nowhere/x.mp4", "x" * 5000 + ".mp4",
                   "x" * 251 + ".mp4"),
        "memory": ("-1", "8XB", "0", "nan", "1e400"),
        "device": ("tpu", "cuda:99", ""),
        "work": ("/dev/null", "/proc/x", "/"),
        "codec": ("nothing", "", "rawvideo"),
        "lora": ("/dev/null", "/dev/null:nan", ":1"),
        "sign": (":", "/dev/null:/dev/null", "a"),
        "person": ("nobody", "-1", "9" * 30),
        "identity-folder": ("nowhere", "/dev/null", "x" * 5000),
        "estimator-network": ("nowhere", "/dev/zero", "/"),
    }  # fmt: skip
    name = rng.choice(list(choices))
    return name, rng.choice(choices[name])


def changed_json(text: str, rng: random.Random) -> str:
    """A JSON text with one of its values replaced by a hostile one, or removed."""
    content = json.loads(text)
    node: Any = content
    while True:
        key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        if isinstance(node[key], dict | list) and node[key] and rng.random() < 0.8:
            node = node[key]
            continue
        if isinstance(node, dict) and rng.random() < 0.2:
            del node[key]
        else:
            node[key] = rng.choice([json_value(rng), -1, 10**6, None, "other", 0, 1.5])
        break
    if rng.random() < 0.05:
        return "[" * _DEEP
    return json.dumps(content)


def _settings() -> list[str]:
    kinds: tuple[Any, ...] = (AnimationRequest, SamplingOptions)
    groups = ("sampling", "runtime")
    return [item.name for kind in kinds for item in fields(kind) if item.name not in groups]
