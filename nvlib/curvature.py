"""The diagonal of the Gauss-Newton matrix of a mean loss, in the weights of a network.

    G_ii = 1/n sum over images and columns of (J' S)_i^2,   J = d outputs / d w,   S S' = the loss's Hessian in outputs

What G leaves out of the second derivative is sum_c dloss/dz_c d^2 z_c / dw_i^2, and that is zero wherever the network
is piecewise linear in each single weight: ReLU, max-pooling, convolutions, normalisation with fixed statistics. There
G_ii *is* d^2 f / dw_i^2 (off the diagonal the two differ). In a weight that is used twice (tied) the network is not
linear: there G_ii leaves something out. Where activations are quantised, derivatives pass straight through: they are
then no true derivatives.

For the cross-entropy, with p the softmax, H_z = diag(p) - p p', and two factors of it are at hand:

    exact     columns sqrt(p_c) (e_c - p), a backward pass a class
    sampled   p - e_y with y drawn from p: one backward pass, right in the mean

    by_image   each image's own gradient of all weights: any network
    by_layer   gradients formed from inputs and output gradients of Linear and plain Conv2d layers: several times as
               fast, and without holding a gradient an image

Both give the same sum; the tests hold them to each other and to curvlinops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import vjp, vmap

_NUMBERS = 1 << 25  # of per-image gradients held at once
Call = Callable[[Mapping[str, Tensor], Tensor], Tensor]  # weights, images -> outputs (images, classes)
Columns = Callable[[Tensor, Tensor], Sequence[Tensor]]  # of an image: outputs, what is said of it -> columns


def exact(logits: Tensor, _: Tensor) -> list[Tensor]:
    """Return the columns of the cross-entropy's factor, one a class."""
    p = logits.softmax(-1)
    eye = torch.eye(len(p), dtype=p.dtype, device=p.device)
    return [p[c].sqrt() * (eye[c] - p) for c in range(len(p))]


def sampled(logits: Tensor, u: Tensor) -> list[Tensor]:
    """Return one column, of a label drawn from the softmax by a uniform number."""
    p = logits.softmax(-1)
    y = (u.to(p.dtype) > p.cumsum(-1)[:-1]).sum()
    return [p - (torch.arange(len(p), device=p.device) == y).to(p.dtype)]


@torch.no_grad()  # of parameters elsewhere in the model; the transforms below differentiate all the same
def by_image(call: Call, at: Mapping[str, Tensor], x: Tensor, said: Tensor, columns: Columns) -> dict[str, Tensor]:
    """Return the diagonal from each image's own gradients.

    Args:
        call: runs the network with weights.
        at: name -> tensor, where the diagonal is taken.
        x: images (n, ...).
        said: what ``columns`` is told of each image (n, ...): labels, uniform numbers.
        columns: of the factor S of one image.

    Returns:
        name -> float64, in the shape of the tensor.
    """

    def squares(image: Tensor, told: Tensor) -> dict[str, Tensor]:
        out, back, *_ = vjp(lambda w: call(w, image.unsqueeze(0).clone())[0], dict(at))
        total: dict[str, Tensor] = {}
        for column in columns(out.detach(), told):
            (gradient,) = back(column)
            total = {k: total.get(k, 0) + g**2 for k, g in gradient.items()}
        return total

    step = max(1, _NUMBERS // sum(w.numel() for w in at.values()))
    found = {name: torch.zeros(w.shape, dtype=torch.float64, device=w.device) for name, w in at.items()}
    for start in range(0, len(x), step):
        part = slice(start, start + step)
        try:
            each = vmap(squares)(x[part], said[part])
        except (RuntimeError, NotImplementedError, ValueError):  # vmap refuses the module: an image at a time
            rows = [_alone(call, at, image, told, columns) for image, told in zip(x[part], said[part], strict=True)]
            each = {name: torch.stack([row[name] for row in rows]) for name in at}
        for name, value in each.items():
            found[name] += value.sum(0, dtype=torch.float64)
    return {name: value / len(x) for name, value in found.items()}


def _alone(call: Call, at: Mapping[str, Tensor], image: Tensor, told: Tensor, columns: Columns) -> dict[str, Tensor]:
    """Return the sum over columns of one image's squared gradients, by plain derivatives, which any module has."""
    with torch.enable_grad():
        leaves = {name: w.detach().requires_grad_() for name, w in at.items()}
        out = call(leaves, image.unsqueeze(0).clone())[0]
    total = {name: torch.zeros_like(w) for name, w in at.items()}
    for column in columns(out.detach(), told):
        slopes = torch.autograd.grad(out, list(leaves.values()), column, retain_graph=True, materialize_grads=True)
        for name, slope in zip(leaves, slopes, strict=True):
            total[name] += slope**2
    return total


class ByLayer:
    """The layers whose weights names are, watched while a network runs.

    Args:
        model: the network.
        layers: name of a weight -> the names of its layer, several where it is shared.
    """

    def __init__(self, model: nn.Module, layers: Mapping[str, Sequence[str]]) -> None:
        self.layers = {name: [model.get_submodule(one.rpartition(".")[0]) for one in several]
                       for name, several in layers.items()}  # fmt: skip
        self.fits = all(one.rpartition(".")[2] == "weight" for several in layers.values() for one in several) and all(
            plain(layer) for several in self.layers.values() for layer in several
        )
        self._seen: dict[str, list[tuple[nn.Module, Tensor, Tensor]]] = {name: [] for name in layers}

    def __call__(
        self, run: Callable[[], Tensor], columns: Callable[[Tensor], Tensor], total: Mapping[str, Tensor]
    ) -> bool:
        """Add squared gradients of a batch's images and columns; False if a layer did not run by itself.

        Args:
            run: the network on the batch, differentiable in the weights: outputs (images, classes).
            columns: outputs -> the factor (images, classes, columns).
            total: name -> float64, what is added to.
        """
        hooks = [layer.register_forward_hook(self._hook(name), with_kwargs=True)
                 for name, several in self.layers.items() for layer in several]  # fmt: skip
        try:
            for uses in self._seen.values():
                uses.clear()
            outputs = run()
        finally:
            for hook in hooks:
                hook.remove()
        if not all(self._seen.values()):
            return False
        outs = [out for uses in self._seen.values() for _, _, out in uses]
        for column in columns(outputs.detach()).unbind(-1):
            slopes = iter(torch.autograd.grad(outputs, outs, column, retain_graph=True, materialize_grads=True))
            for name, uses in self._seen.items():
                if len(uses) == 1:
                    found = _squares(*uses[0][:2], next(slopes))
                else:  # an image's gradient is the sum over the uses
                    each = reduce(torch.add, (_each(*use[:2], next(slopes)) for use in uses))
                    found = each.square().sum(0, dtype=torch.float64)
                total[name].add_(found.view_as(total[name]))
        return True

    def _hook(self, name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...], given: dict[str, Tensor], out: Tensor) -> None:
            self._seen[name].append((layer, (*inputs, *given.values())[0].detach(), out))

        return hook


def plain(layer: nn.Module) -> bool:
    """Whether a layer's gradients are formed from its inputs and those of its outputs."""
    return isinstance(layer, nn.Linear) or (
        isinstance(layer, nn.Conv2d)
        and layer.groups == 1
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
    )


def _each(layer: nn.Module, inputs: Tensor, slope: Tensor) -> Tensor:
    """Return each image's gradient, (images, out, in): of a weight that is used more than once."""
    if isinstance(layer, nn.Linear):
        return torch.einsum("b...o,b...i->boi", slope, inputs)
    layer = cast(nn.Conv2d, layer)  # `plain`, so its padding is no text
    padding = cast(tuple[int, ...], layer.padding)
    patches = nn.functional.unfold(inputs, layer.kernel_size, layer.dilation, padding, layer.stride)
    return slope.flatten(2) @ patches.transpose(1, 2)  # (images, out channels, inputs of a kernel)


def _squares(layer: nn.Module, inputs: Tensor, slope: Tensor) -> Tensor:
    """Return the sum over images of each image's squared gradient, in float64."""
    if isinstance(layer, nn.Linear) and inputs.ndim == 2:
        return (slope.square().T @ inputs.square()).double()
    if isinstance(layer, nn.Linear):
        return torch.einsum("b...o,b...i->boi", slope, inputs).square().sum(0, dtype=torch.float64)
    return _each(layer, inputs, slope).square().sum(0, dtype=torch.float64)
