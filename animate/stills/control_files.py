"""Files of ControlNeXt for stills: recognised by their tensors, loaded, put into a base's UNet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from animate.errors import ModelError
from animate.models.components import build_control_network, without_memory
from animate.models.ldm_names import is_original, to_diffusers
from animate.models.single_file import SingleFile
from animate.models.stills import StillDesign, load_still_design, still_design_names
from animate.models.weight_files import apply_weights, read_weights
from animate.request.wording import listed

Shapes = dict[str, tuple[int, ...]]


def fitting_designs(path: Path) -> list[str]:
    """Names of the shipped designs whose control network has the tensors of a file."""
    with SingleFile(path) as file:
        shapes = {key: file.shape(key) for key in file.keys}
    return [name for name in still_design_names() if _shapes_of(load_still_design(name)) == shapes]


def _shapes_of(design: StillDesign) -> Shapes:
    network = without_memory(lambda: build_control_network(design.controlnext))
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def load_control_network(design: StillDesign, path: Path) -> Any:
    """The design's control network with the weights of a file. Raises ModelError where the file is
    of another design, which is named."""
    weights = read_weights(path)
    shapes = {name: tuple(value.shape) for name, value in weights.items()}
    if shapes != _shapes_of(design):
        fitting = fitting_designs(path)
        if fitting:
            raise ModelError(
                f"control file {path} is of the design {' or '.join(fitting)}, not {design.name}; "
                f"give --model {fitting[0]}"
            )
        raise ModelError(
            f"control file {path} is of no known design for stills: its tensors are not those of "
            f"{listed(still_design_names())}; a ControlNet or T2I-Adapter is given with --with and "
            "--control-model"
        )
    network = build_control_network(design.controlnext)
    apply_weights(network, weights, path)
    return network.eval().requires_grad_(False)


def apply_unet(unet: Any, design: StillDesign, path: Path) -> None:
    """Put a partial UNet file into the base's UNet, as the design says.

    Raises ModelError for names or sizes that the UNet does not have.
    """
    weights: Mapping[str, Tensor] = read_weights(path)
    if is_original(weights):
        weights = to_diffusers(weights, unet.config)
    state = unet.state_dict()
    unknown = [name for name in weights if name not in state]
    if unknown:
        raise ModelError(
            f"UNet file {path} holds {listed(unknown)}, which a {design.family} UNet does not "
            "have; it is of another base model"
        )
    if design.unet_weights == "increments":
        wrong = [name for name in weights if weights[name].shape != state[name].shape]
        if wrong:
            raise ModelError(
                f"UNet file {path} does not fit the base's sizes: {listed(wrong)}; it is of "
                "another base model"
            )
        weights = {name: state[name] + value.to(state[name]) for name, value in weights.items()}
    apply_weights(unet, weights, path, partial=True)
