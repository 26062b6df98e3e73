r"""Where the loss is expanded: the weights that a chip without variation holds, and how far each of them strays.

    w = w_q + sigma_d d z,   z ~ N(0, 1) for each weight,   d = s sqrt( sum_j 4^(jK) (spread_(d_j)^2 + spread_0^2) )

w_q is the quantised weight as read back, d its deviation at sigma_d = 1 (`nvlib.crossbar`): the law of a chip is known
exactly, only the loss is approximated. The variance is a sum over slices, d^2 = sum_j d_j^2, so noise in one slice of
cells, or in one layer, is the same law with the other deviations set to zero. A chip's luck z is that of
`nvlib.program`: chip i here is chip i there.

Rounded activations have no derivative, and the straight-through gradient is none: activation quantisation is switched
off at a point, and ``Point.without`` lists what was.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Unpack

import numpy as np
import torch
from torch import Tensor, nn

from nvlib import modules, philox
from nvlib.conditions import LEFT_OUT, Conditions, Crossbar, as_crossbar
from nvlib.copies import private
from nvlib.crossbar import array_weights, programmable, scale_and_digits
from nvlib.devices import Device
from nvlib.errors import InputError, unknown
from nvlib.models import ActivationQuantiser


def smooth(model: nn.Module, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, tuple[str, ...]]:
    """Return a copy of a module without activation quantisation, in evaluation mode, and the names of what went.

    The copy's parameters keep their names and need no gradient.
    """
    plain = modules.switched(modules.in_dtype(private(model), dtype)).requires_grad_(False)
    gone = tuple(name for name, part in plain.named_modules(remove_duplicate=False)
                 if isinstance(part, ActivationQuantiser))  # fmt: skip
    for name in gone:
        parent, _, leaf = name.rpartition(".")
        setattr(plain.get_submodule(parent), leaf, nn.Identity())
    return plain, gone


@dataclass(frozen=True, eq=False)
class Point:
    """A model on chips, ready to be expanded.

    Attributes:
        model: the module without activation quantisation, in evaluation mode.
        centre: name -> weights that a chip without variation holds.
        deviation: name -> deviation of each weight at sigma_d = 1, in units of the weight.
        slices: name -> (slices, ...) deviation from the cells of each slice; their squares add up to deviation^2.
        device: where it was programmed.
        without: activation quantisers that are switched off.
    """

    model: nn.Module
    centre: dict[str, Tensor]
    deviation: dict[str, Tensor]
    slices: dict[str, Tensor]
    device: Device
    without: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of weights on arrays."""
        return sum(w.numel() for w in self.centre.values())

    def flat(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Join tensors by name, (...) each, into one vector in the order of ``centre``, float64."""
        return torch.cat([parts[name].double().flatten().cpu() for name in self.centre])

    def split(self, vector: Tensor) -> dict[str, Tensor]:
        """Take a vector (weights,) or (n, weights) apart into tensors by name, in the model's dtype."""
        sizes = [w.numel() for w in self.centre.values()]
        parts = zip(self.centre.items(), vector.split(sizes, -1), strict=True)
        return {name: part.to(w.dtype).reshape(*vector.shape[:-1], *w.shape) for (name, w), part in parts}

    def deviations(
        self, layers: Collection[str] | None = None, slices: Collection[int] | None = None
    ) -> dict[str, Tensor]:
        """Return deviations at sigma_d = 1 with noise in some layers or slices only; None: in all.

        Raises:
            InputError: for a layer or slice that there is not.
        """
        for name in layers or ():
            if name not in self.centre:
                raise unknown("layer on arrays", name, self.centre)
        kept = {}
        for name, own in self.slices.items():
            chosen = range(len(own)) if slices is None else slices
            if wrong := [j for j in chosen if not 0 <= j < len(own)]:
                raise InputError(f"slice {wrong[0]} does not exist; a weight here has slices 0 to {len(own) - 1}")
            some = slices is not None
            deviation = own[list(chosen)].square().sum(0).sqrt() if some else self.deviation[name]
            kept[name] = deviation if layers is None or name in layers else torch.zeros_like(deviation)
        return kept

    def deviates(self, seed: int, index: range) -> dict[str, Tensor]:
        """Return the standardised deviations of chips ``index`` of family ``seed``, name -> (chips, ...)."""
        drawn, address = {}, modules.address(self.model)
        for name, w in self.centre.items():
            z = philox.normal(seed, index, f"program/{address(name)}", w.numel(), w.device)
            drawn[name] = z.to(w.dtype).reshape(len(index), *w.shape)
        return drawn

    def chips(
        self,
        sigma_d: float,
        *,
        seed: int = 0,
        index: range,
        layers: Collection[str] | None = None,
        slices: Collection[int] | None = None,
    ) -> dict[str, Tensor]:
        """Return the weights of chips, name -> (chips, ...); with noise in some layers or slices only, if asked for."""
        strays, luck = self.deviations(layers, slices), self.deviates(seed, index)
        return {name: w + sigma_d * strays[name] * luck[name] for name, w in self.centre.items()}


def point(
    model: nn.Module,
    crossbar: Crossbar | Device | str | None = None,
    sigma_d: float | None = LEFT_OUT,
    *,
    dtype: torch.dtype = torch.float32,
    **conditions: Unpack[Conditions],
) -> Point:
    """Program a model without variation and say how far each of its weights will stray.

    Args:
        model: any module; it is not changed.
        crossbar: the conditions (of any sigma_d), or a device (None: RRAM) with ``conditions`` beside it.
        sigma_d: size of the variation, which changes nothing here: a point's deviations are those at 1.
        dtype: of weights and images; float64 for checks by finite differences.
        **conditions: other fields of `nvlib.Crossbar`.

    Raises:
        InputError: for values that cannot be used, and for weights that are not finite.
    """
    crossbar = as_crossbar(crossbar, sigma_d, **conditions).on(model).only_programming("the expansion")
    value, deviation = crossbar.tables
    per_slice = _slice_deviations(crossbar)
    plain, gone = smooth(model, dtype)
    parameters = dict(plain.named_parameters())
    centre, spread, slices = {}, {}, {}
    for name in array_weights(plain, warn=False):
        w = parameters[name]
        programmable(name, w)
        s, n = scale_and_digits(w.double().unsqueeze(0), crossbar)
        s, n = s[0].cpu().numpy(), n[0].cpu().numpy()
        held = torch.where(w < 0, -1.0, 1.0).double() * torch.from_numpy(s * value[n]).to(w.device)
        centre[name] = held.to(dtype)
        spread[name] = torch.from_numpy(s * deviation[n]).to(w.device, dtype)
        slices[name] = torch.from_numpy(s * per_slice[:, n]).to(w.device, dtype)
    return Point(plain, centre, spread, slices, crossbar.device, gone)


def _slice_deviations(crossbar: Crossbar) -> np.ndarray:
    """Tabulate the deviation from each slice's cells at sigma_d = 1, in units of s: (slices, 2^M), by n."""
    k, bits = crossbar.device.bits, crossbar.weight_bits
    spread = np.array(crossbar.device.spread(1.0, crossbar.reference))
    n, j = np.arange(2**bits), np.arange(bits // k)[:, None]
    idle = spread[0] ** 2 if crossbar.mapping == "differential" else 0.0
    return 2.0 ** (j * k) * np.sqrt(spread[(n >> (j * k)) % 2**k] ** 2 + idle)
