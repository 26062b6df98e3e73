"""Read noise at the outputs: what the cells of a column add to its sum, drawn once a sum, not once a cell.

Cells that are read with independent Gaussian noise of deviations s_r add, to the sum of a column with inputs x_r,

    N(0, sum_r x_r^2 s_r^2),

exactly, for each vector of inputs that is a reading of its own: each image, each window of a convolution, each pulse,
each tile. So every product is read anew, at the price of a second product, of squares. It is exact as long as
nothing but sums comes after the noise: not for cells that are cut behind it, nor through wires.

A chip reads an image once: the draw is addressed by chip, layer and the image itself (`marks`), so that it is the same
whatever the batch, and beside whatever other image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from nvlib import philox
from nvlib.errors import InputError

_MASK = (1 << 32) - 1


@dataclass(frozen=True)
class Reading:
    """What one chip's columns of one layer read in one call.

    Attributes:
        variance: of cells, by plane, (planes, *shape of the weight), in levels squared.
        seed: the family of chips.
        address: of the draws: chip, layer, call.
        marks: of the images, one a row.
    """

    variance: Tensor
    seed: int
    address: str
    marks: tuple[int, ...]

    def noise(self, variance: Tensor, place: str) -> Tensor:
        """Return noise of sums (images, ...), whose variance is given; ``place``: pulse, tile and plane."""
        if len(variance) != len(self.marks):
            raise InputError(f"{self.address}: sums of {len(variance)} rows for {len(self.marks)} images; read=outputs "
                             "draws noise image by image along the first axis: expected read=cells")  # fmt: skip
        z = philox.normal(self.seed, self.marks, f"array/read/{self.address}/{place}", variance[0].numel(),
                          variance.device)  # fmt: skip
        return z.to(variance.dtype).view(variance.shape).mul_(variance.clamp(min=0).sqrt())


def marks(x: Tensor) -> tuple[int, ...]:
    """Return 32 bits of each image of a batch (images, ...), which tell it from others whatever the batch."""
    flat = x.detach().flatten(1) if x.ndim > 1 else x.detach().unsqueeze(1)
    words = (flat.float() + 0.0).contiguous().view(torch.int32).long() if x.is_floating_point() else flat.long()
    total = (words * _factors(flat.shape[1]).to(x.device)).sum(1)  # modulo 2^64, of which the upper half is even
    return tuple(((total >> 32) & _MASK).tolist())


@lru_cache(maxsize=16)
def _factors(size: int) -> Tensor:
    """Return odd numbers of 64 bits, by which words are spread."""
    low, high = (philox.uniform(0, 0, "array/marks", 2 * size)[0] * 2**32).long().view(2, size)
    return (high << 32) | low | 1
