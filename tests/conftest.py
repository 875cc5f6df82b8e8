from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

LONGEST = (
    "generate/workers/test_ray_windows.py",
    "clip/test_work_resuming.py",
    "scripts/tiny/test_trainer.py",
    "studio/test_browser.py",
    "training/test_finetune.py",
    "scripts/parity/test_other_models.py",
    "generate/workers/test_ray_cluster.py",
    "cli/test_batch_command.py",
    "evaluation/test_evaluate.py",
    "scripts/test_evidence.py",
    "generate/workers/test_ranks.py",
    "scripts/robustness/test_bad_inputs.py",
    "scripts/parity/test_svd.py",
    "generate/test_pretended_card.py",
    "batch/test_report.py",
    "scripts/test_farm.py",
)
"""Files of more than a third of a minute, about from the longest down. A file is one process's
work, so one of these that comes last lets the other process wait."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the longest files first."""
    folder = Path(__file__).parent
    ranks = {folder / name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path, len(LONGEST)))


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or fills the cache of whoever runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORT_DISABLE_TELEMETRY", "1")
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("user-cache")))
        yield
