"""`--keep-control`: control features at one call in N."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from animate.clip.preflight import check_options
from animate.errors import RequestError
from animate.generate.clip_state import ClipState, KeepsNothing
from animate.generate.kept_control import KeptControl, with_kept_control
from animate.generate.memory import plan_clip_memory
from animate.generate.pipeline import Engine, sample
from animate.progress import Quiet
from animate.request.request import AnimationRequest, RuntimeOptions
from temporal.errors import TemporalError
from tests.generate.workers.contract import SIZE, Scene, make_scene
from tests.scene import picture

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    torch.set_num_threads(1)
    return make_scene(tmp_path_factory.mktemp("kept") / "toy", frames=9)


def latents(scene: Scene, keeper: Any = None, **changes: Any) -> torch.Tensor:
    settings = scene.settings(steps=4, **changes)
    engine = Engine(components=scene.parts, device=CPU)
    return sample(engine, settings, picture(SIZE), scene.control, Quiet(), keeper)


def test_each_frame_is_computed_at_one_call_in_n() -> None:
    asked: Counter[tuple[int, float]] = Counter()

    def compute(frames: Any, timestep: torch.Tensor) -> torch.Tensor:
        asked.update((frame, float(timestep)) for frame in frames)
        return torch.full((len(frames), 1), float(timestep))

    kept = KeptControl(compute, 3)
    for step in range(7):
        for frames in ((0, 1), (2,)):
            features = kept(frames, torch.tensor(float(step)))
            assert features.flatten().tolist() == [step // 3 * 3.0] * len(frames)
    assert asked == Counter({(frame, step): 1 for frame in range(3) for step in (0.0, 3.0, 6.0)})


@pytest.mark.parametrize("schedule", ["static", "shifting"])
def test_features_that_are_kept_change_the_clip_a_little(scene: Scene, schedule: str) -> None:
    plain, same = (
        latents(scene, schedule=schedule),
        latents(scene, schedule=schedule, keep_control=1),
    )
    assert torch.equal(plain, same)
    kept = latents(scene, schedule=schedule, keep_control=4)
    assert not torch.equal(plain, kept)
    assert float((kept - plain).abs().max()) < 0.1 * float(plain.abs().max())


def test_a_run_that_is_taken_up_has_the_same_bits(scene: Scene) -> None:
    class Stops(KeepsNothing):
        kept: ClipState | None = None
        steps: list[tuple[int, int]] = []  # noqa: RUF012

        def offer_state(self, state: ClipState, scheduler: Any) -> None:
            self.steps.append((state.step, state.window))
            if state.step == 2 and self.kept is None:
                self.kept = ClipState(
                    step=2, window=0, latents=state.latents.clone(), fused=state.fused.clone()
                )

    stops = Stops()
    plain = latents(scene, stops, keep_control=2)
    assert stops.steps == [(2, 0), (4, 0)], "only where all features are computed anew"

    class Resumes(KeepsNothing):
        def state(self, scheduler: Any) -> ClipState | None:
            for _ in range(2):
                scheduler.step(stops.kept.fused, scheduler.timesteps[0], stops.kept.latents)
            scheduler._step_index = 2
            return stops.kept

    assert torch.equal(latents(scene, Resumes(), keep_control=2), plain)


def test_features_that_are_kept_are_planned_for(scene: Scene) -> None:
    def kept(**changes: Any) -> int:
        plan = plan_clip_memory(
            scene.parts.variant, scene.settings(**changes), RuntimeOptions(memory=64 << 30),
            frames=9, device=torch.device("cuda"), components=scene.parts,
        )  # fmt: skip
        return plan.request.kept

    features = scene.parts.controlnext(torch.zeros(1, 9, 3, 64, 64), torch.tensor(0.5))
    assert kept() == 0
    assert kept(keep_control=2) >= features.numel()


def test_workers_keep_nothing(scene: Scene) -> None:
    clip = {"reference": "-", "driving": "-", "output": "c.mp4", "keep_control": 2, "workers": 2}
    with pytest.raises(RequestError, match=r"keep-control 2 .*workers"):
        check_options(AnimationRequest.from_dict(clip))
    networks: Any = type("N", (), {"control": None})
    with pytest.raises(RequestError, match="not computed here"):
        with_kept_control(networks, None, every=2)  # type: ignore[arg-type]
    engine = Engine(components=scene.parts, device=CPU, executor=object())  # type: ignore[arg-type]
    with pytest.raises(TemporalError, match="keep-control 2"):
        sample(engine, scene.settings(keep_control=2), picture(SIZE), scene.control, Quiet())
