"""Make a clip with a published model's architecture at full size, on random weights.

    python scripts/rehearse.py FOLDER
    python scripts/rehearse.py FOLDER --model svd-v2 --size 320x192 --json figures.json

FOLDER takes the weights: float16, in the published files' names and layout, 4.6 GB for both models,
built once. They go through the same loader, plan and loop as real ones, so this shows whether a
machine is ready for those, in what time and memory; what is made of random weights is noise. It
needs 10 GB of memory in bfloat16 and 13 GB in float32. Exit code 2 for a folder or model that
cannot be used.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a file, python puts scripts/ there and not its parent
    sys.path.insert(0, str(ROOT))

MODELS = ("svd-v1", "svd-v2")


def main(argv: list[str] | None = None) -> int:
    """Build what is not there, make the clips, print the table; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder for weights and clips, outside the tree")
    parser.add_argument("--model", action="append", choices=MODELS, help="one of them (both)")
    parser.add_argument("--size", default="256x256", metavar="WxH")
    parser.add_argument("--frames", type=int, default=4, metavar="N")
    parser.add_argument("--steps", type=int, default=2, metavar="N")
    parser.add_argument("--device", default="auto", metavar="DEVICE")
    parser.add_argument("--precision", default="auto", metavar="NAME")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args(argv)
    folder: Path = arguments.folder.resolve()
    if folder.is_relative_to(ROOT):
        parser.error(f"{folder} lies in this project; choose a folder outside of it")

    from animate.errors import user_mistakes
    from scripts.rehearsal.stages import lines, rehearse

    try:
        rows = rehearse(
            folder,
            arguments.model or MODELS,
            size=arguments.size,
            frames=arguments.frames,
            steps=arguments.steps,
            device=arguments.device,
            precision=arguments.precision,
        )
    except user_mistakes() as mistake:
        parser.error(str(mistake))
    print("\n".join(lines(rows)))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([dataclasses.asdict(row) for row in rows], indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
