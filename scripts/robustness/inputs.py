"""Small inputs of every kind, and the commands that make a clip of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import PIL.Image

from animate.cli.main import main as cnx
from animate.files import sha256
from animate.media import open_writer, write_png
from animate.media.audio import AudioSource
from pose.formats import encode_file
from pose.sequence import PoseSequence

SIZE, FRAMES, FPS = (48, 48), 5, Fraction(25)
SMALL = (
    *("--model", "tiny", "--size", "32x32", "--steps", "1", "--window", "3", "--overlap", "1"),
    *("--max-frames", "3", "--retarget", "none", "--threads", "1"),
)
"""Settings of the smallest clip of the bundled model."""
VIDEOS = ("h264.mp4", "h265.mov", "h264.mkv", "vp9.webm", "ffv1.avi", "prores.mov", "gif.gif")
IMAGES = ("still.png", "still.jpg", "still.webp", "still.tif", "still.bmp")


@dataclass(frozen=True, kw_only=True)
class Studio:
    """Undamaged inputs, and a folder in which one case after another happens."""

    home: Path
    """Folder of the inputs; nothing writes there."""
    folder: Path
    """Folder of the present case, empty at its beginning."""
    work: Path
    """Work folder of an unfinished run, made for `clip`."""
    frames_sha256: str
    """Digest of the frames that `run_command` makes."""

    @property
    def clip(self) -> Path:
        """Output of the case's command."""
        return self.folder / "clip.mp4"

    def run_command(self, **changes: Path) -> list[str]:
        """`cnx run` from the inputs to the clip, with some of them replaced."""
        return run_command(self.home, self.clip, **changes)

    def empty(self) -> None:
        """Make room for the next case."""
        shutil.rmtree(self.folder)
        self.folder.mkdir()


def open_studio(parent: Path) -> Studio:
    """Write the inputs into the folder `parent`, leave a run unfinished, and finish another."""
    home, folder = parent / "home", parent / "case"
    write_inputs(home)
    folder.mkdir()
    clip = folder / "clip.mp4"
    with patch("animate.clip.write.Behind.put", side_effect=KeyboardInterrupt):
        cnx([*run_command(home, clip), "--save-every", "0"])  # ends before its first frame
    work = Path(shutil.move(folder / ".clip.mp4.work", parent / "unfinished"))
    if cnx(run_command(home, clip)):
        raise SystemExit("the undamaged inputs do not make a clip")
    record = json.loads(clip.with_suffix(".json").read_text())
    return Studio(
        home=home, folder=folder, work=work, frames_sha256=record["output"]["frames_sha256"]
    )


def run_command(home: Path, output: Path, **changes: Path) -> list[str]:
    """`cnx run` from the inputs in `home` to `output`, with some of them replaced."""
    files = {
        "reference": home / IMAGES[0],
        "driving": home / VIDEOS[0],
        "poses": home / "poses.npz",
        **changes,
    }
    options = [text for name, path in files.items() for text in (f"--{name}", str(path))]
    return ["run", *options, "--output", str(output), *SMALL, "--quiet"]


def batch_command(manifest: Path, output_dir: Path) -> list[str]:
    """`cnx batch` with the smallest settings, in this process."""
    command = ["batch", str(manifest), "--output-dir", str(output_dir), "--executor", "serial"]
    return [*command, *SMALL, "--no-report"]


def write_inputs(home: Path) -> None:
    """Write every input into the new folder `home`."""
    home.mkdir()
    pictures = [_picture(number) for number in range(FRAMES)]
    _write_sound(home / "sound.mp4", pictures)
    for name in VIDEOS:
        audio = None if name.endswith((".gif", ".avi")) else AudioSource(path=home / "sound.mp4")
        codec = name.partition(".")[0]
        with open_writer(home / name, size=SIZE, fps=FPS, codec=codec, audio=audio) as writer:
            for picture in pictures:
                writer.write(picture)
    for name in IMAGES:
        PIL.Image.fromarray(pictures[0]).save(home / name)
    for folder in ("numbered", "skeletons"):
        (home / folder).mkdir()
        for number, picture in enumerate(pictures):
            write_png(home / folder / f"f_{number:03d}.png", picture)
    _poses(sha256(home / VIDEOS[0])).save(home / "poses.npz")
    (home / "openpose.json").write_bytes(encode_file(_poses(""), "comfyui"))
    (home / "settings.yaml").write_text(_SETTINGS)


def _picture(number: int) -> np.ndarray:
    rng = np.random.default_rng(7)
    picture = cv2.GaussianBlur(rng.integers(0, 255, (*SIZE, 3)).astype(np.uint8), (9, 9), 2)
    cv2.circle(picture, (16 + 3 * number, 20), 8, (230, 190, 160), -1)
    return picture


def _write_sound(path: Path, pictures: list[np.ndarray]) -> None:
    import av

    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        track = container.add_stream("aac", rate=48000, layout="mono")
        for picture in pictures:
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(video.encode(None))
        tone = np.sin(np.arange(int(48000 * FRAMES / FPS)) / 17).astype(np.float32)
        block = av.AudioFrame.from_ndarray(tone[None], "fltp", "mono")
        block.sample_rate = 48000
        container.mux(track.encode(block))
        container.mux(track.encode(None))


def _poses(source: str) -> PoseSequence:
    points = np.random.default_rng(3).uniform(8, 40, (FRAMES, 1, 134, 2)).astype(np.float32)
    scores = np.full((FRAMES, 1, 134), 0.8, np.float32)
    return PoseSequence(
        points=points,
        scores=scores,
        canvas=SIZE,
        fps=FPS,
        times=np.arange(FRAMES) / float(FPS),
        source=source,
        estimator="made up",
    )


_SETTINGS = """\
# settings of a run
seed: 7
guidance: 1:2
control_weight: 0.8
noise: independent
solver: euler
schedule: static
fusing: overlap-linear
fit: crop
stride: 1
start: 0.04
person: main
smooth: true
audio: false
codec: h264
quality: 20
sampling:
  levels: model
  keep_features: 1
"""
