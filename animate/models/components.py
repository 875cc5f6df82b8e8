"""A model variant's networks, loaded from its files or written to a folder."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml
from safetensors.torch import save_file
from torch import nn
from torch.overrides import TorchFunctionMode

from animate.errors import ModelError
from animate.files import atomic_folder, real_path, sha256, write_text
from animate.models.added_latents import add_image_latents
from animate.models.config import (
    Component,
    ControlNetworkConfig,
    ControlNeXtConfig,
    Family,
    PoseGuiderConfig,
    PoseNetConfig,
)
from animate.models.controlnext import ControlNetwork, ControlNeXt
from animate.models.face_encoder import FaceEncoder
from animate.models.filling import check_present, fill
from animate.models.identity_attention import IdentityAttentions, identity_attention
from animate.models.pose_guider import PoseGuider
from animate.models.pose_net import PoseNet
from animate.models.reference_attention import normalise_frames
from animate.models.store import read_json
from animate.models.variants import VARIANT_FILE, ModelVariant, shipped_config
from animate.models.weight_files import WeightReport

Network = TypeVar("Network", bound=nn.Module)
_building = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Components:
    """A variant with its networks in evaluation mode, on one device and in one precision."""

    variant: ModelVariant
    unet: Any
    """diffusers `UNetSpatioTemporalConditionModel`, or the family's other UNet; stock."""
    vae: Any
    """diffusers `AutoencoderKLTemporalDecoder`, or the family's other autoencoder."""
    image_encoder: Any
    """transformers `CLIPVisionModelWithProjection`; its input is as large as its configuration's
    `image_size`, normalised with the variant's `feature_mean` and `feature_std`."""
    controlnext: ControlNetwork
    scheduler: Any
    """diffusers `EulerDiscreteScheduler`, or the family's other scheduler."""
    reference_unet: Any = None
    """diffusers `UNet2DConditionModel` without its last layers, in the family reference-net."""
    face_encoder: FaceEncoder | None = None
    """Encoder of a face's vector, where the variant has face tokens; comes with `identity`."""
    identity: IdentityAttentions | None = None
    """Attention to the face tokens, which `identity_attention` sets on the UNet."""
    digests: Mapping[str, str]
    """SHA-256 of every weight file, by the file's name."""
    reports: tuple[WeightReport, ...]
    """Names of each weight file, by what became of them."""

    def networks(self) -> tuple[nn.Module, ...]:
        """All networks."""
        optional = (self.reference_unet, self.face_encoder, self.identity)
        return (
            self.unet,
            self.vae,
            self.image_encoder,
            self.controlnext,
            *(network for network in optional if network is not None),
        )


def load_components(
    variant: ModelVariant,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    *,
    fresh: Collection[str] = (),
) -> Components:
    """The variant's networks and scheduler, from files that are on this machine.

    Weights keep their values and take `dtype`. With "controlnext" in `fresh` that network's files
    are not read; its weights are drawn anew, for training. Raises `ModelError` when a file is
    missing (with the command that fetches it), damaged, or does not fit.
    """
    check_present(variant, fresh)
    networks: dict[str, nn.Module] = {}
    reports: list[WeightReport] = []
    digests: dict[str, str] = {}
    identity: IdentityAttentions | None = None
    for name in variant.networks:
        network: Any = (
            build_control_network(variant.control_network)
            if name in fresh
            else empty_network(name, variant)
        )
        with with_processors(name, network, variant) as processors:
            identity = processors or identity
            nn.Module.to(network, dtype)  # diffusers' own `to` warns of nothing that applies here
            if name not in fresh:
                reports += fill(network, variant, name, digests)
            networks[name] = network.eval().requires_grad_(False).to(device)
    if variant.channels_per_group is not None:
        for name in ("unet", "vae"):
            regroup(networks[name], variant.channels_per_group)
    if variant.adds_image_latents:
        add_image_latents(networks["unet"], networks["vae"])
    return Components(
        variant=variant,
        scheduler=make_scheduler(variant.scheduler, variant.family),
        digests=digests,
        reports=tuple(reports),
        unet=networks["unet"],
        vae=networks["vae"],
        image_encoder=networks["image_encoder"],
        controlnext=networks["controlnext"],  # type: ignore[arg-type]
        reference_unet=networks.get("reference_unet"),
        face_encoder=networks.get("face_encoder"),  # type: ignore[arg-type]
        identity=identity,
    )


def make_scheduler(config: Mapping[str, Any], family: Family = "svd") -> Any:
    """The family's scheduler with this configuration. Raises `ModelError` for unknown names."""
    import diffusers

    try:
        return getattr(diffusers, STOCK[family]["scheduler"])(**config)
    except (TypeError, ValueError, NotImplementedError) as reason:
        raise ModelError(f"the scheduler's configuration cannot be used: {reason}") from reason


def regroup(network: nn.Module, channels_per_group: int) -> nn.Module:
    """Give every group normalisation at least this many channels a group; returns `network`.

    The shapes of the weights stay; apply it after building as well as after loading.
    """
    for module in network.modules():
        if isinstance(module, nn.GroupNorm):
            most = max(1, module.num_channels // channels_per_group)
            if module.num_groups > most:
                fitting = (n for n in range(most, 0, -1) if module.num_channels % n == 0)
                module.num_groups = next(fitting)
    return network


def save_model(
    folder: Path | str,
    variant: ModelVariant,
    networks: Mapping[str, nn.Module],
    *,
    dtype: torch.dtype = torch.float16,
    overwrite: bool = False,
) -> ModelVariant:
    """Write a complete model folder: `variant.yaml`, and each network's sizes and weights.

    `networks` holds those that `variant.networks` names; a UNet that attends to face tokens comes
    within `identity_attention`. The returned variant is the
    one written: its components name the new files, with their digests. The folder appears whole
    or not at all. Raises `ModelError` when it exists already and `overwrite` is not set.
    """
    if sorted(networks) != sorted(variant.networks):
        raise ModelError(
            f"a model is made of {', '.join(variant.networks)}, not {', '.join(networks)}"
        )
    path = Path(folder)
    try:
        with atomic_folder(path, overwrite=overwrite) as partial:
            written = _write(partial, variant, networks, dtype)
    except FileExistsError:
        raise ModelError(f"model folder {path} exists already; choose another name") from None
    except OSError as reason:
        raise ModelError(f"model folder {path} cannot be written: {reason}") from reason
    return replace(written, folder=real_path(path))


def _write(
    folder: Path, variant: ModelVariant, networks: Mapping[str, nn.Module], dtype: torch.dtype
) -> ModelVariant:
    components, digests = {}, {}
    for name, network in networks.items():
        (folder / name).mkdir()
        config = "" if name in OWN_NETWORKS else f"{name}/config.json"
        weights = f"{name}/model.safetensors"
        if config:
            write_text(folder / config, _config_text(network))
            digests[config] = sha256(folder / config)
        tensors = {
            key: value.detach().to("cpu", dtype if value.is_floating_point() else None).contiguous()
            for key, value in network.state_dict().items()
            if not key.endswith(".pos_embed.pe")  # sinusoids, which the network makes exactly
        }
        save_file(tensors, folder / weights, metadata={"format": "pt"})
        (folder / weights).chmod(0o644)  # it is made for its owner alone
        digests[weights] = sha256(folder / weights)
        components[name] = Component(config=config, weights=(weights,))
    written = replace(variant, components=components, digests=digests, sources={}, folder=folder)
    text = yaml.safe_dump(written.to_dict(), sort_keys=False, width=100, allow_unicode=True)
    write_text(folder / VARIANT_FILE, text)
    return written


def _config_text(network: Any) -> str:
    if hasattr(network, "to_json_string"):  # diffusers
        return str(network.to_json_string())
    return str(network.config.to_json_string())  # transformers


@contextmanager
def with_processors(
    name: str, network: Any, variant: ModelVariant
) -> Iterator[IdentityAttentions | None]:
    """A UNet that attends to face tokens with its processors on, as its files hold their weights;
    any other network as it is."""
    if name != "unet" or variant.face is None:
        yield None
        return
    tokens = variant.face.tokens
    identity = without_memory(lambda: IdentityAttentions(network, tokens))
    with identity_attention(network, identity):
        yield identity


def empty_network(
    name: str, variant: ModelVariant, config: Mapping[str, Any] | None = None
) -> nn.Module:
    """A network of the variant without memory for its weights, which come from files anyway.

    config: sizes of a stock network; None: those that the variant's file states
    """
    if name in OWN_NETWORKS:
        return without_memory(lambda: build_own(name, variant))
    sizes = _read_config(variant, name) if config is None else config
    try:
        return without_memory(lambda: build_network(name, sizes, variant.family))
    except (TypeError, ValueError, KeyError, RuntimeError, ZeroDivisionError) as reason:
        described = variant.components[name].config
        file = variant.file(described) if described else shipped_config(name, variant.family)
        raise ModelError(f"{file} does not describe a {name}: {reason}") from reason


OWN_NETWORKS = ("controlnext", "face_encoder")
"""Networks whose sizes stand in the variant; the others are stock, with a file of their sizes."""
CONTROL_NETWORKS: dict[type[ControlNetworkConfig], Callable[[Any], ControlNetwork]] = {
    ControlNeXtConfig: ControlNeXt,
    PoseNetConfig: PoseNet,
    PoseGuiderConfig: PoseGuider,
}
"""The module of each kind of control network, by the type of its configuration."""


def build_control_network(config: ControlNetworkConfig) -> ControlNetwork:
    """The control network with these sizes, its weights drawn anew."""
    return CONTROL_NETWORKS[type(config)](config)


def build_own(name: str, variant: ModelVariant) -> nn.Module:
    """One of `OWN_NETWORKS` with the variant's sizes, its weights drawn anew."""
    if name == "face_encoder":
        assert variant.face is not None, "a variant with this component has a face section"
        return FaceEncoder(variant.face)
    return build_control_network(variant.control_network)


STOCK: Mapping[Family, Mapping[str, str]] = {
    "svd": {
        "unet": "UNetSpatioTemporalConditionModel",
        "vae": "AutoencoderKLTemporalDecoder",
        "scheduler": "EulerDiscreteScheduler",
    },
    "reference-net": {
        "unet": "UNetMotionModel",
        "vae": "AutoencoderKL",
        "reference_unet": "UNet2DConditionModel",
        "scheduler": "DDIMScheduler",
    },
}
"""diffusers' classes that the models of a family are made of."""


def build_network(name: str, config: Mapping[str, Any], family: Family = "svd") -> Any:
    """The stock network called `name` with these sizes: "image_encoder", or a key of `STOCK`.

    Raises ValueError for more layers than any network has, which would be made without end, and
    whatever the libraries raise for sizes that cannot be.
    """
    check_layers(config)
    if name == "image_encoder":
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        return CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(dict(config)))
    import diffusers

    network: Any = getattr(diffusers, STOCK[family][name]).from_config(dict(config))
    if name == "reference_unet":  # its last hidden state is used by nobody, nor published
        network.conv_norm_out, network.conv_out = None, nn.Identity()
    elif family == "reference-net" and name == "unet":
        normalise_frames(network)
    return network


_COUNTS = re.compile("layers|num_(encoder|decoder)_blocks")
_MOST_LAYERS = 100
"""Layers of a block, and blocks of a network."""


def check_layers(config: Mapping[str, Any]) -> None:
    """Raise ValueError for numbers of layers or blocks beyond those of any network."""
    for key, value in config.items():
        counts = value if isinstance(value, list | tuple) else [value]
        largest = max((n for n in counts if isinstance(n, int)), default=0)
        if len(counts) > _MOST_LAYERS or (largest > _MOST_LAYERS and _COUNTS.search(key)):
            raise ValueError(f"{key} counts more than {_MOST_LAYERS} layers or blocks")


class _MetaParameters(TorchFunctionMode):
    """New tensors without values have no memory. Others, such as a table of positions, are made as
    usual: no weight file holds those."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.empty:
            kwargs = {**(kwargs or {}), "device": "meta"}
        return func(*args, **(kwargs or {}))


def without_memory(build: Callable[[], Network]) -> Network:
    """The network that `build` makes, without memory for its weights.

    Safe from any thread: one network is made at a time, since the first one imports its library,
    and nothing of torch is changed (accelerate's `init_empty_weights` changes it for all threads).
    """
    with _building, _MetaParameters():
        network = build()
    for module in network.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and not parameter.is_meta:
                module._parameters[name] = nn.Parameter(
                    parameter.to("meta"), requires_grad=parameter.requires_grad
                )
    return network


def _read_config(variant: ModelVariant, name: str) -> dict[str, Any]:
    described = variant.components[name].config
    path = variant.file(described).locate() if described else None
    if described and path is None:
        raise ModelError(f"model {variant.name}: {described} is missing")
    return read_json(path or shipped_config(name, variant.family))
