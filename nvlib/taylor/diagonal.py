r"""The diagonal of the Hessian, f''_i = d^2 f / dw_i^2, for every weight on arrays: exact, Gauss-Newton, or estimated.

exact         row by row of each layer's own block, a chunk of rows at a time: any network, few weights.
gauss_newton  that of the Gauss-Newton matrix (`nvlib.curvature`), which is f''_i wherever the network is piecewise
              linear in each single weight. One backward pass a class, whatever the size: by layer where all are
              linear or Conv2d layers and a few images give the same both ways, else image by image.
stochastic    f''_i = E[ v_i (f'' v)_i ], v_i = +-1 alike (Hutchinson; Bekas, Kokiopoulou, Saad 2007), with its
              standard error: any network, any size.

`differences` is the check: central differences of the gradient, in float64.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.func import jacrev, vmap

from nvlib import curvature, modules, philox
from nvlib.data import Split
from nvlib.errors import InputError, unknown
from nvlib.models import Network
from nvlib.taylor.loss import Loss

HOW = ("exact", "gauss_newton", "stochastic")
_FEW = 3  # images on which two ways to the diagonal are compared
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
    """Return the diagonal of the Gauss-Newton matrix, from one backward pass an output."""
    held = modules.slots(loss.point.model)
    watched = curvature.ByLayer(loss.point.model, {name: held[name] for name in loss.point.centre})
    total = _by_layer(loss, watched) if watched.fits and _agrees(loss, watched) else None
    values = _by_image(loss) if total is None else {name: t / len(loss.split.y) for name, t in total.items()}
    return Diagonal({name: tensor.cpu() for name, tensor in values.items()}, "gauss_newton", without=loss.point.without)


def _by_image(loss: Loss) -> dict[str, Tensor]:
    centre = {name: w.detach() for name, w in loss.point.centre.items()}
    return curvature.by_image(
        loss.outputs, centre, loss.split.x, loss.split.y, lambda z, y: _factor(loss, z[None], y[None])[0].unbind(-1)
    )


def _agrees(loss: Loss, watched: curvature.ByLayer) -> bool:
    """Whether a few images have the same diagonal by layer as by image.

    They do not where a layer's first axis is not the image (sequences first, folded into the batch), where its weight
    is used beside it (transposed, by a hook), or where it runs on something else than the images.
    """
    few = replace(loss, split=Split(loss.split.x[:_FEW], loss.split.y[:_FEW]), _graphs=[])
    try:
        total = _by_layer(few, watched)
    except RuntimeError:  # shapes that no image has
        return False
    if total is None:
        return False
    return all(torch.allclose(total[name] / len(few.split.y), whole, rtol=1e-3, atol=1e-3 * float(whole.abs().max()))
               for name, whole in _by_image(few).items())  # fmt: skip


def _by_layer(loss: Loss, watched: curvature.ByLayer) -> dict[str, Tensor] | None:
    """Return the sum over images; None where a layer does not run by itself."""
    total: dict[str, Tensor] = {name: torch.zeros_like(w, dtype=torch.float64) for name, w in loss.point.centre.items()}
    for x, y in loss.batches():
        weights = {name: w.detach().requires_grad_() for name, w in loss.point.centre.items()}
        if not watched(partial(loss.outputs, weights, x), partial(_factor, loss, y=y), total):
            return None
    return total


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


def _factor(loss: Loss, outputs: Tensor, y: Tensor) -> Tensor:
    """Return S (batch, classes, columns) with S S^T the Hessian of each image's loss in its outputs."""
    one = vmap(jacrev(jacrev(lambda z, label: loss.each(z[None], label[None])[0])))
    values, vectors = torch.linalg.eigh(one(outputs, y))
    return vectors * values.clamp(min=0).sqrt().unsqueeze(1)
