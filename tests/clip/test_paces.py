from __future__ import annotations

import json
import os
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from animate import AnimationRequest, Animator
from animate.clip.paces import StageCounts, keep_paces, kind_of_clip, paces_file, read_paces
from animate.generate.settings import ClipSettings
from animate.progress import Course, Quiet
from animate.request.schema import settings_of
from animate.request.setting import NONE, Setting
from animate.request.values import Size
from tests.scene import write_scene

PACES = {"poses": 0.03, "encode": 0.2, "warp": 0.02, "denoise": 0.1, "decode": 0.25}


def counts(**changes: float) -> StageCounts:
    usual = {"poses": 40, "background": 0, "encode": 1, "warp": 40, "denoise": 80, "decode": 40}
    return StageCounts(**{**usual, "passes": 3.0, **changes})  # type: ignore[arg-type]


def test_a_course_is_the_measured_seconds_of_the_plans_counts() -> None:
    course = counts().course(PACES)
    assert course.measured
    expected = {"poses": 1.2, "encode": 0.2, "warp": 0.8, "denoise": 8.0, "decode": 10.0}
    assert {name: course.seconds[name] for name in expected} == pytest.approx(expected)
    assert course.seconds["background"] == 0


def test_a_first_clip_takes_ratios_from_the_plan() -> None:
    for paces in ({}, {"poses": 0.03}):
        course = counts(passes=4.0).course(paces)
        assert not course.measured
        assert course.seconds["denoise"] / course.seconds["decode"] == pytest.approx(4 * 80 / 100)
    longer = counts(denoise=800).course({})
    assert longer.share("decode")[0] > 0.9 > counts().course({}).share("decode")[0]  # type: ignore[index]
    assert counts(poses=0).course({}).share("poses") == (0, 0)


def test_paces_are_kept_for_the_clips_made_last_and_in_a_file_of_bounded_size(
    tmp_path: Path,
) -> None:
    file = tmp_path / "deep" / "paces.json"
    for number in range(100):
        keep_paces(file, f"{number:016x}", PACES)
        keep_paces(file, "again", {"denoise": float(number)})
    paces = read_paces(file)
    assert len(paces) == 64
    assert f"{99:016x}" in paces
    assert f"{0:016x}" not in paces
    assert paces["again"] == {"denoise": 99.0}
    assert file.stat().st_size < 64 * 1024
    assert [other.name for other in file.parent.iterdir()] == ["paces.json"]


def test_what_a_run_did_not_do_keeps_its_earlier_pace(tmp_path: Path) -> None:
    file = tmp_path / "paces.json"
    keep_paces(file, "kind", PACES)
    keep_paces(file, "kind", {"denoise": 0.5})
    assert read_paces(file)["kind"] == {**PACES, "denoise": 0.5}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\x00",
        b"[1, 2",
        b"[]",
        b"{}",
        b'{"schema": 99, "paces": {}}',
        b'{"schema": 1, "paces": []}',
        b'{"schema": 1, "paces": {"kind": {"denoise": "soon"}}}',
        b'{"schema": 1, "paces": {"kind": {"denoise": NaN, "decode": 1.0}}}',
        b'{"schema": 1, "paces": {"kind": {"denoise": -1.0, "decode": 1.0}}}',
        b'{"schema": 1, "paces": {"kind": [0.1]}}',
        b"[" * 60_000,
        b" " * 70_000,
    ],
)
def test_a_file_of_another_kind_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "paces.json"
    file.write_bytes(content)
    assert read_paces(file) == {}
    keep_paces(file, "kind", PACES)
    assert read_paces(file) == {"kind": PACES}


def test_nothing_is_read_or_written_through_a_link(tmp_path: Path) -> None:
    other, file = tmp_path / "other.json", tmp_path / "paces.json"
    text = json.dumps({"schema": 1, "paces": {"kind": PACES}})
    other.write_text(text)
    file.symlink_to(other)
    assert read_paces(file) == {}
    keep_paces(file, "mine", PACES)
    assert other.read_text() == text
    assert read_paces(file) == {"mine": PACES}
    assert not file.is_symlink()


def test_a_pipe_or_folder_in_its_stead_is_left(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder", "none"):
        assert read_paces(tmp_path / name) == {}
    keep_paces(tmp_path / "folder", "kind", PACES)
    assert (tmp_path / "folder").is_dir()


def test_nothing_is_kept_without_a_cache_or_where_it_cannot_be(tmp_path: Path) -> None:
    assert paces_file(NONE) is None
    assert paces_file(tmp_path) == tmp_path / "paces.json"
    keep_paces(None, "kind", PACES)
    (tmp_path / "file").write_text("")
    keep_paces(tmp_path / "file" / "paces.json", "kind", PACES)
    assert read_paces(None) == {}


TIMELESS = {
    *("reference", "driving", "poses", "lora", "identity", "identity_folder", "estimator_folder"),
    *("restyle", "restyle_strength", "still_model", "still_lora"),  # a stage before the clip's
    *("fit", "fill", "start", "end", "max_frames", "audio", "overwrite"),
    *("person", "retarget", "smooth", "strength", "absence", "seed", "steps"),
    *("cache", "work", "sign", "keep_work", "save_every", "ray_address", "worker_limit"),
}
"""Settings that change what is seen, or how many steps there are, and not what a step takes."""
SETTINGS = settings_of(AnimationRequest)
OTHERS: dict[str, Any] = {
    "size": "64x96",
    "enlarge_to": "64x96",
    "output": "clip.gif",
    "panels": "pose",
    "model": "other",
    "device": "cuda",
    "guidance": "3",
    "guidance_interval": "1:2",
    "fps": "12",
    "codec": "h265",
    "memory": "9GiB",
    "estimator_network": "other.onnx",
    "precision": "float16",
    "person": "left",
    "fill": "blur",
    "strength": "body=0",
    "sign": "a.pem:b.pem",
    "restyle": "a dancer",
    "restyle_strength": 0.3,
    "ray_address": "host:1",
}
"""Values that no clip has by default."""


def test_every_setting_says_whether_a_step_takes_longer_by_it() -> None:
    assert {setting.name for setting in SETTINGS.values() if not setting.timed} == TIMELESS


def other_value(setting: Setting) -> Any:
    if setting.name in OTHERS:
        return OTHERS[setting.name]
    if setting.choices:
        return setting.choices[-1] if setting.choices[0] == setting.default else setting.choices[0]
    if bool in setting.kinds:
        return not setting.default
    if setting.holds_paths:
        return "other.png"
    return 3


def kind(**values: Any) -> str:
    """The kind of a clip, of settings as they come, with a toy in place of networks and video."""
    paths = {"reference": "a.png", "driving": "b.mp4", "output": "c.mp4"}
    request = AnimationRequest.from_dict({**paths, **values})
    usual: dict[str, Any] = {
        "window": 9,
        "overlap": 2,
        "steps": 2,
        "guidance": 1,
        "control_weight": 1,
        "schedule": "anchored",
        "fusing": "relative",
        "noise": "repeated",
        "decode_chunk": 9,
    }
    stated = {item.name: getattr(request.sampling, item.name) for item in fields(request.sampling)}
    settled = {name: usual.get(name) if v is None else v for name, v in stated.items()}
    settings = ClipSettings(**settled, size=request.size or Size(32, 32))
    unet = torch.nn.Linear(1, 1, dtype=getattr(torch, str(values.get("precision")), None))
    variant = SimpleNamespace(name=str(request.model))
    engine: Any = SimpleNamespace(
        components=SimpleNamespace(variant=variant, unet=unet), device=request.runtime.device
    )
    source: Any = SimpleNamespace(info=SimpleNamespace(size=(64, 64)))
    return kind_of_clip(request, settings, engine, source)


@pytest.mark.parametrize("name", sorted(SETTINGS.keys() - {"threads", "reference", "driving"}))
def test_clips_are_of_another_kind_by_settings_that_a_step_hangs_on(name: str) -> None:
    setting = SETTINGS[name]
    value = other_value(setting)
    assert (kind(**{name: value}) != kind()) is setting.timed


def test_names_of_the_files_that_are_written_are_no_matter_but_their_kind() -> None:
    assert kind(output="elsewhere/d.mp4", mask_output="a.mkv") == kind(mask_output="b.mkv")
    assert kind(mask_output="m/%04d.png") != kind(mask_output="b.mkv") != kind()


class Foretold(Quiet):
    """Keeps the courses that it is told."""

    def __init__(self) -> None:
        self.courses: list[Course] = []

    def expect(self, course: Course) -> None:
        self.courses.append(course)


def test_a_second_clip_is_foretold_by_the_first_and_is_the_same(
    animator: Animator, tmp_path: Path
) -> None:
    files: dict[str, Any] = dict(write_scene(tmp_path))
    cache = tmp_path / "cache"
    values = {**files, "retarget": "none", "cache": cache}
    sink, records = Foretold(), []
    for name in ("first.mp4", "second.mp4"):
        request = AnimationRequest.from_dict({**values, "output": tmp_path / name})
        result = animator(request, progress=sink)
        records.append(json.loads(result.sidecar.read_text()))
    first, second = sink.courses
    assert (first.measured, second.measured) == (False, True)
    assert second.seconds["decode"] > 0
    assert second.seconds["poses"] == 0, "they come from a file"
    digests = {record["output"]["frames_sha256"] for record in records}
    assert len(digests) == 1
    assert records[0]["digest"] == records[1]["digest"]
    assert "paces" not in json.dumps(records)
    assert [file.name for file in cache.iterdir()] == ["paces.json"]


def test_a_clip_without_a_cache_leaves_no_pace(animator: Animator, tmp_path: Path) -> None:
    files: dict[str, Any] = dict(write_scene(tmp_path))
    values = {**files, "retarget": "none", "cache": "none", "output": tmp_path / "clip.mp4"}
    sink = Foretold()
    for _ in range(2):
        animator(AnimationRequest.from_dict({**values, "overwrite": True}), progress=sink)
    assert [course.measured for course in sink.courses] == [False, False]
    assert not list(tmp_path.rglob("paces.json"))
