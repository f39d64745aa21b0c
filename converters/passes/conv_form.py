"""Linear convolutions of one tensor as values that can be added and scaled: `ConvForm`.
The algebra behind `reparameterize`; Ding et al. 2021 (RepVGG), section 3.3, for any groups and kernels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from edgert.graph.ir import Array, Node


@dataclass(frozen=True)
class ConvForm:
    """y = conv(x, weight) + bias over any number of spatial axes.

    weight: float64 [N, C/groups, *kernel]; bias: float64 [N].
    begin: zeros before the first element, per spatial axis.
    slack: padding at the end beyond what the last tap reaches at stride 1, per axis. Two convolutions of
    equal stride and slack give outputs of equal size, whatever their kernels.
    """

    weight: Array
    bias: Array
    groups: int
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begin: tuple[int, ...]
    slack: tuple[int, ...]

    @property
    def kernel(self) -> tuple[int, ...]:
        return self.weight.shape[2:]

    def end(self) -> tuple[int, ...]:
        """Zeros after the last element, per spatial axis."""
        reach = ((k - 1) * d - b for k, d, b in zip(self.kernel, self.dilations, self.begin, strict=True))
        return tuple(r + s for r, s in zip(reach, self.slack, strict=True))

    def scaled(self, gain: Array, shift: Array) -> ConvForm:
        """gain * y + shift, both float64 [N]."""
        weight = self.weight * gain.reshape(-1, *(1,) * len(self.kernel), 1)
        return replace(self, weight=weight, bias=self.bias * gain + shift)

    def regrouped(self, groups: int) -> ConvForm:
        """The same convolution written with fewer groups, zeros filling in. `groups` divides ours."""
        if groups == self.groups:
            return self
        count, per_group = self.weight.shape[:2]
        channels = per_group * self.groups
        wide = np.zeros((count, channels // groups, *self.kernel))
        for n in range(count):
            first = n // (count // self.groups) * per_group
            start = first - n // (count // groups) * (channels // groups)
            wide[n, start : start + per_group] = self.weight[n]
        return replace(self, weight=wide, groups=groups)

    def padded(self, begin: tuple[int, ...], kernel: tuple[int, ...], step: tuple[int, ...]) -> ConvForm | None:
        """The same convolution with its taps placed inside a larger kernel that starts `begin` before x."""
        weight = np.zeros((*self.weight.shape[:2], *kernel))
        place: list[slice] = [slice(None), slice(None)]
        for own, wanted, size, d in zip(self.begin, begin, self.kernel, step, strict=True):
            offset, rest = divmod(wanted - own, d)
            if rest:
                return None
            place.append(slice(offset, offset + size))
        weight[tuple(place)] = self.weight
        return replace(self, weight=weight, begin=begin, dilations=step)

    def plus(self, other: ConvForm) -> ConvForm | None:
        """The convolution giving the sum of both outputs, or None when no single one does."""
        if self.strides != other.strides or self.slack != other.slack or len(self.bias) != len(other.bias):
            return None
        steps = []
        for ka, da, kb, db in zip(self.kernel, self.dilations, other.kernel, other.dilations, strict=True):
            if ka > 1 and kb > 1 and da != db:
                return None
            steps.append(da if ka > 1 else db)
        step = tuple(steps)
        a, b = replace(self, dilations=step), replace(other, dilations=step)
        begin = tuple(max(x, y) for x, y in zip(a.begin, b.begin, strict=True))
        kernel = []
        for axis, d in enumerate(step):
            last = max((f.kernel[axis] - 1) * d - f.begin[axis] for f in (a, b))
            kernel.append((last + begin[axis]) // d + 1)
        left, right = (f.padded(begin, tuple(kernel), step) for f in (a, b))
        if left is None or right is None:
            return None
        groups = math.gcd(left.groups, right.groups)
        left, right = left.regrouped(groups), right.regrouped(groups)
        return replace(left, weight=left.weight + right.weight, bias=left.bias + right.bias)


def identity_form(channels: int, axes: int) -> ConvForm:
    """y = x, as a depthwise convolution with one tap."""
    one, zero = (1,) * axes, (0,) * axes
    weight = np.ones((channels, 1, *one))
    return ConvForm(weight, np.zeros(channels), channels, one, one, zero, zero)


def form_of_conv(node: Node, weight: Array, bias: Array | None) -> ConvForm | None:
    """The form of a Conv node, or None when its padding depends on the size of x."""
    kernel = weight.shape[2:]
    axes = len(kernel)
    strides = tuple(node.attr_ints("strides", [1] * axes))
    dilations = tuple(node.attr_ints("dilations", [1] * axes))
    pads = node.attr_ints("pads", [0] * (2 * axes))
    auto = node.attr_str("auto_pad", "NOTSET")
    if auto == "VALID":
        pads = [0] * (2 * axes)
    elif auto in ("SAME_UPPER", "SAME_LOWER"):
        if any(s != 1 for s in strides):
            return None
        total = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
        small, large = [t // 2 for t in total], [t - t // 2 for t in total]
        pads = small + large if auto == "SAME_UPPER" else large + small
    begin = tuple(pads[:axes])
    reach = [(k - 1) * d - b for k, d, b in zip(kernel, dilations, begin, strict=True)]
    slack = tuple(e - r for e, r in zip(pads[axes:], reach, strict=True))
    wide = weight.astype(np.float64)
    total_bias = np.zeros(len(wide)) if bias is None else bias.astype(np.float64)
    return ConvForm(wide, total_bias, node.attr_int("group", 1), strides, dilations, begin, slack)
