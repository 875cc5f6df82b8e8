"""Metric networks in the layouts that are published, with weights that nobody trained.

The architectures are written down from their papers (Inception v3: Szegedy et al. 2016 with the
pooling of the published FID; I3D: Carreira and Zisserman 2017; 3-D ResNet-50: Hara et al. 2018),
with a share of their widths: what is rehearsed is the file, its call and its shapes.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def unit(source: int, width: int, size: int, stride: int = 1, padding: int = 0) -> nn.Sequential:
    """Convolution, batch norm and ReLU over pictures."""
    convolution = nn.Conv2d(source, width, size, stride, padding, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width, eps=0.001), nn.ReLU())


class Mixed(nn.Module):
    """One block of Inception: four ways side by side."""

    def __init__(self, source: int, width: int) -> None:
        super().__init__()
        quarter = width // 4
        self.one = unit(source, quarter, 1)
        self.three = nn.Sequential(unit(source, quarter, 1), unit(quarter, quarter, 3, 1, 1))
        self.twice = nn.Sequential(
            unit(source, quarter, 1),
            unit(quarter, quarter, 3, 1, 1),
            unit(quarter, quarter, 3, 1, 1),
        )
        self.pool = unit(source, width - 3 * quarter, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return torch.cat([self.one(x), self.three(x), self.twice(x), self.pool(pooled)], 1)


class Inception(nn.Module):
    """The published FID's TorchScript: uint8 pictures of any size, 2,048 features."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            unit(3, 8, 3, 2), unit(8, 8, 3), nn.MaxPool2d(3, 2), unit(8, 16, 3), nn.MaxPool2d(3, 2)
        )
        self.mixed = nn.Sequential(
            Mixed(16, 64), nn.MaxPool2d(3, 2), Mixed(64, 128), nn.MaxPool2d(3, 2)
        )
        self.last = unit(128, 2048, 1)
        self.output = nn.Linear(2048, 1008)

    def forward(
        self, img: Tensor, return_features: bool = False, use_fp16: bool = False,
        no_output_bias: bool = False,
    ) -> Tensor:  # fmt: skip
        x = F.interpolate(
            img.to(torch.float32), size=[299, 299], mode="bilinear", align_corners=False
        )
        x = (x - 128.0) / 128.0
        features = self.last(self.mixed(self.stem(x))).mean([2, 3])
        if return_features:
            return features
        return F.softmax(self.output(features), dim=1)


def unit3d(source: int, width: int, size: int, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm and ReLU over videos."""
    convolution = nn.Conv3d(source, width, size, stride, size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm3d(width), nn.ReLU())


class I3D(nn.Module):
    """I3D's TorchScript: (N,3,T,h,w) in 0 to 255, 400 features."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            unit3d(3, 8, 7, 2),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            unit3d(8, 24, 3),
            nn.MaxPool3d(3, 2, 1),
            unit3d(24, 64, 3),
            nn.AdaptiveAvgPool3d(1),
        )
        self.logits = nn.Conv3d(64, 400, 1)

    def forward(
        self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False
    ) -> Tensor:
        if rescale:
            x = x * (2.0 / 255.0) - 1.0
        if resize:
            x = F.interpolate(x, size=[x.shape[2], 224, 224], mode="trilinear", align_corners=False)
        assert x.shape[3] == 224
        features = self.logits(self.layers(x)).mean([2, 3, 4])
        if return_features:
            return features
        return F.softmax(features, dim=1)


class Bottleneck(nn.Module):
    """A residual block over videos."""

    def __init__(self, source: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(source, width, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3 = nn.Conv3d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(4 * width)
        self.downsample = nn.Sequential(
            nn.Conv3d(source, 4 * width, 1, stride, bias=False), nn.BatchNorm3d(4 * width)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class ResNet3D(nn.Module):
    """A 3-D ResNet without its last layer: (N,3,16,112,112) in [0,1], 2,048 features."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, 8, 7, (1, 2, 2), 3, bias=False)
        self.bn1 = nn.BatchNorm3d(8)
        self.layer1 = Bottleneck(8, 8, 2)
        self.layer4 = Bottleneck(32, 512, 2)

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[3] == 112
        y = F.max_pool3d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.layer4(self.layer1(y)).mean([2, 3, 4])


NETWORKS: dict[str, type[nn.Module]] = {"fid": Inception, "fvd": I3D, "fid_vid": ResNet3D}
"""By measure."""


def write_network(measure: str, path: Path) -> None:
    """Write the TorchScript file of a measure."""
    torch.manual_seed(5)
    network = NETWORKS[measure]().eval()
    torch.jit.save(torch.jit.script(network), str(path))
