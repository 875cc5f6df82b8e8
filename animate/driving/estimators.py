"""Files of the pose estimators that are not bundled, found in a folder or the hub's cache."""

from __future__ import annotations

from pathlib import Path

from animate.errors import ModelError
from animate.models.config import Source
from animate.models.store import ModelFile
from pose.estimators.dwpose import DETECTOR, LICENCE_NOTE, POSE, REPOSITORY, REVISION

_AUX_CHECKPOINTS = {"detector": "yolox_l_8x8_300e_coco*.pth", "pose": "dw-ll_ucoco_384*.pth"}
"""controlnet-aux's checkpoints, as their authors name them."""


def dwpose_files() -> tuple[ModelFile, ...]:
    """DWPose's two ONNX files with their pinned digests."""
    source = Source(
        repository=REPOSITORY,
        revision=REVISION,
        licence=LICENCE_NOTE,
        digests={pin.name: pin.sha256 for pin in (DETECTOR, POSE)},
    )
    return tuple(
        ModelFile(path=pin.name, source=source, digest=pin.sha256) for pin in (DETECTOR, POSE)
    )


def estimator_options(
    name: str, folder: Path | None, device: str, network: Path | None = None
) -> dict[str, object]:
    """Options for `load_estimator`: which files, and `cpu` or `cuda`.

    network: whole-body network in place of DWPose's own
    Raises ModelError when a file is not in the folder, nor fetched.
    """
    if network is not None and name != "dwpose":
        raise ModelError(
            f"--estimator-network is a whole-body network for --estimator dwpose; the estimator "
            f"{name} has its own"
        )
    if name == "dwpose":
        if network is not None:
            if not network.is_file():
                raise ModelError(f"estimator network {network} does not exist; check the path")
            where = (
                {"folder": folder}
                if folder is not None
                else {"detector": _fetched(dwpose_files()[0])}
            )
            return {**where, "network": network, "device": device}
        if folder is not None:
            return {"folder": folder, "device": device}
        detector, pose = (_fetched(file) for file in dwpose_files())
        return {"detector": detector, "pose": pose, "device": device}
    if name == "controlnet-aux":
        matches = {option: _in_folder(folder, glob) for option, glob in _AUX_CHECKPOINTS.items()}
        return {**matches, "device": device}
    if folder is not None or device != "cpu":
        raise ModelError(
            f"the estimator {name} has its networks with it and runs on the CPU; leave "
            "--estimator-folder and --estimator-device out, or choose --estimator dwpose"
        )
    return {}


def _fetched(file: ModelFile) -> Path:
    path = file.locate()
    if path is None:
        raise ModelError(
            f"the estimator dwpose needs {file}, which is not on this machine: "
            "`cnx models fetch dwpose` gets it, or --estimator-folder names a folder with it"
        )
    return path


def _in_folder(folder: Path | None, glob: str) -> Path:
    matches = sorted(folder.glob(glob)) if folder is not None else []
    if not matches:
        raise ModelError(
            f"the estimator controlnet-aux needs {glob} in the folder that --estimator-folder "
            "names; its authors publish it"
        )
    return matches[0]
