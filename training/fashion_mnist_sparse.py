"""Train the sparse classifier that ships with edgert, from the dense one, and write it as ONNX with exact zeros.

Needs `torch` and `onnx`; about twenty minutes on one core, after training/fashion_mnist.py:

    python training/fashion_mnist_sparse.py FOLDER-OF-IDX-FILES -o edgert/models

reads fashion_mnist.onnx and writes fashion_mnist_sparse.onnx. The dense network goes on as the teacher: what
is left after pruning learns its answers as well as the labels (Hinton et al. 2015, arXiv:1503.02531).
"""

from __future__ import annotations

import torch
from fashion_mnist import arguments, cross_entropy, train
from networks import network
from onnx_file import export, load
from pruning import GradualPruning
from torch import nn
from torch.nn import functional

EPOCHS = 14
LR = 0.08
WARM = 0.1
TEMPERATURE = 3.0
TEACHER = 0.7
"""Share of the loss that compares with the teacher."""

FEW_PIXELS, MANY_PIXELS, WIDENING = 0.85, 0.75, 0.7
"""Zeros in the pointwise layers at 7x7, at 14x14 and between the two: most weights are in the first."""


def targets(model: nn.Sequential) -> dict[nn.Conv2d, float]:
    """The pointwise convolutions, and the share of zeros that each is to have."""
    chosen: dict[nn.Conv2d, float] = {}
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
            widest = max(module.in_channels, module.out_channels)
            narrowest = min(module.in_channels, module.out_channels)
            share = MANY_PIXELS if widest <= 96 else WIDENING if narrowest <= 48 else FEW_PIXELS
            chosen[module] = share
    return chosen


def main() -> None:
    options = arguments(__doc__.splitlines()[0], EPOCHS)
    teacher, model = network(), network()
    for net in (teacher, model):
        load(net, options.output / "fashion_mnist.onnx")
        net.to(memory_format=torch.channels_last)
    teacher.eval()

    def loss_of(images: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            soft = functional.softmax(teacher(images) / TEMPERATURE, 1)
        guess = functional.log_softmax(logits / TEMPERATURE, 1)
        taught = functional.kl_div(guess, soft, reduction="batchmean") * TEMPERATURE**2
        return TEACHER * taught + (1 - TEACHER) * cross_entropy(images, logits, labels)

    pruning = GradualPruning(targets(model))
    train(model, options.data, options.epochs, LR, loss_of, WARM, pruning)
    for conv in pruning.targets:
        print(f"{tuple(conv.weight.shape)}: {float((conv.weight == 0).float().mean()):.1%} zeros")
    export(model, options.output / "fashion_mnist_sparse.onnx", "fashion-mnist-sparse")


if __name__ == "__main__":
    main()
