"""Other programs' pose files: which there are, and reading and writing by name or by content."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Final

from pose.errors import PoseError
from pose.sequence import PoseSequence

FORMATS: Final = ("npz", "openpose", "openpose-coco18", "comfyui", "coco-wholebody")


def export_poses(sequence: PoseSequence, path: str | Path, format: str) -> Path:
    """Write the sequence in one of `FORMATS`; the two OpenPose ones make a folder of frames.

    Raises `PoseError` for an unknown format, or when it cannot be written.
    """
    from pose.formats.coco import export_coco
    from pose.formats.comfyui import export_comfyui
    from pose.formats.openpose import export_openpose

    def openpose(body: str) -> Callable[[PoseSequence, Path], object]:
        return lambda poses, folder: export_openpose(poses, folder, body=body)

    writers: dict[str, Callable[[PoseSequence, Path], object]] = {
        "npz": PoseSequence.save,
        "openpose": openpose("body25"),
        "openpose-coco18": openpose("coco18"),
        "comfyui": export_comfyui,
        "coco-wholebody": export_coco,
    }
    if format not in writers:
        raise PoseError(f"Unknown pose format {format!r}; choose {', '.join(FORMATS)}.")
    writers[format](sequence, Path(path))
    return Path(path)


def import_poses(
    path: str | Path,
    *,
    canvas: tuple[int, int] | None = None,
    fps: Fraction | None = None,
) -> PoseSequence:
    """Read poses of any of `FORMATS`, told apart by content.

    `canvas` (width, height) and `fps` are what the file itself may not say: OpenPose's says
    neither, ComfyUI's not the rate. Where the file does say it, they are not looked at, but for
    `fps` of COCO files, which goes before the file's. Raises `PoseError` naming what is wrong or
    missing.
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
    if canvas is None:
        raise PoseError(
            f"{path} does not say how large its pictures were; give the canvas as width and height."
        )
    return import_openpose(path, canvas=canvas, fps=fps)
