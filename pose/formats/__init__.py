"""Other programs' pose files: encoding by name, reading by content."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Final

from pose.errors import PoseError
from pose.sequence import PoseSequence

FILE_FORMATS: Final = ("npz", "comfyui", "coco-wholebody")
"""Formats of one file for a sequence."""
FRAME_FORMATS: Final = {"openpose": "body25", "openpose-coco18": "coco18"}
"""Formats of a file for each frame in a folder, and their `pose.formats.openpose` body."""
FORMATS: Final = ("npz", "openpose", "openpose-coco18", "comfyui", "coco-wholebody")


def encode_file(sequence: PoseSequence, format: str) -> bytes:
    """The sequence in one of `FILE_FORMATS`. Raises `PoseError` for an unknown format."""
    from pose.formats.coco import coco_bytes
    from pose.formats.comfyui import comfyui_bytes

    encoders: dict[str, Callable[[PoseSequence], bytes]] = {
        "npz": PoseSequence.to_bytes,
        "comfyui": comfyui_bytes,
        "coco-wholebody": coco_bytes,
    }
    if format not in encoders:
        raise PoseError(f"unknown pose format {format!r}; choose {', '.join(FORMATS)}")
    return encoders[format](sequence)


def encode_frames(sequence: PoseSequence, format: str) -> Iterator[tuple[str, bytes]]:
    """File name and bytes of each frame in one of `FRAME_FORMATS`.

    Raises `PoseError` for an unknown format.
    """
    from pose.formats.openpose import openpose_frames

    if format not in FRAME_FORMATS:
        raise PoseError(f"unknown pose format {format!r}; choose {', '.join(FORMATS)}")
    return openpose_frames(sequence, body=FRAME_FORMATS[format])


def import_poses(
    path: str | Path,
    *,
    canvas: tuple[int, int] | None = None,
    fps: Fraction | None = None,
) -> PoseSequence:
    """Read poses of any of `FORMATS`, told apart by content.

    `canvas` (width, height) and `fps` are what the file itself may not say: OpenPose's own says
    neither, ComfyUI's not the rate. Where the file does say it, they are not looked at. Raises
    `PoseError` naming what is wrong or missing.
    """
    from pose.formats.coco import parse_coco
    from pose.formats.comfyui import parse_comfyui
    from pose.formats.openpose import import_openpose
    from pose.formats.points import read_json

    path = Path(path)
    if path.suffix.lower() == ".npz":
        return PoseSequence.load(path)
    if not path.is_dir():
        record = read_json(path)
        if isinstance(record, list) or (isinstance(record, dict) and "canvas_width" in record):
            return parse_comfyui(record, str(path), fps=fps)
        if isinstance(record, dict) and "annotations" in record:
            return parse_coco(record, str(path), fps=fps)
    return import_openpose(path, canvas=canvas, fps=fps)
