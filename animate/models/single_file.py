"""Stable Video Diffusion in one file, as it was first published and as other programs keep it.

The file holds the UNet (`model.diffusion_model.`), the autoencoder (`first_stage_model.decoder`,
and its encoder among the conditioners) and the image encoder (in open_clip's names). Here every
name of a network of diffusers or transformers is turned into the name that the file has for it, so
that each tensor is read where it lies and nothing is written anew.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from animate.errors import ModelError
from animate.models.weight_files import read_weights
from animate.request.wording import listed

UNET_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "")
"""Before the UNet's names: in a whole checkpoint, in a wrapper's file, in a file of the UNet."""
_DECODER = "first_stage_model.decoder."
_ENCODERS = ("conditioner.embedders.3.encoder.", "first_stage_model.")
_OPEN_CLIP = "conditioner.embedders.0.open_clip.model.visual."

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_ATTENTION = {
    "temporal_transformer_blocks.": "time_stack.",
    "time_pos_embed.linear_1.": "time_pos_embed.0.",
    "time_pos_embed.linear_2.": "time_pos_embed.2.",
}
_CLIP_ENDS = {
    "vision_model.embeddings.class_embedding": "class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "positional_embedding",
    "visual_projection.weight": "proj",
}
_CLIP_LAYER = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


@dataclass(frozen=True, kw_only=True)
class Piece:
    """The tensor of a single file that one of a network is made of."""

    key: str
    third: int | None = None
    """0, 1 or 2 where the file keeps query, key and value in one tensor."""
    transposed: bool = False


def unet_pieces(names: Collection[str], layers_per_block: int) -> dict[str, Piece]:
    """The file's names, without a prefix, for those of diffusers' video UNet."""
    attended = {match[1] for name in names if (match := re.match(r"up_blocks\.(\d+)\.att", name))}
    return {name: Piece(key=_unet_key(name, layers_per_block, attended)) for name in names}


def _unet_key(name: str, layers: int, attended: Collection[str]) -> str:
    for ours, theirs in _UNET_ENDS.items():
        if name.startswith(f"{ours}."):
            return theirs + name.removeprefix(ours)
    match = re.match(
        r"(down|up)_blocks\.(\d+)\.(resnets|attentions|\w+samplers)\.(\d+)\.(.+)", name
    )
    if match is None:
        middle = re.match(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)", name)
        if middle is None:
            raise ModelError(f"{name} is no tensor of Stable Video Diffusion's UNet")
        kind, index, inner = middle.groups()
        position = 1 if kind == "attentions" else 2 * int(index)
        return f"middle_block.{position}.{_unet_inner(kind, inner)}"
    side, block, kind, index, inner = match.groups()
    first = int(block) * (layers + 1)
    if kind == "downsamplers":
        return f"input_blocks.{first + layers + 1}.0.{inner.replace('conv', 'op', 1)}"
    if kind == "upsamplers":
        return f"output_blocks.{first + layers}.{2 if block in attended else 1}.{inner}"
    row = first + int(index) + (1 if side == "down" else 0)
    section = "input_blocks" if side == "down" else "output_blocks"
    return f"{section}.{row}.{1 if kind == 'attentions' else 0}.{_unet_inner(kind, inner)}"


def _unet_inner(kind: str, inner: str) -> str:
    if kind == "attentions":
        for ours, theirs in _ATTENTION.items():
            if inner.startswith(ours):
                return theirs + inner.removeprefix(ours)
        return inner
    return _resnet_key(inner, spatial=_RESNET)


def _resnet_key(inner: str, spatial: Mapping[str, str]) -> str:
    """A tensor of a residual block over space, over time, or of what mixes the two."""
    block, _, layer = inner.partition(".")
    if block == "time_mixer":
        return inner
    stem, _, end = layer.partition(".")
    if block == "temporal_res_block":
        return f"time_stack.{_RESNET[stem]}.{end}"
    return f"{spatial[stem]}.{end}"


_VAE_RESNET = {name: name for name in ("norm1", "conv1", "norm2", "conv2")}
_VAE_RESNET["conv_shortcut"] = "nin_shortcut"
_VAE_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}


def vae_pieces(names: Collection[str], encoder: str) -> dict[str, Piece]:
    """The file's names for those of diffusers' `AutoencoderKLTemporalDecoder`.

    encoder: prefix of the encoder's names in the file
    """
    levels = 1 + max(
        int(match[1]) for name in names if (match := re.match(r"decoder\.up_blocks\.(\d+)\.", name))
    )
    return {name: Piece(key=_vae_key(name, encoder, levels)) for name in names}


def _vae_key(name: str, encoder: str, levels: int) -> str:
    side, _, inner = name.partition(".")
    if side == "quant_conv":
        return encoder + name
    prefix = _DECODER if side == "decoder" else f"{encoder}encoder."
    if inner.startswith("time_conv_out."):
        return f"{prefix}conv_out.time_mix_conv.{inner.removeprefix('time_conv_out.')}"
    if inner.startswith("conv_norm_out."):
        return f"{prefix}norm_out.{inner.removeprefix('conv_norm_out.')}"
    if inner.startswith(("conv_in.", "conv_out.")):
        return prefix + inner
    middle = re.match(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)", inner)
    if middle and middle[1] == "attentions":
        stem, _, end = middle[3].rpartition(".")
        return f"{prefix}mid.attn_1.{_VAE_ATTENTION[stem]}.{end}"
    if middle:
        return f"{prefix}mid.block_{int(middle[2]) + 1}.{_vae_inner(middle[3])}"
    match = re.match(r"(down|up)_blocks\.(\d+)\.(resnets|\w+samplers)\.(\d+)\.(.+)", inner)
    if match is None:
        raise ModelError(f"{name} is no tensor of Stable Video Diffusion's autoencoder")
    way, block, kind, index, inner = match.groups()
    level = int(block) if way == "down" else levels - 1 - int(block)
    if kind != "resnets":
        return f"{prefix}{way}.{level}.{way}sample.{inner}"
    return f"{prefix}{way}.{level}.block.{index}.{_vae_inner(inner)}"


def _vae_inner(inner: str) -> str:
    if inner.startswith(("spatial_", "temporal_")):
        return _resnet_key(inner, spatial=_VAE_RESNET)
    if inner.startswith("time_mixer."):
        return inner.removeprefix("time_mixer.")
    stem, _, end = inner.partition(".")
    return f"{_VAE_RESNET[stem]}.{end}"


def image_encoder_pieces(names: Collection[str]) -> dict[str, Piece]:
    """The file's names for those of transformers' `CLIPVisionModelWithProjection`."""
    return {name: _clip_piece(name) for name in names}


def _clip_piece(name: str) -> Piece:
    if name in _CLIP_ENDS:
        return Piece(key=_OPEN_CLIP + _CLIP_ENDS[name], transposed=name.startswith("visual_"))
    norm = re.match(r"vision_model\.(pre_layrnorm|post_layernorm)\.(\w+)", name)
    if norm:
        return Piece(key=f"{_OPEN_CLIP}ln_{norm[1].partition('_')[0]}.{norm[2]}")
    layer = re.match(r"vision_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", name)
    if layer is None:
        raise ModelError(f"{name} is no tensor of the image encoder")
    prefix = f"{_OPEN_CLIP}transformer.resblocks.{layer[1]}."
    packed = re.fullmatch(r"self_attn\.([qkv])_proj", layer[2])
    if packed:
        return Piece(key=f"{prefix}attn.in_proj_{layer[3]}", third="qkv".index(packed[1]))
    return Piece(key=f"{prefix}{_CLIP_LAYER[layer[2]]}.{layer[3]}")


class SingleFile:
    """A checkpoint in one file, whose tensors are read when they are asked for."""

    def __init__(self, path: Path) -> None:
        """Raises `ModelError` for a file that is damaged or no weight file."""
        self.path = path
        self._stack = ExitStack()
        self._opened: Any = None
        self._tensors: Mapping[str, Tensor] = {}
        if path.suffix != ".safetensors":
            self._tensors = read_weights(path)
            self.keys = frozenset(self._tensors)
            return
        try:
            self._opened = self._stack.enter_context(safe_open(path, "pt"))
            self.keys = frozenset(self._opened.keys())
        except (SafetensorError, OSError, ValueError) as reason:
            raise ModelError(
                f"weight file {path} is damaged or truncated ({reason}); fetch it again"
            ) from reason

    def __enter__(self) -> SingleFile:
        return self

    def __exit__(self, *fault: object) -> None:
        self._stack.close()

    def shape(self, key: str) -> tuple[int, ...]:
        """Sizes of a tensor, without reading it."""
        if self._opened is None:
            return tuple(self._tensors[key].shape)
        return tuple(self._opened.get_slice(key).get_shape())

    def tensor(self, key: str) -> Tensor:
        """A tensor, as it is in the file."""
        tensor: Tensor = (
            self._tensors[key] if self._opened is None else self._opened.get_tensor(key)
        )
        return tensor

    def unet_prefix(self) -> str | None:
        """The prefix of a UNet's names; None where the file holds none."""
        ends = (p for p in UNET_PREFIXES if f"{p}input_blocks.0.0.weight" in self.keys)
        return next(ends, None)

    def pieces(self, network: nn.Module) -> dict[str, Piece]:
        """The pieces that a network's tensors are made of. Raises `ModelError` naming those that
        the file does not hold."""
        kind, state = type(network).__name__, network.state_dict()
        if kind == "UNetSpatioTemporalConditionModel":
            prefix = self.unet_prefix() or ""
            layers: Any = network.config["layers_per_block"]  # type: ignore[index]
            pieces = {
                name: Piece(key=prefix + piece.key)
                for name, piece in unet_pieces(state, int(layers)).items()
            }
        elif kind == "AutoencoderKLTemporalDecoder":
            ends = (p for p in _ENCODERS if f"{p}encoder.conv_in.weight" in self.keys)
            pieces = vae_pieces(state, next(ends, _ENCODERS[0]))
        else:
            pieces = image_encoder_pieces(state)
        missing = [piece.key for piece in pieces.values() if piece.key not in self.keys]
        if missing:
            raise ModelError(
                f"weight file {self.path} does not hold the {kind} of Stable Video Diffusion: "
                f"{listed(missing)} is not in it; name the file that has it"
            )
        return pieces

    def read(self, network: nn.Module) -> dict[str, Tensor]:
        """Tensors by the network's own names. Raises `ModelError` as `pieces` does."""
        state = network.state_dict()
        return {
            name: self._piece(piece, state[name].shape)
            for name, piece in self.pieces(network).items()
        }

    def _piece(self, piece: Piece, shape: Sequence[int]) -> Tensor:
        tensor = self.tensor(piece.key)
        if piece.third is not None:
            tensor = tensor.chunk(3)[piece.third]
        if piece.transposed:
            tensor = tensor.T
        # Attention over a picture is kept as a convolution of one pixel.
        pixels = tensor.shape[len(shape) :]
        squeezed = tensor.shape[: len(shape)] == tuple(shape) and all(side == 1 for side in pixels)
        return tensor.reshape(tuple(shape)).contiguous() if squeezed else tensor


def read_part(path: Path, network: nn.Module) -> dict[str, Tensor]:
    """The tensors of one network of a checkpoint in a single file, by the network's own names.

    Raises `ModelError` for a damaged file, and naming the tensors that it does not hold.
    """
    with SingleFile(path) as file:
        return file.read(network)
