"""controlnet-aux's DWPose, for those who have its mm* stack: optional, never imported unasked.

It computes with PyTorch checkpoints. Its points already are the layout's 134; unlike DWPose from
ONNX files it keeps boxes above 0.5 and overlaps up to 0.7.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pose.errors import PoseError
from pose.estimators.base import Frame, Points, Scores, as_rgb, nobody
from pose.estimators.sessions import file_digest, runtime, settings_digest
from pose.layout import BODY, POINTS, SEEN

_MODULES = ("controlnet_aux", "mmcv", "mmdet", "mmpose")
_JOINTS_OF_A_PERSON = 3  # without a box it looks at the whole frame, as DWPose does


@dataclass(frozen=True, kw_only=True)
class ControlNetAuxOptions:
    """Which checkpoints, and where they run. Without them the library would fetch its own unasked,
    so both are needed."""

    detector: Path | None = None
    """YOLOX-L's checkpoint (`yolox_l_8x8_300e_coco_*.pth`)."""
    pose: Path | None = None
    """DWPose's checkpoint (`dw-ll_ucoco_384.pth`)."""
    device: str = "cpu"
    """A torch device, such as "cpu" or "cuda:0"."""


class ControlNetAux:
    """`controlnet_aux.dwpose` as a `pose.estimators.base.Estimator`, one frame at a time."""

    name = "controlnet-aux"

    def __init__(self, options: ControlNetAuxOptions) -> None:
        """Import the library and load the checkpoints. PoseError where either is missing."""
        _need_modules()
        detector = _checkpoint(options.detector, "detector")
        pose = _checkpoint(options.pose, "pose")
        self.digest = settings_digest(file_digest(detector), file_digest(pose), options.device)
        try:
            runtime()  # which the library may import
            library = importlib.import_module("controlnet_aux.dwpose")
            detector_class = library.DWposeDetector(
                det_ckpt=str(detector), pose_ckpt=str(pose), device=options.device
            )
        except Exception as error:  # its import and its loaders raise whatever lies below them
            raise PoseError(
                f"controlnet-aux could not start: {type(error).__name__}: {error}; check that the "
                "extra [controlnet-aux] and mmcv, mmdet and mmpose fit your torch, or use the "
                "estimator blazepose or dwpose"
            ) from error
        self._estimate: Any = detector_class.pose_estimation

    def __call__(self, frame: Frame, /) -> tuple[Points, Scores]:
        """See `Estimator`."""
        picture = as_rgb(frame)
        points, scores = self._estimate(np.ascontiguousarray(picture[..., ::-1]))
        points = np.asarray(points, np.float32).reshape(-1, POINTS, 2)
        scores = np.clip(np.asarray(scores, np.float32).reshape(-1, POINTS), 0, 1)
        people = (scores[:, BODY] >= SEEN).sum(axis=1) >= _JOINTS_OF_A_PERSON
        return (points[people], scores[people]) if people.any() else nobody()

    def reset(self) -> None:
        """See `Estimator`; frames do not depend on each other."""


def _need_modules() -> None:
    missing = [name for name in _MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise PoseError(
            f"the estimator controlnet-aux needs {', '.join(missing)}; install the extra "
            "cnx-animate[controlnet-aux], and mmcv, mmdet and mmpose by OpenMMLab's instructions, "
            "or use the estimator blazepose or dwpose, which need none of them"
        )


def _checkpoint(path: Path | None, option: str) -> Path:
    if path is None or not Path(path).is_file():
        raise PoseError(
            f"the estimator controlnet-aux needs its {option} checkpoint as a local file; got "
            f"{path}; nothing is fetched unasked"
        )
    return Path(path)
