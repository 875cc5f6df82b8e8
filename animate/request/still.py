"""Settings of one still, or of a series of stills from one prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from animate.errors import RequestError
from animate.request.request import Fit, LoraText, Precision, SizeText
from animate.request.runtime import check_device
from animate.request.schema import plain, settings_of, validate
from animate.request.setting import Converted, Role, option
from animate.request.setting_paths import paths_of
from animate.request.values import Lora, ModelName, Size
from animate.request.wording import quoted

ControlKind = Literal["none", "canny", "pose", "depth", "mask"]
ControlMethod = Literal["controlnext", "controlnet", "t2i-adapter"]
Scheduler = Literal["unipc", "euler", "euler-ancestral", "dpmpp-2m", "ddim"]


class Span(NamedTuple):
    """Fractions of the denoising steps, from the first to the last."""

    start: float
    end: float

    def __str__(self) -> str:
        return f"{self.start:g}:{self.end:g}"

    @classmethod
    def parse(cls, value: Any) -> Span:
        """`START:END`, or two numbers. Raises RequestError."""
        parts: Any = value.split(":") if isinstance(value, str) else value
        try:
            start, end = (float(part) for part in parts)
        except (TypeError, ValueError):
            start, end = 0.0, 0.0
        if not 0 <= start < end <= 1:
            raise RequestError(f"span {quoted(value)} is not START:END from 0 to 1, such as 0:0.8")
        return cls(start, end)


SpanText = Span | tuple[float, float] | str


@dataclass(frozen=True, kw_only=True)
class StillRequest:
    """One still, or `count` of them with seeds that follow each other.

    Raises RequestError when a value is out of range or two settings contradict each other.
    """

    prompt: str = option("", "text that says what is seen", metavar="TEXT", usual=True)
    output: Converted[Path, Path | str] = option(
        None,
        "picture to write (.png); of a series PICTURE-0000.png and so on",
        metavar="PICTURE",
        role="output",
        usual=True,
    )
    model: Converted[ModelName, Path | str] = option(
        ModelName("auto"),
        "model: a name of `cnx still --list`, a diffusers folder, or a checkpoint in one file",
        metavar="NAME|FOLDER|FILE",
        role="input",
        usual=True,
    )
    base: Converted[Path | None, Path | str | None] = option(
        None,
        "base model in place of the model's own: a diffusers folder, or a single-file checkpoint",
        metavar="FOLDER|FILE",
        role="input",
    )
    controlnext: Converted[Path | None, Path | str | None] = option(
        None,
        "file of the control network in place of the model's own",
        metavar="FILE",
        role="input",
    )
    unet: Converted[Path | None, Path | str | None] = option(
        None,
        "file of the UNet's weights that were trained with it",
        metavar="FILE",
        role="input",
    )
    method: ControlMethod = option(
        "controlnext",
        "kind of control (--with): ControlNeXt, or what it is compared with, by diffusers' classes",
    )
    control_model: Converted[Path | None, Path | str | None] = option(
        None,
        "folder or file of the ControlNet or T2I-Adapter",
        metavar="FOLDER|FILE",
        role="input",
    )
    control: Converted[Path | None, Path | str | None] = option(
        None, "control picture: edges, a skeleton, depth", metavar="IMAGE", role="input", usual=True
    )
    control_from: Converted[Path | None, Path | str | None] = option(
        None, "photo that the control picture is made from", metavar="IMAGE", role="input"
    )
    control_kind: ControlKind = option("none", "control picture that is made from that photo")
    depth_model: Converted[Path | None, Path | str | None] = option(
        None,
        "folder of a transformers model for depth estimation",
        metavar="FOLDER",
        role="input",
    )
    negative: str = option("", "text that says what is not to be seen", metavar="TEXT", usual=True)
    size: Converted[Size | None, SizeText] = option(
        None,
        "width x height of the picture in pixels (default: the control picture's)",
        metavar="WxH",
        usual=True,
    )
    fit: Fit = option("crop", "how a control picture of another shape is brought to that size")
    steps: int | None = option(None, "denoising steps", least=1, most=1000, usual=True)
    guidance: float | None = option(None, "guidance scale", least=0.0, most=100.0, usual=True)
    scheduler: Scheduler | None = option(None, "solver (default: as published)")
    seed: int = option(0, "seed of the first picture", least=0, most=2**63 - 1, usual=True)
    count: int = option(1, "number of pictures", least=1, most=10000, role="output", usual=True)
    control_weight: float | None = option(
        None, "weight of the control features", least=0.0, most=10.0
    )
    control_range: Converted[Span, SpanText] = option(
        Span(0.0, 1.0),
        "fractions of the steps at which control begins and ends",
        parse=Span.parse,
        metavar="START:END",
    )
    lora: Converted[tuple[Lora, ...], LoraText | Sequence[LoraText]] = option(
        (),
        "adapters, and their weight (default 1); may be given several times",
        parse=Lora.parse_all,
        metavar="FILE[:WEIGHT]",
        role="input",
    )
    ip_adapter: Converted[tuple[Lora, ...], LoraText | Sequence[LoraText]] = option(
        (),
        "image prompt adapter, and its weight (default 1)",
        parse=Lora.parse_all,
        metavar="FILE[:WEIGHT]",
        role="input",
    )
    ip_encoder: Converted[Path | None, Path | str | None] = option(
        None, "folder of that adapter's image encoder", metavar="FOLDER", role="input"
    )
    ip_image: Converted[Path | None, Path | str | None] = option(
        None, "picture that the image prompt adapter is given", metavar="IMAGE", role="input"
    )
    init: Converted[Path | None, Path | str | None] = option(
        None, "picture to begin from in place of noise", metavar="IMAGE", role="input"
    )
    strength: float = option(
        0.8, "share of the steps that a picture to begin from is changed by", least=0.01, most=1.0
    )
    overwrite: bool = option(False, "replace existing pictures", role="output", usual=True)
    device: str = option(
        "auto", "auto, cpu, cuda or cuda:N", metavar="DEVICE", role="runtime", usual=True
    )
    precision: Precision = option("auto", "arithmetic of the networks", role="runtime")

    def __post_init__(self) -> None:
        if self.output in (None, ""):
            raise RequestError("output is missing: give its path")
        validate(self)
        if self.output.suffix.lower() != ".png":
            raise RequestError(f"output {self.output} is not a .png; stills are written as PNG")
        check_device(self.device)
        if self.precision == "int8":
            raise RequestError("precision int8 is for clips; take float32, float16 or bfloat16")
        self._check_together()

    def _check_together(self) -> None:
        if self.control is not None and self.control_from is not None:
            raise RequestError("control and control_from both give the control picture; give one")
        if (self.control_from is None) != (self.control_kind == "none"):
            raise RequestError(
                "control_from needs control_kind canny, pose, depth or mask, and the other way "
                "round"
            )
        if (self.control_kind == "depth") != (self.depth_model is not None):
            raise RequestError(
                "control_kind depth needs depth_model, the folder of a model for depth "
                "estimation, and the other way round"
            )
        self._check_network()
        if len(self.ip_adapter) > 1:
            raise RequestError("ip_adapter takes one file")
        parts = (bool(self.ip_adapter), self.ip_image is not None, self.ip_encoder is not None)
        if any(parts) and not all(parts):
            raise RequestError("ip_adapter, ip_encoder and ip_image go together; give all three")

    def _check_network(self) -> None:
        by_controlnext = self.method == "controlnext"
        if self.controlnext is not None and not (by_controlnext and self.controlled):
            raise RequestError(
                "controlnext needs a control picture: give control or control_from"
                if by_controlnext
                else f"controlnext is a file of another method than {self.method}; leave it out"
            )
        if self.control_model is None and not by_controlnext:
            raise RequestError(f"{self.method} needs control_model, its folder or file")
        if self.control_model is not None and by_controlnext:
            raise RequestError("control_model needs --with controlnet or t2i-adapter")
        if not (by_controlnext or self.controlled):
            raise RequestError(f"{self.method} needs a control picture: control or control_from")
        if self.method == "t2i-adapter" and (self.init is not None or self.ip_adapter):
            raise RequestError("diffusers has neither init nor ip_adapter beside a T2I-Adapter")

    @property
    def controlled(self) -> bool:
        """True where a control picture is given, or made."""
        return self.control is not None or self.control_from is not None

    def settings(self) -> dict[str, object]:
        """Every setting as plain JSON values, paths as given."""
        values: dict[str, object] = plain(self)
        return values

    def look(self) -> dict[str, object]:
        """The settings that decide the pictures of a series, by name, as plain JSON values."""
        known = settings_of(type(self)).values()
        values = {s.name: plain(s.value(self)) for s in known if s.role == "look"}
        weights = [adapter.weight for adapter in (*self.lora, *self.ip_adapter)]
        return {**values, "weights": weights}

    def paths(self, *roles: Role) -> Iterator[tuple[str, Path]]:
        """Every path that the settings of these roles name, with the setting's name."""
        return ((setting.name, path) for setting, path in paths_of(self, *roles))
