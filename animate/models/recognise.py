"""Which published file a weight file is, by the names of its tensors."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from animate.errors import ModelError


@dataclass(frozen=True, kw_only=True)
class FileKind:
    """A published file, and the networks that it holds."""

    text: str
    """Words for it."""
    marks: tuple[str, ...]
    """Patterns, each of which one of the file's names matches."""
    without: str | None = None
    """Pattern that none of its names matches."""
    foreign: str | None = None
    """Pattern of names that no network has which the file is for."""
    networks: tuple[tuple[str, str], ...] = ()
    """Component and prefix of each network in it; none: it needs others beside it."""

    def matches(self, names: Collection[str]) -> bool:
        """True for a file with these names."""
        if not all(_any(mark, names) for mark in self.marks):
            return False
        return self.without is None or not _any(self.without, names)

    def fits(self, names: Collection[str]) -> bool:
        """True for a network whose tensors the file may hold, by their names in it."""
        if self.foreign is not None and _any(self.foreign, names):
            return False
        among = any if len(self.networks) > 1 else all
        return among(_any(mark, names) for mark in self.marks)


_UNET = r"^down_blocks\.0\..*attn2\.to_k\.weight$"
_TEMPORAL = r"\.temporal_res_block\."
DENOISING = FileKind(
    text="a UNet of Stable Diffusion",
    marks=(_UNET, r"^conv_out\."),
    without=_TEMPORAL,
    foreign=_TEMPORAL,
)
REFERENCE = FileKind(
    text="AnimateAnyone's reference UNet",
    marks=(_UNET,),
    without=rf"{_TEMPORAL}|^conv_out\.",
    foreign=rf"{_TEMPORAL}|^conv_out\.",
)
MOTION = FileKind(
    text="AnimateAnyone's motion modules", marks=(r"motion_modules\.",), without=r"^conv_in\."
)
"""Files of AnimateAnyone that go together."""
KINDS = (
    FileKind(
        text="MimicMotion's UNet and pose network in one file",
        marks=(r"^unet\.conv_in\.weight$", r"^pose_net\.final_proj\.weight$"),
        networks=(("unet", "unet."), ("controlnext", "pose_net.")),
    ),
    FileKind(
        text="StableAnimator's UNet",
        marks=(r"attn2\.processor\.id_to_k\.weight$",),
        networks=(("unet", ""),),
    ),
    FileKind(
        text="StableAnimator's face encoder",
        marks=(r"^fusion_model\.proj_in\.weight$",),
        networks=(("face_encoder", ""),),
    ),
    FileKind(
        text="the pose network of MimicMotion or StableAnimator",
        marks=(r"^conv_layers\.0\.weight$", r"^final_proj\.weight$"),
        networks=(("controlnext", ""),),
    ),
    FileKind(
        text="a control network of ControlNeXt",
        marks=(r"^mid_convs\.1\.weight$",),
        networks=(("controlnext", ""),),
    ),
    FileKind(
        text="AnimateAnyone's pose guider",
        marks=(r"^conv_in\.weight$", r"^blocks\.0\.weight$"),
        networks=(("controlnext", ""),),
    ),
    MOTION,
    REFERENCE,
    DENOISING,
)


def kind_of(names: Collection[str]) -> FileKind | None:
    """The published file with such names; None for any other."""
    return next((kind for kind in KINDS if kind.matches(names)), None)


def check_kind(
    names: Collection[str], network: Iterable[str], prefix: str, source: object, needed: str
) -> None:
    """Raise `ModelError`, naming what it is, for a published file of another network.

    names: those of the file
    network: those of the network that it is loaded into
    prefix: of the network's names in files that hold several
    needed: words for the network
    """
    kind = kind_of(names)
    if kind is None:
        return
    network = tuple(network)
    # Files of one network alone are taken without the prefix.
    if not (kind.fits([prefix + name for name in network]) or kind.fits(network)):
        raise ModelError(
            f"weight file {source} is {kind.text}, not {needed}; name the file of that model, or "
            "choose the model that this file is of"
        )


def _any(pattern: str, names: Iterable[str]) -> bool:
    search = re.compile(pattern).search
    return any(search(name) for name in names)
