"""Gradual pruning of convolutions in blocks of channels, while they are trained.

Which layers of which network, and how much of each, is the caller's choice: training/fashion_mnist_sparse.py.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

BLOCK = 4


class GradualPruning:
    """Sets ever more blocks of 4 output x 4 input channels of some convolutions to zero.

    targets: the share of zeros that each convolution is to end with. The share grows as a cubic of the
    progress (Zhu & Gupta 2017, arXiv:1710.01878, equation 1), fast while there is much to choose from, from 0
    at the beginning to the target at the share `end` of the steps; then the masks stay and what is left is
    trained on. Blocks with the least sum of squares go first and do not come back.
    """

    def __init__(self, targets: Mapping[nn.Conv2d, float], end: float = 0.6, updates: int = 60):
        self.targets = dict(targets)
        self.masks = {conv: torch.ones_like(conv.weight) for conv in targets}
        self.end = end
        self.updates = updates
        self.done = 0

    @torch.no_grad()
    def __call__(self, progress: float) -> None:
        """After each step of the optimizer, with the share of steps done, 0 to 1."""
        ripe = min(int(self.updates * progress / self.end), self.updates)
        if ripe > self.done:
            self.done = ripe
            grown = 1 - (1 - ripe / self.updates) ** 3
            for conv, target in self.targets.items():
                self.masks[conv] = block_mask(conv.weight, target * grown)
        for conv, mask in self.masks.items():
            conv.weight.mul_(mask)  # what momentum brought back goes again


def block_mask(weight: torch.Tensor, sparsity: float) -> torch.Tensor:
    """`weight` [N, C, kh, kw] -> 1 and 0 of the same shape: the share `sparsity` of its blocks, the smallest, is 0.

    N and C are multiples of 4. Each tap of a filter has blocks of its own.
    """
    n, c, *taps = weight.shape
    energy = weight.square().reshape(n // BLOCK, BLOCK, c // BLOCK, BLOCK, -1).sum((1, 3))
    order = energy.flatten().argsort()  # not by a threshold: blocks that are zero already are all equal
    keep = torch.ones(energy.numel(), dtype=weight.dtype)
    keep[order[: round(sparsity * energy.numel())]] = 0
    mask = keep.reshape(n // BLOCK, 1, c // BLOCK, 1, -1).expand(-1, BLOCK, -1, BLOCK, -1)
    return mask.reshape(n, c, *taps).contiguous(memory_format=torch.channels_last)
