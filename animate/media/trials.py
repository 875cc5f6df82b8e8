"""Hardware encoders, tried on a few frames in a process of their own.

The words of the video library reach Python through a log of the whole process, which a thread that
decodes a damaged video may write to while Python waits for that thread; and a driver may end the
process that opens it.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import suppress
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream

from animate.media.codecs import CODECS, VideoCodec
from animate.media.urgency import usual_urgency

_SECONDS = 60
_SILENT = "its trial ended without an answer"


@cache
def reasons() -> dict[str, str]:
    """The reason why each hardware encoder cannot be used, by its codec's name; empty where it can.

    All are tried at once, in a process that takes as long to begin as the video library to load.
    """
    tried = {name: _SILENT for name, codec in CODECS.items() if codec.hardware}
    package = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    try:
        child = subprocess.run(
            # -P: whatever lies in the current folder is none of its modules.
            [sys.executable, "-P", "-c", "from animate.media.trials import report; report()"],
            env={**os.environ, "PYTHONPATH": paths},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
        )
        lines = child.stdout.splitlines()
    except subprocess.TimeoutExpired as late:
        lines = (late.stdout or b"").splitlines()
    except OSError:  # no further process can be started
        lines = []
    for line in lines:
        name, separator, text = line.decode(errors="replace").partition(": ")
        if separator and name in tried:
            with suppress(ValueError):  # a line that was cut
                tried[name] = json.loads(text)
    return tried


def report() -> None:
    """Try each hardware encoder, and print why it cannot be used."""
    for name, codec in CODECS.items():
        if codec.hardware:
            print(f"{name}: {json.dumps(_trial(codec))}", flush=True)


def _trial(codec: VideoCodec) -> str:
    """Encode a few frames; why it failed, or nothing."""
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as messages, usual_urgency():
            _encode_some(codec)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        words = next((text.strip() for _, _, text in messages if text.strip()), str(error))
        return words.splitlines()[0].rstrip(".")
    return ""


def _encode_some(codec: VideoCodec) -> None:
    picture = av.VideoFrame.from_ndarray(np.zeros((256, 256, 3), np.uint8))
    with av.open(io.BytesIO(), "w", format="matroska") as container:
        stream = container.add_stream(
            codec.encoder, rate=25, options=codec.encoder_options(None, (256, 256))
        )
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 256, 256, codec.pixel_format
        for number in range(3):
            frame = picture.reformat(format=codec.pixel_format)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
