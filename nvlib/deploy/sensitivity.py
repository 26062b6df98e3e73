"""How sensitive the loss is to each weight: the diagonal of its second derivative.

    d^2 L / dw_i^2,   L = mean over images of the cross-entropy

For networks of ReLUs and max-pooling the output is piecewise linear in any one weight, so that the diagonal of the
Hessian *is* that of the Gauss-Newton matrix J' H_z J, H_z = diag(p) - p p', p the softmax. With the factor
S_c = sqrt(p_c) (e_c - p), sum_c S_c S_c' = H_z:

    exact     sum_c (J' S_c)_i^2: a backward pass a class
    sampled   (J' (p - e_y))_i^2 with y drawn from p: one backward pass, right in the mean

Source of the idea: Yan, Hu, Shi, "SWIM", DAC 2022. SWIM's own single pass propagates second derivatives backward layer
by layer and leaves out the terms between neurons, as Optimal Brain Damage does (LeCun et al., 1990); these two keep
them. Where activations are quantised, derivatives pass straight through: they are then no true derivatives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import vjp, vmap

from nvlib import modules, philox
from nvlib.data import Split
from nvlib.errors import unknown

ESTIMATES = ("exact", "sampled")
_NUMBERS = 1 << 25  # of per-image gradients held at once


@torch.no_grad()  # of parameters elsewhere in the model; the transforms below differentiate all the same
def curvature(
    model: nn.Module, weights: Mapping[str, Tensor], split: Split, names: Sequence[str], *, estimate: str = "exact",
    seed: int = 0,
) -> dict[str, Tensor]:  # fmt: skip
    """Return the diagonal of the second derivative of the mean loss.

    Args:
        model: in evaluation mode.
        weights: name -> tensor, where it is taken; what it lacks comes from the model.
        split: images (labels play no part: neither estimate depends on them).
        names: of the tensors.
        estimate: ``exact`` or ``sampled``.
        seed: of the sampled labels.

    Returns:
        name -> float64, in the shape of the tensor.
    """
    if estimate not in ESTIMATES:
        raise unknown("estimate of the curvature", estimate, ESTIMATES)
    own = dict(model.named_parameters())
    at = {name: weights.get(name, own[name]).detach() for name in names}
    rest = {name: w.detach() for name, w in weights.items() if name not in at}

    def squares(x: Tensor, u: Tensor) -> dict[str, Tensor]:
        with modules.twice_differentiable(model):
            out, back = vjp(lambda w: modules.call(model, rest | w, x.unsqueeze(0).clone())[0], at)
        p = out.detach().softmax(-1)
        eye = torch.eye(len(p), dtype=p.dtype, device=p.device)
        if estimate == "sampled":
            y = (u.to(p.dtype) > p.cumsum(-1)[:-1]).sum()
            factors = [p - (torch.arange(len(p), device=p.device) == y).to(p.dtype)]
        else:
            factors = [p[c].sqrt() * (eye[c] - p) for c in range(len(p))]
        total: dict[str, Tensor] = {}
        for factor in factors:
            (gradient,) = back(factor)
            total = {k: total.get(k, 0) + g**2 for k, g in gradient.items()}
        return total

    n, size = len(split.x), sum(w.numel() for w in at.values())
    u = philox.uniform(seed, 0, "swim/labels", n, split.x.device)[0]
    found = {name: torch.zeros(w.shape, dtype=torch.float64, device=w.device) for name, w in at.items()}
    for start in range(0, n, max(1, _NUMBERS // size)):
        part = slice(start, start + max(1, _NUMBERS // size))
        try:
            each = vmap(squares)(split.x[part], u[part])
        except (RuntimeError, NotImplementedError, ValueError):  # vmap refuses the module: an image at a time
            rows = [squares(x, v) for x, v in zip(split.x[part], u[part], strict=True)]
            each = {name: torch.stack([row[name] for row in rows]) for name in at}
        for name, value in each.items():
            found[name] += value.sum(0, dtype=torch.float64)
    return {name: value / n for name, value in found.items()}
