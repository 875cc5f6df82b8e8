"""What every `WindowExecutor` promises, as plain functions, so that a process that `torchrun`
started can run them as well as pytest.

Each takes an executor and a `Scene`; what it asserts is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from animate.driving.skeletons import ControlFrames, DrawnSkeletons
from animate.generate.conditioning import FramePictures
from animate.generate.pipeline import Engine, sample
from animate.generate.settings import ClipSettings, settle
from animate.generate.workers.protocol import WindowExecutor
from animate.models.components import Components, load_components
from animate.models.variants import resolve
from animate.progress import Quiet
from animate.request.request import AnimationRequest
from animate.request.values import Size
from temporal.errors import TemporalError
from tests.scene import picture, poses
from tests.toy import toy_model

SIZE = Size(64, 64)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A loaded toy model and what the undivided loop made of a clip."""

    parts: Components
    control: ControlFrames

    def settings(self, **changes: Any) -> ClipSettings:
        request = {"reference": "-", "driving": "-", "output": "-", "size": str(SIZE)}
        values = {"steps": 2, "window": 5, "overlap": 2, "guidance": "1:3", **changes}
        return settle(AnimationRequest.from_dict({**request, **values}), self.parts.variant, SIZE)

    def latents(
        self,
        executor: WindowExecutor | None,
        control: ControlFrames | None = None,
        parts: Components | None = None,
        picture_of: FramePictures | None = None,
        **changes: Any,
    ) -> Tensor:
        """Latents (F,C,h,w) of the clip, by these workers or undivided."""
        engine = Engine(
            components=parts or self.parts, device=torch.device("cpu"), executor=executor
        )
        settings = self.settings(**changes)
        return sample(
            engine,
            settings,
            picture(SIZE),
            control or self.control,
            Quiet(),
            picture_of=picture_of,
        )


def make_scene(folder: Path, frames: int = 14) -> Scene:
    """The scene, its model written to `folder` unless it is there."""
    if not folder.exists():
        toy_model(folder)
    parts = load_components(resolve(folder).variant)
    style = parts.variant.pose_style
    control = ControlFrames(DrawnSkeletons(poses(frames, size=SIZE), SIZE, style))
    return Scene(parts=parts, control=control)


def same_bits_as_the_undivided_loop(executor: WindowExecutor, scene: Scene) -> None:
    assert torch.equal(scene.latents(executor), scene.latents(None))


def every_schedule_solver_and_guidance(executor: WindowExecutor, scene: Scene) -> None:
    for changes in (
        {"schedule": "anchored", "guidance": "1"},
        {"schedule": "shifting", "solver": "heun"},
        {"guidance": "2", "guidance_interval": "0.3:10", "steps": 3},
    ):
        assert torch.equal(scene.latents(executor, **changes), scene.latents(None, **changes))


def a_clip_of_one_window(executor: WindowExecutor, scene: Scene) -> None:
    changes = {"window": 14, "overlap": 0}
    assert torch.equal(scene.latents(executor, **changes), scene.latents(None, **changes))


def rendered_skeletons_travel(executor: WindowExecutor, scene: Scene) -> None:
    control = ControlFrames(_Pictures(len(scene.control)))
    assert torch.equal(scene.latents(executor, control), scene.latents(None, control))


def image_latents_of_frames_travel(executor: WindowExecutor, scene: Scene) -> None:
    def moved(frame: int) -> np.ndarray:
        return np.roll(picture(SIZE), 3 * frame, axis=1)

    ours = scene.latents(executor, picture_of=moved)
    assert torch.equal(ours, scene.latents(None, picture_of=moved))
    assert not torch.equal(ours, scene.latents(None))


def other_networks_are_noticed(executor: WindowExecutor, scene: Scene) -> None:
    before = scene.latents(executor)
    unet = type(scene.parts.unet).from_config(scene.parts.unet.config)
    unet.load_state_dict({k: v * 0.9 for k, v in scene.parts.unet.state_dict().items()})
    parts = replace(scene.parts, unet=unet.eval().requires_grad_(False))
    other = scene.latents(executor, parts=parts)
    assert torch.equal(other, scene.latents(None, parts=parts))
    assert not torch.equal(other, before)


def half_precision_too(executor: WindowExecutor, scene: Scene) -> None:
    parts = load_components(scene.parts.variant, torch.bfloat16)
    assert torch.equal(scene.latents(executor, parts=parts), scene.latents(None, parts=parts))


def every_window_is_counted_once(executor: WindowExecutor, scene: Scene) -> None:
    counted: list[int] = []

    class Counting(Quiet):
        def stage(self, name: str, total: int | None) -> Any:
            stage = super().stage(name, total)
            return _counted(stage, counted) if name == "denoise" else stage

    engine = Engine(components=scene.parts, device=torch.device("cpu"), executor=executor)
    sample(engine, scene.settings(), picture(SIZE), scene.control, Counting())
    assert sum(counted) == 2 * len(scene.control)  # steps x frames


def what_a_worker_raises_passes_through(executor: WindowExecutor, scene: Scene) -> None:
    skeletons = DrawnSkeletons(poses(14, size=SIZE), SIZE, "no such style")
    control = ControlFrames(skeletons)
    with pytest.raises(Exception) as here:
        scene.latents(None, control)
    with pytest.raises(here.type, match="no such style"):
        scene.latents(executor, control)
    assert torch.equal(scene.latents(executor), scene.latents(None))  # and it goes on


def history_is_refused(executor: WindowExecutor, scene: Scene) -> None:
    with pytest.raises(TemporalError, match="--workers"):
        scene.latents(executor, keep_features=2, schedule="static")


def it_says_who_computes(executor: WindowExecutor, scene: Scene) -> None:
    assert executor.workers >= 1
    assert str(executor.workers) in executor.describe()


CHECKS: tuple[Callable[[WindowExecutor, Scene], None], ...] = (
    same_bits_as_the_undivided_loop,
    every_schedule_solver_and_guidance,
    a_clip_of_one_window,
    rendered_skeletons_travel,
    image_latents_of_frames_travel,
    every_window_is_counted_once,
    history_is_refused,
    it_says_who_computes,
    what_a_worker_raises_passes_through,
    other_networks_are_noticed,
    half_precision_too,
)


class _Pictures:
    """Skeletons that are pictures and nothing else."""

    fps = Fraction(25)

    def __init__(self, frames: int) -> None:
        self._pictures = np.random.default_rng(3).integers(0, 256, (frames, 64, 64, 3), np.uint8)

    def __len__(self) -> int:
        return len(self._pictures)

    def picture(self, frame: int) -> np.ndarray:
        return self._pictures[frame]


class _counted:
    def __init__(self, stage: Any, seen: list[int]) -> None:
        self._stage, self._seen = stage, seen

    def __enter__(self) -> _counted:
        self._stage.__enter__()
        return self

    def __exit__(self, *problem: Any) -> None:
        self._stage.__exit__(*problem)

    def advance(self, steps: int = 1) -> None:
        self._seen.append(steps)
