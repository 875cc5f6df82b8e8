"""What a clip's memory plan takes into account of the device and of the loaded networks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from animate import device
from animate.animator import Animator
from animate.device import device_memory
from animate.errors import RequestError
from animate.generate import engine as engine_room
from animate.generate import feature_cache as shortcuts
from animate.generate import memory, pipeline
from animate.generate.memory import CONTEXT, WORKSPACE, plan_clip_memory
from animate.generate.pipeline import Engine, sample
from animate.generate.settings import settle
from animate.models.components import Components, load_components
from animate.models.variants import resolve
from animate.progress import Quiet
from animate.request.request import AnimationRequest, RuntimeOptions
from temporal.errors import TemporalError
from temporal.memory import smaller
from temporal.memory_plan import MemoryPlan
from tests.generate.workers.contract import SIZE, Scene, make_scene
from tests.scene import picture

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene(tmp_path_factory.mktemp("memory") / "toy")


def plan(
    scene: Scene,
    device: torch.device = CPU,
    *,
    parts: Any = None,
    settings: Any = None,
    **options: Any,
) -> MemoryPlan:
    """Of the toy's clip; `options` are `RuntimeOptions`."""
    return plan_clip_memory(
        scene.parts.variant,
        settings or scene.settings(),
        RuntimeOptions(**{"memory": 64 << 30, **options}),
        frames=len(scene.control),
        device=device,
        components=parts or scene.parts,
    )


def half(scene: Scene) -> Components:
    """The scene's networks in float16."""
    return load_components(scene.parts.variant, torch.float16)


def parameters(*networks: Any) -> int:
    return sum(weight.numel() for network in networks for weight in network.parameters())


def card(monkeypatch: pytest.MonkeyPatch, *, free: int, reserved: int) -> None:
    """A stand-in for a GPU whose memory is asked for."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 6))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 80 << 30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: reserved)


def test_what_an_earlier_clip_left_on_a_gpu_is_still_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    card(monkeypatch, free=20 << 30, reserved=0)
    first = device_memory(CUDA)
    card(monkeypatch, free=6 << 30, reserved=14 << 30)
    assert device_memory(CUDA) == first


def test_plans_need_no_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert 0 < device._host_memory(tmp_path / "absent") <= device._host_memory() * 2
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1 << 20}
    monkeypatch.setattr(device.os, "sysconf_names", pages)
    monkeypatch.setattr(device.os, "sysconf", pages.__getitem__)
    assert device._host_memory(tmp_path / "absent") == 2 << 30


CARDS = (8, 10, 12, 16, 24)
DESKTOP = 256 << 20
"""What a screen takes of a card."""


@pytest.fixture(scope="module")
def described() -> Callable[..., Any]:
    """Sizes of the published networks, each built once."""
    return cache(lambda name, network: memory._described(resolve(name).variant, network))


@pytest.mark.parametrize("gib", CARDS)
@pytest.mark.parametrize("model", ["svd-v1", "svd-v2"])
def test_a_plan_fits_a_card_of_that_size(
    monkeypatch: pytest.MonkeyPatch, described: Callable[..., Any], model: str, gib: int
) -> None:
    """Measured as free memory, or asked for as the card's: with the context and workspaces."""
    whole = gib << 30
    variant = resolve(model).variant
    clip = {"reference": "-", "driving": "-", "output": "-"}
    settings = settle(AnimationRequest.from_dict(clip), variant, variant.sizes[0])
    options = {"frames": 240, "device": CUDA}
    monkeypatch.setattr(memory, "_network", lambda _, v, network: described(v.name, network))
    card(monkeypatch, free=whole - DESKTOP - CONTEXT, reserved=0)
    ours = plan_clip_memory(variant, settings, RuntimeOptions(), **options)
    assert ours.peak + CONTEXT + DESKTOP < whole
    assert ours.request.resident >= WORKSPACE
    asked = plan_clip_memory(variant, settings, RuntimeOptions(memory=whole), **options)
    assert asked.peak < whole
    assert asked.request.resident >= CONTEXT + WORKSPACE
    # Nothing is lost by the asking: what a plan needs more is what it counts more.
    assert asked.peak - ours.peak <= CONTEXT or asked.rung != ours.rung


def test_no_more_than_the_card_has_is_planned_for_loaded_networks(
    monkeypatch: pytest.MonkeyPatch, scene: Scene
) -> None:
    card(monkeypatch, free=3 << 30, reserved=0)
    assert plan(scene, CUDA, memory=64 << 30).budget == (3 << 30) + CONTEXT
    elsewhere = plan_clip_memory(
        scene.parts.variant, scene.settings(), RuntimeOptions(memory=64 << 30),
        frames=14, device=CUDA,
    )  # fmt: skip
    assert elsewhere.budget == 64 << 30


@pytest.mark.parametrize("first", ["model", "none"])
def test_networks_on_the_card_go_home_before_stages_that_do_not_count_them(
    monkeypatch: pytest.MonkeyPatch, scene: Scene, first: str
) -> None:
    """At once, or when a smaller plan is the first to keep networks on the host."""
    did: list[str] = []
    network = SimpleNamespace(to=lambda device: did.append(f"to {device}"))
    plans: Any = [SimpleNamespace(offload=way, peaks={"denoise": 1}) for way in (first, "model")]
    parts: Any = SimpleNamespace(networks=lambda: (network,), variant=scene.parts.variant)
    parts.vae = scene.parts.vae

    def networks_of(engine: Engine, *_: Any) -> Any:
        did.append(f"denoise {engine.offload}")
        return contextlib.nullcontext()

    def denoise(*_: Any, **__: Any) -> None:
        if len([word for word in did if word.startswith("denoise")]) == 1:
            raise torch.OutOfMemoryError("stand-in")

    monkeypatch.setattr(pipeline, "encode", lambda *_: did.append("encode"))
    monkeypatch.setattr(pipeline, "networks_of", networks_of)
    monkeypatch.setattr(pipeline, "denoise", denoise)
    monkeypatch.setattr(engine_room, "smaller", lambda *_: plans[1])
    engine = Engine(components=parts, device=torch.device("cpu"), plan=plans[0])
    sample(engine, scene.settings(), picture(SIZE), scene.control, Quiet())
    retried = ["to cpu", "denoise model"]
    before = ["to cpu"] if first == "model" else []
    assert did == [*before, "encode", f"denoise {first}", *retried]


def test_the_loaded_networks_precision_is_priced(scene: Scene) -> None:
    """Whatever is automatic on the device."""
    for target in (CPU, CUDA):
        whole, halved = plan(scene, target), plan(scene, target, parts=half(scene))
        assert (whole.precision, halved.precision) == ("float32", "float16")
        wide, narrow = (p.peaks["denoise"] - p.request.resident for p in (whole, halved))
        assert narrow < 0.6 * wide


def test_another_precision_than_the_loaded_one_is_refused(scene: Scene) -> None:
    with pytest.raises(RequestError, match=r"precision float32 .* loaded in float16; leave it out"):
        plan(scene, CUDA, parts=half(scene), precision="float32")
    assert plan(scene, CUDA, parts=half(scene), precision="float16").precision == "float16"
    assert plan(scene, CUDA, parts=half(scene), precision="int8").precision == "int8"
    animator = Animator(Engine(components=scene.parts, device=CPU), "a test")
    runtime = RuntimeOptions(precision="bfloat16")
    with pytest.raises(RequestError, match="loaded in float32"):  # where nothing is planned, too
        animator._undo_eight_bit(runtime)


def test_on_a_cpu_every_network_is_counted_in_every_plan(scene: Scene) -> None:
    plans, least = [plan(scene)], 4 * parameters(*scene.parts.networks())
    with contextlib.suppress(TemporalError):
        while len(plans) < 100:
            plans.append(smaller(plans[-1]))
    assert {one.offload for one in plans} == {"none"}
    assert all(
        peak >= least for one in plans if one.precision != "int8" for peak in one.peaks.values()
    )
    for less in (least, 0):
        with pytest.raises(TemporalError, match="nearest budget"):
            plan(scene, memory=less)
    for offload in ("model", "stream"):
        with pytest.raises(TemporalError, match=f"offload {offload} .*leave it out"):
            plan(scene, offload=offload)


def test_eight_bit_weights_are_priced_with_what_computes(scene: Scene) -> None:
    """On a CPU float32, and they are made there of float32 weights that were there to encode."""
    whole, small = plan(scene), plan(scene, precision="int8")
    saved = (4 - 1.02) * parameters(scene.parts.unet)
    assert whole.peaks["denoise"] - small.peaks["denoise"] == pytest.approx(saved, rel=1e-3)
    assert small.peaks["encode"] == pytest.approx(whole.peaks["encode"], rel=1e-6)


def test_packed_weights_count_again_only_where_workers_share_the_others(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = plan(scene).peaks["denoise"]
    assert plan(scene, pack_weights=True).peaks["denoise"] == plain
    once = 4 * memory.parameters(scene.parts.unet)
    assert plan(scene, pack_weights=True, workers=2).peaks["denoise"] == plain + once
    assert plan(scene, workers=2).peaks["denoise"] == plain
    for name in ("RANK", "MASTER_ADDR", "LOCAL_RANK"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert plan(scene, pack_weights=True).peaks["denoise"] == plain + once


def test_the_image_encoder_is_counted_where_it_is(scene: Scene) -> None:
    parts = half(scene)
    without = SimpleNamespace(**{**vars(parts), "image_encoder": torch.nn.Identity()})
    without.image_encoder.config = None
    own = 2 * parameters(parts.image_encoder)
    # Offloaded it is gone before the autoencoder comes, which needs more.
    for offload, stages in (("none", {"encode", "denoise", "decode"}), ("model", set())):
        ours = plan(scene, CUDA, parts=parts, offload=offload)
        theirs = plan(scene, CUDA, parts=without, offload=offload)
        more = {stage: ours.peaks[stage] - theirs.peaks[stage] for stage in ours.peaks}
        assert more == {stage: own if stage in stages else 0 for stage in more}


@pytest.mark.parametrize("changes", [{}, {"guidance": "1"}, {"guidance_interval": "0.5:50"}])
def test_features_that_are_kept_are_counted(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    made: list[Any] = []

    class Seen(shortcuts.DeepFeatures):
        def __init__(self, every: int) -> None:
            super().__init__(every)
            made.append(self)

    monkeypatch.setattr(shortcuts, "DeepFeatures", Seen)
    settings = scene.settings(steps=4, keep_features=2, **changes)
    engine = Engine(components=scene.parts, device=CPU)
    sample(engine, settings, picture(SIZE), scene.control, Quiet())
    kept = sum(entry.features.numel() for entry in made[0]._entries.values())
    assert kept == plan(scene, settings=settings).request.kept
    none = plan(scene, settings=scene.settings(steps=4, **changes))
    ours = plan(scene, settings=settings)
    assert ours.peaks["denoise"] - none.peaks["denoise"] == 4 * kept
    assert ours.peaks["decode"] == none.peaks["decode"]
