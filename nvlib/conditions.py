"""The conditions of a chip as one value, `Crossbar`, and the arithmetic of weights on levels.

An M-bit weight w lies on M/K cells of K bits, with R its range (`nvlib.ranges`; max|W| of the tensor by default):

    s = R / (2^M - 1),   n = round(min(|w|, R) / s) in 0 .. 2^M - 1,   sign kept apart,
    d_j = (n >> jK) mod 2^K,  j = 0 .. M/K - 1        (digit j, on the slice of weight 2^(jK)).

A cell programmed to level d holds v_d + dg, with v_d = d on evenly spaced levels and dg ~ N(0, spread_d^2), where
spread_d = c sigma_d r_d (r: the device's profile; c = 2^K - 1 for ``full_scale``, 1 for ``level``). Read back,

    signed:        w = sign * s * sum_j 2^(jK) (v_(d_j) + dg_j)
    differential:  the same, less a second chain of cells at level 0 that strays as well.

Given the digits this is *one* Gaussian a weight, with deviation

    s * sqrt( sum_j 4^(jK) (spread_(d_j)^2 + spread_0^2) )        (no spread_0 when signed).

Source: TRICE Eqs. 11-14, NFT Eqs. 4-5. Everything here works on stacked weights: a leading axis of members.
"""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor, nn

from nvlib import array, devices, effects, ranges
from nvlib.array import Periphery
from nvlib.cards import card
from nvlib.devices import Device
from nvlib.effects import Effect
from nvlib.errors import InputError, unknown
from nvlib.fields import Given, default
from nvlib.modules import LAYERS, bare, usable
from nvlib.ranges import WeightRange

MAPPINGS = ("differential", "signed")
LEFT_OUT: Any = ...  # sigma_d was left out: the crossbar's, or the usual one of its device


class Conditions(TypedDict, total=False):
    """Fields of `Crossbar` as keywords: the short form beside a device and a sigma_d."""

    device: Device | str
    bits: int | None
    reference: str
    mapping: str
    range: WeightRange | str
    effects: tuple[Effect | str, ...] | Effect | str
    periphery: Periphery | str | None


@dataclass(frozen=True)
class Crossbar:
    """All that decides how a weight lies on cells, and what befalls it; checked when it is made.

    Attributes:
        device: the kind of cell: a name, a path or a record (it is held as the record).
        sigma_d: size of the variation, relative to ``reference`` (left out: 0.1); for a measured device a factor on the
            measurement (left out, or None: 1, as measured).
        bits: M, bits of a weight; None takes those the model was built for.
        reference: what sigma_d is relative to: ``full_scale`` (of the cell) or ``level`` (one level).
        mapping: ``differential`` (two chains of cells a weight) or ``signed`` (one, the papers' equations).
        range: what the largest level stands for: `nvlib.ranges`, or its text, e.g. ``deviations:2.5``.
        effects: what befalls cells after programming, in order: `nvlib.effects`, or their texts, e.g.
            ``("stuck:chen2015", "drift:time=3600")``.
        periphery: what is between the arrays and the numbers, in the forward: `nvlib.array`, or its text, e.g.
            ``adc_bits=6,rows=64`` or ``isaac``; None: exact products.

    Raises:
        InputError: for a value that cannot be used.

    Example:
        >>> import nvlib
        >>> crossbar = nvlib.Crossbar("fefet2", 0.1, mapping="signed")
        >>> crossbar.at(0.2).sigma_d, crossbar.device.bits
        (0.2, 2)
    """

    device: Given[Device, str] = default("rram")
    sigma_d: Given[float, None] = default(LEFT_OUT)
    bits: int | None = None
    reference: str = "full_scale"
    mapping: str = "differential"
    range: Given[WeightRange, str] = default("max")
    effects: Given[tuple[Effect, ...], tuple[Effect | str, ...] | Effect | str] = default(())
    periphery: Given[Periphery | None, str] = default(None)

    def __post_init__(self) -> None:
        """Resolve the device and the range, and refuse what cannot be used."""
        device = devices.get(self.device)
        if self.sigma_d is LEFT_OUT:
            object.__setattr__(self, "sigma_d", device.usual_sigma_d)
        largest, top = max(device.spread(self.sigma_d, self.reference)), 2**device.bits - 1  # validates both
        if largest > top and self.sigma_d is not None and self.sigma_d > 1:
            warnings.warn(
                f"sigma_d={self.sigma_d:g} lets the cells of {device.name} stray by {largest / top:.3g} times their "
                "full scale; sigma_d is a fraction, not percent (10 % is 0.1)",
                stacklevel=4,
            )
        if self.mapping not in MAPPINGS:
            raise unknown("mapping", self.mapping, MAPPINGS)
        held = {
            "device": device, "sigma_d": 1.0 if self.sigma_d is None else float(self.sigma_d),
            "range": ranges.get(self.range), "effects": effects.on(device, self.effects),
            "periphery": array.get(self.periphery),
        }  # fmt: skip
        for name, value in held.items():
            object.__setattr__(self, name, value)
        if isinstance(self.bits, np.integer):
            object.__setattr__(self, "bits", int(self.bits))
        if self.bits is not None:
            _ = self.tables

    def _repr_html_(self) -> str:
        """Return it as a notebook shows it: what is not left at its default."""
        rows = {"device": self.device.name, "sigma_d": f"{self.sigma_d:g}", "bits": self.bits or "the model's",
                "reference": self.reference, "mapping": self.mapping, "range": self.range,
                "effects": " + ".join(map(str, self.effects)), "periphery": self.periphery or ""}  # fmt: skip
        return card("Crossbar", {name: value for name, value in rows.items() if value != ""})

    def on(self, model: nn.Module) -> Crossbar:
        """Return the crossbar with the bits that a model was built for, where it says none itself.

        Raises:
            InputError: if neither says them, or the device's cells cannot hold them.
        """
        usable(model, values=False)
        if self.range.per == "channel":
            outputs_first(model, f"range {str(self.range)!r}", "a range of the whole tensor")
        held = copy.copy(self)  # no need to check the rest again
        object.__setattr__(held, "bits", weight_bits(model, self.bits))
        _ = held.tables
        return held

    def at(self, sigma_d: float | None) -> Crossbar:
        """Return the crossbar with another size of the variation."""
        return replace(self, sigma_d=sigma_d)

    @property
    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        """Return `tables` of its device, bits, reference and mapping."""
        return tables(self.device, self.weight_bits, self.reference, self.mapping)

    @property
    def weight_bits(self) -> int:
        """Return M; InputError where neither the crossbar nor a model has said it (`on`)."""
        if self.bits is None:
            raise InputError("the crossbar does not say the bits of a weight; pass bits= (8, 6 or 4 in the papers), or "
                             "take crossbar.on(model)")  # fmt: skip
        return self.bits

    @property
    def cells(self) -> int:
        """Return the cells of a weight."""
        return self.weight_bits // self.device.bits * (2 if self.mapping == "differential" else 1)

    @property
    def images_a_read(self) -> int | None:
        """Return how many images one reading of the cells serves; None where all readings are alike."""
        outputs = self.periphery is not None and self.periphery.read == "outputs"
        effects = self.effects[:-1] if outputs else self.effects
        return min(filter(None, (getattr(e, "images", None) for e in effects)), default=None)

    def only_programming(self, what: str, *, effects: bool = False) -> Crossbar:
        """Return it; InputError where effects or a periphery would be left out by what knows programming alone.

        ``effects``: whether they are known all the same.
        """
        others = "" if effects else ", ".join(map(str, self.effects))
        for name, said in (("effects", others), ("periphery", self.periphery)):
            if said:
                known = "programming and effects" if effects else "programming"
                raise InputError(f"{what} knows {known} alone; expected a crossbar without {name}, not {said}")
        return self


_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def as_crossbar(crossbar: Crossbar | Device | str | None, sigma_d: float | None = LEFT_OUT, **more: Any) -> Crossbar:
    """Return the crossbar of a call: one as it is, or that of the short form: a device, a sigma_d, further fields.

    Raises:
        InputError: if a crossbar and further conditions are given, for a keyword that is none, or values that cannot
            be used.
    """
    known = set(Conditions.__annotations__)
    for name in more:
        if name not in known:
            raise InputError(f"{unknown('condition of a crossbar', name, sorted(known))}; or an argument of the call")
    if isinstance(crossbar, Crossbar):
        given = [*more, *(["sigma_d"] if sigma_d is not LEFT_OUT else [])]
        if given:
            raise InputError(f"{given[0]} is given beside a crossbar; expected it within: "
                             f"dataclasses.replace(crossbar, {given[0]}=...)")  # fmt: skip
        return crossbar
    if crossbar is not None:
        if "device" in more:
            raise InputError(f"device={more['device']!r} is given beside {crossbar!r}; expected one of them")
        more["device"] = crossbar
    return Crossbar(**more) if sigma_d is LEFT_OUT else Crossbar(sigma_d=sigma_d, **more)


def outputs_first(model: nn.Module, what: str, otherwise: str) -> None:
    """Refuse what is done for each output on a model whose weights have their outputs on another axis than the first.

    Of a parameter that only ``array_weights`` puts on arrays nobody knows: a warning says what is taken.

    Args:
        model: any module.
        what: is done, for the message.
        otherwise: what to do in place of it.
    """
    if any(isinstance(m, _TRANSPOSED) for m in model.modules()):
        raise InputError(f"{what} on {type(model).__name__}: a transposed convolution has its output channels on "
                         f"another axis; expected {otherwise}")  # fmt: skip
    inner, alone = bare(model), []
    for name in sorted({*getattr(model, "array_weights", ()), *getattr(inner, "array_weights", ())}):
        path, _, leaf = name.rpartition(".")
        owner = dict(inner.named_modules()).get(path)
        if not (isinstance(owner, LAYERS) and "weight" in leaf):
            alone.append(name)
    if alone:
        warnings.warn(
            f"{what} on {type(model).__name__}: taken to be outputs is the first axis of {', '.join(alone)}, as in "
            f"F.linear(x, w); where it is used otherwise (x @ w), expected {otherwise}", stacklevel=4,
        )  # fmt: skip


def weight_bits(model: nn.Module, bits: int | None) -> int:
    """Return M: ``bits`` if given, else what the model was built for (its attribute ``bits``)."""
    bits = getattr(model, "bits", getattr(bare(model), "bits", None)) if bits is None else bits
    if bits is None:
        raise InputError(f"{type(model).__name__} does not say its weight bits; pass bits= (8, 6 or 4 in the papers)")
    return bits


@lru_cache(maxsize=256, typed=True)  # 8.0 bits are refused, whoever asked for 8 before
def tables(device: Device, bits: int, reference: str, mapping: str) -> tuple[np.ndarray, np.ndarray]:
    """Tabulate, for n = 0 .. 2^M - 1, the weight read back and its deviation at sigma_d = 1, in units of s.

    Args:
        device: a device record.
        bits: M; a multiple of the device's K, at most 16.
        reference: what sigma_d is relative to, ``full_scale`` or ``level``.
        mapping: ``differential`` or ``signed``.

    Returns:
        (value, deviation), two float64 arrays of length 2^M.

    Raises:
        InputError: if K does not divide M, M is out of range, or a name is unknown.
    """
    if mapping not in MAPPINGS:
        raise unknown("mapping", mapping, MAPPINGS)
    k = device.bits
    if isinstance(bits, bool) or not isinstance(bits, int | np.integer) or not 1 <= bits <= 16 or bits % k:
        raise InputError(
            f"bits={bits!r} does not fit {device.name}, whose cells hold {k} bits; expected a multiple of {k} up to 16"
        )
    levels, spread = np.array(device.values), np.array(device.spread(1.0, reference))
    n, j = np.arange(2**bits)[:, None], np.arange(bits // k)
    digits = (n >> (j * k)) % 2**k
    weight = 2.0 ** (j * k)
    idle = spread[0] ** 2 if mapping == "differential" else 0.0
    return levels[digits] @ weight, np.sqrt((spread[digits] ** 2 + idle) @ weight**2)


def per_member(value: float | Tensor, like: Tensor) -> Tensor:
    """Shape a number, or one number a member, so that it broadcasts over stacked ``like``."""
    value = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    return value.reshape(-1, *[1] * (like.ndim - 1))


def precise(w: Tensor) -> Tensor:
    """Return a tensor of half precision in float32: of 8 bits of a weight it would lose some."""
    return w.float() if w.dtype.itemsize < 4 else w


def scale_and_signed(w: Tensor, crossbar: Crossbar) -> tuple[Tensor, Tensor]:
    """Return s and sign * n of ``w`` (members, ...), which has no derivatives: in its dtype, but at least float32."""
    w, top = precise(w), 2**crossbar.weight_bits - 1
    if w[0].numel() == 0:
        return per_member(torch.zeros(len(w)), w), w
    s = crossbar.range.of(w) / top
    return s, ((w + 0.0) / torch.where(s > 0, s, 1)).round_().clamp_(-top, top)  # + 0.0 makes -0 a 0


def scale_and_digits(w: Tensor, crossbar: Crossbar) -> tuple[Tensor, Tensor]:
    """Return s, shaped to broadcast over ``w`` (members, ...), and n (int64, the shape of ``w``)."""
    s, signed = scale_and_signed(w.detach(), crossbar)
    return s, signed.abs().to(torch.int64)
