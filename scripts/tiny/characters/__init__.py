"""The procedural character set: articulated people in clothes, their poses known exactly.

`render_clip(seed, frames, size)` gives a `Take`. It needs numpy and OpenCV only.
"""

from scripts.tiny.characters.clip import Character, Take, render_clip

__all__ = ["Character", "Take", "render_clip"]
