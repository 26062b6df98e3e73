"""The papers' networks, as plain modules without noise in them.

A chip is one of these modules with other weights, so nothing here knows of devices. Each network carries
`bits`, the precision M its weights get when they are programmed, and may quantise its activations to H bits:

    q(x) = s * round(min(x, R) / s),   s = R / (2^H - 1),   x = ReLU(.) >= 0,

with R the running maximum of that layer, learnt in training and frozen at evaluation: a maximum taken over
each batch would make a result depend on how images are batched. Outputs of hidden layers are quantised;
inputs and logits are not.

Where a layer is pooled, pooling comes *before* ReLU and quantisation. Both are monotone and max commutes with
monotone functions, so the values are those of the usual order at a quarter of the element-wise work.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nvlib.errors import InputError, whole
from nvlib.native import layers

torch.library.define("nvlib::running_quantise", "(Tensor x, Tensor range, int bits, float momentum) -> Tensor")


@torch.library.register_fake("nvlib::running_quantise")
def _quantised_like(x: Tensor, range: Tensor, bits: int, momentum: float) -> Tensor:
    """A quantiser in training as one operator of an exported graph, which generated code knows; it has no other use."""
    return torch.empty_like(x)


class ActivationQuantiser(nn.Module):
    """Quantise non-negative activations to 2^bits levels over [0, running maximum].

    The buffer `range` is an exponential moving average of the batch maximum (momentum 0.1, as BatchNorm's;
    the first batch sets it), updated in training mode only and in place, so that under `vmap` each member of
    a population has its own. Until it is set, values pass as they are (to 2^-20).

    The gradient is the clipped straight-through one: 1 for x <= range, 0 above, where the output is constant.

    Args:
        bits: H, 1 to 16; the output takes 2^H values, zero among them.

    Raises:
        InputError: if `bits` is outside 1..16.
    """

    momentum = 0.1
    range: Tensor

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = checked_bits("activation_bits", bits)
        self.register_buffer("range", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`, of any shape and non-negative, on the grid; in float32 at least, whose steps bfloat16 has not."""
        if self.training and torch.compiler.is_exporting():
            return torch.ops.nvlib.running_quantise(x, self.range, self.bits, self.momentum)
        if self.training:
            peak = x.detach().amax().to(self.range.dtype)
            # no Python branch on a value: under vmap each member has its own
            self.range.copy_(torch.where(self.range > 0, self.range.lerp(peak, self.momentum), peak))
        known = self.range > 0
        step = torch.where(known, self.range / (2**self.bits - 1), 2.0**-20)
        top = torch.where(known, self.range, torch.inf)
        if (fast := layers.quantised(x, step, top)) is not None:
            return fast
        x = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        step, top = step.to(x.dtype), top.to(x.dtype)
        x = torch.where(x > top, top, x)  # clamp would halve the gradient at x = range; NaN passes, to be seen
        q = (x / step).round() * step
        # x - x is exactly zero, so the value is q to the bit with derivatives and without
        return q.detach() + (x - x.detach()) if torch.is_grad_enabled() else q

    def extra_repr(self) -> str:
        """Show the bits where the module is printed."""
        return f"bits={self.bits}"


class Network(nn.Module):
    """What all networks here share: what they were built for, and an early word on images that do not fit."""

    def __init__(self, *, bits: int, activation_bits: int | None, channels: int, size: int | None) -> None:
        super().__init__()
        self.bits = checked_bits("bits", bits)  # M, of the weights
        self.activation_bits = activation_bits or 0  # H; 0: not quantised
        self.in_channels, self.input_size = channels, size  # size None: any

    def quantiser(self) -> nn.Module:
        """Return what quantises one layer's activations (nothing, where `activation_bits` is 0)."""
        return ActivationQuantiser(self.activation_bits) if self.activation_bits else nn.Identity()

    def check(self, x: Tensor) -> None:
        """Raise InputError unless `x` is (batch, channels, size, size) as the network was built for."""
        size = self.input_size
        if x.ndim != 4 or x.shape[1] != self.in_channels or (size and tuple(x.shape[2:]) != (size, size)):
            side = f"{size}, {size}" if size else "height, width"
            raise InputError(
                f"images of shape {tuple(x.shape)} do not fit {type(self).__name__}, which expects "
                f"(batch, {self.in_channels}, {side}): use nvlib.data.resize, or build with in_channels="
            )


class LeNet(Network):
    """LeNet: two convolutions, three fully connected layers; (batch, 1, 28, 28) to (batch, classes).

    TRICE's network, with kernel 3 (a flattened 784) as public code of its authors' group has it; kernel 5 is
    the classical one (400).
    """

    def __init__(
        self,
        *,
        kernel: int = 3,
        classes: int = 10,
        width: float = 1.0,
        bits: int = 4,
        activation_bits: int | None = 4,
        in_channels: int = 1,
    ) -> None:
        super().__init__(bits=bits, activation_bits=activation_bits, channels=in_channels, size=28)
        c1, c2, f1, f2 = (_scaled(n, width) for n in (6, 16, 120, 84))
        self.conv1 = nn.Conv2d(in_channels, c1, kernel, padding=kernel // 2)
        self.quant1 = self.quantiser()
        self.conv2 = nn.Conv2d(c1, c2, kernel, padding=1 if kernel == 3 else 0)
        self.quant2 = self.quantiser()
        self.fc1 = nn.Linear(c2 * (7 * 7 if kernel == 3 else 5 * 5), f1)
        self.quant3 = self.quantiser()
        self.fc2 = nn.Linear(f1, f2)
        self.quant4 = self.quantiser()
        self.fc3 = nn.Linear(f2, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, classes)."""
        self.check(x)
        # pooling first, here and below: the same values, a quarter of the element-wise work
        x = self.quant1(F.relu(F.max_pool2d(self.conv1(x), 2)))
        x = self.quant2(F.relu(F.max_pool2d(self.conv2(x), 2)))
        x = self.quant3(F.relu(self.fc1(x.flatten(1))))
        x = self.quant4(F.relu(self.fc2(x)))
        return self.fc3(x)


class LeNet3(Network):
    """TSB's LeNet-3: convolutions of 5 and 10 channels and one fully connected layer; (batch, 1, 28, 28).

    45 + 450 + 4900 = 5395 weights on arrays. The paper puts its block between convolution and normalisation
    and does not say which networks have the latter; this one has, so that both placements can be compared.
    """

    def __init__(
        self,
        *,
        classes: int = 10,
        width: float = 1.0,
        bits: int = 8,
        activation_bits: int | None = 0,
        in_channels: int = 1,
    ) -> None:
        super().__init__(bits=bits, activation_bits=activation_bits, channels=in_channels, size=28)
        c1, c2 = _scaled(5, width), _scaled(10, width)
        self.conv1 = nn.Conv2d(in_channels, c1, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(c1)
        self.quant1 = self.quantiser()
        self.conv2 = nn.Conv2d(c1, c2, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(c2)
        self.quant2 = self.quantiser()
        self.fc1 = nn.Linear(c2 * 7 * 7, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, classes)."""
        self.check(x)
        x = self.quant1(F.relu(F.max_pool2d(self.norm1(self.conv1(x)), 2)))
        x = self.quant2(F.relu(F.max_pool2d(self.norm2(self.conv2(x)), 2)))
        return self.fc1(x.flatten(1))


class VGG8(Network):
    """VGG-8: six convolutions with BatchNorm, pooled after the 2nd, 4th and 6th; two fully connected layers.

    (batch, 3, 32, 32) to (batch, classes). As NFT's authors published it: no bias in convolutions,
    initial weights normal with variance 2 / fan-out. `channels` are NFT's by default; TSB's are pairs of 128,
    256, 512.
    """

    def __init__(
        self,
        *,
        channels: tuple[int, ...] = (64, 128, 256, 256, 512, 512),
        classes: int = 10,
        width: float = 1.0,
        bits: int = 8,
        activation_bits: int | None = 0,
        in_channels: int = 3,
    ) -> None:
        super().__init__(bits=bits, activation_bits=activation_bits, channels=in_channels, size=32)
        before = in_channels
        for i, after in enumerate((_scaled(c, width) for c in channels), start=1):
            setattr(self, f"conv{i}", nn.Conv2d(before, after, 3, padding=1, bias=False))
            setattr(self, f"norm{i}", nn.BatchNorm2d(after))
            setattr(self, f"quant{i}", self.quantiser())
            before = after
        self.fc1 = nn.Linear(before * 4 * 4, _scaled(1024, width))
        self.quant7 = self.quantiser()
        self.fc2 = nn.Linear(_scaled(1024, width), classes)
        _fan_out(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, classes)."""
        self.check(x)
        for i in range(1, 7):
            x = getattr(self, f"norm{i}")(getattr(self, f"conv{i}")(x))
            if i % 2 == 0:
                x = F.max_pool2d(x, 2)
            x = getattr(self, f"quant{i}")(F.relu(x))
        return self.fc2(self.quant7(F.relu(self.fc1(x.flatten(1)))))


class BasicBlock(nn.Module):
    """ResNet's block: two 3x3 convolutions, a shortcut (1x1 where the shape changes), ReLU after the sum."""

    def __init__(self, before: int, after: int, stride: int, quantiser: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.quant1 = quantiser()
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.quant2 = quantiser()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            convolution = nn.Conv2d(before, after, 1, stride, bias=False)
            self.shortcut = nn.Sequential(OrderedDict(conv=convolution, norm=nn.BatchNorm2d(after)))

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, after, height / stride, width / stride)."""
        y = self.quant1(F.relu(self.norm1(self.conv1(x))))
        return self.quant2(F.relu(self.norm2(self.conv2(y)) + self.shortcut(x)))


class ResNet18(Network):
    """ResNet-18 for small images: 3x3 stem, no max-pooling, four layers of two blocks, average pooling.

    (batch, 3, height, width), of any size (32 for CIFAR, 64 for Tiny ImageNet), to (batch, classes). Biases
    and initial weights as in `VGG8`.
    """

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(
        self,
        *,
        classes: int = 10,
        width: float = 1.0,
        bits: int = 8,
        activation_bits: int | None = 0,
        in_channels: int = 3,
    ) -> None:
        super().__init__(bits=bits, activation_bits=activation_bits, channels=in_channels, size=None)
        before = _scaled(64, width)
        self.conv1 = nn.Conv2d(in_channels, before, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(before)
        self.quant1 = self.quantiser()
        for i, channels in enumerate((64, 128, 256, 512), start=1):
            after = _scaled(channels, width)
            first = BasicBlock(before, after, 1 if i == 1 else 2, self.quantiser)
            setattr(self, f"layer{i}", nn.Sequential(first, BasicBlock(after, after, 1, self.quantiser)))
            before = after
        self.fc1 = nn.Linear(before, classes)
        _fan_out(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, classes)."""
        self.check(x)
        x = self.quant1(F.relu(self.norm1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc1(x.mean((2, 3)))


def _fan_out(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def checked_bits(name: str, bits: int) -> int:
    """Return a number of bits; InputError unless it is a whole one from 1 to 16."""
    return whole(name, bits, 1, 16)


def _scaled(channels: int, width: float) -> int:
    return max(1, round(channels * width))
