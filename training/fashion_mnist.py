"""Train the classifier that ships with edgert, on Fashion-MNIST, and write it as ONNX.

The only file of the project that uses PyTorch. Needs `torch` and `onnx`; about six minutes on two cores:

    edgert pull fashion-mnist
    python training/fashion_mnist.py FOLDER-OF-IDX-FILES -o edgert/models

writes fashion_mnist.onnx, fashion_mnist_calibration.npz (some training images, to choose int8 ranges by)
and samples/ (the first test image of each class).

The network is written out node by node with convolution, batch normalization and activation kept apart,
as trained: folding and fusing them is the converter's work. Seeds are fixed; the last digit of the
accuracy can still differ between versions of PyTorch and numbers of threads.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional

LABELS = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]
CLASSES = len(LABELS)
SIDE = 28
CALIBRATION_PER_CLASS = 20
SEED = 7
OPSET = 17

# What the converter finds in the file's metadata: how an image becomes the input, and what the outputs mean.
INFO = {
    "name": "fashion-mnist",
    "task": "image-classification",
    "labels": LABELS,
    "licence": "Apache-2.0",
    "preprocessing": {
        "input": "image",
        "resize": SIDE,
        "crop": [SIDE, SIDE],
        "resample": "bilinear",
        "channels": "L",
        "layout": "NCHW",
        "mean": [0.0],
        "scale": [1 / 255],
        "dtype": "float32",
    },
}


class ConvBatchNorm(nn.Sequential):
    """Convolution without bias, batch normalization and, if asked for, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, relu: bool = True):
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        super().__init__(*layers, *([nn.ReLU()] if relu else []))


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow, add: the block of MobileNetV2 (arXiv:1801.04381, section 3.3)."""

    def __init__(self, channels: int, expansion: int):
        super().__init__()
        hidden = channels * expansion
        self.widen = ConvBatchNorm(channels, hidden, 1)
        self.depthwise = ConvBatchNorm(hidden, hidden, 3, groups=hidden)
        self.narrow = ConvBatchNorm(hidden, channels, 1, relu=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.narrow(self.depthwise(self.widen(x)))


def network() -> nn.Sequential:
    """float32 [N, 1, 28, 28] in [0, 1] -> logits [N, 10]."""
    return nn.Sequential(
        ConvBatchNorm(1, 16, 3),
        ConvBatchNorm(16, 16, 3, stride=2, groups=16),  # 28 -> 14
        ConvBatchNorm(16, 32, 1),
        InvertedResidual(32, 2),
        ConvBatchNorm(32, 32, 3, stride=2, groups=32),  # 14 -> 7
        ConvBatchNorm(32, 80, 1),
        InvertedResidual(80, 2),
        InvertedResidual(80, 2),
        ConvBatchNorm(80, 128, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(128, CLASSES),
    )


def read_idx(folder: Path, name: str) -> np.ndarray:
    """One array of the MNIST file format: magic 0, 0, 8 (unsigned byte), rank, sizes, then the bytes."""
    path = folder / name
    data = path.read_bytes() if path.exists() else gzip.decompress((folder / f"{name}.gz").read_bytes())
    zero, kind, rank = struct.unpack(">HBB", data[:4])
    if (zero, kind) != (0, 8):
        raise ValueError(f"{path}: not an idx file of unsigned bytes")
    shape = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape).copy()


def augment(images: torch.Tensor) -> torch.Tensor:
    """Mirror half of the images, shift each by up to 2 pixels, and grey out a small square in some."""
    n = len(images)
    images = torch.where(torch.rand(n, 1, 1, 1) < 0.5, images, images.flip(3))
    padded = functional.pad(images, (2, 2, 2, 2))
    corner = torch.randint(0, 5, (2, n, 1))
    rows = (corner[0] + torch.arange(SIDE))[:, :, None]
    columns = (corner[1] + torch.arange(SIDE))[:, None, :]
    images = padded[torch.arange(n)[:, None, None], 0, rows, columns][:, None]
    top, left = torch.randint(-4, SIDE, (2, n, 1, 1))
    grid = torch.arange(SIDE)
    inside = (grid[None, :, None] >= top) & (grid[None, :, None] < top + 8)
    inside = inside & (grid[None, None, :] >= left) & (grid[None, None, :] < left + 8)
    erased = inside[:, None] & (torch.rand(n, 1, 1, 1) < 0.4)
    return images.masked_fill(erased, 0.3)


@torch.no_grad()
def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    model.eval()
    hits = sum(
        int((model(images[i : i + 500]).argmax(1) == labels[i : i + 500]).sum()) for i in range(0, len(images), 500)
    )
    model.train()
    return hits / len(images)


def train(folder: Path, epochs: int) -> nn.Module:
    """The network after `epochs` passes over the training images; its accuracy is printed after each."""
    torch.manual_seed(SEED)
    images = torch.from_numpy(read_idx(folder, "train-images-idx3-ubyte")).float().div_(255)[:, None]
    labels = torch.from_numpy(read_idx(folder, "train-labels-idx1-ubyte")).long()
    test_images = torch.from_numpy(read_idx(folder, "t10k-images-idx3-ubyte")).float().div_(255)[:, None]
    test_labels = torch.from_numpy(read_idx(folder, "t10k-labels-idx1-ubyte")).long()

    model = network().to(memory_format=torch.channels_last)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    batch = 128
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.15, epochs=epochs, steps_per_epoch=len(images) // batch, pct_start=0.2
    )
    start = time.monotonic()
    for epoch in range(epochs):
        order = torch.randperm(len(images))
        total = 0.0
        for step in range(len(images) // batch):
            chosen = order[step * batch : (step + 1) * batch]
            loss = functional.cross_entropy(model(augment(images[chosen])), labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        seconds = time.monotonic() - start
        score = accuracy(model, test_images, test_labels)
        print(
            f"epoch {epoch + 1}/{epochs}  loss {total / (step + 1):.4f}  test {score:.2%}  {seconds:.0f} s",
            flush=True,
        )
    return model.eval()


class OnnxWriter:
    """Writes the modules above as ONNX nodes, one by one."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, name: str, tensor: torch.Tensor) -> str:
        self.weights.append(numpy_helper.from_array(tensor.detach().float().contiguous().numpy(), name))
        return name

    def node(self, operator: str, name: str, inputs: list[str], **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def write(self, module: nn.Module, name: str, x: str) -> str:
        """Append `module`, reading value `x`; the name of its output."""
        if isinstance(module, InvertedResidual):
            y = x
            for part in ("widen", "depthwise", "narrow"):
                y = self.write(getattr(module, part), f"{name}.{part}", y)
            return self.node("Add", f"{name}.add", [x, y])
        if isinstance(module, nn.Sequential):
            for i, child in enumerate(module):
                x = self.write(child, f"{name}.{i}" if name else f"layer{i}", x)
            return x
        if isinstance(module, nn.Conv2d):
            return self.node(
                "Conv",
                f"{name}.conv",
                [x, self.weight(f"{name}.weight", module.weight)],
                kernel_shape=list(module.kernel_size),
                strides=list(module.stride),
                pads=list(module.padding) * 2,
                group=module.groups,
            )
        if isinstance(module, nn.BatchNorm2d):
            tensors = (module.weight, module.bias, module.running_mean, module.running_var)
            roles = ("scale", "bias", "mean", "var")
            inputs = [x, *(self.weight(f"{name}.{r}", t) for r, t in zip(roles, tensors, strict=True))]
            return self.node("BatchNormalization", f"{name}.norm", inputs, epsilon=module.eps)
        if isinstance(module, nn.ReLU):
            return self.node("Relu", f"{name}.relu", [x])
        if isinstance(module, nn.AdaptiveAvgPool2d):
            return self.node("GlobalAveragePool", f"{name}.pool", [x])
        if isinstance(module, nn.Flatten):
            return self.node("Flatten", f"{name}.flatten", [x], axis=1)
        if isinstance(module, nn.Linear):
            inputs = [
                x,
                self.weight(f"{name}.weight", module.weight),
                self.weight(f"{name}.bias", module.bias),
            ]
            return self.node("Gemm", "logits", inputs, transB=1)
        raise TypeError(f"no ONNX form for {type(module).__name__}")


def export(model: nn.Module, path: Path) -> None:
    writer = OnnxWriter()
    writer.write(model, "", "image")
    graph = helper.make_graph(
        writer.nodes,
        "fashion_mnist",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])],
        writer.weights,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="edgert")
    helper.set_model_props(proto, {"edgert.info": json.dumps(INFO)})
    proto.ir_version = 8  # what readers of opset 17 know
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)


def png(image: np.ndarray) -> bytes:
    """uint8 [height, width] as a grey PNG file."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = image.shape
    rows = np.pad(image, ((0, 0), (1, 0)))  # each row starts with its filter: 0, none
    header = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def write_samples(data: Path, folder: Path) -> None:
    """The first test image of each class, as it comes, named by class number and label."""
    images, labels = (read_idx(data, f"t10k-{n}-ubyte") for n in ("images-idx3", "labels-idx1"))
    folder.mkdir(exist_ok=True)
    for number, label in enumerate(LABELS):
        name = re.sub("[^a-z]+", "-", label.lower())
        (folder / f"{number}-{name}.png").write_bytes(png(images[np.argmax(labels == number)]))


def write_calibration(data: Path, path: Path) -> None:
    """The first training images of each class, as the network's input."""
    images, labels = (read_idx(data, f"train-{n}-ubyte") for n in ("images-idx3", "labels-idx1"))
    first = [np.flatnonzero(labels == number)[:CALIBRATION_PER_CLASS] for number in range(CLASSES)]
    chosen = np.sort(np.concatenate(first))
    np.savez_compressed(path, image=images[chosen, None].astype(np.float32) / np.float32(255))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with the four idx files")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    write_samples(options.data, options.output / "samples")
    write_calibration(options.data, options.output / "fashion_mnist_calibration.npz")
    export(train(options.data, options.epochs), options.output / "fashion_mnist.onnx")


if __name__ == "__main__":
    main()
