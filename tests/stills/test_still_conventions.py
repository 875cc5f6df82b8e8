"""`StillPipeline` follows the conventions of the video pipeline and of diffusers."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch

from animate.errors import RequestError
from animate.stills.pipeline import StillPipeline
from tests.stills.conftest import SIZE

CALL: dict[str, Any] = {"prompt": "a dancer", "steps": 4, "seed": 3, "size": SIZE}


def test_pictures_come_as_they_are_asked_for(pipeline: StillPipeline) -> None:
    picture = np.asarray(pipeline(**CALL))
    array = pipeline(output_type="np", **CALL)
    tensor = pipeline(output_type="pt", **CALL)
    assert (array.dtype, array.shape, tuple(tensor.shape)) == (np.float32, (64, 64, 3), (3, 64, 64))
    np.testing.assert_allclose(array * 255, picture, atol=1e-3)
    np.testing.assert_array_equal(tensor.permute(1, 2, 0).numpy(), array)
    with pytest.raises(RequestError, match="output_type 'png' is not one of pil, np, pt"):
        pipeline(output_type="png", **CALL)  # type: ignore[arg-type]


def test_a_generator_gives_the_noise_in_place_of_a_seed(pipeline: StillPipeline) -> None:
    call = {name: value for name, value in CALL.items() if name != "seed"}
    by_seed = np.asarray(pipeline(**CALL))
    generator = torch.Generator("cpu").manual_seed(3)
    np.testing.assert_array_equal(np.asarray(pipeline(generator=generator, **call)), by_seed)
    assert (np.asarray(pipeline(**call)) != by_seed).any()  # 0 where neither is given
    with pytest.raises(RequestError, match="seed and generator are both given"):
        pipeline(generator=generator, **CALL)


def test_a_callback_sees_every_step_and_may_change_its_tensors(pipeline: StillPipeline) -> None:
    seen: list[tuple[int, tuple[int, ...]]] = []

    def look(pipe: object, step: int, timestep: Any, tensors: dict[str, torch.Tensor]) -> None:
        assert pipe is pipeline
        assert set(tensors) == {"latents", "prompt_embeds"}
        seen.append((step, tuple(tensors["latents"].shape)))

    plain = np.asarray(pipeline(**CALL))
    looked = pipeline(
        callback_on_step_end=look,
        callback_on_step_end_tensor_inputs=["latents", "prompt_embeds"],
        **CALL,
    )
    assert [step for step, _ in seen] == [0, 1, 2, 3]
    assert seen[0][1] == (1, 4, 8, 8)
    np.testing.assert_array_equal(np.asarray(looked), plain)

    def halve(pipe: object, step: int, timestep: Any, tensors: Any) -> Any:
        return {"latents": tensors["latents"] / 2}

    assert (np.asarray(pipeline(callback_on_step_end=halve, **CALL)) != plain).any()


def test_an_interrupted_call_gives_its_picture_so_far_and_the_next_is_whole(
    pipeline: StillPipeline,
) -> None:
    steps: list[int] = []

    def stop(pipe: StillPipeline, step: int, timestep: Any, tensors: Any) -> None:
        steps.append(step)
        pipe.interrupt = step == 1 or pipe.interrupt

    whole = np.asarray(pipeline(**CALL))
    part = np.asarray(pipeline(callback_on_step_end=stop, **CALL))
    assert part.shape == whole.shape
    assert (part != whole).any()
    assert max(steps) == 1
    np.testing.assert_array_equal(np.asarray(pipeline(**CALL)), whole)


def test_a_callback_that_raises_leaves_the_pipeline_as_it_was(
    pipeline: StillPipeline, picture: np.ndarray
) -> None:
    before = np.asarray(pipeline(control=picture, **CALL))

    def fail(*arguments: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        pipeline(control=picture, callback_on_step_end=fail, **CALL)
    np.testing.assert_array_equal(np.asarray(pipeline(control=picture, **CALL)), before)


def test_calls_from_two_threads_queue(pipeline: StillPipeline, picture: np.ndarray) -> None:
    expected = np.asarray(pipeline(control=picture, **CALL)), np.asarray(pipeline(**CALL))
    results: dict[int, np.ndarray] = {}

    def make(index: int, control: np.ndarray | None) -> None:
        results[index] = np.asarray(pipeline(control=control, **CALL))

    threads = [threading.Thread(target=make, args=args) for args in ((0, picture), (1, None))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in (0, 1):
        np.testing.assert_array_equal(results[index], expected[index])


def test_it_moves_to_other_numbers_with_its_control_network(
    pipeline: StillPipeline, picture: np.ndarray
) -> None:
    assert (pipeline.device.type, pipeline.dtype) == ("cpu", torch.float32)
    before = np.asarray(pipeline(control=picture, **CALL))
    try:
        assert pipeline.to(torch.bfloat16) is pipeline
        assert pipeline.dtype == pipeline.unet.dtype == torch.bfloat16
        assert next(pipeline.network.parameters()).dtype == torch.bfloat16
        rounded = np.asarray(pipeline(control=picture, **CALL))
        assert (rounded != before).any()
    finally:
        pipeline.to("cpu", torch.float32)
    with pytest.raises(RequestError, match=r"torch_dtype torch\.int8 is not one of"):
        pipeline.to(torch.int8)
