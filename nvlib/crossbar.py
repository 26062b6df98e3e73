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
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from nvlib import devices, modules, philox
from nvlib.devices import Device
from nvlib.errors import InputError, unknown, whole
from nvlib.modules import bare, usable

if TYPE_CHECKING:
    import pandas as pd

MAPPINGS = ("differential", "signed")
_MATRICES = (nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd)
_DIGITAL = (nn.Embedding, nn.EmbeddingBag)


# -- what lies on arrays ---------------------------------------------------------------------------------------------


def array_weights(model: nn.Module, *, warn: bool = True) -> list[str]:
    """Return the names of the tensors that lie on arrays.

    These are the weights of convolutions and linear layers, attention projections and recurrent matrices. Biases and
    normalisation are digital; so are embeddings, which are looked up, not multiplied, unless such a layer shares their
    matrix. A tensor that several layers share has its first name. A parametrised weight (weight_norm, spectral_norm,
    pruned, ...) is named as its layer has it, and what is meant is the weight that the layer uses. A model may name
    further matrices of its own in an attribute ``array_weights`` (a collection of parameter names).

    Args:
        model: any module.
        warn: warn about a weight matrix that found no place, and about a layer that multiplies with other weights than
            it is given.

    Raises:
        InputError: if the model has no weight to put on arrays, or names one it does not have; for a scripted module.
    """
    usable(model)
    inner, address = bare(model), modules.address(model)
    extra = set(getattr(model, "array_weights", ())) | set(getattr(inner, "array_weights", ()))
    every = _matrices_of(model)
    known = {n for slots, _ in every.values() for slot in slots for n in (slot, address(slot))}
    if missing := extra.difference(known):
        raise InputError(
            f"array_weights names {sorted(missing)}, which {type(inner).__name__} does not have; "
            "use names from model.named_parameters()"
        )
    names, homeless = [], []
    for name, (slots, ndim) in every.items():
        owners = [(model.get_submodule(slot.rpartition(".")[0]), slot.rpartition(".")[2]) for slot in slots]
        named = extra.intersection((*slots, *map(address, slots)))
        if named or any(_is_matrix(owner, leaf) for owner, leaf in owners):
            names.append(name)
        elif ndim > 1 and not all(isinstance(owner, _DIGITAL) for owner, _ in owners):
            homeless.append(name)
    if not names:
        raise InputError(
            f"{type(inner).__name__} has no weight to put on arrays; expected a convolution or linear layer, "
            "or an attribute array_weights that names parameters"
        )
    if homeless and warn:
        warnings.warn(
            f"no noise on {', '.join(homeless)} of {type(inner).__name__}: a matrix outside the layers nvlib knows; "
            "name it in model.array_weights to put it on arrays",
            stacklevel=3,
        )
    return names


def _programmable(name: str, w: Tensor) -> None:
    """Refuse a tensor that cannot lie on arrays; InputError says why."""
    what = "sparse" if w.layout != torch.strided else None if w.is_floating_point() else str(w.dtype)
    if what:
        raise InputError(f"weights {name} are {what.removeprefix('torch.')}; expected dense floats: convert them")
    if not torch.isfinite(w).all():
        raise InputError(f"weights {name} are not finite; a diverged model cannot be programmed, train it again")


def _is_matrix(owner: nn.Module, leaf: str) -> bool:
    """Whether a layer multiplies with its tensor of this name."""
    return (
        (isinstance(owner, _MATRICES) and leaf == "weight")
        or (isinstance(owner, nn.MultiheadAttention) and leaf.endswith("proj_weight"))
        or (isinstance(owner, nn.RNNBase | nn.RNNCellBase) and leaf.startswith("weight"))
    )


def _matrices_of(model: nn.Module) -> dict[str, tuple[list[str], int]]:
    """Return what a module computes with: name -> (its slots, its axes); parametrised tensors for their originals."""
    made = modules.parametrised(model)
    originals = {id(tensor) for part in made.values() for name, tensor in part.named_parameters()
                 if name.startswith("parametrizations.") or name.rpartition("_")[2] in ("g", "v", "orig")}  # fmt: skip
    found, parameters = {}, {id(p) for p in model.parameters()}
    for path, part in model.named_modules():
        at = f"{path}." if path else ""
        for leaf, tensor in part._parameters.items():
            if tensor is not None and id(tensor) in parameters and id(tensor) not in originals:
                found.setdefault(id(tensor), (f"{at}{leaf}", [], tensor.ndim))[1].append(f"{at}{leaf}")
        for name in (name for name, owner in made.items() if owner is part):
            found[name] = (name, [name], modules.made(part, name.rpartition(".")[2]).ndim)
    return {name: (slots, ndim) for name, slots, ndim in found.values()}


def own_weights(model: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
    """Return tensors of a model by the names that `array_weights` gives, parametrised ones as evaluation makes them."""
    parameters, made = dict(model.named_parameters()), modules.parametrised(model)
    return {name: modules.made(made[name], name.rpartition(".")[2]) if name in made else parameters[name]
            for name in names}  # fmt: skip


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
    for name, parameter in own_weights(model, _matrices_of(model)).items():
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
    bits, rows = weight_bits(model, bits), []
    _, spread = tables(device, bits, reference, mapping)
    for name, own in own_weights(model, array_weights(model)).items():
        _programmable(name, own.detach())
        w = _precise(own.detach()).unsqueeze(0)
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
    bits = getattr(model, "bits", getattr(bare(model), "bits", None)) if bits is None else bits
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
    clean = {name: w.unsqueeze(0) for name, w in own_weights(model, array_weights(model)).items()}
    chips = stray(clean, device, sigma_d, seed, indices, bits=bits, reference=reference, mapping=mapping,
                  address=modules.address(model))  # fmt: skip
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
    address: Callable[[str], str] = str,
) -> dict[str, Tensor]:
    """Program each of ``indices`` with the same clean weights (1, ...): the draws of `program`, by tensor name.

    ``address`` turns a tensor's name into what its draws are addressed by.
    """
    chips = {}
    for name, w in clean.items():
        _programmable(name, w.detach())
        shape = (len(indices), *w.shape[1:])
        if sigma_d == 0:
            held = read_back(w, device, 0.0, None, bits=bits, reference=reference, mapping=mapping).expand(shape)
        else:
            z = philox.normal(seed, indices, f"program/{address(name)}", w[0].numel(), w.device)
            z = z.to(torch.promote_types(w.dtype, torch.float32)).reshape(shape)
            held = read_back(w, device, sigma_d, z, bits=bits, reference=reference, mapping=mapping)
        chips[name] = held
    return chips
