"""A weight on cells: quantise, slice, stray.

An M-bit weight sits on M/K cells of K bits (K divides M). Per tensor

    s = max|W| / (2^M - 1),   n = round(|w| / s) in 0 .. 2^M - 1,   sign kept apart,
    d_j = (n >> jK) mod 2^K,  j = 0 .. M/K - 1        (digit j, on the slice of weight 2^(jK)).

A cell programmed to level d holds v_d + dg, with v_d = d on evenly spaced levels and dg ~ N(0, spread_d^2), where
spread_d = c sigma_d r_d (r: the device's profile; c = 2^K - 1 for ``full_scale``, 1 for ``level``). Read back,

    signed:        w = sign * s * sum_j 2^(jK) (v_(d_j) + dg_j)
    differential:  the same, less a second chain of cells at level 0 that strays as well.

Given the digits this is *one* Gaussian a weight, with deviation

    s * sqrt( sum_j 4^(jK) (spread_(d_j)^2 + spread_0^2) )        (no spread_0 when signed),

which is what `program` samples; drawing each cell would give the same law at M/K or 2M/K times the cost.
Source: TRICE Eqs. 11-14, NFT Eqs. 4-5. Everything here works on stacked weights: a leading axis of members.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from nvlib import devices, philox
from nvlib.devices import Device
from nvlib.errors import InputError, unknown, whole

if TYPE_CHECKING:
    import pandas as pd

MAPPINGS = ("differential", "signed")
_MATRICES = (nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd)
_DIGITAL = (nn.Embedding, nn.EmbeddingBag)


# -- what lies on arrays ---------------------------------------------------------------------------------------------


def array_weights(model: nn.Module, *, warn: bool = True) -> list[str]:
    """Return the names of the parameters that lie on arrays.

    These are the weights of convolutions and linear layers, attention projections and recurrent matrices. Biases and
    normalisation are digital; so are embeddings, which are looked up, not multiplied. A model may name further
    matrices of its own in an attribute ``array_weights`` (a collection of parameter names).

    Args:
        model: any module.
        warn: warn about a weight matrix that found no place.

    Raises:
        InputError: if the model has no weight to put on arrays, or names one it does not have.
    """
    usable(model)
    extra = set(getattr(model, "array_weights", ()))
    names, homeless = [], []
    for name, parameter in model.named_parameters():
        owner = model.get_submodule(name.rpartition(".")[0])
        leaf = name.rpartition(".")[2]
        known = (
            (isinstance(owner, _MATRICES) and leaf == "weight")
            or (isinstance(owner, nn.MultiheadAttention) and leaf.endswith("proj_weight"))
            or (isinstance(owner, nn.RNNBase | nn.RNNCellBase) and leaf.startswith("weight"))
        )
        if known or name in extra:
            names.append(name)
        elif parameter.ndim > 1 and not isinstance(owner, _DIGITAL):
            homeless.append(name)
    if missing := extra.difference(dict(model.named_parameters())):
        raise InputError(
            f"array_weights names {sorted(missing)}, which {type(model).__name__} does not have; "
            "use names from model.named_parameters()"
        )
    if not names:
        raise InputError(
            f"{type(model).__name__} has no weight to put on arrays; expected a convolution or linear layer, "
            "or an attribute array_weights that names parameters"
        )
    if homeless and warn:
        warnings.warn(
            f"no noise on {', '.join(homeless)} of {type(model).__name__}: a matrix outside the layers nvlib knows; "
            "name it in model.array_weights to put it on arrays",
            stacklevel=3,
        )
    return names


def usable(model: nn.Module) -> None:
    """Refuse what is no module whose weights can be exchanged; InputError says what to pass."""
    if not isinstance(model, nn.Module):
        raise InputError(f"a model of type {type(model).__name__} cannot be programmed; expected an nn.Module")
    for name, part in model.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            said = f"{name} of {type(model).__name__}" if name else "the model"
            raise InputError(f"{said} is compiled by TorchScript, which holds its weights; expected the module that it "
                             "was made from")  # fmt: skip
    for name, parameter in model.named_parameters():
        if is_lazy(parameter):
            raise InputError(f"{name} of {type(model).__name__} has no shape yet; run the model on an image first")
        if parameter.is_meta:
            raise InputError(f"{name} of {type(model).__name__} is on the meta device, without values; load them")


def _programmable(name: str, w: Tensor) -> None:
    """Refuse a tensor that cannot lie on arrays; InputError says why."""
    what = "sparse" if w.layout != torch.strided else None if w.is_floating_point() else str(w.dtype)
    if what:
        raise InputError(f"weights {name} are {what.removeprefix('torch.')}; expected dense floats: convert them")
    if not torch.isfinite(w).all():
        raise InputError(f"weights {name} are not finite; a diverged model cannot be programmed, train it again")


def mapping(
    model: nn.Module, device: str | Device = "rram", *, bits: int | None = None, mapping: str = "differential"
) -> pd.DataFrame:
    """List every parameter of a model: on arrays or digital, its bits and its cells.

    Args:
        model: any module.
        device: a device's name or record.
        bits: M, bits of a weight; None takes those the model was built for.
        mapping: ``differential`` (two chains of cells a weight) or ``signed`` (one).

    Returns:
        One row a parameter: name, shape, place ("array" or "digital"), bits, cells.
    """
    import pandas as pd

    device, bits = devices.get(device), weight_bits(model, bits)
    tables(device, bits, "full_scale", mapping)
    on_arrays = set(array_weights(model))
    chains = 2 if mapping == "differential" else 1
    rows = []
    for name, parameter in model.named_parameters():
        on = name in on_arrays
        cells = parameter.numel() * bits // device.bits * chains if on else 0
        place = "array" if on else "digital"
        rows.append((name, tuple(parameter.shape), place, bits if on else None, cells))
    frame = pd.DataFrame(rows, columns=["name", "shape", "place", "bits", "cells"])
    return frame.astype({"bits": "Int64"})


def deviations(
    model: nn.Module,
    device: str | Device,
    sigma_d: float | None,
    *,
    bits: int | None = None,
    reference: str = "full_scale",
    mapping: str = "differential",
) -> pd.DataFrame:
    """List how far the weights of each layer stray, in units of the weight.

    Returns:
        One row a parameter on arrays: name, weights, largest (max |w|, which sets s), typical (root mean square of
        the weights), deviation (root mean square of their standard deviations), ratio (deviation / typical).

    Raises:
        InputError: as `program`.
    """
    import pandas as pd

    device, sigma_d = check(device, sigma_d, reference)
    bits, parameters, rows = weight_bits(model, bits), dict(model.named_parameters()), []
    _, spread = tables(device, bits, reference, mapping)
    for name in array_weights(model):
        _programmable(name, parameters[name].detach())
        w = _precise(parameters[name].detach()).unsqueeze(0)
        s, n = scale_and_digits(w, bits)
        strays = sigma_d * float(s) * torch.as_tensor(spread)[n]
        typical, deviation = float(w.square().mean().sqrt()), float(strays.square().mean().sqrt())
        ratio = deviation / typical if typical else float("nan")  # of a layer of zeros
        largest = float(w.abs().max()) if w.numel() else 0.0
        rows.append((name, w.numel(), largest, typical, deviation, ratio))
    return pd.DataFrame(rows, columns=["name", "weights", "largest", "typical", "deviation", "ratio"])


# -- the arithmetic --------------------------------------------------------------------------------------------------


def weight_bits(model: nn.Module, bits: int | None) -> int:
    """Return M: ``bits`` if given, else what the model was built for (its attribute ``bits``)."""
    bits = getattr(model, "bits", None) if bits is None else bits
    if bits is None:
        raise InputError(f"{type(model).__name__} does not say its weight bits; pass bits= (8, 6 or 4 in the papers)")
    return bits


@lru_cache(maxsize=256)
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


def _per_member(value: float | Tensor, like: Tensor) -> Tensor:
    """Shape a number, or one number a member, so that it broadcasts over stacked ``like``."""
    value = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    return value.reshape(-1, *[1] * (like.ndim - 1))


@lru_cache(maxsize=256)
def lookup(
    device: Device, bits: int, reference: str, mapping: str, dtype: torch.dtype, on: torch.device
) -> tuple[Tensor | None, Tensor]:
    """Return `tables` as tensors: values, None where they are 0, 1, 2, ...; deviations, one number if all are alike."""
    value, deviation = tables(device, bits, reference, mapping)
    even, alike = np.array_equal(value, np.arange(len(value))), np.ptp(deviation) == 0
    with torch.inference_mode(False):  # whoever asks first, others may need derivatives
        return (
            None if even else torch.as_tensor(value, dtype=dtype, device=on),
            torch.as_tensor(deviation[0] if alike else deviation, dtype=dtype, device=on),
        )


def _at(table: Tensor, n: Tensor) -> Tensor:
    """Look up; ``table[n]`` takes six times as long."""
    return table.index_select(0, n.flatten()).view(n.shape)


def _scale_and_signed(w: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Return s and sign * n of ``w`` (members, ...), which has no derivatives: in its dtype, but at least float32."""
    w, top = _precise(w), 2**bits - 1
    if w[0].numel() == 0:
        return _per_member(torch.zeros(len(w)), w), w
    s = _per_member(w.abs().flatten(1).amax(1), w) / top
    return s, ((w + 0.0) / torch.where(s > 0, s, 1)).round_().clamp_(-top, top)  # + 0.0 makes -0 a 0


def _precise(w: Tensor) -> Tensor:
    """Return a tensor of half precision in float32: of 8 bits of a weight it would lose some."""
    return w.float() if w.dtype.itemsize < 4 else w


def scale_and_digits(w: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Return s, shaped to broadcast over ``w`` (members, ...), and n (int64, the shape of ``w``)."""
    s, signed = _scale_and_signed(w.detach(), bits)
    return s, signed.abs().to(torch.int64)


def read_back(
    w: Tensor,
    device: Device,
    sigma_d: float | Tensor,
    z: Tensor | None,
    *,
    bits: int,
    reference: str = "full_scale",
    mapping: str = "differential",
) -> Tensor:
    """Return the weights that chips hold, for standardised deviations ``z``.

    Gradients pass quantisation and noise straight through to ``w``; max|W| is a constant to them.

    Args:
        w: clean weights (members, ...).
        device: a device record.
        sigma_d: a number, or one a member (members,).
        z: standardised deviations, broadcastable to ``w`` (several chips of one member: members = 1 in ``w``);
            None for no deviation: the quantised weights.
        bits: M.
        reference: what sigma_d is relative to.
        mapping: ``differential`` or ``signed``.

    Returns:
        Tensor of the broadcast shape of ``w`` and ``z``.
    """
    clean = _precise(w.detach())
    value, deviation = lookup(device, bits, reference, mapping, clean.dtype, w.device)
    s, signed = _scale_and_signed(clean, bits)
    if value is not None or deviation.ndim:
        n = signed.abs().to(torch.int32)
        n = n.clamp_(0, 2**bits - 1)  # of a diverged member (NaN) there is no digit, but the others need theirs
    if value is not None:
        signed = torch.where(clean < 0, -_at(value, n), _at(value, n))
    held = s * signed
    if z is not None:
        spread = _at(deviation, n) if deviation.ndim else deviation
        held = held + (s * _per_member(sigma_d, clean)) * spread * z
    if w.requires_grad:
        return w + (held - clean).detach() if w.dtype == clean.dtype else held.to(w.dtype) + (w - w.detach())
    return held.to(w.dtype)


@torch.no_grad()
def program(
    model: nn.Module,
    device: str | Device,
    sigma_d: float | None,
    *,
    seed: int = 0,
    index: int | range = 0,
    bits: int | None = None,
    reference: str = "full_scale",
    mapping: str = "differential",
) -> dict[str, Tensor]:
    """Put a model's weights on chips: quantise, slice, stray.

    Draw ``index`` of ``seed`` is the same chip whatever else is asked for beside it, and whatever the model's weights:
    two models with the same tensor names meet the same deviations.

    Args:
        model: any module; it is not changed.
        device: a device's name, record, or a path to a user's device.
        sigma_d: size of the variation, relative to ``reference``; for a measured device a factor on the measurement
            (None: as measured).
        seed: names the family of chips.
        index: which chip, or a range of chips.
        bits: M, bits of a weight; None takes those the model was built for.
        reference: ``full_scale`` (of the cell) or ``level`` (one level).
        mapping: ``differential`` (two arrays, the default) or ``signed`` (one, the papers' equations).

    Returns:
        The weights on arrays by name, in the shape of the parameter; with a leading axis (chips, ...) if ``index`` is
        a range. Detached. Digital parameters are not among them: run the chips with `nvlib.forward`.

    Raises:
        InputError: for values that cannot be used, and for weights that are not finite.
    """
    if not isinstance(index, range):
        try:
            index = whole("index", index, 0)
        except InputError:
            raise InputError(f"index {index!r} is not usable; expected an integer or a range of them") from None
    device, sigma_d = check(device, sigma_d, reference)
    usable(model)
    bits = weight_bits(model, bits)
    indices = index if isinstance(index, range) else range(index, index + 1)
    parameters = dict(model.named_parameters())
    clean = {name: parameters[name].unsqueeze(0) for name in array_weights(model)}
    chips = stray(clean, device, sigma_d, seed, indices, bits=bits, reference=reference, mapping=mapping)
    return chips if isinstance(index, range) else {name: w[0] for name, w in chips.items()}


def check(device: str | Device, sigma_d: float | None, reference: str) -> tuple[Device, float]:
    """Resolve a device and a sigma_d (None: as measured), or raise InputError."""
    device = devices.get(device)
    largest, top = max(device.spread(sigma_d, reference)), 2**device.bits - 1  # validates both
    if largest > top and sigma_d is not None and sigma_d > 1:
        warnings.warn(
            f"sigma_d={sigma_d:g} lets the cells of {device.name} stray by {largest / top:.3g} times their full scale; "
            "sigma_d is a fraction, not percent (10 % is 0.1)",
            stacklevel=4,
        )
    return device, 1.0 if sigma_d is None else float(sigma_d)


def stray(
    clean: Mapping[str, Tensor],
    device: Device,
    sigma_d: float,
    seed: int,
    indices: range,
    *,
    bits: int,
    reference: str,
    mapping: str,
) -> dict[str, Tensor]:
    """Program each of ``indices`` with the same clean weights (1, ...): the draws of `program`, by tensor name."""
    chips = {}
    for name, w in clean.items():
        _programmable(name, w.detach())
        shape = (len(indices), *w.shape[1:])
        if sigma_d == 0:
            held = read_back(w, device, 0.0, None, bits=bits, reference=reference, mapping=mapping).expand(shape)
        else:
            z = philox.normal(seed, indices, f"program/{name}", w[0].numel(), w.device)
            z = z.to(torch.promote_types(w.dtype, torch.float32)).reshape(shape)
            held = read_back(w, device, sigma_d, z, bits=bits, reference=reference, mapping=mapping)
        chips[name] = held
    return chips
