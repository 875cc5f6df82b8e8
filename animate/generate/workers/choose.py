"""The workers that a request asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from animate.request.request import RuntimeOptions

if TYPE_CHECKING:
    import torch

    from animate.generate.workers.protocol import WindowExecutor


def ray_workers(runtime: RuntimeOptions, device: torch.device) -> WindowExecutor:
    """Ray workers as `runtime` names them. Raises ExecutorError where Ray is not installed.

    A worker on a CPU computes with one thread unless `threads` says otherwise: the bits may depend
    on it, so it must not depend on how many workers there are.
    """
    from animate.generate.workers.ray_cluster import require_ray
    from animate.generate.workers.ray_windows import RayWindows

    require_ray()
    assert runtime.workers is not None
    return RayWindows(
        runtime.workers,
        device=device,
        threads=runtime.threads or 1,
        address=runtime.ray_address,
        limit=runtime.worker_limit,
    )
