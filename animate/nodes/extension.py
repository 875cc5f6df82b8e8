"""The pack as ComfyUI asks for it."""

from __future__ import annotations

from typing import Any

from comfy_api.v0_0_2 import ComfyExtension

from animate.nodes import clips, poses


class CnxExtension(ComfyExtension):
    """All nodes."""

    async def get_node_list(self) -> list[type[Any]]:
        """The node classes, in the order of their use."""
        return [
            clips.LoadModel,
            clips.LoadLora,
            poses.EstimatePoses,
            poses.LoadPoses,
            poses.TrimPoses,
            poses.CleanPoses,
            poses.RetargetPoses,
            poses.DrawPoses,
            poses.PosesToKeypoints,
            poses.KeypointsToPoses,
            clips.Animate,
            clips.SaveClip,
        ]
