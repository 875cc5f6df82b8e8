"""The nodes, over a stand-in of ComfyUI's API."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from animate import ControlNeXtVideoPipeline
from animate.errors import RequestError
from animate.nodes import comfy_entrypoint
from pose.errors import PoseError
from tests.nodes.stand_in import Editor, Interrupted, Socket
from tests.pipeline.figure import FigureEstimator
from tests.scene import picture, poses
from tests.toy import toy_model

PACK = Path(__file__).parent.parent.parent / "configs" / "comfyui" / "cnx_animate"
OURS = ("extension", "clips", "poses", "progress", "schema")


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Editor]:
    editor = Editor(tmp_path)
    for name, module in editor.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    yield editor
    for name in OURS:
        sys.modules.pop(f"animate.nodes.{name}", None)
        vars(sys.modules["animate.nodes"]).pop(name, None)


@pytest.fixture
def nodes(editor: Editor) -> dict[str, Any]:
    poses(4).save(editor.folder / "input" / "poses.npz")
    extension = asyncio.run(comfy_entrypoint())
    listed = asyncio.run(extension.get_node_list())
    return {node.define_schema().node_id: node for node in listed}


def values_of(node: Any, **changes: Any) -> dict[str, Any]:
    """The inputs of a node as the editor fills them in."""
    stated: list[Socket] = node.define_schema().inputs
    usual = {item.name: item.values["default"] for item in stated if "default" in item.values}
    return {**usual, **changes}


@pytest.fixture
def pipeline(editor: Editor, nodes: dict[str, Any]) -> ControlNeXtVideoPipeline:
    (editor.folder / "models" / "cnx").mkdir()
    toy_model(editor.folder / "models" / "cnx" / "mine")
    load = nodes["CnxLoadModel"]
    assert "mine" in load.define_schema().inputs[0].values["options"]
    return load.execute(**values_of(load, model="mine", precision="float32")).args[0]


@pytest.fixture
def image() -> torch.Tensor:
    return torch.from_numpy(picture())[None] / 255


def animate(nodes: dict[str, Any], pipeline: Any, image: torch.Tensor, **changes: Any) -> Any:
    node = nodes["CnxAnimate"]
    given = {"pipeline": pipeline, "image": image, "retarget": "none", **changes}
    return node.execute(**values_of(node, **given))


def test_a_clip_is_that_of_the_pipeline_with_progress_and_previews(
    editor: Editor, nodes: dict[str, Any], pipeline: Any, image: torch.Tensor
) -> None:
    [loaded] = nodes["CnxLoadPoses"].execute("poses.npz", 25.0).args
    images, video, rate = animate(nodes, pipeline, image, poses=loaded, seed=3).args
    assert images.shape == (4, 64, 64, 3)
    assert images.dtype == torch.float32
    pipeline.set_progress_bar_config(disable=True)
    out = pipeline(picture(), poses=poses(4), seed=3, retarget="none", output_type="np")
    assert np.array_equal(images.numpy(), out.frames[0])
    assert (rate, video.get_components().frame_rate) == (29.0, 29)
    values = [value for value, _ in editor.shown]
    assert values == sorted(values)
    assert values[-1] == 1000
    assert any(preview for _, preview in editor.shown)


def test_control_frames_take_the_place_of_poses(
    nodes: dict[str, Any], pipeline: Any, image: torch.Tensor
) -> None:
    [drawn] = nodes["CnxDrawPoses"].execute(poses(4), 0, 0, "published").args
    assert drawn.shape == (4, 64, 64, 3)
    given = {"control_frames": drawn, "control_rate": 29.97}
    images, video, _ = animate(nodes, pipeline, image, **given).args
    assert len(images) == 4
    assert video.get_components().frame_rate == Fraction(30000, 1001)


def test_a_mask_keeps_the_pictures_background(
    nodes: dict[str, Any], pipeline: Any, image: torch.Tensor
) -> None:
    mask = torch.zeros(1, 64, 64)
    mask[:, :, :20] = 1
    images = animate(nodes, pipeline, image, poses=poses(4), background=mask).args[0]
    assert torch.equal(images[:, :, :20], image[:, :, :20].expand(4, -1, -1, -1))
    assert not torch.equal(images[0, :, 30:], image[0, :, 30:])


def test_an_interrupt_stops_the_clip_and_the_next_one_is_made(
    editor: Editor, nodes: dict[str, Any], pipeline: Any, image: torch.Tensor
) -> None:
    editor.interrupted = True
    with pytest.raises(Interrupted):
        animate(nodes, pipeline, image, poses=poses(4))
    assert len(animate(nodes, pipeline, image, poses=poses(4)).args[0]) == 4


def test_a_clip_is_saved_with_its_exact_rate_and_sound(
    editor: Editor, nodes: dict[str, Any]
) -> None:
    import animate.nodes.clips as clips

    tone = {"waveform": torch.sin(torch.arange(8000) / 20)[None, None], "sample_rate": 48000}
    parts = clips.Types.VideoComponents(torch.rand(5, 64, 64, 3), Fraction(30000, 1001), tone)
    video = clips.InputImpl.VideoFromComponents(parts)
    node = nodes["CnxSaveClip"]
    shown = node.execute(**values_of(node, video=video, format="mkv")).ui
    file = editor.folder / "output" / shown["images"][0][0]
    with av.open(str(file)) as clip:
        assert clip.streams.video[0].average_rate == Fraction(30000, 1001)
        assert len(clip.streams.audio) == 1
        assert clip.metadata["PROMPT"] == json.dumps({"1": {}})
    assert not list(editor.folder.glob("**/*.wav"))


def test_poses_are_estimated_trimmed_cleaned_and_retargeted(
    nodes: dict[str, Any], image: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "animate.pipeline.poses.load_estimator", lambda name, **options: FigureEstimator()
    )
    images = torch.from_numpy(np.stack([picture(shift=0.02 * n) for n in range(6)])) / 255
    estimate = nodes["CnxEstimatePoses"]
    found, audio, rate = estimate.execute(
        frame_rate=24.0, estimator="blazepose", images=images
    ).args
    assert (found.frames, audio, rate) == (6, None, 24.0)
    trimmed, rate = nodes["CnxTrimPoses"].execute(found, 1, 2, 2).args
    assert (trimmed.frames, rate) == (2, 12.0)
    [clean] = nodes["CnxCleanPoses"].execute(found, 0.35, 0.055, True).args
    [fitted] = nodes["CnxRetargetPoses"].execute(clean, image, "robust", "main").args
    assert fitted.canvas == (64, 64)


def test_keypoints_go_to_other_packs_and_come_back(nodes: dict[str, Any]) -> None:
    [keypoints] = nodes["CnxPosesToKeypoints"].execute(poses(3)).args
    assert keypoints[0]["canvas_width"] == 64
    [back] = nodes["CnxKeypointsToPoses"].execute(keypoints, 29.0).args
    np.testing.assert_allclose(back.points[:, :, :18], poses(3).points[:, :, :18], atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image": torch.zeros(0, 64, 64, 3)}, "image is an empty batch"),
        ({"image": torch.zeros(1, 64, 64, 4)}, "image has 4 channels; expected RGB"),
        ({"image": torch.zeros(3, 64, 64, 3)}, "image is a batch of 3 pictures"),
        ({"image": torch.zeros(64, 64, 3)}, "expected an IMAGE"),
        ({"image": torch.full((1, 64, 64, 3), torch.nan)}, "not finite"),
        ({"poses": None}, "connect poses or control_frames"),
        ({"control_frames": torch.zeros(4, 64, 64, 3)}, "connect poses or control_frames"),
        ({"background": torch.zeros(2, 64, 64)}, "expected a MASK of one picture"),
        ({"background": torch.zeros(1, 32, 32)}, r"expected \(64, 64\), as the image is"),
        ({"width": 64}, "height and width go together"),
    ],
)
def test_what_a_node_cannot_use_is_named(
    nodes: dict[str, Any], pipeline: Any, image: torch.Tensor, changes: Any, words: str
) -> None:
    with pytest.raises(RequestError, match=words):
        animate(nodes, pipeline, **{"image": image, "poses": poses(4), **changes})


def test_three_people_are_taken_for_the_main_one_and_no_keypoints_for_none(
    nodes: dict[str, Any], pipeline: Any, image: torch.Tensor
) -> None:
    from dataclasses import replace

    single = poses(4)
    three = replace(
        single,
        points=np.repeat(single.points, 3, axis=1) * np.array([1, 0.5, 0.4])[:, None, None],
        scores=np.repeat(single.scores, 3, axis=1),
    )
    assert len(animate(nodes, pipeline, image, poses=three).args[0]) == 4
    with pytest.raises(PoseError, match="POSE_KEYPOINT"):
        nodes["CnxKeypointsToPoses"].execute([], 25.0)


def test_examples_name_inputs_that_the_nodes_have(nodes: dict[str, Any]) -> None:
    files = sorted((PACK / "example_workflows").glob("*.json"))
    assert files
    for file in files:
        for step in json.loads(file.read_text()).values():
            if step["class_type"] in nodes:
                inputs = nodes[step["class_type"]].define_schema().inputs
                needed = {item.name for item in inputs if not item.values.get("optional")}
                assert needed <= set(step["inputs"]) <= {item.name for item in inputs}


def test_the_folder_for_comfyui_has_two_lines() -> None:
    lines = (PACK / "__init__.py").read_text().splitlines()
    assert len(lines) == 2
