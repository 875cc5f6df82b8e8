"""Every door to the engine gives the same frames: command, animator, pipeline, stream."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from animate import AnimationRequest, Animator, clean_poses, draw_poses
from animate.cli.main import main
from animate.media import open_video, read_image
from pose.sequence import PoseSequence
from tests.pipeline.figure import FigureEstimator

SETTINGS = {"seed": 3, "retarget": "none"}
"""Settings that are called the same everywhere."""


@pytest.fixture(scope="module")
def frames(
    toy: Path, scene: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> np.ndarray:
    """(F,H,W,3): the command line's, without compression."""
    paths = ["--reference", scene["reference"], "--poses", scene["poses"]]
    output = tmp_path_factory.mktemp("command") / "%04d.png"
    given = [*paths, "--output", output, "--model", toy, "--seed", 3, "--retarget", "none"]
    assert main(["run", *map(str, given), "--quiet"]) == 0
    return np.stack([read_image(path) for path in sorted(output.parent.glob("*.png"))])


def same(video: list[Pillow.Image], frames: np.ndarray) -> bool:
    return np.array_equal(np.stack([np.asarray(picture) for picture in video]), frames)


def test_the_animator_gives_the_commands_frames(
    toy: Path, scene: dict[str, Path], frames: np.ndarray, tmp_path: Path
) -> None:
    files = {name: scene[name] for name in ("reference", "poses")}
    output = tmp_path / "%04d.png"
    request = AnimationRequest.from_dict({**files, "output": output, **SETTINGS})
    Animator.from_pretrained(toy, device="cpu")(request)
    written = sorted(tmp_path.glob("*.png"))
    assert np.array_equal(np.stack([read_image(path) for path in written]), frames)


def test_paths_give_the_commands_frames(pipe, scene, frames) -> None:
    out = pipe(str(scene["reference"]), poses=scene["poses"], **SETTINGS)
    assert same(out.frames[0], frames)
    assert out.fps == 29
    assert out[0] is out.frames


@pytest.mark.parametrize("kind", ["pillow", "uint8", "float", "tensor", "batched tensor"])
def test_pictures_and_poses_in_memory_give_the_commands_frames(pipe, scene, frames, kind) -> None:
    pixels = read_image(scene["reference"])
    tensor = torch.from_numpy(pixels).permute(2, 0, 1) / 255
    image = {
        "pillow": Pillow.fromarray(pixels),
        "uint8": pixels,
        "float": pixels.astype(np.float64) / 255,
        "tensor": tensor,
        "batched tensor": tensor[None],
    }[kind]
    poses = PoseSequence.load(scene["poses"])
    assert same(pipe(image, poses=poses, **SETTINGS).frames[0], frames)
    if kind == "uint8":
        points = np.concatenate([poses.points, poses.scores[..., None]], axis=-1)
        for array in (points, points[:, 0], torch.from_numpy(points)):
            out = pipe(image, poses=array, driving_fps=29, **SETTINGS)
            assert same(out.frames[0], frames)


def test_control_frames_that_were_drawn_give_the_commands_frames(pipe, scene, frames) -> None:
    drawn = draw_poses(clean_poses(PoseSequence.load(scene["poses"])), style="published")
    pixels = read_image(scene["reference"])
    channels_first = torch.from_numpy(drawn).permute(0, 3, 1, 2)
    for control in (drawn, list(drawn), channels_first, [Pillow.fromarray(p) for p in drawn]):
        out = pipe(pixels, control_frames=control, driving_fps="29", **SETTINGS)
        assert same(out.frames[0], frames)
        assert out.fps == 29


@pytest.mark.parametrize("chunk", [None, 2, 3])
def test_a_stream_gives_the_frames_of_a_call(pipe, scene, chunk) -> None:
    given = {"poses": scene["poses"], "decode_chunk_size": chunk, **SETTINGS}
    whole = pipe(scene["reference"], output_type="np", **given).frames[0]
    stream = pipe.stream(scene["reference"], output_type="np", **given)
    first = next(stream)
    pipe(scene["reference"], poses=scene["poses"], seed=9, retarget="none")  # meanwhile
    assert np.array_equal(np.stack([first, *stream]), whole)


def test_kinds_of_output_hold_the_same_frames(pipe, scene, frames) -> None:
    def call(kind: str, **more: object) -> object:
        return pipe(scene["reference"], poses=scene["poses"], output_type=kind, **SETTINGS, **more)

    arrays = call("np").frames
    assert arrays.shape == (1, *frames.shape)
    assert arrays.dtype == np.float32
    assert np.array_equal(np.rint(arrays[0] * 255), frames)
    assert np.array_equal(call("pt").frames.permute(0, 1, 3, 4, 2).numpy(), arrays)
    assert call("latent").frames.shape == (1, 7, 8, 16, 16)
    assert np.array_equal(call("np", return_dict=False), arrays)


def test_driving_pictures_in_memory_are_a_video(pipe, scene, monkeypatch, tmp_path) -> None:
    """An estimator that sees the figure's place in each picture stands in for the bundled one.

    A file that has the argument's name is none of the call's.
    """
    (tmp_path / "driving").write_bytes(b"another thing")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipe.animator, "estimator", lambda request: FigureEstimator())
    source = open_video(scene["driving"])
    pictures = [frame.image for frame in source.read()]
    by_path = pipe(scene["reference"], driving=scene["driving"], stride=2, **SETTINGS)
    listed = [Pillow.fromarray(picture) for picture in pictures]
    for driving in (np.stack(pictures), listed):
        out = pipe(scene["reference"], driving=driving, driving_fps=29, stride=2, **SETTINGS)
        assert out.fps == by_path.fps == Fraction(29, 2)
        assert same(out.frames[0], np.stack([np.asarray(p) for p in by_path.frames[0]]))
