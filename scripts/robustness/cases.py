"""Cases: one damaged or hostile input each, made from a seed, and the command that reads it."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from animate.cli.main import main as cnx
from scripts.robustness import hostile
from scripts.robustness.inputs import FRAMES, IMAGES, VIDEOS, Studio, batch_command

SHARES = {
    "video": 25, "image": 12, "numbered": 5, "poses": 9, "openpose": 4, "skeletons": 3,
    "yaml": 6, "work": 7, "batch": 4, "manifest": 10, "option": 5, "tampered": 6, "link": 4,
}  # fmt: skip
"""Weights of the kinds among the cases."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One damaged or hostile input."""

    kind: str
    """The kind of input; a key of `SHARES`."""
    file: str
    """The one of its kind."""
    argv: tuple[str, ...]
    """Command line that reads it."""
    outputs: tuple[str, ...]
    """Files that the command makes when it succeeds."""
    codes: tuple[int, ...] = (0, 2, 3)
    """Exit codes that are right."""
    frames_sha256: str = ""
    """Digest of the frames that a success must show; empty where others may be right."""
    foreign: tuple[tuple[str, bytes], ...] = ()
    """Files of other people, with the bytes that must stay in them."""


def prepare(number: int, seed: int, studio: Studio) -> Case:
    """Damage one input in the studio's empty folder, as the numbers say."""
    rng = random.Random(f"{seed} {number}")
    kind = rng.choices(list(SHARES), list(SHARES.values()))[0]
    makers: dict[str, Callable[[random.Random, Studio], Case]] = {
        "video": _video,
        "image": _image,
        "numbered": lambda rng, studio: _folder_of_images(rng, studio, "numbered", "driving"),
        "skeletons": lambda rng, studio: _folder_of_images(rng, studio, "skeletons", "poses"),
        "poses": _pose_file,
        "openpose": _openpose,
        "yaml": _yaml,
        "work": _work,
        "batch": _batch,
        "manifest": _manifest,
        "option": _option,
        "tampered": _tampered,
        "link": _link,
    }
    return makers[kind](rng, studio)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Flip bits, cut the end off, blank or repeat a part, or put a few bytes in."""
    way = rng.choice(("flip", "flip", "flip once", "cut", "blank", "repeat", "insert"))
    if way == "cut":
        return data[: rng.randrange(len(data))]
    if way.startswith("flip"):
        changed = bytearray(data)
        for _ in range(1 if way == "flip once" else rng.choice((2, 8, 64))):
            changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(changed)
    at = rng.randrange(len(data))
    length = rng.randrange(1, min(512, len(data)) + 1)
    if way == "blank":
        return data[:at] + bytes(min(length, len(data) - at)) + data[at + length :]
    piece = data[at : at + length] if way == "repeat" else rng.randbytes(min(length, 16))
    return data[:at] + piece + data[at:]


def _case(kind: str, file: str, studio: Studio, argv: list[str], **more: Any) -> Case:
    outputs = (str(studio.clip), str(studio.clip.with_suffix(".json")))
    return Case(kind=kind, file=file, argv=tuple(argv), outputs=outputs, **more)


def _damage(path: Path, rng: random.Random) -> None:
    path.write_bytes(damaged(path.read_bytes(), rng))


def _damaged_copy(rng: random.Random, studio: Studio, name: str) -> Path:
    copy = studio.folder / name
    shutil.copyfile(studio.home / name, copy)
    _damage(copy, rng)
    return copy


def _video(rng: random.Random, studio: Studio) -> Case:
    name = rng.choice(VIDEOS)
    video = _damaged_copy(rng, studio, name)
    if rng.random() < 0.15:
        out = studio.folder / "found.npz"
        extract = ("pose", "extract", str(video), "-o", str(out), "--quiet")
        return Case(kind="video", file=name, argv=extract, outputs=(str(out),))
    argv = studio.run_command(driving=video, poses=studio.home / "skeletons")
    return _case("video", name, studio, argv)


def _image(rng: random.Random, studio: Studio) -> Case:
    name = rng.choice(IMAGES)
    image = _damaged_copy(rng, studio, name)
    return _case("image", name, studio, studio.run_command(reference=image))


def _folder_of_images(rng: random.Random, studio: Studio, name: str, setting: str) -> Case:
    images = studio.folder / name
    shutil.copytree(studio.home / name, images)
    image = images / f"f_{rng.randrange(FRAMES):03d}.png"
    _damage(image, rng)
    changes = {"poses": studio.home / "skeletons", setting: images}
    return _case(name, image.name, studio, studio.run_command(**changes))


def _pose_file(rng: random.Random, studio: Studio) -> Case:
    poses = _damaged_copy(rng, studio, "poses.npz")
    if rng.random() < 0.3:
        out = studio.folder / "sheet.png"
        argv = ("pose", "preview", str(poses), "-o", str(out), "--quiet")
        return Case(kind="poses", file="preview", argv=argv, outputs=(str(out),))
    return _case("poses", "run", studio, studio.run_command(poses=poses))


def _openpose(rng: random.Random, studio: Studio) -> Case:
    poses = _damaged_copy(rng, studio, "openpose.json")
    if rng.random() < 0.5:
        out = studio.folder / "same.npz"
        argv = ["pose", "convert", str(poses), "-o", str(out), "--to", "npz", "--quiet"]
        argv += ["--canvas", "48x48", "--fps", "25"]
        return Case(kind="openpose", file="convert", argv=tuple(argv), outputs=(str(out),))
    return _case("openpose", "run", studio, studio.run_command(poses=poses))


def _yaml(rng: random.Random, studio: Studio) -> Case:
    settings = _damaged_copy(rng, studio, "settings.yaml")
    argv = [*studio.run_command(), "--config", str(settings), "--cache", "none"]
    return _case("yaml", "settings.yaml", studio, argv)


def _work(rng: random.Random, studio: Studio) -> Case:
    work = studio.folder / ".clip.mp4.work"
    shutil.copytree(studio.work, work)
    files = sorted(file for file in work.iterdir() if file.is_file() and file.stat().st_size)
    file = rng.choice(files)
    _damage(file, rng)
    resumes = rng.random() < 0.5
    argv = ["resume", str(work), "--quiet"] if resumes else studio.run_command()
    # A damaged request may be another valid one; then other frames are right.
    frames = "" if file.name == "work.json" else studio.frames_sha256
    return _case("work", file.name, studio, argv, frames_sha256=frames)


def _write_manifest(studio: Studio, *rows: str) -> Path:
    manifest = studio.folder / "jobs.jsonl"
    files = {"reference": IMAGES[0], "driving": VIDEOS[0], "poses": "poses.npz"}
    good = {name: str(studio.home / file) for name, file in files.items()}
    lines = [json.dumps({**good, "output": "clip.mp4"}), *rows]
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def _batch(rng: random.Random, studio: Studio) -> Case:
    """A batch whose only clip is done, with its record or sidecar damaged: it is made again."""
    argv = batch_command(_write_manifest(studio), studio.folder)
    if cnx([*argv, "--quiet"]):
        raise SystemExit("the undamaged batch does not make a clip")
    record = rng.choice(sorted(studio.folder.glob("clip*.json")))
    _damage(record, rng)
    return _case("batch", record.name, studio, argv)


def _manifest(rng: random.Random, studio: Studio) -> Case:
    """A good row, and one that cannot be used: the good one is made all the same."""
    row, name = hostile.row(rng)
    manifest = _write_manifest(studio, row)
    argv = [*batch_command(manifest, studio.folder), "--keep-going", "--quiet"]
    return _case("manifest", name, studio, argv, codes=(3,), frames_sha256=studio.frames_sha256)


def _option(rng: random.Random, studio: Studio) -> Case:
    """`cnx run` with an option's value, or a file of settings, that nobody would give."""
    if rng.random() < 0.5:
        settings = studio.folder / "hostile.yaml"
        text, name = hostile.settings(rng)
        settings.write_text(text)
        argv = [*studio.run_command(), "--config", str(settings)]
        # The command line, which has the last word, may make up for it.
        return _case("option", name, studio, argv, codes=(0, 2))
    name, value = hostile.option(rng)
    argv = [*studio.run_command(), f"--{name}={value}"]
    return _case("option", name, studio, argv, codes=(2,))


def _tampered(rng: random.Random, studio: Studio) -> Case:
    """A record, or the marker of a work folder, with one value changed by hand."""
    if rng.random() < 0.5:
        case = _batch(random.Random(0), studio)
        path = studio.folder / rng.choice(("clip.json", "clip.mp4.job.json"))
        argv = list(case.argv)
        if cnx([*argv, "--quiet", "--overwrite"]):
            raise SystemExit("the undamaged batch does not make a clip")
    else:
        work = studio.folder / ".clip.mp4.work"
        shutil.copytree(studio.work, work)
        path, argv = work / "work.json", ["resume", str(work), "--quiet"]
    path.write_text(hostile.changed_json(path.read_text(), rng))
    kind = "batch" if argv[0] == "batch" else "tampered"
    return _case(kind, path.name, studio, argv)


def _link(rng: random.Random, studio: Studio) -> Case:
    """A link in a work folder, or a name like ours, that leads to somebody else's file; or one in
    a circle, in place of what is written."""
    content = b"somebody else's\n"
    theirs = studio.folder / "theirs.txt"
    theirs.write_bytes(content)
    foreign = ((os.fspath(theirs), content),)
    if rng.random() < 0.25:
        circle = studio.folder / rng.choice(("clip.mp4", "clip.json"))
        circle.symlink_to(circle)
        argv = [*studio.run_command(), *["--overwrite"] * rng.randrange(2)]
        return _case("link", circle.name, studio, argv, codes=(2,), foreign=foreign)
    work = studio.folder / ".clip.mp4.work"
    shutil.copytree(studio.work, work)
    names = ("lock", "closing", "work.json", "frames-000000", "latents-000000-000001", "poses")
    link = work / rng.choice(names)
    if link.exists():
        link.unlink()
    link.symlink_to(theirs)
    commands = (
        studio.run_command(),
        ["resume", str(work), "--quiet"],
        ["clean", str(studio.folder), "--yes", "--quiet"],
    )
    argv = rng.choice(commands)
    case = _case("link", link.name, studio, argv, foreign=foreign)
    return replace(case, outputs=()) if argv[0] == "clean" else case
