"""The POSE_KEYPOINT list of ComfyUI nodes: OpenPose people of every frame, and the canvas size.

The nodes know 18 body points; versions of them have written places in pixels or in parts of the
canvas, null for a part that was not found, and confidences of 0 or 1. Lists written here state
their rate as well.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from pose.errors import PoseError
from pose.formats.openpose import person_record, read_frame
from pose.formats.points import (
    People,
    json_bytes,
    people_of,
    rate,
    read_json,
    sequence_of,
    size,
    stated_rate,
)
from pose.sequence import PoseSequence

# No person in pixels fits into this; parts of the canvas go a little beyond 1 at its edges.
_PARTS_OF_CANVAS: Final = 3.0
_LISTS: Final = (
    "pose_keypoints_2d",
    "face_keypoints_2d",
    "hand_left_keypoints_2d",
    "hand_right_keypoints_2d",
)


def comfyui_bytes(sequence: PoseSequence) -> bytes:
    """The list as a JSON file, in pixels with 18 body points; feet are lost."""
    width, height = sequence.canvas
    canvas = {"canvas_width": width, "canvas_height": height, "fps": str(sequence.fps)}
    frames = []
    for frame in range(sequence.frames):
        people = []
        for number, points in people_of(sequence, frame).items():
            record = person_record(points, body="coco18")
            people.append({"person_id": [number], **{name: record[name] for name in _LISTS}})
        frames.append({"people": people, **canvas})
    return json_bytes(frames)


def import_comfyui(path: str | Path, *, fps: Fraction | None) -> PoseSequence:
    """Read the list, in which nodes state no rate. Raises `PoseError` naming what is wrong."""
    path = Path(path)
    return parse_comfyui(read_json(path), str(path), fps=fps)


def parse_comfyui(records: Any, where: str, *, fps: Fraction | None) -> PoseSequence:
    """As `import_comfyui`, from what a node hands on: a list of frames, or one frame."""
    records = [records] if isinstance(records, dict) else records
    if not isinstance(records, list) or not records:
        raise PoseError(f"{where} is not a POSE_KEYPOINT list: a list of frames is expected")
    frames: list[People] = []
    canvas = None
    for index, record in enumerate(records):
        context = f"{where}, frame {index}"
        frames.append(read_frame(record, context))
        frame_canvas = size((record.get("canvas_width"), record.get("canvas_height")), context)
        if canvas is not None and frame_canvas != canvas:
            raise PoseError(
                f"{context}: its canvas is {frame_canvas[0]}x{frame_canvas[1]}, that of frame 0 is "
                f"{canvas[0]}x{canvas[1]}; all frames of a clip need one size"
            )
        canvas = frame_canvas
    assert canvas is not None
    _to_pixels(frames, canvas)
    still = Fraction(1) if len(frames) == 1 else None
    stated = stated_rate(records[0], where) or fps or still
    return sequence_of(frames, canvas=canvas, fps=rate(stated, where))


def _to_pixels(frames: list[People], canvas: tuple[int, int]) -> None:
    places = [abs(p[p[:, 2] > 0][:, :2]).max(initial=0) for f in frames for p in f.values()]
    if places and max(places) <= _PARTS_OF_CANVAS:
        for frame in frames:
            for points in frame.values():
                points[:, :2] *= canvas
