"""The cells beneath a weight: what each holds, how far it strays, and how a chip's deviation divides among them.

`nvlib.program` draws one Gaussian a weight, D = s sum_i delta_i, because nothing more is needed as long as nobody
looks at a cell. Verification does. Cell i of a weight (digit j of the chain that holds it, or of the idle chain of
``differential``) strays by delta_i ~ N(0, v_i), v_i = 4^(jK) spread_d^2, in units of the weight's step s. Given the
sum, the cells of the *same* chip are drawn exactly by conditioning independent ones on it:

    delta_i = e_i + (v_i / V) (D / s - sum_k e_k),   e_i ~ N(0, v_i),   V = sum_k v_k.

So cells exist for those who ask, and they add up to the chip that everybody else meets.

Effects (`nvlib.effects`) ask: `Chips` draws the cells of a tensor, lets each effect befall them, and adds up by how
much the weights have changed, so that an effect that does nothing leaves a chip as it was, bit for bit. There cells are
in level units, each of its own chain: a weight is sign s (sum_holding 2^(jK) v_j - sum_idle 2^(jK) v_j).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nvlib import philox
from nvlib.conditions import Crossbar, scale_and_digits
from nvlib.effects import Programmed
from nvlib.native.cells import Meant, divide


@dataclass(frozen=True)
class Cells:
    """The cells of one tensor: (weights, cells of a weight), the holding chain's slices first, then the idle one's.

    Attributes:
        step: s, the weight of a deviation of one level in the lowest slice, float64: (), or (weights, 1) where each
            channel has its own range.
        weight: 2^(jK) of each cell, (cells,).
        spread: deviation of each cell in level units at the device's sigma_d, float64.
    """

    step: Tensor
    weight: Tensor
    spread: Tensor

    @property
    def deviation(self) -> Tensor:
        """Return each cell's standard deviation in units of ``step``."""
        return self.spread * self.weight

    def draw(self, total: Tensor, seed: int, index: range, name: str) -> Tensor:
        """Divide each weight's deviation among its cells: the cells of these very chips.

        Args:
            total: deviations in units of ``step``, (chips, weights).
            seed: the family of draws.
            index: which chips.
            name: of the tensor.

        Returns:
            Deviations in units of ``step``, (chips, weights, cells), that add up to ``total``.
        """
        deviation = self.deviation
        g = philox.normal(seed, index, f"cells/{name}", deviation.numel(), total.device)
        free = g.view(len(index), *deviation.shape) * deviation
        variance = deviation**2
        whole = variance.sum(-1, keepdim=True)
        share = torch.where(whole > 0, variance / whole, 0.0)
        return free + share * (total - free.sum(-1)).unsqueeze(-1)


def cells_of(w: Tensor, crossbar: Crossbar) -> Cells:
    """Return the cells of one clean tensor (its own shape, no leading axis)."""
    s, n = scale_and_digits(w.detach().unsqueeze(0), crossbar)
    k = crossbar.device.bits
    slices = torch.arange(crossbar.weight_bits // k, device=w.device)
    digits = (n.reshape(-1, 1) >> (slices * k)) % 2**k
    each = crossbar.device.spread(crossbar.sigma_d, crossbar.reference)
    spread = torch.tensor(each, dtype=torch.float64, device=w.device)
    held = spread[digits]
    weight = 2.0 ** (slices * k).double()
    if crossbar.mapping == "differential":
        held = torch.cat([held, spread[0].expand_as(held)], 1)
        weight = torch.cat([weight, weight])
    s = s.double()
    step = s.reshape(()) if s.numel() == 1 else s.expand(1, *w.shape).reshape(-1, 1)
    return Cells(step, weight, held)


# -- effects ---------------------------------------------------------------------------------------------------------

_AT_ONCE = 1 << 19  # cells: about what caches hold
_KEPT = 1 << 26  # cells that are kept between readings


class Chips:
    """The cells of one tensor on some chips, with all that befell them but for what each reading changes."""

    def __init__(
        self, held: Tensor, w: Tensor, crossbar: Crossbar, z: Tensor | None, *, seed: int | Sequence[int],
        index: range | int, name: str, sigma_d: float | Tensor | None = None, once: bool = False,
    ) -> None:  # fmt: skip
        """Take programmed weights.

        Args:
            held: weights as programmed, (chips, ...).
            w: clean ones, (1 or chips, ...).
            crossbar: with its bits and effects.
            z: the weights' standardised deviations, (1 or chips, ...); None where nothing strays.
            seed: the family of chips; in training one a member.
            index: which chips; in training the step.
            name: what draws are addressed by.
            sigma_d: in place of the crossbar's, a number or one a member.
            once: whether one reading alone will be asked for, so that nothing need be kept for the next.
        """
        self.held, self.crossbar, self.z = held, crossbar, z
        self.seed, self.index, self.name = seed, index, name
        self.sigma_d = crossbar.sigma_d if sigma_d is None else sigma_d
        self.scale, self.n = scale_and_digits(w.detach(), crossbar)
        self.negative = w.detach() < 0
        self.meant: Programmed | None = None
        self.along: Meant | None = None
        self.signed: Tensor | None = None
        steady = [getattr(effect, "images", None) is None for effect in crossbar.effects]
        self.first = steady.index(False) if False in steady else len(steady)  # effects before it are of all readings
        self.kept: dict[int, tuple[Programmed, Tensor]] | None = (
            {} if not once and held.numel() * crossbar.cells <= _KEPT and self.first < len(steady) else None
        )

    def weights(self, read: int = 0) -> Tensor:
        """Return the weights of a reading, of the shape and dtype of ``held``, without derivatives."""
        kind = torch.promote_types(self.held.dtype, torch.float32)
        out = torch.empty(self.held.shape, dtype=kind, device=self.held.device)
        for part in self._parts():
            out[part] = self.held[part].detach() + self._moved(part, read).view(self.held[part].shape)
        return out.to(self.held.dtype)

    def levels(self, read: int = 0) -> Tensor:
        """Return what each cell holds at a reading, in levels, (chips, weights, cells); the holding chain first."""
        return torch.cat([self._befallen(part, read)[1] for part in self._parts()])

    def spreads(self, of: Callable[[Tensor, Programmed], Tensor], read: int = 0) -> Tensor:
        """Return a number of each cell by what it holds at a reading, of the shape of `levels`."""
        return torch.cat([of(v, cells) for cells, v in (self._befallen(part, read) for part in self._parts())])

    def _parts(self) -> Iterator[slice]:
        """Yield as many chips at a time as caches hold."""
        size = max(1, self.held[0].numel() * self.crossbar.cells) if len(self.held) else 1
        step = max(1, _AT_ONCE // size)
        yield from (slice(start, start + step) for start in range(0, len(self.held), step))

    def _moved(self, part: slice, read: int) -> Tensor:
        """Return by how much weights of some chips have changed, (chips, weights)."""
        only = self.crossbar.effects[0] if len(self.crossbar.effects) == 1 else None
        if only is not None and hasattr(only, "moved"):  # one Gaussian a weight still: no cell is drawn
            cells = self._blank(part)
            root = self._along(cells).root
            z = 0.0 if self.z is None else _rows(self.z, part).to(root.dtype).flatten(1)
            along = torch.where(cells.negative, -1.0, 1.0).to(root.dtype) * root * z
            moved = only.moved(along, cells, self._signs(root))
        else:
            cells, v = self._befallen(part, read)
            moved = (v - cells.programmed) @ self._signs(v)
        return self._scale(part, cells, moved.dtype) * moved

    def _scale(self, part: slice, cells: Programmed, dtype: torch.dtype) -> Tensor:
        """Return the weight of a step, with its sign, (1 or chips, weights); made once where all chips share it."""
        if self.signed is None or len(self.signed) > 1:
            scale = _rows(self.scale, part).to(dtype).expand(-1, *self.n.shape[1:]).flatten(1)
            self.signed = torch.where(cells.negative, -scale, scale)
        return self.signed

    def _befallen(self, part: slice, read: int) -> tuple[Programmed, Tensor]:
        """Return the cells of some chips as programmed, and what they hold at a reading."""
        kept = (self.kept or {}).get(part.start)
        if kept is None:
            cells = self._programmed(part)
            v = cells.programmed
            for effect in self.crossbar.effects[: self.first]:
                v = effect.befall(v, cells)
            if self.kept is not None:
                self.kept[part.start] = cells, v
        else:
            cells, v = kept
        cells = replace(cells, read=read)
        for effect in self.crossbar.effects[self.first :]:
            v = effect.befall(v, cells)
        return cells, v

    def _signs(self, like: Tensor) -> Tensor:
        """Return what a cell counts for in its weight, in steps: 2^(jK), and less that in the idle chain."""
        k = self.crossbar.device.bits
        each = 2.0 ** (torch.arange(self.crossbar.weight_bits // k, dtype=like.dtype, device=like.device) * k)
        return torch.cat([each, -each]) if self.crossbar.mapping == "differential" else each

    def _programmed(self, part: slice) -> Programmed:
        """Draw the cells of some chips, given their weights' deviations."""
        cells = self._blank(part)
        if self.z is None:
            return cells
        z = _rows(self.z, part).to(cells.programmed.dtype).flatten(1)
        meant = self._along(cells)
        return replace(cells, programmed=divide(cells.drawn(f"cells/{self.name}"), z, meant))

    def _blank(self, part: slice) -> Programmed:
        """Return the cells of some chips as they were meant, none of which strays."""
        own = self._meant(part)
        seed = list(self.seed[part]) if isinstance(self.seed, Sequence) else self.seed
        index = self.index[part] if isinstance(self.index, range) else range(self.index, self.index + 1)
        level = own.level.expand(len(self.held[part]), *own.digit.shape[1:])
        return replace(own, seed=seed, index=index, programmed=level)

    def _along(self, own: Programmed) -> Meant:
        """Return deviation and variance in steps along the weight, and what turns a cell's luck into its straying.

        In the idle chain, and for negative weights, cells stray the other way than the weight.
        """
        if self.along is not None:
            return self.along
        signs = self._signs(own.spread)
        deviation, turned = own.spread * signs.abs(), own.negative.unsqueeze(-1)
        variance = deviation.square().sum(-1)
        found = Meant(
            variance.sqrt(), torch.where(variance > 0, 1 / variance, 0.0), deviation,
            own.spread * torch.where(turned, -signs.sign(), signs.sign()), own.level,
        )  # fmt: skip
        self.along = found if self.meant is not None else None
        return found

    def _meant(self, part: slice) -> Programmed:
        """Return what the cells of some chips were meant for; made once where all chips have the same weights."""
        if self.meant is not None:
            return self.meant
        c, k = self.crossbar, self.crossbar.device.bits
        dtype = torch.promote_types(self.held.dtype, torch.float32)
        slices = torch.arange(c.weight_bits // k, device=self.n.device) * k
        digit = (_rows(self.n, part).flatten(1).unsqueeze(-1) >> slices) % 2**k
        if c.mapping == "differential":
            digit = torch.cat([digit, torch.zeros_like(digit)], -1)
        sigma_d = self.sigma_d
        if isinstance(sigma_d, Tensor):
            sigma_d = _rows(sigma_d.reshape(-1, 1, 1), part).to(dtype)
        cells = Programmed(
            digit, digit, torch.empty(0, dtype=dtype), _rows(self.negative, part).flatten(1), self.held.shape[1:],
            2 if c.mapping == "differential" else 1, sigma_d, c.device, 0, range(0), self.name,
        )  # fmt: skip
        cells = replace(cells, spread=sigma_d * cells.per_level(c.device.spread(1.0, c.reference)))
        if len(self.n) == 1 and not isinstance(self.sigma_d, Tensor):
            self.meant = cells
        return cells


def _rows(stacked: Tensor, part: slice) -> Tensor:
    """Return the rows of some chips, or the one that all share."""
    return stacked if len(stacked) == 1 else stacked[part]
