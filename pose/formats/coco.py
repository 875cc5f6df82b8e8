"""COCO-WholeBody's JSON: images, and one annotation for each person in each of them.

It has no neck, which is made again as the mean of the shoulders with the lower of their scores. The
lists hold x, y, score; annotators' files with visibilities 0, 1 and 2 are read as absent and seen.
Frame rate, times, cuts and origin travel in `info`, where other readers look past them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np

from pose.errors import PoseError
from pose.formats.points import (
    People,
    Points,
    from_list,
    json_bytes,
    people_of,
    rate,
    read_json,
    sequence_of,
    size,
    to_list,
)
from pose.layout import (
    FACE,
    FEET,
    LEFT_HAND,
    LEFT_SHOULDER,
    NECK,
    POINTS,
    RIGHT_HAND,
    RIGHT_SHOULDER,
)
from pose.sequence import PoseSequence

# Our index of each of COCO's 17 body points.
_BODY: Final = [0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10]
_PARTS: Final = (
    ("foot_kpts", FEET),
    ("face_kpts", FACE),
    ("lefthand_kpts", LEFT_HAND),
    ("righthand_kpts", RIGHT_HAND),
)


def coco_bytes(sequence: PoseSequence) -> bytes:
    """One JSON file for the whole sequence; people keep their number as `track_id`."""
    width, height = sequence.canvas
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for frame in range(sequence.frames):
        name = f"{frame:06d}.png"
        images.append({"id": frame, "file_name": name, "width": width, "height": height})
        for number, points in people_of(sequence, frame).items():
            annotations.append(_annotation(points, frame, number, len(annotations)))
    header = sequence.header()
    info = {name: header[name] for name in ("fps", "cuts", "source", "estimator")}
    info |= {"people": sequence.people, "times": sequence.times.tolist()}
    record = {
        "info": {"description": "whole-body poses of a video", **info},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person"}],
    }
    return json_bytes(record)


def import_coco(path: str | Path, *, fps: Fraction | None = None) -> PoseSequence:
    """Read images in the order of their ids; `fps` is needed if the file does not hold it.

    Raises `PoseError` naming what is wrong.
    """
    path = Path(path)
    return parse_coco(read_json(path), str(path), fps=fps)


def parse_coco(record: Any, where: str, *, fps: Fraction | None) -> PoseSequence:
    """As `import_coco`, from the parsed JSON."""
    good = isinstance(record, dict) and all(
        isinstance(record.get(name), list) and all(isinstance(v, dict) for v in record[name])
        for name in ("images", "annotations")
    )
    if not good or not record["images"]:
        raise PoseError(f"{where} is not a COCO-WholeBody file: it has no images or annotations")
    images = record["images"]
    if not all(type(image.get("id")) is int for image in images):
        raise PoseError(f"{where}: every image needs a whole number as its id")
    images = sorted(images, key=lambda image: int(image["id"]))
    canvases = {size((i.get("width"), i.get("height")), f"{where}, image") for i in images}
    if len(canvases) != 1:
        raise PoseError(f"{where} holds images of different sizes; a clip needs one size")
    frames: dict[int, People] = {image["id"]: {} for image in images}
    if len(frames) != len(images):
        raise PoseError(f"{where} holds two images of the same id")
    for index, annotation in enumerate(record["annotations"]):
        _add_person(frames, annotation, f"{where}, annotation {index}")
    facts = _facts(record.get("info"), len(images), where)
    still = Fraction(1) if len(images) == 1 else None
    return sequence_of(
        list(frames.values()),
        canvas=canvases.pop(),
        fps=rate(facts.fps or fps or still, where),
        times=facts.times,
        cuts=facts.cuts,
        source=facts.source,
        estimator=facts.estimator,
    )


def _add_person(frames: dict[int, People], annotation: Mapping[str, object], where: str) -> None:
    image = annotation.get("image_id")
    if type(image) is not int or image not in frames:
        raise PoseError(f"{where}: there is no image {image!r}")
    people = frames[image]
    number = annotation.get("track_id")
    if type(number) is not int or not 0 <= number < 1000:
        number = len(people)
    if number in people:
        raise PoseError(f"{where}: a second person {number} in image {image}")
    people[number] = _read(annotation, where)


def _annotation(points: Points, frame: int, number: int, index: int) -> dict[str, object]:
    seen = points[points[:, 2] > 0, :2]
    left, top = seen.min(axis=0).tolist()
    width, height = np.ptp(seen, axis=0).tolist()
    body = points[_BODY]
    return {
        "id": index,
        "image_id": frame,
        "track_id": number,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [left, top, width, height],
        "area": width * height,
        "num_keypoints": int((body[:, 2] > 0).sum()),
        "score": float(body[:, 2].mean()),
        "keypoints": to_list(body),
        **{name: to_list(points[part]) for name, part in _PARTS},
    }


def _read(annotation: Mapping[str, object], where: str) -> Points:
    points = np.zeros((POINTS, 3))
    points[_BODY] = from_list(annotation.get("keypoints"), (17,), f"{where}, keypoints")
    for name, part in _PARTS:
        length = part.stop - part.start
        points[part] = from_list(annotation.get(name), (length,), f"{where}, {name}")
    right, left = points[RIGHT_SHOULDER], points[LEFT_SHOULDER]
    points[NECK] = (right + left) / 2
    points[NECK, 2] = min(right[2], left[2])
    return points


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """The facts of a video that our own files hold; another program's `info` has none."""

    fps: Fraction | None = None
    times: list[float] | None = None
    cuts: tuple[int, ...] = ()
    source: str = ""
    estimator: str = ""


def _facts(info: object, frames: int, where: str) -> _Facts:
    if not isinstance(info, dict) or "fps" not in info:
        return _Facts()
    try:
        facts = _Facts(
            fps=Fraction(str(info["fps"])),
            times=[float(time) for time in info["times"]] if "times" in info else None,
            cuts=tuple(int(cut) for cut in info.get("cuts", ())),
            source=str(info.get("source", "")),
            estimator=str(info.get("estimator", "")),
        )
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise PoseError(f"{where}: its info is damaged ({error}); export it again") from error
    if facts.times is not None and len(facts.times) != frames:
        raise PoseError(f"{where}: {frames} images, but {len(facts.times)} times; export again")
    return facts
