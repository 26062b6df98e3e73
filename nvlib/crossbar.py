"""Weights on crossbars of non-volatile cells: what lies on arrays, programming, and reading back.

`nvlib.conditions` has the arithmetic: given its digits a weight is one Gaussian, which is what `program` samples;
drawing each cell would give the same law at M/K or 2M/K times the cost. Everything here works on stacked weights: a
leading axis of members.

>>> from nvlib import crossbar, models
>>> crossbar.array_weights(models.build("lenet3"))
['conv1.weight', 'conv2.weight', 'fc1.weight']
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from nvlib import modules, operands, philox
from nvlib.cells import Chips
from nvlib.conditions import (
    LEFT_OUT,
    MAPPINGS,
    Conditions,
    Crossbar,
    as_crossbar,
    per_member,
    precise,
    scale_and_digits,
    scale_and_signed,
    tables,
    weight_bits,
)
from nvlib.devices import Device
from nvlib.errors import InputError, whole
from nvlib.modules import bare, usable

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "MAPPINGS", "Crossbar", "array_weights", "as_crossbar", "deviate", "deviations", "lookup", "mapping", "program",
    "read_back", "readings", "scale_and_digits", "tables", "weight_bits",
]  # fmt: skip

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
    usable(model, values=False)
    modules.apart(model)
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
    if warn and (again := operands.changed(model, names)):
        warnings.warn(
            f"{', '.join(again)} of {type(inner).__name__}: the layer makes another weight of it before it multiplies "
            "(quantises it once more?), so that a chip's noise is not what it multiplies with; let it take its weight "
            "as it is, or do that by torch.nn.utils.parametrize",
            stacklevel=3,
        )
    return names


def programmable(name: str, w: Tensor) -> None:
    """Refuse a tensor that cannot lie on arrays; InputError says why."""
    what = "sparse" if w.layout != torch.strided else None if w.is_floating_point() else str(w.dtype)
    if what:
        raise InputError(f"weights {name} are {what.removeprefix('torch.')}; expected dense floats: convert them")
    if w.is_meta:
        raise InputError(f"weights {name} are on the meta device, without values; load them")
    if not torch.isfinite(w).all():
        raise InputError(f"weights {name} are not finite; a diverged model cannot be programmed, train it again")


def _is_matrix(owner: nn.Module, leaf: str) -> bool:
    """Whether a layer multiplies with its tensor of this name."""
    return (
        (isinstance(owner, modules.MATRICES) and leaf == "weight")
        or (isinstance(owner, nn.MultiheadAttention) and leaf.endswith("proj_weight"))
        or (isinstance(owner, nn.RNNBase | nn.RNNCellBase) and leaf.startswith("weight"))
    )


def _matrices_of(model: nn.Module) -> dict[str, tuple[list[str], int]]:
    """Return what a module computes with: name -> (its slots, its axes); parametrised tensors for their originals."""
    made = modules.parametrised(model)
    originals = modules.originals(model)  # a tensor that another slot holds as well has its own place there
    parameters = {id(p) for p in model.parameters()}
    found: dict[int | str, tuple[str, list[str], int]] = {}
    for path, part in model.named_modules(remove_duplicate=False):
        at = f"{path}." if path else ""
        for leaf, tensor in part._parameters.items():
            if tensor is not None and id(tensor) in parameters and f"{at}{leaf}" not in originals:
                found.setdefault(id(tensor), (f"{at}{leaf}", [], tensor.ndim))[1].append(f"{at}{leaf}")
        for name in (name for name, owner in made.items() if owner is part):
            found[name] = (name, [name], modules.made(part, name.rpartition(".")[2]).ndim)
    return {name: (slots, ndim) for name, slots, ndim in found.values()}


def own_weights(model: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
    """Return tensors of a model by the names that `array_weights` gives, parametrised ones as evaluation makes them."""
    made, found = modules.parametrised(model), {}
    for name in names:
        path, _, leaf = name.rpartition(".")
        found[name] = modules.made(made[name], leaf) if name in made else modules.given(model.get_submodule(path), leaf)
    return found


def mapping(
    model: nn.Module,
    crossbar: Crossbar | Device | str | None = None,
    sigma_d: float | None = LEFT_OUT,
    **conditions: Unpack[Conditions],
) -> pd.DataFrame:
    """List every parameter of a model: on arrays or digital, its bits and its cells.

    Args:
        model: any module.
        crossbar: the conditions, or a device (None: RRAM), with ``conditions`` beside it.
        sigma_d: size of the variation, which changes nothing here.
        **conditions: other fields of `Crossbar`.

    Returns:
        One row a parameter: name, shape, place ("array" or "digital"), bits, cells.

    Example:
        >>> import nvlib
        >>> table = nvlib.mapping(nvlib.build("lenet3"), "rram")
        >>> table.groupby("place").cells.sum().to_dict()
        {'array': 43160, 'digital': 0}
    """
    import pandas as pd

    crossbar = as_crossbar(crossbar, sigma_d, **conditions).on(model)
    on_arrays = set(array_weights(model))
    rows = []
    for name, parameter in own_weights(model, _matrices_of(model)).items():
        on = name in on_arrays
        place = "array" if on else "digital"
        cells = parameter.numel() * crossbar.cells if on else 0
        rows.append((name, tuple(parameter.shape), place, crossbar.bits if on else None, cells))
    frame = pd.DataFrame(rows, columns=["name", "shape", "place", "bits", "cells"])
    return frame.astype({"bits": "Int64"})


def deviations(
    model: nn.Module,
    crossbar: Crossbar | Device | str | None = None,
    sigma_d: float | None = LEFT_OUT,
    **conditions: Unpack[Conditions],
) -> pd.DataFrame:
    """List how far the weights of each layer stray, in units of the weight.

    Args:
        model: any module.
        crossbar: the conditions; or a device, with ``sigma_d`` and ``conditions`` beside it.
        sigma_d: size of the variation.
        **conditions: other fields of `Crossbar`.

    Returns:
        One row a parameter on arrays: name, weights, largest (max |w|), typical (root mean square of the weights),
        deviation (root mean square of their standard deviations), ratio (deviation / typical; NaN for zeros), range
        (R; the mean over channels where each has its own), saturated (share of the weights beyond it, percent), level
        (mean n / (2^M - 1): how much of the array's conductance is in use).

    Raises:
        InputError: as `program`.
    """
    import pandas as pd

    crossbar = as_crossbar(crossbar, sigma_d, **conditions).on(model)
    rows, top = [], 2**crossbar.weight_bits - 1
    _, spread = crossbar.tables
    for name, own in own_weights(model, array_weights(model)).items():
        programmable(name, own.detach())
        w = precise(own.detach()).unsqueeze(0)
        s, n = scale_and_digits(w, crossbar)
        strays = crossbar.sigma_d * s.double() * torch.as_tensor(spread).to(w.device)[n]
        typical, deviation = float(w.square().mean().sqrt()), float(strays.square().mean().sqrt())
        ratio = deviation / typical if typical else float("nan")  # of a layer of zeros
        largest = float(w.abs().max()) if w.numel() else 0.0
        beyond = 100 * float((w.abs() > s * (top * (1 + 1e-6))).double().mean())
        shares = (float(s.double().mean()) * top, beyond, float(n.double().mean()) / top)
        rows.append((name, w.numel(), largest, typical, deviation, ratio, *shares))
    names = ["name", "weights", "largest", "typical", "deviation", "ratio", "range", "saturated", "level"]
    return pd.DataFrame(rows, columns=names)


# -- programming and reading back -----------------------------------------------------------------------------------


def lookup(crossbar: Crossbar, dtype: torch.dtype, on: torch.device) -> tuple[Tensor | None, Tensor]:
    """Return `tables` as tensors: values, None where they are 0, 1, 2, ...; deviations, one number if all are alike."""
    return _lookup(crossbar.device, crossbar.bits, crossbar.reference, crossbar.mapping, dtype, on)


@lru_cache(maxsize=256)
def _lookup(
    device: Device, bits: int, reference: str, mapping: str, dtype: torch.dtype, on: torch.device
) -> tuple[Tensor | None, Tensor]:
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


def read_back(w: Tensor, crossbar: Crossbar, z: Tensor | None, sigma_d: float | Tensor | None = None) -> Tensor:
    """Return the weights that chips hold after programming, for standardised deviations ``z``.

    Gradients pass quantisation, noise and saturation straight through to ``w``, so that a weight beyond the range is
    moved like any other and can come back; the range is a constant to them.

    Args:
        w: clean weights (members, ...).
        crossbar: with its bits.
        z: standardised deviations, broadcastable to ``w`` (several chips of one member: members = 1 in ``w``);
            None for no deviation: the quantised weights.
        sigma_d: a number, or one a member (members,), in place of the crossbar's.

    Returns:
        Tensor of the broadcast shape of ``w`` and ``z``.
    """
    clean = precise(w.detach())
    value, deviation = lookup(crossbar, clean.dtype, w.device)
    s, signed = scale_and_signed(clean, crossbar)
    if value is not None or deviation.ndim:
        n = signed.abs().to(torch.int32)
        n = n.clamp_(0, 2**crossbar.weight_bits - 1)  # a diverged member (NaN) has no digit, but the others need theirs
    if value is not None:
        signed = torch.where(clean < 0, -_at(value, n), _at(value, n))
    held = s * signed
    if z is not None:
        spread = _at(deviation, n) if deviation.ndim else deviation
        sigma_d = crossbar.sigma_d if sigma_d is None else sigma_d
        held = held + (s * per_member(sigma_d, clean)) * spread * z
    if w.requires_grad:
        return w + (held - clean).detach() if w.dtype == clean.dtype else held.to(w.dtype) + (w - w.detach())
    return held.to(w.dtype)


@torch.no_grad()
def program(
    model: nn.Module,
    crossbar: Crossbar | Device | str | None = None,
    sigma_d: float | None = LEFT_OUT,
    *,
    seed: int = 0,
    index: int | range = 0,
    **conditions: Unpack[Conditions],
) -> dict[str, Tensor]:
    """Put a model's weights on chips: quantise, slice, stray.

    Draw ``index`` of ``seed`` is the same chip whatever else is asked for beside it, and whatever the model's weights:
    two models with the same tensor names meet the same deviations.

    Args:
        model: any module; it is not changed.
        crossbar: the conditions; or a device's name, record or path, with ``sigma_d`` and ``conditions`` beside it:
            ``program(model, "rram", 0.2)`` is ``program(model, Crossbar("rram", 0.2))``.
        sigma_d: size of the variation, relative to ``reference``; for a measured device a factor on the measurement
            (None: as measured).
        seed: names the family of chips.
        index: which chip, or a range of chips.
        **conditions: other fields of `Crossbar`: ``bits``, ``reference``, ``mapping``, ``range``, ...

    Returns:
        The weights on arrays by name, in the shape of the parameter; with a leading axis (chips, ...) if ``index`` is
        a range. Detached. Digital parameters are not among them: run the chips with `nvlib.forward`.

    Raises:
        InputError: for values that cannot be used, and for weights that are not finite.

    Example:
        >>> import nvlib
        >>> chips = nvlib.program(nvlib.build("lenet3"), "rram", 0.1, index=range(3))
        >>> chips["fc1.weight"].shape[0]
        3
    """
    if not isinstance(index, range):
        try:
            index = whole("index", index, 0)
        except InputError:
            raise InputError(f"index {index!r} is not usable; expected an integer or a range of them") from None
    indices = index if isinstance(index, range) else range(index, index + 1)
    if not indices:
        raise InputError(f"index={index!r} names no chip; expected a range of at least one")
    chips = next(readings(model, as_crossbar(crossbar, sigma_d, **conditions), seed=seed, index=indices, once=True))
    return chips if isinstance(index, range) else {name: w[0] for name, w in chips.items()}


@torch.no_grad()
def readings(
    model: nn.Module, crossbar: Crossbar, *, seed: int, index: range, once: bool = False
) -> Iterator[dict[str, Tensor]]:
    """Yield the weights of chips ``index`` as each of their readings has them, without end: the first is `program`'s.

    They differ where an effect is of reading (`nvlib.effects.ReadNoise`). ``once``: the first alone will be asked for,
    and no cell is kept for the next.
    """
    usable(model)
    crossbar = crossbar.on(model)
    clean = {name: w.unsqueeze(0) for name, w in own_weights(model, array_weights(model)).items()}
    yield from perturb(clean, crossbar, seed, index, modules.address(model), once=once)


@torch.no_grad()
def perturb(
    clean: Mapping[str, Tensor], crossbar: Crossbar, seed: int, indices: range, address: Callable[[str], str] = str,
    *, once: bool = False,
) -> Iterator[dict[str, Tensor]]:
    """Program each of ``indices`` with the same clean weights (1, ...) and yield readings, as `readings` does.

    ``address`` turns a tensor's name into what its draws are addressed by.
    """
    crossbar.only_programming("program", effects=True)
    programmed, cells = {}, {}
    for name, w in clean.items():
        programmable(name, w.detach())
        held, z = deviate(w, crossbar, seed, indices, address(name))
        programmed[name] = held
        if crossbar.effects and w.numel():
            cells[name] = Chips(held, w, crossbar, z, seed=seed, index=indices, name=address(name), once=once)
    for read in itertools.count():
        yield programmed | {name: each.weights(read) for name, each in cells.items()}


def deviate(w: Tensor, crossbar: Crossbar, seed: int, indices: range, name: str) -> tuple[Tensor, Tensor | None]:
    """Return one tensor (1, ...) as chips hold it right after programming, and its deviations; None where none stray.

    ``name``: what its draws are addressed by.
    """
    shape = (len(indices), *w.shape[1:])
    if crossbar.sigma_d == 0:
        return read_back(w, crossbar, None).expand(shape), None
    z = philox.normal(seed, indices, f"program/{name}", w[0].numel(), w.device)
    z = z.to(torch.promote_types(w.dtype, torch.float32)).reshape(shape)
    return read_back(w, crossbar, z), z
