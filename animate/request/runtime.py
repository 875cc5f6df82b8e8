"""Settings of how a clip is computed: device, memory, workers and folders."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from animate.errors import RequestError
from animate.request.schema import validate
from animate.request.setting import Converted, option
from animate.request.values import Signing, parse_bytes
from animate.request.wording import quoted
from pose.kinds import Device as EstimatorDevice
from temporal import kinds

Precision = Literal["auto"] | kinds.Precision
"""Numbers that the networks compute with; `auto` is the device's own."""


def check_device(name: str) -> None:
    """Raise RequestError for a text that names no device."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise RequestError(f"device {quoted(name)} is not auto, cpu, mps, cuda or cuda:N")


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions:
    """Device, memory, workers and folders of a run. They change frames by rounding alone, but for
    8-bit weights and for pose networks that are named."""

    device: str = option(
        "auto", "auto, cpu, cuda or cuda:N", metavar="DEVICE", role="runtime", usual=True
    )
    precision: Precision = option("auto", "arithmetic of the networks", role="runtime")
    memory: Converted[int | None, int | str | None] = option(
        None,
        "memory that networks and frames stay within, such as 8GiB (the process itself not in it)",
        parse=parse_bytes,
        metavar="SIZE",
        role="runtime",
        usual=True,
    )
    offload: kinds.Offload | None = option(
        None, "keep weights on the host until a GPU needs them", role="runtime"
    )
    threads: int | None = option(
        None,
        "CPU threads; fewer than all where others share the machine",
        least=1,
        most=1024,
        role="runtime",
    )
    workers: int | None = option(
        None,
        "Ray workers that share the windows of the clip, a GPU each",
        least=1,
        most=1024,
        role="runtime",
    )
    ray_address: str | None = option(
        None,
        "Ray cluster to use (default: this machine alone)",
        metavar="HOST:PORT",
        role="runtime",
        timed=False,
    )
    worker_limit: float = option(
        1800.0,
        "seconds in which some worker must finish a window",
        least=1.0,
        most=864000.0,
        role="runtime",
        timed=False,
    )
    compile: bool = option(
        False, "compile the UNet with torch first, which takes minutes", role="runtime"
    )
    pack_weights: bool = option(
        False,
        "pack the UNet's weights for the processor while it computes: less time in float32",
        role="runtime",
    )
    estimator_folder: Converted[Path | None, Path | str | None] = option(
        None, "folder with the files of a pose estimator", metavar="FOLDER", role="input"
    )
    estimator_network: Converted[Path | None, Path | str | None] = option(
        None,
        "whole-body network (.onnx, such as RTMW) that dwpose runs in place of its own",
        metavar="FILE",
        role="input",
        timed=True,
    )
    identity_folder: Converted[Path | None, Path | str | None] = option(
        None,
        "folder with the face networks of models that are given a face",
        metavar="FOLDER",
        role="input",
    )
    preview_decoder: Converted[Path | None, Path | str | None] = option(
        None,
        "folder of diffusers' AutoencoderTiny for the model's latents, which draws previews",
        metavar="FOLDER",
        role="input",
        timed=True,
    )
    estimator_device: EstimatorDevice = option("cpu", "where poses are estimated", role="runtime")
    cache: Converted[Path | None, Path | str | None] = option(
        None,
        "folder that keeps poses between runs (default: the user's cache), or none",
        metavar="FOLDER",
        role="place",
    )
    work: Converted[Path | None, Path | str | None] = option(
        None,
        "folder that keeps unfinished work (default: .CLIP.work beside the clip), or none",
        metavar="FOLDER",
        role="place",
    )
    keep_work: bool = option(
        False, "leave that folder when the clip is done", role="runtime", timed=False
    )
    save_every: float = option(
        10.0,
        "seconds between two savings of the work, at least",
        least=0.0,
        most=86400.0,
        role="runtime",
        timed=False,
    )

    sign: Converted[Signing | None, Signing | tuple[Path | str, Path | str] | str | None] = option(
        None,
        "sign the clip with Content Credentials: PEM files of a certificate chain and its key",
        metavar="CERT:KEY",
        role="place",
    )

    def __post_init__(self) -> None:
        validate(self)
        check_device(self.device)
