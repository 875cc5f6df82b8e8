"""Files of networks that no package carries: named by the user, in one folder.

| measure | file in the folder | network |
| --- | --- | --- |
| LPIPS | `vgg16-397923af.pth` | torchvision's VGG-16 (state dict) |
| FID | `inception-2015-12-05.pt` | Inception v3 of the published FID (TorchScript) |
| FVD | `i3d_torchscript.pt` | I3D, Kinetics-400 (TorchScript) |
| FID-VID | `resnet-50-kinetics.pt` | 3-D ResNet-50, Kinetics (TorchScript) |
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from animate.errors import ModelError, reason_of
from animate.files import real_path, sha256, write_text


@dataclass(frozen=True, kw_only=True)
class NetworkFile:
    """A file that a measure needs."""

    measure: str
    name: str
    network: str
    """Name of the network."""
    features: int
    """Values that it gives for a picture or clip; 0 for VGG."""
    digest: str = ""
    """Beginning of the file's SHA-256, where its publisher states it."""


FILES = {
    entry.measure: entry
    for entry in (
        NetworkFile(
            measure="lpips",
            name="vgg16-397923af.pth",
            network="torchvision's VGG-16",
            features=0,
            digest="397923af",
        ),
        NetworkFile(
            measure="fid",
            name="inception-2015-12-05.pt",
            network="Inception v3 of the published FID",
            features=2048,
        ),
        NetworkFile(
            measure="fvd",
            name="i3d_torchscript.pt",
            network="I3D on Kinetics-400",
            features=400,
        ),
        NetworkFile(
            measure="fid_vid",
            name="resnet-50-kinetics.pt",
            network="3-D ResNet-50 on Kinetics",
            features=2048,
        ),
    )
}


def network_path(folder: Path | None, measure: str) -> Path | None:
    """The file of a measure's network, if the folder has it.

    Raises ModelError where there is no such folder, or the file is of another network by its
    publisher's digest.
    """
    if folder is None:
        return None
    if not folder.is_dir():
        raise ModelError(f"the folder of metric weights {folder} does not exist; check the path")
    entry = FILES[measure]
    path = folder / entry.name
    if not path.is_file():
        return None
    if entry.digest and not sha256(path).startswith(entry.digest):
        raise ModelError(
            f"{path} is another network, or damaged: its SHA-256 does not begin with "
            f"{entry.digest}; fetch it again from its publisher"
        )
    return path


def remembered_folder() -> Path | None:
    """The folder that was named last, if it is still there."""
    try:
        folder = Path(_note().read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError):
        return None
    return folder if folder.is_absolute() and folder.is_dir() else None


def remember_folder(folder: Path) -> None:
    """Keep the folder's path for later commands. Raises ModelError where that cannot be written."""
    note = _note()
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        write_text(note, f"{real_path(folder)}\n")
    except OSError as reason:
        raise ModelError(f"{note} cannot be written: {reason_of(reason)}") from reason


@dataclass(frozen=True, kw_only=True)
class NetworkState:
    """A network of a measure, and its file on this machine."""

    measure: str
    network: str
    name: str
    """Name that the file must have."""
    path: str = ""
    """The file; empty where it is not here."""
    sha256: str = ""

    def line(self) -> str:
        """One line for people."""
        missing = f"not here: cnx evaluate --weights FOLDER with {self.name}"
        state = f"{self.path}, sha256 {self.sha256}" if self.path else missing
        return f"{self.measure:<8} {self.network}; {state}"


def network_states(folder: Path | None) -> list[NetworkState]:
    """The state of every network that no package carries."""
    states = []
    for entry in FILES.values():
        path = folder / entry.name if folder is not None else None
        here = path is not None and path.is_file()
        states.append(
            NetworkState(
                measure=entry.measure,
                network=entry.network,
                name=entry.name,
                path=str(path) if here else "",
                sha256=sha256(path) if path is not None and here else "",
            )
        )
    return states


def _note() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "cnx-animate" / "metric-weights"
