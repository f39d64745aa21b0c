"""Train the classifier that ships with edgert, on Fashion-MNIST, and write it as ONNX.

Needs `torch` and `onnx`; about twenty minutes on one core:

    edgert pull fashion-mnist
    python training/fashion_mnist.py FOLDER-OF-IDX-FILES -o edgert/models

writes fashion_mnist.onnx, fashion_mnist_calibration.npz (some training images, to choose int8 ranges by)
and samples/ (the first test image of each class). training/fashion_mnist_sparse.py goes on from there.

Seeds are fixed; the last digit of the accuracy can still differ between versions of PyTorch, processors and
numbers of threads. With glibc, MALLOC_MMAP_THRESHOLD_=2000000000 MALLOC_TRIM_THRESHOLD_=8000000000 saves a
third of the time: memory is then kept between steps.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from data import Images, augment, write_calibration, write_samples
from networks import network
from onnx_file import export
from torch import nn
from torch.nn import functional

SEED = 7
BATCH = 128
EPOCHS = 16
SMOOTHING = 0.05

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(images, logits, labels) -> one number."""


@torch.no_grad()
def accuracy(model: nn.Module, data: Images) -> float:
    """Share of images named rightly, 0 to 1."""
    model.eval()
    batches = zip(data.images.split(500), data.labels.split(500), strict=True)
    hits = sum(int((model(images).argmax(1) == labels).sum()) for images, labels in batches)
    model.train()
    return hits / len(data.images)


def train(
    model: nn.Module, folder: Path, epochs: int, lr: float, loss_of: Loss, warm: float = 0.2,
    after_step: Callable[[float], None] = lambda progress: None,
) -> nn.Module:  # fmt: skip
    """`model` after `epochs` passes over the training images; its accuracy is printed after each.

    lr: highest learning rate, reached after the share `warm` of the steps. after_step is called after each
    with the share of steps done, 0 to 1.
    """
    data, test = Images.read(folder, "train"), Images.read(folder, "t10k")
    steps = len(data.images) // BATCH
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=lr, epochs=epochs, steps_per_epoch=steps, pct_start=warm
    )
    start = time.monotonic()
    for epoch in range(epochs):
        order = torch.randperm(len(data.images))
        total = 0.0
        for step in range(steps):
            chosen = order[step * BATCH : (step + 1) * BATCH]
            images = augment(data.images[chosen])
            loss = loss_of(images, model(images), data.labels[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            after_step((epoch * steps + step + 1) / (epochs * steps))
            total += loss.item()
        seconds = time.monotonic() - start
        print(
            f"epoch {epoch + 1}/{epochs}  loss {total / steps:.4f}  test {accuracy(model, test):.2%}  {seconds:.0f} s",
            flush=True,
        )
    return model.eval()


def cross_entropy(images: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(logits, labels, label_smoothing=SMOOTHING)


def arguments(description: str, epochs: int) -> argparse.Namespace:
    """The command line, with torch made ready."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("data", type=Path, help="folder with the four idx files")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(SEED)
    return options


def main() -> None:
    options = arguments(__doc__.splitlines()[0], EPOCHS)
    write_samples(options.data, options.output / "samples")
    write_calibration(options.data, options.output / "fashion_mnist_calibration.npz")
    model = network().to(memory_format=torch.channels_last)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    train(model, options.data, options.epochs, 0.15, cross_entropy)
    export(model, options.output / "fashion_mnist.onnx", "fashion-mnist")


if __name__ == "__main__":
    main()
