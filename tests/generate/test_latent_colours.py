"""Previews of a clip from its latents, by the bundled model's own colours."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from animate.generate.pipeline import Engine, sample
from animate.generate.preview import (
    LatentColours,
    LivePreview,
    Preview,
    PreviewMaker,
    fit_colours,
    sheet,
    shown_frames,
)
from animate.models.components import Components, load_components
from animate.models.variants import resolve
from animate.progress import Quiet
from tests.generate.workers.contract import SIZE, Scene, make_scene
from tests.scene import picture

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tiny() -> Components:
    return load_components(resolve("tiny").variant)


@pytest.fixture(scope="module")
def colours(tiny: Components) -> LatentColours:
    return fit_colours(tiny.vae)


def test_the_map_comes_near_what_the_autoencoder_decodes(
    tiny: Components, colours: LatentColours
) -> None:
    from animate.generate.conditioning import encode_image
    from temporal.vae import decode_frames

    ramp = torch.linspace(-1, 1, 64)
    red, green = ramp.expand(64, 64), ramp.expand(64, 64).T
    image = torch.stack([red, green, -red * green])[None]
    latents = encode_image(image, tiny.vae) * tiny.vae.config.scaling_factor
    decoded = next(iter(decode_frames(tiny.vae, latents.expand(3, -1, -1, -1))))[0]
    scale = 64 // latents.shape[-1]
    true = torch.nn.functional.avg_pool2d((decoded + 1) * 127.5, scale).movedim(0, -1).numpy()
    ours = colours.picture(latents)[0]
    assert ours.shape == true.shape
    error = ours - true
    assert 20 * math.log10(255 / float(np.sqrt((error**2).mean()))) > 20
    assert np.array_equal(ours, fit_colours(tiny.vae).picture(latents)[0])


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    torch.set_num_threads(1)
    return make_scene(tmp_path_factory.mktemp("preview") / "toy", frames=8)


@pytest.mark.parametrize("solver", ["euler", "dpmpp-2m", "heun"])
def test_every_step_is_shown_and_the_last_preview_is_the_clip(scene: Scene, solver: str) -> None:
    colours, seen = fit_colours(scene.parts.vae), list[Preview]()
    engine = Engine(components=scene.parts, device=CPU)
    settings = scene.settings(steps=3, solver=solver, decode_chunk=4)
    plain = sample(engine, settings, picture(SIZE), scene.control, Quiet())
    live = LivePreview(painter=colours, on_preview=seen.append)
    latents = sample(engine, settings, picture(SIZE), scene.control, Quiet(), live=live)
    assert torch.equal(latents, plain)
    assert [p.step for p in seen] == list(range(1, seen[-1].steps + 1))
    assert seen[-1].frames == (0, 2, 5, 7)
    assert np.array_equal(seen[-1].pictures, colours.picture(latents[[0, 2, 5, 7]]))


def test_an_euler_step_shows_what_it_goes_towards(colours: LatentColours) -> None:
    """Not the noise that is left: with a perfect network every preview is the clip itself."""
    clean, noise = torch.randn(5, 16, 6, 4), torch.randn(5, 16, 6, 4)
    sigmas, seen = [80.0, 10.0, 2.0, 0.0], []
    maker = PreviewMaker(colours, seen.append, clean + 80 * noise, sigmas, exploding=True)
    for step, sigma in enumerate(sigmas[1:]):
        maker(step, clean + sigma * noise)
    expected = colours.picture(clean[[0, 1, 3, 4]]).astype(int)
    assert len(seen) == 3
    for preview in seen:
        assert np.abs(preview.pictures - expected).max() <= 1


def test_frames_are_chosen_evenly() -> None:
    assert [shown_frames(n) for n in (1, 3, 4, 100)] == [
        (0,), (0, 1, 2), (0, 1, 2, 3), (0, 33, 66, 99),
    ]  # fmt: skip


def test_a_sheet_has_the_frames_side_by_side() -> None:
    pictures = np.zeros((3, 4, 5, 3), np.uint8)
    pictures[1] = (200, 100, 50)
    preview = Preview(step=1, steps=2, frames=(0, 1, 2), pictures=pictures)
    whole = sheet(preview, enlarge=2)
    assert whole.shape == (8, 30, 3)
    assert np.abs(whole[:, 10:20].astype(int) - (200, 100, 50)).max() == 0
    assert whole[:, :10].max() == 0
