"""Run by `torchrun` on every rank: rank 0 runs the contract and prints what became of it."""

from __future__ import annotations

import json
import sys
import traceback
import warnings
from pathlib import Path

import torch

from animate.generate.workers.ranks import joined
from tests.generate.workers.contract import CHECKS, make_scene

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with joined("cpu") as ranks:
        if ranks.rank:
            ranks.serve()
        else:
            scene = make_scene(Path(sys.argv[1]))
            results = {}
            for check in CHECKS:
                try:
                    check(ranks, scene)
                    results[check.__name__] = "passed"
                except Exception:
                    results[check.__name__] = traceback.format_exc()
            print("RESULTS", json.dumps(results), flush=True)
