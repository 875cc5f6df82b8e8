"""Declarations that the nodes share: types of the pack, and the schema of a node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comfy_api.v0_0_2 import io

Pipeline = io.Custom("CNX_PIPELINE")
Poses = io.Custom("CNX_POSES")
Keypoints = io.Custom("POSE_KEYPOINT")
_CATEGORY = "cnx-animate"
_LARGEST = 8192


def node_schema(
    name: str,
    title: str,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    text: str = "",
    **more: Any,
) -> Any:
    """The schema of one of the pack's nodes.

    name: of the node's class in ComfyUI, without the pack's own prefix
    more: as `io.Schema` takes it
    """
    return io.Schema(
        node_id=f"Cnx{name}",
        display_name=f"{title} (cnx)",
        category=_CATEGORY,
        description=text,
        inputs=[*inputs],
        outputs=[*outputs],
        **more,
    )


def rate_input(name: str = "frame_rate", tooltip: str | None = None) -> Any:
    """The input for the rate of pictures."""
    return io.Float.Input(name, default=25.0, min=0.01, max=1000.0, step=0.001, tooltip=tooltip)


def open_input(name: str, owner: str, *, most: int = _LARGEST) -> Any:
    """The input for a number that is `owner`'s where it is 0."""
    return io.Int.Input(name, default=0, min=0, max=most, tooltip=f"0: {owner}")


def open_scale(name: str) -> Any:
    """The input for a guidance scale that is the model's where it is 0."""
    return io.Float.Input(name, default=0.0, min=0.0, max=100.0, tooltip="0: the model's")


def choice_input(name: str, words: Sequence[str], default: str | None = None) -> Any:
    """The input for one of some words."""
    return io.Combo.Input(name, options=[*words], default=default)


def poses_output() -> Any:
    """The output for poses."""
    return Poses.Output(display_name="poses")


def rate_output() -> Any:
    """The output for the rate of frames."""
    return io.Float.Output(display_name="frame_rate")
