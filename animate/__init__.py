"""Animate the person in a still image with the motion of a driving video.

The public surface is small; everything is imported where it is first used, so that
`import animate` stays fast and never loads torch::

    from animate import AnimationRequest, Animator, SamplingOptions

    animator = Animator.from_pretrained("tiny")
    result = animator(AnimationRequest(reference="me.png", driving="dance.mp4", output="out.mp4"))
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # true for type checkers; to import `typing` takes longer than all else here
if TYPE_CHECKING:
    from typing import Any

    from animate.animator import Animator
    from animate.batch.compare import compare
    from animate.batch.compare_page import Comparison
    from animate.batch.manifest import load_manifest
    from animate.batch.records import JobRecord
    from animate.batch.report import write_report
    from animate.batch.runner import run_batch
    from animate.clip.restyle import restyle_reference
    from animate.errors import AnimateError
    from animate.evaluation.evaluate import evaluate
    from animate.evaluation.scores import ClipScores, Evaluation
    from animate.pipeline.poses import (
        clean_poses,
        draw_poses,
        estimate_poses,
        retarget_poses,
    )
    from animate.pipeline.video import ControlNeXtVideoOutput, ControlNeXtVideoPipeline
    from animate.request.request import (
        AnimationRequest,
        AnimationResult,
        RuntimeOptions,
        SamplingOptions,
    )
    from animate.request.still import StillRequest
    from animate.stills.pipeline import StillPipeline
    from pose.sequence import PoseSequence

__version__ = "0.1.0"

_PUBLIC = {
    "Animator": "animate.animator",
    "AnimateError": "animate.errors",
    "AnimationRequest": "animate.request.request",
    "AnimationResult": "animate.request.request",
    "ClipScores": "animate.evaluation.scores",
    "Comparison": "animate.batch.compare_page",
    "ControlNeXtVideoOutput": "animate.pipeline.video",
    "ControlNeXtVideoPipeline": "animate.pipeline.video",
    "Evaluation": "animate.evaluation.scores",
    "JobRecord": "animate.batch.records",
    "PoseSequence": "pose.sequence",
    "RuntimeOptions": "animate.request.request",
    "SamplingOptions": "animate.request.request",
    "StillPipeline": "animate.stills.pipeline",
    "StillRequest": "animate.request.still",
    "compare": "animate.batch.compare",
    "clean_poses": "animate.pipeline.poses",
    "draw_poses": "animate.pipeline.poses",
    "estimate_poses": "animate.pipeline.poses",
    "evaluate": "animate.evaluation.evaluate",
    "load_manifest": "animate.batch.manifest",
    "retarget_poses": "animate.pipeline.poses",
    "restyle_reference": "animate.clip.restyle",
    "run_batch": "animate.batch.runner",
    "write_report": "animate.batch.report",
}

__all__ = [
    "AnimateError",
    "AnimationRequest",
    "AnimationResult",
    "Animator",
    "ClipScores",
    "Comparison",
    "ControlNeXtVideoOutput",
    "ControlNeXtVideoPipeline",
    "Evaluation",
    "JobRecord",
    "PoseSequence",
    "RuntimeOptions",
    "SamplingOptions",
    "StillPipeline",
    "StillRequest",
    "__version__",
    "clean_poses",
    "compare",
    "draw_poses",
    "estimate_poses",
    "evaluate",
    "load_manifest",
    "restyle_reference",
    "retarget_poses",
    "run_batch",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'animate' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
