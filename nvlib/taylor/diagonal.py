r"""The diagonal of the Hessian, f''_i = d^2 f / dw_i^2, for every weight on arrays: exact, Gauss-Newton, or estimated.

exact         row by row of each layer's own block, a chunk of rows at a time: any network, few weights.
gauss_newton  G_ii = 1/n sum over images and columns of (J^T S)_i^2, where J = d outputs / dw and the loss's Hessian in
              the outputs is S S^T. What it leaves out is sum_c dloss/dz_c d^2 z_c / dw_i^2, and that second derivative
              is zero wherever the network is piecewise linear in each single weight: ReLU, max-pooling, convolutions,
              normalisation with fixed statistics. There G_ii *is* f''_i (off the diagonal G and f'' differ: the
              network is linear in each weight, not in all together). One backward pass a class, whatever the size.
              For linear and Conv2d layers, whose per-image gradients are formed from inputs and output gradients.
              In a weight that is used twice (tied) the network is not linear: there G_ii leaves something out.
stochastic    f''_i = E[ v_i (f'' v)_i ], v_i = +-1 alike (Hutchinson; Bekas, Kokiopoulou, Saad 2007), with its
              standard error: any network, any size.

`differences` is the check: central differences of the gradient, in float64.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap

from nvlib import modules, philox
from nvlib.errors import InputError, unknown
from nvlib.models import Network
from nvlib.taylor.loss import Loss

HOW = ("exact", "gauss_newton", "stochastic")
SMALL = 20_000  # weights that the exact diagonal is taken of by default


@dataclass(frozen=True, eq=False)
class Diagonal:
    """f'' of each weight: name -> float64 tensor; how it was found; its standard error where it is an estimate."""

    values: dict[str, Tensor]
    how: str
    error: dict[str, Tensor] | None = None
    without: tuple[str, ...] = ()  # activation quantisers that were off

    @property
    def note(self) -> str:
        """Say in words what a reader must know."""
        how = {"exact": "exact", "gauss_newton": "Gauss-Newton (exact for piecewise-linear networks)"}
        text = how.get(self.how, "stochastic estimate, with standard errors")
        return f"{text}; activation quantisation off: {', '.join(self.without)}" if self.without else text


def diagonal(loss: Loss, how: str | None = None, **options: int) -> Diagonal:
    """Return f'' of each weight.

    Args:
        loss: where.
        how: one of `HOW`. None: Gauss-Newton for nvlib's own networks (piecewise linear), exact for others of up to
            20,000 weights, stochastic beyond.
        **options: ``rows`` at a time (exact); ``probes`` and ``seed`` (stochastic).
    """
    if how is None:
        small = "exact" if len(loss.point) <= SMALL else "stochastic"
        how = "gauss_newton" if isinstance(loss.point.model, Network) else small
    if how not in HOW:
        raise unknown("way to the diagonal", how, HOW)
    return {"exact": exact, "gauss_newton": gauss_newton, "stochastic": stochastic}[how](loss, **options)


def exact(loss: Loss, rows: int = 64) -> Diagonal:
    """Return the diagonal exactly, by layer, ``rows`` of the Hessian at a time."""
    total = {name: torch.zeros(w.numel(), dtype=torch.float64) for name, w in loss.point.centre.items()}
    for slopes, leaves in loss.graphs():
        for found, slope, leaf in zip(total.values(), slopes, leaves, strict=True):
            if not slope.requires_grad:  # the loss is linear in this layer
                continue
            for start in range(0, leaf.numel(), rows):
                take = torch.arange(start, min(start + rows, leaf.numel()))
                pick = torch.zeros(len(take), leaf.numel(), dtype=leaf.dtype, device=leaf.device)
                pick[torch.arange(len(take)), take] = 1
                (block,) = torch.autograd.grad(
                    slope, leaf, pick.view(-1, *leaf.shape), retain_graph=True, is_grads_batched=True,
                    allow_unused=True,
                )  # fmt: skip
                if block is None:  # the gradient does not depend on this layer
                    break
                found[take] += block.flatten(1)[torch.arange(len(take)), take].double().cpu()
    n = len(loss.split.y)
    values = {name: (total[name] / n).view(w.shape) for name, w in loss.point.centre.items()}
    return Diagonal(values, "exact", without=loss.point.without)


def stochastic(loss: Loss, probes: int = 32, seed: int = 0) -> Diagonal:
    """Estimate the diagonal from products with ``probes`` vectors of random signs, with standard errors.

    Raises:
        InputError: for fewer than two probes, which have no standard error.
    """
    if probes < 2:
        raise InputError(f"probes={probes!r} give no standard error; expected at least 2")
    drawn = signs(loss, range(probes), seed)
    products = loss.hessian_times(drawn)
    single = {name: drawn[name].double().cpu() * products[name] for name in drawn}
    values = {name: each.mean(0) for name, each in single.items()}
    error = {name: each.std(0) / math.sqrt(probes) for name, each in single.items()}
    return Diagonal(values, "stochastic", error, loss.point.without)


def signs(loss: Loss, index: range, seed: int = 0) -> dict[str, Tensor]:
    """Return vectors of random signs, name -> (vectors, ...)."""
    out = {}
    for name, w in loss.point.centre.items():
        u = philox.uniform(seed, index, f"taylor/{name}", w.numel(), w.device)
        out[name] = (1 - 2 * (u < 0.5).to(w.dtype)).reshape(len(index), *w.shape)
    return out


def gauss_newton(loss: Loss) -> Diagonal:
    """Return the diagonal of the Gauss-Newton matrix, from one backward pass an output.

    Raises:
        InputError: where a weight belongs to a layer other than Linear or plain Conv2d.
    """
    held = modules.slots(loss.point.model)
    layers = {name: [_layer(loss.point.model, slot) for slot in held[name]] for name in loss.point.centre}
    total = {name: torch.zeros_like(w, dtype=torch.float64) for name, w in loss.point.centre.items()}
    seen: dict[str, list[tuple[nn.Module, Tensor, Tensor]]] = {name: [] for name in layers}

    def remember(name: str) -> object:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...], given: dict[str, Tensor], out: Tensor) -> None:
            seen[name].append((layer, (*inputs, *given.values())[0].detach(), out))

        return hook

    hooks = [layer.register_forward_hook(remember(name), with_kwargs=True)
             for name, several in layers.items() for layer in several]  # fmt: skip
    try:
        for x, y in loss.batches():
            for uses in seen.values():
                uses.clear()
            weights = {name: w.detach().requires_grad_() for name, w in loss.point.centre.items()}
            outputs = loss.outputs(weights, x)
            if silent := [name for name, uses in seen.items() if not uses]:
                raise InputError(f"{silent[0]} does not run as a layer of its own; use how='exact' or 'stochastic'")
            outs = [out for uses in seen.values() for _, _, out in uses]
            for column in _factor(loss, outputs.detach(), y).unbind(-1):
                slopes = iter(torch.autograd.grad(outputs, outs, column, retain_graph=True, materialize_grads=True))
                for name, uses in seen.items():
                    if len(uses) == 1:
                        found = _squares(*uses[0][:2], next(slopes))
                    else:  # an image's gradient is the sum over the uses
                        found = sum(_each(*use[:2], next(slopes)) for use in uses).square().sum(0, dtype=torch.float64)
                    total[name] += found.view_as(total[name])
    finally:
        for hook in hooks:
            hook.remove()
    values = {name: (tensor / len(loss.split.y)).cpu() for name, tensor in total.items()}
    return Diagonal(values, "gauss_newton", without=loss.point.without)


def differences(loss: Loss, picks: Mapping[str, Sequence[int]], step: float = 1e-5) -> dict[str, Tensor]:
    """Return f'' of a few weights by central differences of the gradient, name -> (picks,): the check on the others.

    Args:
        loss: at a point of dtype float64.
        picks: name -> flat indices of weights.
        step: of the weight; kinks of the network within it spoil the difference.
    """
    found = {}
    for name, places in picks.items():
        w, column = loss.point.centre[name], []
        for place in places:
            ends = []
            for sign in (1, -1):
                moved = w.clone()
                moved.view(-1)[place] += sign * step
                ends.append(loss.gradient({name: moved})[name].view(-1)[place])
            column.append((ends[0] - ends[1]) / (2 * step))
        found[name] = torch.stack(column)
    return found


def _layer(model: nn.Module, name: str) -> nn.Module:
    """Return the layer whose weight a name is."""
    owner, _, leaf = name.rpartition(".")
    layer = model.get_submodule(owner)
    plain = isinstance(layer, nn.Linear) or (
        isinstance(layer, nn.Conv2d)
        and layer.groups == 1
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
    )
    if leaf != "weight" or not plain:
        raise InputError(
            f"{name} is no weight of a Linear or plain Conv2d layer; use how='exact' (few weights) or 'stochastic'"
        )
    return layer


def _factor(loss: Loss, outputs: Tensor, y: Tensor) -> Tensor:
    """Return S (batch, classes, columns) with S S^T the Hessian of each image's loss in its outputs."""
    one = vmap(jacrev(jacrev(lambda z, label: loss.each(z[None], label[None])[0])))
    values, vectors = torch.linalg.eigh(one(outputs, y))
    return vectors * values.clamp(min=0).sqrt().unsqueeze(1)


def _each(layer: nn.Module, inputs: Tensor, slope: Tensor) -> Tensor:
    """Return each image's gradient, (images, out, in): of a weight that is used more than once."""
    if isinstance(layer, nn.Linear):
        return torch.einsum("b...o,b...i->boi", slope, inputs)
    patches = nn.functional.unfold(inputs, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    return slope.flatten(2) @ patches.transpose(1, 2)  # (images, out channels, inputs of a kernel)


def _squares(layer: nn.Module, inputs: Tensor, slope: Tensor) -> Tensor:
    """Return the sum over images of each image's squared gradient, in float64."""
    if isinstance(layer, nn.Linear) and inputs.ndim == 2:
        return (slope.square().T @ inputs.square()).double()
    if isinstance(layer, nn.Linear):
        return torch.einsum("b...o,b...i->boi", slope, inputs).square().sum(0, dtype=torch.float64)
    return _each(layer, inputs, slope).square().sum(0, dtype=torch.float64)
