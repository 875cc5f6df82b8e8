"""Measures by networks that the user names (see `network_files`): LPIPS and Fréchet distances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from animate.errors import ModelError
from animate.evaluation.frechet import Statistics, frechet_distance
from animate.evaluation.network_files import FILES, NetworkFile, network_path
from animate.evaluation.protocols import Comparison, Protocol
from animate.evaluation.scores import Score, mean_score
from animate.media.info import Image

HEADS = Path(__file__).parent / "networks" / "lpips_vgg.safetensors"
"""LPIPS's own weights on VGG features (version 0.1), 1,472 numbers."""
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
"""LPIPS's normalisation of pictures in [-1,1]."""
_VGG = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and convolutions of VGG-16's five stages."""


_VIDEO_SIDES = {"fvd": 224, "fid_vid": 112}
"""Pixels of both sides of a video network's pictures."""


class Lpips(nn.Module):
    """LPIPS 0.1 on VGG-16 (Zhang et al. 2018)."""

    def __init__(self, path: Path) -> None:
        """Read a VGG-16 state dict. Raises ModelError for another network's file."""
        super().__init__()
        from safetensors.torch import load_file

        self.stages = _vgg_stages()
        _load_vgg(self.stages, path)
        self.heads = [head.double() for _, head in sorted(load_file(HEADS).items())]
        self.requires_grad_(False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """(N,) distances of pictures (N,3,h,w), normally in [-1,1]."""
        shift, scale = (torch.tensor(v).view(1, 3, 1, 1) for v in (_SHIFT, _SCALE))
        one, two = (first - shift) / scale, (second - shift) / scale
        total = torch.zeros(len(one), dtype=torch.float64)
        for stage, head in zip(self.stages, self.heads, strict=True):
            one, two = stage(one), stage(two)
            away = (_unit(one) - _unit(two)).double() ** 2
            total += (away * head.view(1, -1, 1, 1)).sum(1).mean((1, 2))
        return total


def _vgg_stages() -> nn.ModuleList:
    stages, channels = nn.ModuleList(), 3
    for number, (width, convolutions) in enumerate(_VGG):
        layers: list[nn.Module] = [nn.MaxPool2d(2)] if number else []
        for _ in range(convolutions):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        stages.append(nn.Sequential(*layers))
    return stages


def _load_vgg(stages: nn.ModuleList, path: Path) -> None:
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        weights = {k: v for k, v in weights.items() if k.startswith("features.")}
    except Exception as reason:  # damaged files raise whatever the reader stumbles over
        raise ModelError(f"{path} cannot be read as weights: {reason}") from reason
    convolutions = [layer for layer in stages.modules() if isinstance(layer, nn.Conv2d)]
    expected = [p for layer in convolutions for p in (layer.weight, layer.bias)]
    tensors = list(weights.values())
    shapes = [tuple(p.shape) for p in expected if p is not None]
    if [tuple(t.shape) for t in tensors] != shapes:
        raise ModelError(f"{path} is another network: its convolutions are not VGG-16's")
    for parameter, tensor in zip(expected, tensors, strict=True):
        assert parameter is not None
        parameter.data = tensor.float()


def _unit(features: Tensor) -> Tensor:
    return features / (features.pow(2).sum(1, keepdim=True).sqrt() + 1e-10)


class LpipsMeter:
    """A `PairMeter`: LPIPS by several protocols, once for each range of values."""

    def __init__(self, network: Lpips, protocols: Sequence[Protocol]) -> None:
        self._network, self._protocols = network, protocols
        self._curves: dict[tuple[float, float], list[float]] = {
            protocol.lpips_range: [] for protocol in protocols
        }

    def compare(self, frame: Image, truth: Image) -> None:
        """See `PairMeter`."""
        first, second = _tensor(frame), _tensor(truth)
        for (low, high), curve in self._curves.items():
            span = high - low
            with torch.no_grad():
                away = self._network(first * span + low, second * span + low)
            curve.append(float(away))

    def scores(self) -> list[Score]:
        """See `PairMeter`."""
        scores = [mean_score("lpips", self._curves[p.lpips_range], p.name) for p in self._protocols]
        return [score for score in scores if score is not None]


def _tensor(picture: Image) -> Tensor:
    """(1,3,h,w) float32 in [0,1]."""
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 255


Extractor = Callable[[Sequence[Image]], NDArray[np.floating]]
"""Features (N,D) of pictures, or (1,D) of the pictures of one clip."""


class ScriptedExtractor:
    """A TorchScript network that gives features of pictures or clips."""

    def __init__(self, path: Path, entry: NetworkFile) -> None:
        """Raises ModelError for a file that is no TorchScript network."""
        self._path, self._entry = path, entry
        try:
            self._network: Any = torch.jit.load(str(path), map_location="cpu").eval()
        except Exception as reason:  # damaged files raise whatever the reader stumbles over
            raise ModelError(f"{path} is no TorchScript network: {reason}") from reason

    def __call__(self, pictures: Sequence[Image]) -> NDArray[np.floating]:
        """Features (N,D) of pictures; of one clip (1,D). Raises ModelError for another network."""
        side = _VIDEO_SIDES.get(self._entry.measure)
        if side is not None:
            pictures = [
                cv2.resize(picture, (side, side), interpolation=cv2.INTER_LINEAR)
                for picture in pictures
            ]
        stack = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
        count = len(stack) if side is None else 1
        try:
            with torch.no_grad():
                features = self._run(stack)
        except (RuntimeError, TypeError, torch.jit.Error) as reason:
            words = str(reason).strip().splitlines()[-1]  # before it, the network's own code
            raise ModelError(f"{self._path} is another network: {words}") from reason
        if not isinstance(features, Tensor) or features.shape != (count, self._entry.features):
            shape = tuple(getattr(features, "shape", ()))
            raise ModelError(
                f"{self._path} is another network: it gives values of shape {shape}, where "
                f"({count}, {self._entry.features}) are needed"
            )
        return np.asarray(features.double().numpy())

    def _run(self, stack: Tensor) -> Any:
        match self._entry.measure:
            case "fid":
                return self._network(stack, return_features=True)
            case "fvd":
                video = stack.permute(1, 0, 2, 3)[None].float()
                return self._network(video, rescale=True, resize=False, return_features=True)
        return self._network(stack.permute(1, 0, 2, 3)[None].float() / 255)


class FeatureMeter:
    """A `PairMeter`: features of clip and truth, for a Fréchet distance by several protocols."""

    def __init__(self, measure: str, extract: Extractor, protocols: Sequence[Protocol]) -> None:
        """`protocols` have one length of clips."""
        self.measure = measure
        self.statistics = {p.name: (Statistics(), Statistics()) for p in protocols}
        """Statistics of the clip's and of the truth's features, by the protocol's name."""
        self._averaging = {
            p.name for p in protocols if measure in _VIDEO_SIDES and p.clip_features == "mean"
        }
        self._extract = extract
        self._length = protocols[0].clip_length if measure in _VIDEO_SIDES else 1
        self._waiting: tuple[list[Image], list[Image]] = ([], [])
        self._parts: tuple[list[NDArray[np.floating]], list[NDArray[np.floating]]] = ([], [])

    def compare(self, frame: Image, truth: Image) -> None:
        """See `PairMeter`."""
        for waiting, picture in zip(self._waiting, (frame, truth), strict=True):
            waiting.append(picture)
        if len(self._waiting[0]) < self._length:
            return
        for side, waiting in enumerate(self._waiting):
            features = self._extract(waiting)
            waiting.clear()
            if self._averaging:
                self._parts[side].append(features)
            for name, statistics in self.statistics.items():
                if name not in self._averaging:
                    statistics[side].add(features)

    def scores(self) -> list[Score]:
        """See `PairMeter`; none where one video is one feature. A last part of a clip that is
        shorter than the protocol's length does not count."""
        for side, parts in enumerate(self._parts):
            if parts:
                for name in self._averaging:
                    self.statistics[name][side].add(np.concatenate(parts).mean(0, keepdims=True))
                parts.clear()
        return [
            score
            for name, (clip, truth) in self.statistics.items()
            if name not in self._averaging
            for score in frechet_scores(self.measure, name, clip, truth)
        ]


def frechet_scores(measure: str, protocol: str, clip: Statistics, truth: Statistics) -> list[Score]:
    """The distance as a score; none where there are too few features."""
    if min(clip.count, truth.count) < 2:
        return []
    value = frechet_distance(clip, truth)
    return [Score(measure=measure, protocol=protocol, value=value)]


class Networks:
    """The networks in a folder, each opened when it is first needed."""

    def __init__(self, folder: Path | None) -> None:
        """Raises ModelError where the folder is missing, or a file in it is another network's."""
        self.paths = {measure: network_path(folder, measure) for measure in FILES}
        self._extractors: dict[str, ScriptedExtractor] = {}
        self._lpips: Lpips | None = None

    def missing(self, measure: str) -> str:
        """A reason why a measure has no figure; empty where its network is there."""
        if self.paths[measure] is not None:
            return ""
        return f"its network is not here: --weights FOLDER with {FILES[measure].name}"

    def meters(self, comparison: Comparison) -> list[LpipsMeter | FeatureMeter]:
        """Meters of all measures that are wanted of these pictures and whose networks are here."""
        meters: list[LpipsMeter | FeatureMeter] = []
        for measure, path in self.paths.items():
            protocols = comparison.wanting(measure)
            if path is None or not protocols:
                continue
            if measure == "lpips":
                self._lpips = self._lpips or Lpips(path)
                meters.append(LpipsMeter(self._lpips, protocols))
                continue
            if measure not in self._extractors:
                self._extractors[measure] = ScriptedExtractor(path, FILES[measure])
            for length in dict.fromkeys(protocol.clip_length for protocol in protocols):
                alike = [protocol for protocol in protocols if protocol.clip_length == length]
                meters.append(FeatureMeter(measure, self._extractors[measure], alike))
        return meters
