"""Video, image and sound files: read upright RGB pictures at exact times, write clips whole.

Everything is imported where it is first used, so that `import animate.media` loads no codec::

    from animate.media import FrameSelection, open_video, open_writer

    source = open_video("dance.mp4")
    selection = FrameSelection(stride=2, start=Fraction(1, 2), max_frames=48)
    with open_writer("out.mp4", size=source.info.size, fps=selection.output_fps(source.info),
                     audio=source.audio(selection)) as writer:
        for frame in source.read(selection):
            writer.write(frame.image)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from animate.media.audio import AudioSource
    from animate.media.codecs import available_encoders
    from animate.media.image import read_image, write_png
    from animate.media.info import Frame, VideoInfo
    from animate.media.numbered import check_driving, image_files, is_numbered, source_digest
    from animate.media.output import check_output, open_writer, takes_sound
    from animate.media.selection import FrameSelection, Sampling
    from animate.media.source import FrameSource, open_video
    from animate.media.writer import ClipWriter

_PUBLIC = {
    "AudioSource": "animate.media.audio",
    "ClipWriter": "animate.media.writer",
    "Frame": "animate.media.info",
    "FrameSelection": "animate.media.selection",
    "FrameSource": "animate.media.source",
    "Sampling": "animate.media.selection",
    "VideoInfo": "animate.media.info",
    "available_encoders": "animate.media.codecs",
    "check_driving": "animate.media.numbered",
    "check_output": "animate.media.output",
    "image_files": "animate.media.numbered",
    "is_numbered": "animate.media.numbered",
    "open_video": "animate.media.source",
    "open_writer": "animate.media.output",
    "read_image": "animate.media.image",
    "source_digest": "animate.media.numbered",
    "takes_sound": "animate.media.output",
    "write_png": "animate.media.image",
}

__all__ = [
    "AudioSource",
    "ClipWriter",
    "Frame",
    "FrameSelection",
    "FrameSource",
    "Sampling",
    "VideoInfo",
    "available_encoders",
    "check_driving",
    "check_output",
    "image_files",
    "is_numbered",
    "open_video",
    "open_writer",
    "read_image",
    "source_digest",
    "takes_sound",
    "write_png",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'animate.media' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
