"""Cells that are stuck: once a chip, at the lowest level (high resistance) or at the highest (low resistance).

For a cell meant to hold v in [0, T], with p_h and p_l the chances of either:

    E v' = (1 - p_h - p_l) v + p_l T,    Var v' = (1 - p_h - p_l) v^2 + p_l T^2 - (E v')^2

``differential`` weights shrink, E w' = (1 - p_h - p_l) w: the p_l T of both chains cancel. A ``signed`` weight is
pulled by p_l (2^M - 1) steps in the direction of its sign.

The rates are named by what they do, since "SA0" and "SA1" are used for either: `PRESETS` says where from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from nvlib.effects.protocol import Programmed
from nvlib.effects.values import checked, text
from nvlib.errors import InputError

# name: (hrs, lrs, source)
PRESETS = {
    "chen2015": (
        0.0904, 0.0175,
        "Chen et al., IEEE Transactions on Computers 64 (2015): 10.79 % in all, 1.75 % SA0 and 9.04 % SA1; that SA0 is "
        "high conductance there is the reading of two public codes (elliothe/pytorx; walkerning/aw_nas with the "
        "letters swapped); the paper itself was not at hand",
    ),
    "mnsim": (0.001, 0.001, "MNSIM's defaults (public code)"),
    "memintelli": (0.0, 0.001, "MemIntelli's default rate_stuck_HGS (public code)"),
}  # fmt: skip


@dataclass(frozen=True)
class StuckCells:
    """Each cell of a chip is stuck or it is not; a chip at another rate has the same cells stuck, and more or fewer.

    Attributes:
        hrs: share of cells at the lowest level, whatever they were programmed to.
        lrs: share at the highest level.
    """

    hrs: float = 0.0
    lrs: float = 0.0
    name: ClassVar[str] = "stuck"

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        for key in ("hrs", "lrs"):
            checked(self, key, 0.0, 1.0, ", a share of the cells, e.g. 0.01")
        if self.hrs + self.lrs > 1:
            raise InputError(f"stuck: hrs={self.hrs:g} and lrs={self.lrs:g} are more than all cells; expected shares "
                             "that add up to 1 at most")  # fmt: skip

    def __str__(self) -> str:
        """Return it as text."""
        return text(self)

    def befall(self, v: Tensor, cells: Programmed) -> Tensor:
        """Set the stuck cells: those whose draw u is below hrs to 0, those above 1 - lrs to the top."""
        if not self.hrs + self.lrs:
            return v
        u = cells.uniform("stuck")
        return v.masked_fill(u < self.hrs, 0.0).masked_fill_(u > 1 - self.lrs, float(cells.top))
