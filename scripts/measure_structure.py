"""Count how the product is built, beside the bars that it is held to: files, names, words, calls.

    python scripts/measure_structure.py            # everything; one small clip is made (seconds)
    python scripts/measure_structure.py --no-run   # what the source alone tells
    python scripts/measure_structure.py --list     # every vague name, docstring and message
    python scripts/measure_structure.py --root DIR # another checkout

`tests/test_language.py` holds the shares of words to what was reached. The figures at the start
were counted before this script was; its walk along `request` follows fewer calls than theirs did.
Nothing is judged: the exit code is 0.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a file, python puts scripts/ there and not its parent
    sys.path.insert(0, str(ROOT))

from scripts.structure.calls import circles, walk_request  # noqa: E402
from scripts.structure.words import ANYTHING, INDIRECT, NINE, VAGUE, Source, share  # noqa: E402

PRODUCT = ("animate", "pose", "temporal")


def frames_to_unet() -> int:
    """Calls of the product's own functions between the shell and the UNet's, in a run of `cnx`."""
    import tempfile

    from diffusers import UNetSpatioTemporalConditionModel

    from animate.cli.main import main

    deepest: list[int] = []
    packages = tuple(str(ROOT / name) for name in PRODUCT)
    forward = UNetSpatioTemporalConditionModel.forward

    def counted(*arguments: object, **keywords: object) -> object:
        frame, depth = sys._getframe(1), 0
        while frame is not None:
            depth += frame.f_code.co_filename.startswith(packages)
            frame = frame.f_back  # type: ignore[assignment]
        deepest.append(depth)
        return forward(*arguments, **keywords)

    UNetSpatioTemporalConditionModel.forward = counted
    try:
        with tempfile.TemporaryDirectory() as folder:
            command = ["run", *_small_clip(Path(folder)), "--model", "tiny", "--quiet"]
            code = main([*command, "--max-frames", "2", "--size", "96x96", "--retarget", "none"])
    finally:
        UNetSpatioTemporalConditionModel.forward = forward
    if code or not deepest:
        raise RuntimeError(f"the run that counts frames ended with {code}")
    return max(deepest)


def _small_clip(folder: Path) -> list[str]:
    from fractions import Fraction

    from animate.media import open_writer, write_png
    from scripts.tiny.characters import render_clip

    take = render_clip(5, 4, (96, 96), shot="full")
    write_png(folder / "reference.png", take.reference)
    with open_writer(folder / "driving.mp4", size=(96, 96), fps=Fraction(12)) as writer:
        for frame in take.frames:
            writer.write(frame)
    files = {"reference": "reference.png", "driving": "driving.mp4", "output": "clip.mp4"}
    return [part for name, file in files.items() for part in (f"--{name}", str(folder / file))]


def rows(source: Source, frames: int | None) -> list[tuple[str, str, str, str]]:
    """(figure, at the start, now, bar) of everything that is counted."""
    walk = walk_request(source)
    everything = Source(source.root, (*PRODUCT, "scripts"))
    loose = len(list((source.root / "animate").glob("*.py")))
    return [
        ("loose files in animate/", "30", str(loose), "7 or fewer"),
        ("lines / files of the product", "31,106 / 232",
         f"{source.lines:,} / {len(source.trees)}", "about 26,000 / 185"),
        ("files that request comes to; climbs", "102; 35",
         f"{len(walk.files)}; {walk.climbs}", "-; 8 or fewer"),
        ("circles of rooms", "3", str(len(circles(source))), "0"),
        ("own frames between shell and UNet", "14", "-" if frames is None else str(frames),
         "8 or fewer"),
        (f"{ANYTHING}, scripts too", "191", str(everything.anything), "under 60"),
        ("bound names: the nine words", "3.4 %", f"{share(source.vague(NINE), source.names):.2f} %",
         "1 %"),
        (f"bound names: all {len(VAGUE)} words", "6.2 %",
         f"{share(source.vague(), source.names):.2f} %", "-"),
        ("docstrings beginning " + "/".join(INDIRECT), "12.2 %",
         f"{share(source.indirect(), source.docstrings):.2f} %", "2 %"),
        ("messages with a capital or a full stop", "-",
         f"{share(source.loud(), source.messages):.2f} %", "0 %"),
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=ROOT, help="checkout to read")
    parser.add_argument("--no-run", action="store_true", help="count no frames of a run")
    parser.add_argument("--list", action="store_true", help="print every finding")
    options = parser.parse_args(arguments)
    source = Source(options.root.resolve(), PRODUCT)
    frames = None if options.no_run or source.root != ROOT else frames_to_unet()
    table = [("", "at the start", "now", "bar"), *rows(source, frames)]
    widths = [max(len(row[column]) for row in table) for column in range(4)]
    for row in table:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    counts = Counter(name.text.strip("_") for name in source.vague())
    print("\nvague names: " + ", ".join(f"{name} {count}" for name, count in counts.most_common()))
    if options.list:
        for finding in [*source.vague(), *source.indirect(), *source.loud()]:
            print(f"{finding.path}:{finding.line}: {' '.join(finding.text.split())[:90]}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
