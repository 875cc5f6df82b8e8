"""Stills by the stock pipeline with control hooked onto it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from animate.cli.main import main
from animate.errors import RequestError
from animate.media.image import read_image, write_png
from animate.request.still import Span, StillRequest
from animate.stills.control_pictures import canny
from animate.stills.make import make_stills
from animate.stills.pipeline import StillPipeline
from animate.stills.sizes import chosen_size
from tests.stills.conftest import SIZE
from tests.toy_still import DESIGN, StillFiles

CALL = {"prompt": "a dancer", "steps": 2, "seed": 3}


def test_control_changes_the_picture_and_comes_off_again(
    pipeline: StillPipeline, picture: np.ndarray
) -> None:
    free = np.asarray(pipeline(size=SIZE, **CALL))
    controlled = np.asarray(pipeline(control=picture, **CALL))
    again = np.asarray(pipeline(size=SIZE, **CALL))
    assert free.shape == controlled.shape == (64, 64, 3)
    assert (free != controlled).any()
    np.testing.assert_array_equal(free, again)


def test_without_control_it_is_the_stock_pipeline(pipeline: StillPipeline) -> None:
    ours = np.asarray(pipeline(size=SIZE, **CALL))
    pipeline.set_scheduler(None)
    stock = pipeline.pipe(
        "a dancer", width=64, height=64, num_inference_steps=2, guidance_scale=7.5,
        generator=torch.Generator("cpu").manual_seed(3),
    ).images[0]  # fmt: skip
    np.testing.assert_array_equal(ours, np.asarray(stock))


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 4}, {"steps": 3}, {"guidance_scale": 2.0}, {"control_weight": 0.1},
        {"control_range": (0.0, 0.5)}, {"scheduler": "euler"}, {"negative_prompt": "blur"},
        {"prompt": "a wall"},
    ],
    ids=str,
)  # fmt: skip
def test_every_setting_counts(
    pipeline: StillPipeline, picture: np.ndarray, change: dict[str, object]
) -> None:
    first = np.asarray(pipeline(control=picture, **CALL))
    other = np.asarray(pipeline(**{"control": picture, **CALL, **change}))  # type: ignore[arg-type]
    assert (first != other).any()


def test_control_of_weight_zero_is_none(pipeline: StillPipeline, picture: np.ndarray) -> None:
    free = np.asarray(pipeline(size=SIZE, **CALL))
    weightless = np.asarray(pipeline(control=picture, control_weight=0.0, **CALL))
    np.testing.assert_array_equal(free, weightless)


def test_a_picture_to_begin_from_is_kept_the_more_the_less_strength(
    pipeline: StillPipeline, picture: np.ndarray
) -> None:
    call = {**CALL, "steps": 10, "control": None, "init": picture}
    near = np.asarray(pipeline(strength=0.1, **call)).astype(int)  # type: ignore[arg-type]
    far = np.asarray(pipeline(strength=1.0, **call)).astype(int)  # type: ignore[arg-type]
    assert near.shape == far.shape == picture.shape
    assert (near != far).any()


def test_a_partial_unet_replaces_the_bases_weights(toy_still: StillFiles) -> None:
    plain = StillPipeline.from_files(toy_still.base, design=DESIGN, device="cpu")
    trained = StillPipeline.from_files(
        toy_still.base, design=DESIGN, unet=toy_still.unet, device="cpu"
    )
    before, after = plain.pipe.unet.state_dict(), trained.pipe.unet.state_dict()
    for name, value in load_file(toy_still.unet).items():
        torch.testing.assert_close(after[name], value)
        assert not torch.equal(before[name], after[name])


def test_a_control_picture_of_another_shape_is_cropped_and_not_bent(
    pipeline: StillPipeline, picture: np.ndarray
) -> None:
    wide = np.concatenate([np.zeros_like(picture), picture, np.zeros_like(picture)], 1)
    cropped = np.asarray(pipeline(control=wide, size=SIZE, **CALL))
    np.testing.assert_array_equal(cropped, np.asarray(pipeline(control=picture, **CALL)))
    bent = np.asarray(pipeline(control=wide, size=SIZE, fit="stretch", **CALL))
    assert (bent != cropped).any()


def test_a_much_larger_control_picture_gives_its_proportions_alone(
    pipeline: StillPipeline,
) -> None:
    size = chosen_size(None, np.zeros((2000, 1000, 3), np.uint8), pipeline.design)
    assert size == (360, 728)
    assert chosen_size(None, np.zeros((70, 70, 3), np.uint8), pipeline.design) == (64, 64)


def test_sizes_off_the_grid_name_the_nearest(pipeline: StillPipeline) -> None:
    with pytest.raises(RequestError, match="the nearest is 64x72"):
        pipeline(size=(66, 70), **CALL)


def request(toy_still: StillFiles, folder: Path, **more: object) -> StillRequest:
    return StillRequest(  # type: ignore[arg-type]
        **{
            "prompt": "a dancer",
            "output": folder / "out.png",
            "base": toy_still.base,
            "model": DESIGN,
            "size": SIZE,
            "steps": 1,
            "device": "cpu",
            **more,
        }
    )


def test_a_series_goes_on_where_it_was(toy_still: StillFiles, tmp_path: Path) -> None:
    from animate.progress import Quiet

    series = request(toy_still, tmp_path, count=3)
    first = make_stills(series, Quiet())
    assert [path.name for path in first.outputs] == [f"out-000{n}.png" for n in range(3)]
    pictures = [path.read_bytes() for path in first.outputs]
    assert len(set(pictures)) == 3
    first.outputs[1].unlink()
    second = make_stills(series, Quiet())
    assert second.kept == 2
    assert [path.read_bytes() for path in second.outputs] == pictures
    assert make_stills(series, Quiet()).kept == 3
    record = json.loads(first.record.read_text())
    assert record["pictures"]["out-0002.png"]["seed"] == 2


def test_other_settings_do_not_overwrite(toy_still: StillFiles, tmp_path: Path) -> None:
    from animate.errors import MediaError
    from animate.progress import Quiet

    make_stills(request(toy_still, tmp_path), Quiet())
    before = (tmp_path / "out.png").read_bytes()
    with pytest.raises(MediaError, match="exists already"):
        make_stills(request(toy_still, tmp_path, seed=9), Quiet())
    assert (tmp_path / "out.png").read_bytes() == before
    make_stills(request(toy_still, tmp_path, seed=9, overwrite=True), Quiet())
    assert (tmp_path / "out.png").read_bytes() != before


def test_the_command_makes_a_picture_and_its_control(
    toy_still: StillFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_png(
        tmp_path / "photo.png", np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    )
    code = main(
        [
            "still", "--prompt", "a dancer", "--output", str(tmp_path / "a.png"), "--base",
            str(toy_still.base), "--model", DESIGN, "--controlnext", str(toy_still.controlnext),
            "--control-from", str(tmp_path / "photo.png"), "--control-kind", "canny", "--steps",
            "1", "--device", "cpu", "--progress", "plain",
        ]
    )  # fmt: skip
    assert code == 0, capsys.readouterr().err
    assert read_image(tmp_path / "a.png").shape == (64, 64, 3)
    edges = read_image(tmp_path / "a-canny.png")
    np.testing.assert_array_equal(edges, canny(read_image(tmp_path / "photo.png")))
    assert json.loads((tmp_path / "a.json").read_text())["kind"] == "still"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "controlnet", "control": "c.png"}, "controlnet needs control_model"),
        ({"control_model": "c"}, "control_model needs --with"),
        ({"method": "t2i-adapter", "control_model": "c"}, "needs a control picture"),
        ({"control_from": "p.png", "control_kind": "depth"}, "depth needs depth_model"),
        ({"controlnext": "c.safetensors"}, "needs a control picture"),
        ({"control_from": "p.png"}, "control_from needs control_kind"),
        ({"ip_image": "p.png"}, "go together"),
        ({"output": "a.jpg"}, r"is not a \.png"),
        ({"control_range": "0.5:0.5"}, "is not START:END"),
        ({"precision": "int8"}, "int8 is for clips"),
    ],
)
def test_settings_that_contradict_each_other(settings: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        StillRequest(**{"output": "a.png", **settings})  # type: ignore[arg-type]


def test_spans_are_read_as_written() -> None:
    assert Span.parse("0:0.5") == Span(0.0, 0.5)
    assert str(Span(0.0, 0.5)) == "0:0.5"
