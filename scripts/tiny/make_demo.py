"""Render the demo's media: a reference picture of one character, a driving video of another.

Usage: python -m scripts.tiny.make_demo FOLDER

Both are drawn by this project's procedural characters, so nothing is downloaded and nobody is
depicted. Files that are there already are left alone.
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

SIZE = (384, 576)
FPS = Fraction(24)
FRAMES = 48
# Two characters that the bundled model was not trained on.
REFERENCE_SEED, DRIVING_SEED = 2_000_028, 2_000_029
CYCLES_A_FRAME = 0.04


def main(folder: Path) -> None:
    """Write `reference.png` and `driving.mp4` into `folder`."""
    from animate.media import open_writer, write_png
    from scripts.tiny.characters import render_clip

    reference, driving = folder / "reference.png", folder / "driving.mp4"
    if reference.is_file() and driving.is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_png(reference, render_clip(REFERENCE_SEED, 1, SIZE, shot="full").reference)
    take = render_clip(DRIVING_SEED, FRAMES, SIZE, shot="full", speed=CYCLES_A_FRAME)
    with open_writer(driving, size=SIZE, fps=FPS, overwrite=True) as writer:
        for frame in take.frames:
            writer.write(frame)
    print(f"rendered {reference} and {driving}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m scripts.tiny.make_demo FOLDER")
    main(Path(sys.argv[1]))
