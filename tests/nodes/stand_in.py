"""The part of ComfyUI that the nodes use, as modules for `sys.modules`."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

VALUES = ("Int", "Float", "String", "Boolean", "Combo", "Image", "Video", "Audio", "Mask")


class Interrupted(Exception):
    """ComfyUI's error for a run that its user stopped."""


@dataclass
class Socket:
    """An input or output as a schema states it."""

    kind: str
    name: str = ""
    values: dict[str, Any] = field(default_factory=dict)


def kind(name: str) -> Any:
    """A type of the editor: `.Input(id, ...)` and `.Output(...)`."""
    return SimpleNamespace(
        Input=lambda id, **values: Socket(name, id, values),
        Output=lambda **values: Socket(name, "", values),
    )


class NodeOutput:
    """Values of a node, and what the editor shows."""

    def __init__(self, *args: Any, ui: Any = None) -> None:
        self.args, self.ui = args, ui


@dataclass
class VideoComponents:
    """Parts of a VIDEO."""

    images: torch.Tensor
    frame_rate: Fraction
    audio: Any = None


class VideoFromComponents:
    """A VIDEO of its parts."""

    def __init__(self, components: VideoComponents) -> None:
        self._components = components

    def get_components(self) -> VideoComponents:
        """The parts."""
        return self._components


class Editor:
    """What the stand-in remembers: bars, and whether the user has interrupted."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.interrupted = folder, False
        self.shown: list[tuple[int, bool]] = []
        for name in ("input", "output", "models", "loras"):
            (folder / name).mkdir()

    def check(self) -> None:
        """Raise the interrupt once."""
        if self.interrupted:
            self.interrupted = False
            raise Interrupted

    def save_path(self, prefix: str, folder: str, *size: int) -> tuple[Any, ...]:
        """Folder, stem, counter, subfolder and prefix of an output."""
        return folder, prefix.replace("/", "-"), 1, "", prefix

    def modules(self) -> dict[str, ModuleType]:
        """Modules by name."""
        editor = self

        class ProgressBar:
            def __init__(self, total: int) -> None:
                self.total = total

            def update_absolute(self, value: int, total: int, preview: Any = None) -> None:
                editor.shown.append((value, preview is not None))

        node = type(
            "ComfyNode", (), {"hidden": SimpleNamespace(prompt={"1": {}}, extra_pnginfo={})}
        )
        names = {name: kind(name.upper()) for name in VALUES}
        io = SimpleNamespace(
            **names,
            Custom=kind,
            ComfyNode=node,
            NodeOutput=NodeOutput,
            Schema=lambda **values: SimpleNamespace(**values),
            Hidden=SimpleNamespace(prompt="PROMPT", extra_pnginfo="EXTRA_PNGINFO"),
            FolderType=SimpleNamespace(output="output"),
        )
        ui = SimpleNamespace(
            SavedResult=lambda *args: args, PreviewVideo=lambda results: {"images": results}
        )
        contents: dict[str, dict[str, Any]] = {
            "comfy": {},
            "comfy.utils": {"ProgressBar": ProgressBar},
            "comfy.cli_args": {"args": SimpleNamespace(disable_metadata=False)},
            "comfy.model_management": {
                "get_torch_device": lambda: torch.device("cpu"),
                "throw_exception_if_processing_interrupted": self.check,
            },
            "comfy_api": {},
            "comfy_api.v0_0_2": {
                "io": io,
                "ui": ui,
                "ComfyExtension": object,
                "InputImpl": SimpleNamespace(VideoFromComponents=VideoFromComponents),
                "Types": SimpleNamespace(VideoComponents=VideoComponents),
            },
            "folder_paths": {
                "models_dir": str(self.folder / "models"),
                "folder_names_and_paths": {},
                "get_input_directory": lambda: str(self.folder / "input"),
                "get_output_directory": lambda: str(self.folder / "output"),
                "get_annotated_filepath": lambda name: str(self.folder / "input" / name),
                "get_filename_list": lambda kind: [],
                "get_save_image_path": self.save_path,
            },
        }
        modules = {name: ModuleType(name) for name in contents}
        for name, values in contents.items():
            vars(modules[name]).update(values)
            parent, _, own = name.rpartition(".")
            if parent:
                setattr(modules[parent], own, modules[name])
        return modules
