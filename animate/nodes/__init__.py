"""Nodes for ComfyUI over `ControlNeXtVideoPipeline`, by its V3 schema, API version 0.0.2.

A folder in ComfyUI's `custom_nodes` with one file, `__init__.py`, of two lines brings them in::

    "cnx-animate: animate the person of a picture with the motion of a video."
    from animate.nodes import comfy_entrypoint

ComfyUI's own modules are imported when it calls `comfy_entrypoint`, and nowhere else.
"""

from __future__ import annotations

from typing import Any


async def comfy_entrypoint() -> Any:
    """The extension that ComfyUI asks for its nodes."""
    from animate.nodes.extension import CnxExtension

    return CnxExtension()
