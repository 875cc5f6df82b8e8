"""Run by `torchrun` on every rank: rank 0 runs parts of the contract and prints the outcomes.

Arguments: the toy model's folder, then the names of the parts.
"""

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
            for check in (check for check in CHECKS if check.__name__ in sys.argv[2:]):
                try:
                    check(ranks, scene)
                    results[check.__name__] = "passed"
                except Exception:
                    results[check.__name__] = traceback.format_exc()
            print("RESULTS", json.dumps(results), flush=True)
