"""The person's mask: on the person, beside the clip, and as its transparency."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from animate import AnimationRequest, AnimationResult, Animator
from animate.errors import RequestError
from animate.finish.body import body_unit
from animate.finish.matte import Matte
from animate.media import open_video
from tests.scene import poses, write_scene
from tests.toy import toy_model


@pytest.fixture(scope="module")
def animator(tmp_path_factory: pytest.TempPathFactory) -> Animator:
    folder = tmp_path_factory.mktemp("model") / "toy"
    toy_model(folder)
    return Animator.from_pretrained(folder, device="cpu")


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr("animate.clip.motion.reference_pose", lambda *_: poses(1))
    return {**write_scene(tmp_path), "retarget": "none", "max_frames": 3}


def run(animator: Animator, values: dict[str, Any], **changes: Any) -> AnimationResult:
    return animator(AnimationRequest.from_dict({**values, **changes}))


def stick(x: int) -> np.ndarray:
    skeleton = np.zeros((200, 160, 3), np.uint8)
    skeleton[40:160, x - 2 : x + 2] = 255
    return skeleton


def test_the_mask_follows_the_person_and_what_differs_near_it() -> None:
    picture = np.full((200, 160, 3), 90, np.uint8)
    frame = picture.copy()
    frame[40:160, 104:116] = 220
    frame[60:120, 100:122] = 220  # a coat that reaches beyond its skeleton
    mask = Matte(picture, stick(40), 10.0)(frame, stick(110))
    assert mask[80, 102:120].min() > 240
    assert mask[140, 106:114].min() > 240
    assert mask[140, 120:].max() < 15
    assert mask[80, 126:].max() < 15
    assert mask[:, :80].max() < 8  # where the reference's person stood nobody is now
    assert mask[10].max() < 8


LIMBS = [  # of somebody with one arm raised and legs apart, in pixels of 96x144
    ((48, 22), (48, 30), 7), ((42, 36), (54, 36), 4), ((48, 34), (46, 70), 6),
    ((40, 36), (28, 46), 3), ((28, 46), (28, 24), 3), ((56, 36), (62, 52), 3),
    ((62, 52), (56, 66), 3), ((44, 70), (38, 124), 4), ((52, 70), (62, 124), 4),
]  # fmt: skip


def drawn(page: np.ndarray, colour: tuple[int, int, int], thickness: int | None) -> np.ndarray:
    picture = page.copy()
    for start, end, radius in LIMBS:
        cv2.line(picture, start, end, colour, thickness or 2 * radius)
    return picture


def test_between_limbs_at_the_bundled_models_size_the_wall_is_no_person() -> None:
    """A lamp lights the wall, so that it is brighter around the person than at the edges."""
    rows, columns = np.mgrid[:144, :96]
    light = 0.6 + 0.4 * np.exp(-(((columns - 48) / 40) ** 2) - ((rows - 80) / 60) ** 2)
    wall = (light[..., None] * (200, 196, 202)).astype(np.uint8)
    frame = cv2.GaussianBlur(drawn(wall, (60, 110, 160), None), (0, 0), 0.8)
    skeleton = drawn(0 * wall, (255, 255, 255), 1)
    truth = drawn(np.zeros((144, 96), np.uint8), (255, 255, 255), None)
    reference = drawn(wall, (60, 110, 160), None)
    mask = Matte(reference, skeleton, body_unit([skeleton]))(frame, skeleton)
    inside = cv2.erode(truth, np.ones((3, 3), np.uint8)) > 0
    near = cv2.dilate(truth, np.ones((7, 7), np.uint8)) > 0
    assert mask[inside].min() > 180
    assert mask[~near].max() < 15
    assert mask[110, 46:54].max() < 15  # between the legs
    assert mask[28:34, 34:38].max() < 15  # between head and raised arm
    assert mask[52:58, 55:57].max() < 60  # in the crook of the other one


def test_a_shadow_at_the_feet_is_no_person() -> None:
    wall = np.full((144, 96, 3), (175, 172, 176), np.uint8)
    skeleton = drawn(0 * wall, (255, 255, 255), 1)
    frame = drawn(wall, (60, 110, 160), None)
    shadow = cv2.ellipse(0 * wall, (50, 128), (26, 4), 0, 0, 360, (1, 1, 1), -1)[..., 0] > 0
    shadow &= (frame == wall).all(axis=-1)
    frame[shadow] = wall[shadow] * 0.7
    mask = Matte(wall, 0 * skeleton, body_unit([skeleton]))(frame, skeleton)
    assert mask[127, 46:54].max() < 15
    assert mask[118, 38:40].min() > 200


def test_a_mask_is_written_beside_the_clip(
    animator: Animator, scene: dict[str, Any], tmp_path: Path
) -> None:
    masks = tmp_path / "mask.mkv"
    values = {**scene, "output": tmp_path / "clip.mp4", "mask_output": masks}
    result = run(animator, values, stride=2, interpolate=True)
    pictures = [frame.image for frame in open_video(masks).read()]
    assert len(pictures) == result.frames
    assert pictures[0].max() > 200 > 50 > pictures[0].min()
    plain = run(
        animator, {**values, "mask_output": None}, stride=2, interpolate=True, overwrite=True
    )
    assert result.frames == plain.frames


@pytest.mark.parametrize("name", ["clip.mov", "clip.webp", "clip/%04d.png"])
def test_the_person_alone_is_written_on_a_transparent_ground(
    animator: Animator, scene: dict[str, Any], tmp_path: Path, name: str
) -> None:
    output = tmp_path / name
    run(animator, scene, output=output, alpha=True)
    if name.endswith(".mov"):
        with av.open(str(output)) as container:
            [stream] = container.streams.video
            assert stream.codec_context.name == "prores"
            opacity = next(container.decode(stream)).to_ndarray(format="rgba")[..., 3]
    else:
        first = output if name.endswith("webp") else tmp_path / "clip" / "0001.png"
        with Image.open(first) as picture:
            opacity = np.asarray(picture.convert("RGBA"))[..., 3]
    assert opacity.max() > 240
    assert opacity.min() < 15
    assert (opacity > 127).mean() < 0.9


def test_sixteen_bits_keep_the_order_of_channels(
    animator: Animator, scene: dict[str, Any], tmp_path: Path
) -> None:
    for folder, codec in (("deep", "png16"), ("flat", "png")):
        run(animator, scene, output=tmp_path / folder / "%04d.png", alpha=True, codec=codec)
    deep, flat = (
        cv2.imread(str(tmp_path / folder / "0001.png"), cv2.IMREAD_UNCHANGED)
        for folder in ("deep", "flat")
    )
    assert deep is not None
    assert flat is not None
    assert deep.dtype == np.uint16
    np.testing.assert_array_equal(deep // 257, flat)


def test_a_kind_without_transparency_is_refused_before_the_work(
    animator: Animator, scene: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match=r"h264 of .*clip\.mp4 keeps no transparency"):
        run(animator, scene, output=tmp_path / "clip.mp4", alpha=True)


def test_the_person_is_put_into_the_driving_shot_over_its_own_background(
    animator: Animator, scene: dict[str, Any], tmp_path: Path
) -> None:
    values = {**scene, "output": tmp_path / "clip.mkv", "codec": "ffv1"}
    usual = run(animator, values)
    placed = run(animator, values, place_in_driving=True, overwrite=True, max_frames=6,
                 mask_output=tmp_path / "mask.mkv")  # fmt: skip
    assert (usual.frames, placed.frames) == (3, 6)
    frames = np.stack([frame.image for frame in open_video(placed.output).read()]).astype(int)
    masks = np.stack([frame.image for frame in open_video(tmp_path / "mask.mkv").read()])
    driving = [frame.image for frame in open_video(scene["driving"]).read()]
    for frame, mask, shot in zip(frames, masks[..., 0], driving, strict=False):
        far = np.zeros(mask.shape, bool)
        far[:, :12] = far[:, -8:] = True
        assert np.abs(frame - shot)[far & (mask == 0)].max() == 0
    assert masks.max() > 200
    assert not any("does not fit" in warning for warning in placed.warnings)


def test_a_face_is_kept_where_it_is_seen(
    animator: Animator, scene: dict[str, Any], tmp_path: Path
) -> None:
    """The figure has no face, so that its frames stay; the setting still counts as another look."""
    values = {**scene, "output": tmp_path / "clip.mkv", "codec": "ffv1"}
    plain = run(animator, values)
    kept = run(animator, values, keep_face=True, overwrite=True)
    assert kept.frames == plain.frames
    with pytest.raises(RequestError, match="--keep-face needs the poses"):
        run(animator, values, keep_face=True, overwrite=True, poses=tmp_path)
