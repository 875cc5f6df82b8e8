"""VMAF, computed by an ffmpeg that has it (the package imageio-ffmpeg carries one)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import IO

from animate.errors import MediaError
from animate.evaluation.protocols import Protocol
from animate.evaluation.scores import Score, mean_score
from animate.media.info import Image
from animate.request.values import Size

_WAITING = 4
"""Frames that wait for ffmpeg, of each of the two clips."""
MISSING = "no ffmpeg with libvmaf is here: pip install imageio-ffmpeg"


@cache
def ffmpeg_with_vmaf() -> str | None:
    """An ffmpeg that has the filter libvmaf: imageio-ffmpeg's, or the system's; None without."""
    candidates = []
    if find_spec("imageio_ffmpeg") is not None:
        import imageio_ffmpeg

        candidates.append(imageio_ffmpeg.get_ffmpeg_exe())
    if (system := shutil.which("ffmpeg")) is not None:
        candidates.append(system)
    for program in candidates:
        done = subprocess.run([program, "-hide_banner", "-filters"], capture_output=True, text=True)
        if any(line.split()[1:2] == ["libvmaf"] for line in done.stdout.splitlines()):
            return program
    return None


class VmafMeter:
    """A `PairMeter`: VMAF, by the default model of libvmaf; close it at the end.

    Both go to ffmpeg as raw pictures through pipes, at most a few frames ahead.
    """

    def __init__(self, program: str, protocols: Sequence[Protocol], size: Size, fps: str) -> None:
        """`protocols` are those that want it of pictures of that size."""
        self._protocols = protocols
        self._folder = tempfile.TemporaryDirectory(prefix="cnx-vmaf-")
        self._log = Path(self._folder.name) / "vmaf.json"
        pipes = [os.pipe(), os.pipe()]
        self._process = subprocess.Popen(
            _command(program, size, fps, [pipe[0] for pipe in pipes]),
            pass_fds=[pipe[0] for pipe in pipes],
            cwd=self._folder.name,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for reading, _ in pipes:
            os.close(reading)
        self._queues = [_Feeder(os.fdopen(writing, "wb", buffering=0)) for _, writing in pipes]
        self._finished = False

    def compare(self, frame: Image, truth: Image) -> None:
        """See `PairMeter`."""
        for queue, picture in zip(self._queues, (frame, truth), strict=True):
            queue.put(picture)

    def scores(self) -> list[Score]:
        """See `PairMeter`. Raises MediaError where ffmpeg fails."""
        self._end_input()
        _, errors = self._process.communicate()
        if self._process.returncode or not self._log.is_file():
            words = errors.decode(errors="replace").strip().splitlines()
            raise MediaError(f"ffmpeg could not compute VMAF: {words[-1] if words else 'no word'}")
        frames = json.loads(self._log.read_text())["frames"]
        curve = [frame["metrics"]["vmaf"] for frame in frames]
        scores = [mean_score("vmaf", curve, protocol.name) for protocol in self._protocols]
        return [score for score in scores if score is not None]

    def close(self) -> None:
        """End ffmpeg and remove its file."""
        if self._process.poll() is None:
            self._process.kill()
        self._end_input()
        self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()
        self._folder.cleanup()

    def _end_input(self) -> None:
        if not self._finished:
            self._finished = True
            for queue in self._queues:
                queue.end()


def _command(program: str, size: Size, fps: str, descriptors: list[int]) -> list[str]:
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", str(size), "-framerate", fps]
    inputs = [word for number in descriptors for word in (*raw, "-i", f"pipe:{number}")]
    same = "format=yuv420p,settb=AVTB,setpts=N"
    graph = (
        f"[0:v]{same}[clip];[1:v]{same}[truth];"
        "[clip][truth]libvmaf=log_fmt=json:log_path=vmaf.json:shortest=1"
    )
    return [program, "-v", "error", "-y", *inputs, "-lavfi", graph, "-f", "null", "-"]


class _Feeder:
    """Writes pictures into a pipe from a thread of its own."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._queue: Queue[Image | None] = Queue(_WAITING)
        self._thread = Thread(target=self._write, name="vmaf", daemon=True)
        self._thread.start()

    def put(self, picture: Image) -> None:
        self._queue.put(picture)

    def end(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def _write(self) -> None:
        broken = False
        while (picture := self._queue.get()) is not None:
            data = memoryview(picture.tobytes())
            while data and not broken:
                try:
                    data = data[self._pipe.write(data) :]
                except BrokenPipeError:  # ffmpeg has ended; its words are read at the end
                    broken = True
        self._pipe.close()
