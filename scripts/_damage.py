"""Small inputs of every kind, the ways in which they are hurt, and the commands that meet them."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import PIL.Image

from animate.cli.main import main
from animate.files import sha256
from animate.media import open_writer, write_png
from animate.media.audio import AudioSource
from pose.formats import encode_file
from pose.sequence import PoseSequence

SIZE, FRAMES, FPS = (48, 48), 5, Fraction(25)
SMALL = (
    *("--model", "tiny", "--size", "32x32", "--steps", "1", "--window", "3", "--overlap", "1"),
    *("--max-frames", "3", "--retarget", "none", "--threads", "1", "--quiet"),
)
VIDEOS = ("h264.mp4", "h265.mov", "h264.mkv", "vp9.webm", "ffv1.avi", "prores.mov", "gif.gif")
IMAGES = ("still.png", "still.jpg", "still.webp", "still.tif", "still.bmp")
SHARES = {
    "video": 34, "image": 16, "numbered": 7, "poses": 12, "openpose": 5, "skeletons": 4,
    "yaml": 8, "work": 9, "batch": 5,
}  # fmt: skip
"""How many of a hundred cases are of each kind."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One hurt input.

    Attributes:
        kind: what was hurt.
        file: which of its kind.
        argv: the command line that reads it.
        outputs: what the command makes when it succeeds.
        frames_sha256: of the frames that a success must show; "" where others may be right.
    """

    kind: str
    file: str
    argv: tuple[str, ...]
    outputs: tuple[str, ...]
    frames_sha256: str = ""


def hurt(data: bytes, rng: random.Random) -> bytes:
    """Flip bits, cut the end off, blank or repeat a part, or put a few bytes in."""
    way = rng.choice(("flip", "flip", "flip one", "cut", "blank", "repeat", "insert"))
    if way == "cut":
        return data[: rng.randrange(len(data))]
    if way.startswith("flip"):
        changed = bytearray(data)
        for _ in range(1 if way == "flip one" else rng.choice((2, 8, 64))):
            changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(changed)
    at = rng.randrange(len(data))
    length = rng.randrange(1, min(512, len(data)) + 1)
    if way == "blank":
        return data[:at] + bytes(min(length, len(data) - at)) + data[at + length :]
    piece = data[at : at + length] if way == "repeat" else rng.randbytes(min(length, 16))
    return data[:at] + piece + data[at:]


def build(home: Path) -> None:
    """Write every whole input into the new folder `home`."""
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


def unfinished(home: Path, output: Path) -> None:
    """Begin a run that ends before its first frame is written; its work stays beside `output`."""
    with patch("animate.clip.write.Behind.put", side_effect=KeyboardInterrupt):
        main([*_run(home, output), "--save-every", "0"])


def prepare(number: int, seed: int, home: Path, place: Path, kept: Path, frames: str) -> Case:
    """Hurt one input in the empty folder `place` as the numbers say.

    kept: an unfinished run's work folder, made for an output in `place`; frames: what its clip
    must show.
    """
    rng = random.Random(f"{seed} {number}")
    kind = rng.choices(list(SHARES), list(SHARES.values()))[0]
    makers: dict[str, Callable[[], Case]] = {
        "video": lambda: _video(rng, home, place),
        "image": lambda: _image(rng, home, place),
        "numbered": lambda: _folder(rng, home, place, "numbered"),
        "skeletons": lambda: _folder(rng, home, place, "skeletons"),
        "poses": lambda: _pose_file(rng, home, place),
        "openpose": lambda: _openpose(rng, home, place),
        "yaml": lambda: _yaml(rng, home, place),
        "work": lambda: _work(rng, home, place, kept, frames),
        "batch": lambda: _batch(rng, home, place, frames),
    }
    return makers[kind]()


def _run(home: Path, output: Path, **changes: Path) -> list[str]:
    given = {
        "reference": home / IMAGES[0],
        "driving": home / VIDEOS[0],
        "poses": home / "poses.npz",
        **changes,
    }
    paths = [text for name, path in given.items() for text in (f"--{name}", str(path))]
    return ["run", *paths, "--output", str(output), *SMALL]


def _case(kind: str, file: str, place: Path, argv: list[str], sha256: str = "") -> Case:
    clip = place / "clip.mp4"
    outputs = (str(clip), str(clip.with_suffix(".json")))
    return Case(kind=kind, file=file, argv=tuple(argv), outputs=outputs, frames_sha256=sha256)


def _copied(rng: random.Random, source: Path, place: Path) -> Path:
    target = place / source.name
    target.write_bytes(hurt(source.read_bytes(), rng))
    return target


def _video(rng: random.Random, home: Path, place: Path) -> Case:
    name = rng.choice(VIDEOS)
    video = _copied(rng, home / name, place)
    if rng.random() < 0.15:
        out = place / "found.npz"
        found = ("pose", "extract", str(video), "-o", str(out), "--quiet")
        return Case(kind="video", file=name, argv=found, outputs=(str(out),))
    argv = _run(home, place / "clip.mp4", driving=video, poses=home / "skeletons")
    return _case("video", name, place, argv)


def _image(rng: random.Random, home: Path, place: Path) -> Case:
    name = rng.choice(IMAGES)
    image = _copied(rng, home / name, place)
    return _case("image", name, place, _run(home, place / "clip.mp4", reference=image))


def _folder(rng: random.Random, home: Path, place: Path, name: str) -> Case:
    folder = place / name
    shutil.copytree(home / name, folder)
    one = folder / f"f_{rng.randrange(FRAMES):03d}.png"
    one.write_bytes(hurt(one.read_bytes(), rng))
    changes = {"poses": home / "skeletons", ("driving" if name == "numbered" else "poses"): folder}
    return _case(name, one.name, place, _run(home, place / "clip.mp4", **changes))


def _pose_file(rng: random.Random, home: Path, place: Path) -> Case:
    poses = _copied(rng, home / "poses.npz", place)
    if rng.random() < 0.3:
        out = place / "sheet.png"
        argv = ("pose", "preview", str(poses), "-o", str(out), "--quiet")
        return Case(kind="poses", file="preview", argv=argv, outputs=(str(out),))
    return _case("poses", "run", place, _run(home, place / "clip.mp4", poses=poses))


def _openpose(rng: random.Random, home: Path, place: Path) -> Case:
    poses = _copied(rng, home / "openpose.json", place)
    if rng.random() < 0.5:
        out = place / "same.npz"
        argv = ["pose", "convert", str(poses), "-o", str(out), "--to", "npz", "--quiet"]
        argv += ["--canvas", "48x48", "--fps", "25"]
        return Case(kind="openpose", file="convert", argv=tuple(argv), outputs=(str(out),))
    return _case("openpose", "run", place, _run(home, place / "clip.mp4", poses=poses))


def _yaml(rng: random.Random, home: Path, place: Path) -> Case:
    settings = _copied(rng, home / "settings.yaml", place)
    argv = [*_run(home, place / "clip.mp4"), "--config", str(settings), "--cache", "none"]
    return _case("yaml", "settings.yaml", place, argv)


def _work(rng: random.Random, home: Path, place: Path, kept: Path, frames: str) -> Case:
    work = place / ".clip.mp4.work"
    shutil.copytree(kept, work)
    files = sorted(file for file in work.iterdir() if file.is_file() and file.stat().st_size)
    one = rng.choice(files)
    one.write_bytes(hurt(one.read_bytes(), rng))
    again = rng.random() < 0.5
    argv = ["resume", str(work), "--quiet"] if again else _run(home, place / "clip.mp4")
    # A hurt request may be another whole one; then other frames are right.
    return _case("work", one.name, place, argv, "" if one.name == "work.json" else frames)


def _batch(rng: random.Random, home: Path, place: Path, frames: str) -> Case:
    """A batch whose only clip is done, with its record or the sidecar hurt: it is made again."""
    manifest = place / "jobs.jsonl"
    row = {"reference": home / IMAGES[0], "driving": home / VIDEOS[0], "poses": home / "poses.npz"}
    paths = {name: str(path) for name, path in row.items()}
    manifest.write_text(json.dumps({"output": "clip.mp4", **paths}) + "\n")
    argv = ["batch", str(manifest), "--output-dir", str(place), "--executor", "serial"]
    argv += [*(text for text in SMALL if text != "--quiet"), "--no-report"]
    assert main(argv) == 0
    one = rng.choice(sorted(place.glob("clip*.json")))
    one.write_bytes(hurt(one.read_bytes(), rng))
    outputs = (str(place / "clip.mp4"), str(place / "clip.json"))
    return Case(kind="batch", file=one.name, argv=tuple(argv), outputs=outputs)


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
