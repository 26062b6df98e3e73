"""A product on tiles: pulses of inputs, sums of columns, converters, and what is digital.

A weight is held by *planes*, (planes, *shape of the weight) in levels: one a slice where pairs of columns are
subtracted in the array, else the positive and the negative columns of each slice. Plane c counts 2^(jK), or -2^(jK).
Rows are the weight's inputs in order (of a convolution: channel, then kernel), cut after every A; of a grouped
convolution each group has tiles of its own.

With whole inputs and weights and enough bits of every converter all is whole numbers, so that the result is that of the
whole-number product to the bit, as long as the dtype holds the sums (float32: below 2^24).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F

from nvlib.array.converters import Converter
from nvlib.array.products import Product
from nvlib.array.reading import Reading


@dataclass(frozen=True)
class Layer:
    """How one weight lies on tiles, the same for all chips.

    Attributes:
        shape: of the weight.
        transposed: whether it lies as (R, O), not (O, R) or (O, R / kernel, *kernel).
        groups: of a convolution.
        rows: A.
        counts: what each plane counts.
        dac: of the inputs; None: as they are.
        full: what an input is divided by where there is no DAC, so that a full one is 1.
        serial_bits: bits of a pulse; None: whole inputs.
        adcs: one a plane; None: sums as they are.
    """

    shape: tuple[int, ...]
    transposed: bool
    groups: int
    rows: int
    counts: tuple[float, ...]
    dac: Converter | None = None
    full: float = 1.0
    serial_bits: int | None = None
    adcs: tuple[Converter, ...] | None = None

    @property
    def inputs(self) -> int:
        """Return R, of one group."""
        return self.shape[0] if self.transposed else prod(self.shape[1:])

    @property
    def outputs(self) -> int:
        """Return O, of all groups."""
        return prod(self.shape[1:]) if self.transposed else self.shape[0]

    @property
    def cuts(self) -> tuple[tuple[int, int], ...]:
        """Return the first row of each tile, and the one after its last."""
        return tuple((at, min(at + self.rows, self.inputs)) for at in range(0, self.inputs, self.rows))

    @property
    def step(self) -> float:
        """Return what a step of an input is."""
        return self.dac.step if self.dac else self.full

    def matrix(self, planes: Tensor) -> Tensor:
        """Return planes (..., *shape) as matrices (..., O, R)."""
        flat = planes.flatten(planes.ndim - len(self.shape) + 1)
        return flat.mT if self.transposed else flat

    def pulses(self, x: Tensor) -> Iterator[tuple[Tensor, float]]:
        """Yield the pulses of inputs and what each counts: digits of the input's size, with its sign."""
        codes = x / self.full if self.dac is None else self.dac.code_(x.clone())
        if self.serial_bits is None or self.dac is None:
            yield codes, 1.0
            return
        size, base = codes.abs(), 2.0**self.serial_bits
        for i in range(-(-self.dac.bits // self.serial_bits)):
            digit = torch.floor(size * base**-i).fmod_(base)
            yield digit.copysign_(codes) if self.dac.signed else digit, base**i


@dataclass(frozen=True)
class Errors:
    """Of one chip's converters, each (tiles, planes, O): factors of sums, and what is added to them in steps."""

    gain: Tensor
    shift: Tensor


def multiply(
    layer: Layer,
    product: Product,
    x: Tensor,
    planes: Tensor,
    scale: Tensor,
    errors: Errors | None = None,
    notes: Sequence[Callable[[Tensor], None]] | None = None,
    reading: Reading | None = None,
) -> Tensor:
    """Return a product as the arrays of one chip give it.

    Args:
        layer: how the weight lies.
        product: what is multiplied.
        x: inputs, as `Product` has them.
        planes: what cells hold, (planes, *shape), in levels.
        scale: s_w, () or (O,).
        errors: of converters.
        notes: one a plane, shown its sums before they are converted.
        reading: noise of columns.
    """
    cells = _Cells.of(layer, product, planes)
    variance = None if reading is None else _Cells.of(layer, product, reading.variance)
    total: Tensor | None = None
    offset = 0.0
    for at, (pulse, weight) in enumerate(layer.pulses(x)):
        for tile in range(len(layer.cuts)):
            sums = cells.sums(pulse, tile)
            spread = None if variance is None else variance.sums(pulse.square(), tile)
            for c, count in enumerate(layer.counts):
                y = cells.plane(sums, c)
                if reading is not None and variance is not None and spread is not None:
                    y = y + reading.noise(variance.plane(spread, c), f"{at}/{tile}/{c}")
                if errors is not None:
                    gain, shift = (cells.outputs(held[tile, c], y) for held in (errors.gain, errors.shift))
                    y = y.mul_(gain).add_(shift)
                if notes is not None:
                    notes[c](y)
                each = weight * count
                if layer.adcs is not None:
                    y = layer.adcs[c].code_(y)
                    offset += each * layer.adcs[c].zero
                    each *= layer.adcs[c].step
                total = y * each if total is None else total.add_(y, alpha=each)
    assert total is not None, "a layer has a tile and a plane"
    total = total + offset if offset else total
    total = cells.joined(total)
    if scale.ndim:
        scale = scale if product.outputs is None else scale[product.outputs]
        scale = scale if product.convolve is None else scale.view(-1, *[1] * (total.ndim - 2))
    return total * (scale * layer.step)


@dataclass(frozen=True)
class _Cells:
    """The planes of a weight, ready to be multiplied tile by tile; those that share rows are multiplied at once."""

    layer: Layer
    product: Product
    weights: Tensor  # (planes * O, R), or of a convolution (groups * planes * O/groups, R/kernel, *kernel)

    @staticmethod
    def of(layer: Layer, product: Product, planes: Tensor) -> _Cells:
        if product.convolve is None:
            held = layer.matrix(planes)
            held = held if product.outputs is None else held[:, product.outputs]
            return _Cells(layer, product, held.flatten(0, 1))
        held = planes.unflatten(1, (layer.groups, -1)).transpose(0, 1)
        return _Cells(layer, product, held.flatten(0, 2))

    def sums(self, x: Tensor, tile: int) -> Tensor:
        """Return the sums of a tile's columns, of all planes."""
        weights = self.weights
        start, stop = self.layer.cuts[tile]
        whole = len(self.layer.cuts) == 1
        if self.product.convolve is None:
            return F.linear(x, weights) if whole else F.linear(x[..., start:stop], weights[:, start:stop])
        if whole:
            return self.product.convolve(x, weights, self.layer.groups)
        kernel = prod(weights.shape[2:])
        first, last = (start // kernel, -(-stop // kernel)) if self.layer.groups == 1 else (0, weights.shape[1])
        part = weights[:, first:last].clone()
        flat = part.flatten(1)
        flat[:, : start - first * kernel] = 0
        flat[:, stop - first * kernel :] = 0
        x = x[:, first:last] if self.layer.groups == 1 else x
        return self.product.convolve(x, part, self.layer.groups)

    def plane(self, sums: Tensor, c: int) -> Tensor:
        """Return the sums of one plane: (..., O), or (batch, groups, O/groups, ...)."""
        planes = len(self.layer.counts)
        if self.product.convolve is None:
            return sums.unflatten(-1, (planes, -1)).select(-2, c)
        return sums.unflatten(1, (self.layer.groups, planes, -1)).select(2, c)

    def outputs(self, held: Tensor, like: Tensor) -> Tensor:
        """Return one number an output, (O,), shaped to broadcast over the sums of a plane."""
        if self.product.convolve is None:
            return held if self.product.outputs is None else held[self.product.outputs]
        return held.view(self.layer.groups, -1, *[1] * (like.ndim - 3))

    def joined(self, total: Tensor) -> Tensor:
        """Return outputs without the axis of groups."""
        return total if self.product.convolve is None else total.flatten(1, 2)
