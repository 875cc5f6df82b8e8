"""Check drawing, alignment and DWPose's processing against vectors of the pose kind."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from animate.errors import user_mistakes
from pose.draw import draw_parts
from pose.estimators import dwpose_processing as dwpose
from pose.retarget import affine_parts
from scripts.parity.checks import (
    KEYPOINT_TOLERANCE,
    NETWORK_TOLERANCE,
    Check,
    compare,
    compare_images,
    failed,
    skipped,
)
from scripts.parity.recipe import array, sigmoid

Array = NDArray[Any]
Own = Mapping[str, Array]

_PARTS = ("body", "face", "hands")
DRAW_INPUTS = (*_PARTS, *(f"{part}_score" for part in _PARTS))
RETARGET_INPUTS = (*_PARTS, "reference_body", "reference_body_score")
RETARGET_SCORES = ("body_score", "face_score", "hands_score")
DWPOSE_OUTPUTS = (
    "detector_input_every_8th",
    "pose_input_every_4th",
    "boxes",
    "keypoints",
    "scores",
)
DETECTOR_SHAPE = (1, 8400, 85)
SIMCC_BINS = {"x": 576, "y": 768}


def check_pose(tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> list[Check]:
    """Every tensor of a pose vectors file, checked or with the reason why it was not."""
    checks: list[Check] = []
    for prefix in _groups(tensors):
        vectors = {
            name.removeprefix(f"{prefix}."): tensor.numpy()
            for name, tensor in tensors.items()
            if name.startswith(f"{prefix}.")
        }
        check: Callable[[str, Own, Mapping[str, Any]], list[Check]]
        if re.fullmatch(r"draw\d*", prefix):
            check = _check_drawing
        elif re.fullmatch(r"retarget\d*", prefix):
            check = _check_retarget
        elif re.fullmatch(r"dwpose\d*", prefix):
            check = _check_dwpose
        else:
            continue  # reported by the caller, like every other strange name
        try:
            checks += check(prefix, vectors, settings)
        except user_mistakes() as reason:
            checks.append(failed(f"{prefix}.*", str(reason)))
    return checks


def _groups(names: Iterable[str]) -> list[str]:
    prefixes = {name.partition(".")[0] for name in names}
    return sorted(prefixes, key=lambda text: (re.sub(r"\d", "", text), len(text), text))


def _lacking(
    prefix: str,
    vectors: Own,
    needed: Iterable[str],
    outputs: Iterable[str],
    settings: Iterable[str] = (),
) -> list[Check]:
    """A skipped check for each output present, when something that they need is not."""
    lacking = [f"{prefix}.{name}" for name in needed if name not in vectors] + list(settings)
    why = f"the file lacks {', '.join(lacking)}"
    return (
        [skipped(f"{prefix}.{name}", why) for name in outputs if name in vectors] if lacking else []
    )


def _unknown(prefix: str, vectors: Own, known: Iterable[str]) -> list[Check]:
    return [
        skipped(f"{prefix}.{name}", "no meaning known")
        for name in sorted(set(vectors) - set(known))
    ]


def _check_drawing(prefix: str, vectors: Own, settings: Mapping[str, Any]) -> list[Check]:
    checks = _unknown(prefix, vectors, (*DRAW_INPUTS, "image"))
    if lacking := _lacking(prefix, vectors, DRAW_INPUTS, ["image"]):
        return checks + lacking
    if "image" not in vectors:
        return [*checks, skipped(f"{prefix}.image", "the file lacks it")]
    height, width = vectors["image"].shape[:2]
    image = _drawn(vectors, (width, height))
    return [*checks, compare_images(f"{prefix}.image", image, vectors["image"])]


def _drawn(vectors: Own, size: tuple[int, int]) -> Array:
    return draw_parts(
        body=vectors["body"],
        body_scores=vectors["body_score"],
        face=vectors["face"],
        face_scores=vectors["face_score"],
        hands=vectors["hands"],
        hand_scores=vectors["hands_score"],
        size=size,
    )


def _check_retarget(prefix: str, vectors: Own, settings: Mapping[str, Any]) -> list[Check]:
    outputs = [*(f"expected_{part}" for part in _PARTS), "first_image"]
    known = (*RETARGET_INPUTS, *RETARGET_SCORES, *outputs)
    checks = _unknown(prefix, vectors, known)
    absent = [f"setting {name}" for name in ("sizes", "driving_size") if name not in settings]
    if lacking := _lacking(prefix, vectors, RETARGET_INPUTS, outputs, absent):
        return checks + lacking
    # Sizes are (height, width) in the settings.
    height, width = settings["sizes"][0]
    driving_height, driving_width = settings["driving_size"]
    moved = dict(
        zip(
            _PARTS,
            affine_parts(
                body=vectors["body"],
                face=vectors["face"],
                hands=vectors["hands"],
                reference_body=vectors["reference_body"],
                reference_scores=vectors["reference_body_score"],
                driving_size=(driving_width, driving_height),
                reference_size=(width, height),
            ),
            strict=True,
        )
    )
    for part in _PARTS:
        if f"expected_{part}" in vectors:
            # Both are shares of the picture; keypoints are held to pixels.
            computed, published = (
                a * (width, height) for a in (moved[part], vectors[f"expected_{part}"])
            )
            checks.append(
                compare(f"{prefix}.expected_{part}", computed, published, KEYPOINT_TOLERANCE)
            )
    return checks + _check_first_image(prefix, vectors, moved)


def _check_first_image(prefix: str, vectors: Own, moved: Mapping[str, Array]) -> list[Check]:
    if "first_image" not in vectors:
        return []
    if lacking := _lacking(prefix, vectors, RETARGET_SCORES, ["first_image"]):
        return lacking
    height, width = vectors["first_image"].shape[:2]
    first = {part: moved[part][0] for part in _PARTS}
    first |= {name: vectors[name][0] for name in RETARGET_SCORES}
    image = _drawn(first, (width, height))
    return [compare_images(f"{prefix}.first_image", image, vectors["first_image"])]


def _check_dwpose(prefix: str, vectors: Own, settings: Mapping[str, Any]) -> list[Check]:
    known = ("frame", "detector_output", *DWPOSE_OUTPUTS)
    checks = _unknown(prefix, vectors, known)
    if lacking := _lacking(prefix, vectors, ["frame"], DWPOSE_OUTPUTS):
        return checks + lacking
    picture, scale = dwpose.detector_input(vectors["frame"])
    actual = {"detector_input_every_8th": picture[..., ::8, ::8]}
    cells = settings.get("detector_cells")
    if "detector_output" in vectors and cells is not None:
        salt = str(settings.get("salt", ""))
        detected = dwpose.detected_boxes(_detector(vectors["detector_output"], cells, salt), scale)
        boxes = detected if len(detected) else dwpose.whole_frame(vectors["frame"])
        inputs = dwpose.pose_inputs(vectors["frame"], boxes)
        points, scores = dwpose.to_layout(*dwpose.decoded_points(*_simcc(len(boxes), salt), boxes))
        actual |= {
            "boxes": detected,
            "pose_input_every_4th": inputs[..., ::4, ::4],
            "keypoints": points,
            "scores": scores,
        }
    for name in DWPOSE_OUTPUTS:
        if name not in vectors:
            continue
        if name in actual:
            checks.append(
                compare(f"{prefix}.{name}", actual[name], vectors[name], _TOLERANCES[name])
            )
        else:
            why = "the file lacks dwpose.detector_output or the setting detector_cells"
            checks.append(skipped(f"{prefix}.{name}", why))
    return checks


_TOLERANCES = {
    "detector_input_every_8th": NETWORK_TOLERANCE,
    "pose_input_every_4th": NETWORK_TOLERANCE,
    "boxes": KEYPOINT_TOLERANCE,
    "keypoints": KEYPOINT_TOLERANCE,
    "scores": KEYPOINT_TOLERANCE,
}


def _detector(rows: Array, cells: list[int], salt: str) -> NDArray[np.float32]:
    """Output of the stand-in detector: noise about nothing, and `rows` at `cells`."""
    background = array(DETECTOR_SHAPE, "yolox", salt)
    output = np.full(DETECTOR_SHAPE, sigmoid(np.array([-6], np.float32))[0], np.float32)
    output[..., :4] = 0.5 * background[..., :4]
    output[0, cells] = rows[0]
    return output


def _simcc(people: int, salt: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Output of the stand-in pose network for each person."""
    x, y = (
        np.concatenate(
            [np.empty((0, 133, bins), np.float32)]
            + [
                sigmoid(2 * array((1, 133, bins), f"simcc_{axis}{person}", salt) - 1)
                for person in range(people)
            ]
        )
        for axis, bins in SIMCC_BINS.items()
    )
    return x, y
