"""Whether the noise on weights that are said to lie on arrays reaches a network's outputs.

A layer may keep a copy of its weight (cached in evaluation, ``.data`` in a list) or not use it at all. Chips then score
as if their noise were not there. Once a model and crossbar, and again when the model has changed, on a few images and
one chip:

    d out / d w     is not zero for some element of each array weight: one run and its derivatives, or else
    out(w + dw)     differs from out(w) for a noise dw on that weight alone: for those whose derivative is zero

What does not reach them is named in a warning, and so is a matrix that does and is no parameter: of a layer in a plain
list or dict, a weight held as a buffer or a plain tensor. (`nvlib.operands` says which layers change a weight before
they multiply.)
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Set
from dataclasses import replace
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from nvlib import functional, in_turn, operands
from nvlib.conditions import Crossbar
from nvlib.crossbar import array_weights, program
from nvlib.modules import MATRICES

_IMAGES = 8  # of the derivatives
_MORE = 64  # of the runs with one weight moved, so that quantised activations move
_MOST = 1024  # where those did not: a part that few images take (an expert of several)
_seen: WeakKeyDictionary[nn.Module, set[str]] = WeakKeyDictionary()


def watch(owner: nn.Module, model: nn.Module, x: Tensor, crossbar: Crossbar, seed: int = 0) -> list[str]:
    """Warn, once a model and crossbar, about weights on arrays whose noise does not reach the outputs.

    Args:
        owner: the model as the user has it, which is remembered.
        model: a private copy of it (`nvlib.copies.private`), on the device of the images; it is not changed.
        x: images, (batch, ...).
        crossbar: of the chips; nothing is looked at where its sigma_d is 0.
        seed: of the one chip.

    Returns:
        The names of weights whose noise does not.
    """
    crossbar = replace(crossbar, effects=(), periphery=None)  # a chip that is dead of age passes nothing on
    key, known = repr(crossbar), _seen.setdefault(owner, set())
    if crossbar.sigma_d == 0 or key in known:
        return []
    known.add(key)
    run = functional.Caller.of(model)
    arrays = array_weights(model, warn=False)
    again = operands.changed(model, arrays)  # here, since a layer is told once
    with warnings.catch_warnings(), torch.inference_mode(False):
        warnings.simplefilter("ignore")
        silent, remade = uncovered(model, x[:_MORE].clone(), crossbar, seed, run, x[:_MOST].clone())
    if written := sorted((run.written or set()).intersection(arrays)):
        warnings.warn(
            f"{', '.join(written)} of {type(model).__name__}: forward writes to it before it multiplies (a constraint, "
            "a hook), so that a chip's noise is not what it multiplies with; do that once, after training",
            stacklevel=3,
        )
    if again := again + remade:
        warnings.warn(
            f"{', '.join(again)} of {type(model).__name__}: another weight is made of it before it is multiplied with "
            "(quantised once more?), so that a chip's noise is not what it multiplies with; let "
            "it take the weight as it is, or do that by torch.nn.utils.parametrize",
            stacklevel=3,
        )
    if silent:
        warnings.warn(
            f"{', '.join(silent)} of {type(model).__name__}: said to lie on arrays, but the output does not change "
            "with it (cached in evaluation, held under another name, or not used); its noise is in no number",
            stacklevel=3,
        )
    if hidden := _hidden(model, x[:_IMAGES].clone(), run):
        warnings.warn(
            f"no noise on {', '.join(hidden)} of {type(model).__name__}: the output changes with it, but it is no "
            "parameter of the model; register it (nn.ModuleList, nn.ModuleDict, nn.Parameter) to put it on arrays",
            stacklevel=3,
        )
    return silent


def forget(owner: nn.Module) -> None:
    """Have a model looked at again: it has been changed since."""
    _seen.pop(owner, None)


def _hidden(model: nn.Module, x: Tensor, run: functional.Caller) -> list[str]:
    """Return the names of matrices that are no parameters and that the outputs change with; each is put back."""
    found = {f"{path}.weight" if path else "weight": w for path, part in model.named_modules()
             if isinstance(part, MATRICES) and isinstance(w := getattr(part, "weight", None), Tensor)
             and not isinstance(w, nn.Parameter)}  # fmt: skip
    known, plain = {id(w) for w in found.values()}, {id(tensor) for tensor in run.keeper.tensors}
    for path, part in model.named_modules():
        at = f"{path}." if path else ""
        for key, value in vars(part).items():
            if id(value) not in known:
                found |= {f"{at}{key}{name}": w for name, w in _within(value, plain) if id(w) not in known}
    if not found:
        return []
    changed = []
    devices = [x.device.index] if x.is_cuda else []
    with torch.inference_mode(False), torch.no_grad(), functional.evaluating(model), torch.random.fork_rng(devices):
        before = _again(run, {}, x)
        for name, w in found.items():
            kept = w.data
            w.data = kept * (1 + torch.linspace(0.5, 1, w.numel(), dtype=w.dtype, device=w.device).view(w.shape))
            try:
                if not torch.equal(before, _again(run, {}, x)):
                    changed.append(name)
            finally:
                w.data = kept
    return changed


def _within(value: object, plain: Set[int], name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the matrices in an attribute, a list or a dict that are no parameters; ``plain``: the ids of such."""
    if isinstance(value, nn.Module):
        yield from ((f"{name}.{leaf}", w) for leaf, w in value.named_parameters() if id(w) in plain and w.ndim > 1)
    elif isinstance(value, Tensor) and value.is_floating_point():
        if id(value) in plain and (value.ndim == 2 or (value.requires_grad and value.ndim > 1)):
            yield name, value
    elif isinstance(value, list | tuple | dict):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _within(item, plain, f"{name}[{key!r}]")


def uncovered(
    model: nn.Module, x: Tensor, crossbar: Crossbar, seed: int, run: functional.Caller, more: Tensor | None = None
) -> tuple[list[str], list[str]]:
    """Return the names of array weights that a module's outputs do not depend on, and of those that it makes others of.

    In evaluation mode; ``run``: of the module, which knows afterwards what its forward writes to. Other weights are
    those that it multiplies with in place of its own (`nvlib.operands`). ``more``: images to look at once more before a
    weight is said not to be felt.
    """
    devices, remade = [x.device.index] if x.is_cuda else [], []
    with functional.evaluating(model), torch.random.fork_rng(devices), torch.no_grad():
        chip = {name: w[0].clone() for name, w in program(model, crossbar, seed=seed, index=range(1)).items()}
        try:
            with operands.Operands() as factors:
                flat = _flat(run, chip, x[:_IMAGES])
            if operands.suspects(model, chip, factors.found):
                with operands.Operands() as others:
                    _again(run, chip, x[:_IMAGES].flip(0).roll(1, -1))
                remade = operands.remade(model, chip, factors.found, others.found)
        except Exception:  # what has no derivatives is moved instead
            flat = list(chip)
        if not flat:
            return [], remade
        ideal = program(model, replace(crossbar, sigma_d=0.0, effects=()), seed=seed, index=range(1))
        out = _again(run, chip, x)
        silent = [name for name in flat if torch.equal(out, _again(run, chip | {name: ideal[name][0]}, x))
                  and not torch.equal(ideal[name][0], chip[name])]  # fmt: skip
        if silent and more is not None and len(more) > len(x):  # a part that few images take
            out = _again(run, chip, more)
            silent = [name for name in silent if torch.equal(out, _again(run, chip | {name: ideal[name][0]}, more))]
        return silent, remade


def _flat(run: functional.Caller, chip: Mapping[str, Tensor], x: Tensor) -> list[str]:
    """Return the names of weights in which the outputs have no derivative other than zero."""
    with torch.enable_grad(), functional.twice_differentiable(run.model):
        leaves = {name: w.detach().requires_grad_() for name, w in chip.items()}
        out = in_turn.logits_of(run.model, run(leaves, x.clone()))
        slopes = torch.autograd.grad((out * torch.linspace(1, 2, out.shape[-1]).to(out)).sum(), list(leaves.values()),
                                     allow_unused=True)  # fmt: skip
    return [name for name, g in zip(leaves, slopes, strict=True) if g is None or not bool((g != 0).any())]


def _again(run: functional.Caller, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Run on the same random numbers each time."""
    torch.manual_seed(0)
    return in_turn.logits_of(run.model, run(weights, x.clone()))
