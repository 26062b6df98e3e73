"""Where cells lie on tiles, which matters to wires.

Rows are a weight's inputs in order, row 0 farthest from ground. Columns are its outputs in order, each with its slices
side by side, the positive column before the negative: column ((o slices + j) 2 + sign), column 0 nearest to the inputs.
Tiles cut both; wires are as long as what lies on a tile. Groups of a convolution have tiles of their own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nvlib.array import wires
from nvlib.array.tiles import Layer


def wired(
    cells: Tensor, layer: Layer, columns: int, row: float, column: float, model: str = "exact"
) -> Tensor:
    """Return what cells seem to hold from outside, with wires between.

    Args:
        cells: conductances (chips, slices, 2, *shape of the weight), of any unit.
        layer: how the weight lies.
        columns: B.
        row: resistance of a segment along rows, in the inverse of that unit.
        column: along columns.
        model: ``exact``, or ``polynomial``, which knows columns alone.

    Returns:
        Of the shape of ``cells``.
    """
    slices, signs = cells.shape[1:3]
    matrix = layer.matrix(cells)  # (chips, slices, 2, O, R)
    lying = matrix.unflatten(3, (layer.groups, -1)).permute(0, 3, 5, 4, 1, 2).flatten(3)  # (chips, groups, R, columns)
    held = torch.empty_like(lying)
    for start, stop in layer.cuts:
        for at in range(0, lying.shape[3], columns):
            tile = slice(start, stop), slice(at, at + columns)
            g = lying[:, :, *tile]
            held[:, :, *tile] = wires.polynomial(g, column) if model == "polynomial" else wires.solve(g, row, column)
    held = held.unflatten(3, (-1, slices, signs)).permute(0, 4, 5, 1, 3, 2).flatten(3, 4)  # (chips, slices, 2, O, R)
    return (held.mT if layer.transposed else held).reshape(cells.shape)
