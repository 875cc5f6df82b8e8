"""Records of clips that nobody made."""

from __future__ import annotations

from typing import Any

from animate.clip.record import ClipRecord, Conditions, ModelRecord, OutputRecord
from animate.request.request import AnimationRequest, plain

CONDITIONS = Conditions(
    device="cpu", precision="float32", memory=None, offload=None, versions={}, threads=1
)


def some_record(request: AnimationRequest | None = None, **changes: Any) -> ClipRecord:
    """A record as `cnx run` writes it."""
    values: dict[str, Any] = {
        "request": plain(request) if request else {"output": "clip.mp4"},
        "settings": {},
        "digest": "ab" * 32,
        "seed": 7,
        "model": ModelRecord(name="tiny", why="a test", licence="none", weights_sha256={}),
        "inputs": {"reference": "12" * 32, "driving": "34" * 32},
        "poses": "rendered skeletons, as they are",
        "output": OutputRecord(
            frames=6, fps="29", seconds=0.2, size="64x64", sound="none", frames_sha256="56" * 32
        ),
        "device": "cpu",
        "precision": "float32",
        "threads": 1,
        "windows": "this process",
        "seconds": {},
        "peak_host_bytes": 1,
        "peak_device_bytes": None,
        "versions": {},
    }
    return ClipRecord(**{**values, **changes})
