"""The Fashion-MNIST classifier: its layers and their order. How it is trained is training/fashion_mnist.py."""

from __future__ import annotations

import torch
from data import CLASSES
from torch import nn


class ConvBatchNorm(nn.Sequential):
    """Convolution without bias, batch normalization and, if asked for, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, relu: bool = True):
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        super().__init__(*layers, *([nn.ReLU(inplace=True)] if relu else []))


class Block(nn.Module):
    """Filter each channel, widen, narrow, add: the order of ConvNeXt (arXiv:2201.03545, section 2.4).

    The depthwise filter works on the narrow side, so that nearly all the work is in the two pointwise layers.
    """

    PARTS = ("depthwise", "widen", "narrow")

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.depthwise = ConvBatchNorm(channels, channels, 3, groups=channels, relu=False)
        self.widen = ConvBatchNorm(channels, hidden, 1)
        self.narrow = ConvBatchNorm(hidden, channels, 1, relu=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.narrow(self.widen(self.depthwise(x)))


def network() -> nn.Sequential:
    """float32 [N, 1, 28, 28] in [0, 1] -> logits [N, 10]."""
    return nn.Sequential(
        ConvBatchNorm(1, 48, 3, stride=2),  # 28 -> 14
        Block(48, 96),
        Block(48, 96),
        ConvBatchNorm(48, 48, 3, stride=2, groups=48, relu=False),  # 14 -> 7
        ConvBatchNorm(48, 112, 1),
        Block(112, 224),
        Block(112, 224),
        Block(112, 224),
        ConvBatchNorm(112, 160, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(160, CLASSES),
    )
