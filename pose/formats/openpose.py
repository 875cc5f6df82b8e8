"""OpenPose's JSON: one file a frame, in a folder, with 25 (BODY_25) or 18 (COCO) body points.

BODY_25 has the feet and the middle of the hips; COCO-18 has neither, so feet are lost in it. Faces
have 70 points there: ours and two pupils, which are left absent. OpenPose's own files know neither
the size of the picture nor the frame rate; those written here hold them beside the people, where
other readers look past them. `person_id` holds the number of the person, where OpenPose itself
writes -1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
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
    stated_rate,
    to_list,
)
from pose.layout import BODY, FACE, FEET, LEFT_HAND, LEFT_HIP, POINTS, RIGHT_HAND, RIGHT_HIP
from pose.sequence import PoseSequence

# Our index of each BODY_25 point; the middle of the hips, number 8, is not one of ours.
_MIDDLE_OF_HIPS: Final = 8
_BODY_25: Final = (*range(8), -1, *range(8, 24))
_OURS_25: Final = [i for i in range(25) if i != _MIDDLE_OF_HIPS]
_FACE_POINTS: Final = 70
BODIES: Final = ("body25", "coco18")


def openpose_frames(
    sequence: PoseSequence, *, body: str = "body25", name: str = "pose"
) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each frame's file: `NAME_000000000000_keypoints.json` and so on.

    Raises `PoseError` for an unknown body.
    """
    width, height = sequence.canvas
    canvas = {"canvas_width": width, "canvas_height": height, "fps": str(sequence.fps)}
    for frame in range(sequence.frames):
        people = [
            {"person_id": [number], **person_record(points, body=body)}
            for number, points in people_of(sequence, frame).items()
        ]
        record = {"version": 1.3, "people": people, **canvas}
        yield f"{name}_{frame:012d}_keypoints.json", json_bytes(record)


def import_openpose(
    path: str | Path, *, canvas: tuple[int, int] | None = None, fps: Fraction | None = None
) -> PoseSequence:
    """Read a folder of frames, in the order of the numbers in their names, or one frame's file.

    Points are in pixels of the canvas (width, height) that the first frame states, or of `canvas`.
    People are told apart by `person_id` where it is given, else by their order in the file. Raises
    `PoseError` naming the file that is wrong, or what is missing.
    """
    path = Path(path)
    files = sorted(path.glob("*.json"), key=_by_numbers) if path.is_dir() else [path]
    if not files:
        raise PoseError(f"the folder {path} holds no .json file; give the folder of the frames")
    records = [read_json(file) for file in files]
    frames = [read_frame(*pair) for pair in zip(records, map(str, files), strict=True)]
    first = records[0]
    if "canvas_width" in first:
        canvas = size((first["canvas_width"], first.get("canvas_height")), str(files[0]))
    if canvas is None:
        raise PoseError(
            f"{path} does not say how large its pictures were; give the canvas as width and height "
            "(cnx pose convert --canvas)"
        )
    still = Fraction(1) if len(files) == 1 else None
    stated = stated_rate(first, str(files[0])) or fps or still
    return sequence_of(frames, canvas=canvas, fps=rate(stated, str(path)))


def _by_numbers(file: Path) -> list[tuple[int, str]]:
    """Key that sorts frame_9 before frame_10."""
    parts = re.split(r"(\d+)", file.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def read_frame(record: Any, where: str) -> People:
    """The people of one frame's record. Raises `PoseError` naming `where` if it is none."""
    if not isinstance(record, dict) or not isinstance(record.get("people"), list):
        raise PoseError(f"{where} is not an OpenPose frame: it has no list of people")
    people: People = {}
    for index, person in enumerate(record["people"]):
        context = f"{where}, person {index}"
        if not isinstance(person, dict):
            raise PoseError(f"{context}: not a record of keypoints")
        number = _number(person.get("person_id"), index)
        if number in people:
            raise PoseError(f"{context}: a second person with person_id {number}")
        people[number] = read_person(person, context)
    return people


def person_record(points: Points, *, body: str) -> dict[str, list[float]]:
    """One person (134,3) as OpenPose's lists. Raises `PoseError` for an unknown body."""
    if body not in BODIES:
        raise PoseError(f"unknown OpenPose body {body!r}; choose {' or '.join(BODIES)}")
    face = np.zeros((_FACE_POINTS, 3))
    face[:68] = points[FACE]
    return {
        "pose_keypoints_2d": to_list(_body_25(points) if body == "body25" else points[BODY]),
        "face_keypoints_2d": to_list(face),
        "hand_left_keypoints_2d": to_list(points[LEFT_HAND]),
        "hand_right_keypoints_2d": to_list(points[RIGHT_HAND]),
        "pose_keypoints_3d": [],
        "face_keypoints_3d": [],
        "hand_left_keypoints_3d": [],
        "hand_right_keypoints_3d": [],
    }


def read_person(record: Mapping[str, object], where: str) -> Points:
    """One person (134,3) from OpenPose's lists. Raises `PoseError` naming what is wrong."""
    points = np.zeros((POINTS, 3))
    body = from_list(record.get("pose_keypoints_2d"), (25, 18), f"{where}, pose_keypoints_2d")
    if len(body) == 25:
        points[BODY.start : FEET.stop] = body[_OURS_25]
    else:
        points[BODY] = body
    lists = (
        ("face_keypoints_2d", FACE, (_FACE_POINTS, 68)),
        ("hand_left_keypoints_2d", LEFT_HAND, (21,)),
        ("hand_right_keypoints_2d", RIGHT_HAND, (21,)),
    )
    for name, part, lengths in lists:
        values = from_list(record.get(name), lengths, f"{where}, {name}")
        points[part] = values[: part.stop - part.start]
    return points


def _body_25(points: Points) -> Points:
    body = points[list(_BODY_25)].copy()
    right, left = points[RIGHT_HIP], points[LEFT_HIP]
    body[_MIDDLE_OF_HIPS] = (right + left) / 2
    body[_MIDDLE_OF_HIPS, 2] = min(right[2], left[2])
    return np.asarray(body)


def _number(person_id: Any, index: int) -> int:
    """OpenPose writes [-1] when it does not track people."""
    if isinstance(person_id, list) and len(person_id) == 1:
        person_id = person_id[0]
    good = type(person_id) is int and 0 <= person_id < 1000
    return person_id if good else index
