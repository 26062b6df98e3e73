r"""The loss over a data set as a function of the weights on arrays, with its first and second derivatives.

    f(w) = 1/n sum_i loss(network(w, x_i), y_i),   f'(w) = df/dw,   f''(w) v = d/dw ( f'(w)^T v )

computed images by images and summed in float64. Where the network is piecewise linear (ReLU, max-pooling), f'' is the
derivative almost everywhere: the kinks between the pieces are not in it (see `nvlib.taylor`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from weakref import WeakSet

import torch
from torch import Tensor, nn

from nvlib import functional, philox, probe
from nvlib.data import Split
from nvlib.data.given import split_of
from nvlib.errors import InputError
from nvlib.in_turn import logits_of
from nvlib.models import Network
from nvlib.modules import copied
from nvlib.population import activation_bytes
from nvlib.taylor.point import Point

_KEEP_BYTES = 1 << 30  # graphs of the gradient that stay in memory between products with the Hessian
_FEW = 8  # images on which the slope of a network that is not nvlib's own is looked at
_looked_at: WeakSet[nn.Module] = WeakSet()


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Return the cross-entropy of each image in nats, (batch,)."""
    return nn.functional.cross_entropy(logits, y, reduction="none")


def squared_error(outputs: Tensor, y: Tensor) -> Tensor:
    """Return half the squared error of each image, (batch,): exactly quadratic in the weights of a linear model."""
    return (outputs - y).square().flatten(1).sum(1) / 2


def _bent(
    f: Callable[[Mapping[str, Tensor]], Tensor], at: Mapping[str, Tensor], steps: Mapping[str, Tensor]
) -> list[str]:
    """Return the names of weights whose slope changes along steps by something else than f'' says."""

    def slopes(by: float, graph: bool = False) -> tuple[tuple[Tensor, ...], list[Tensor]]:
        leaves = {name: (w + by * steps[name]).requires_grad_() for name, w in at.items()}
        own = list(leaves.values())
        return torch.autograd.grad(f(leaves), own, create_graph=graph, materialize_grads=True), own

    (up, _), (down, _), (here, leaves) = slopes(1e-6), slopes(-1e-6), slopes(0.0, graph=True)
    along = torch.stack([(g * steps[name]).sum() for name, g in zip(at, here, strict=True)]).sum()
    said: Sequence[Tensor] = [torch.zeros_like(g) for g in here]
    if along.requires_grad:
        try:
            said = torch.autograd.grad(along, leaves, materialize_grads=True)
        except RuntimeError:  # of once_differentiable
            return list(at)
    found = [(a - b) / 2e-6 for a, b in zip(up, down, strict=True)]
    return [name for name, a, b in zip(at, found, said, strict=True)
            if float((a - b).norm()) > 0.1 * max(float(a.norm()), float(b.norm())) + 1e-8]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Loss:
    """f at a `Point`, over a split.

    Attributes:
        point: the model, its weights and their deviations.
        split: images and labels.
        each: (outputs, y) -> (batch,), twice differentiable in the outputs.
        images: how many at a time.
    """

    point: Point
    split: Split
    each: Callable[[Tensor, Tensor], Tensor] = cross_entropy
    images: int = 500
    _graphs: list[tuple[list[Tensor], list[Tensor]]] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        """Bring images to where the weights are, and their dtype; refuse what cannot be expanded on."""
        if self.each is cross_entropy:
            object.__setattr__(self, "split", split_of(self.split))
        if len(self.split.y) == 0:
            raise InputError("the split to expand the loss on is empty; expected at least one image")
        like = next(iter(self.point.centre.values()))
        y = self.split.y.to(like) if self.split.y.is_floating_point() else self.split.y.to(like.device)
        x = self.split.x.to(like) if self.split.x.is_floating_point() else self.split.x.to(like.device)  # tokens
        object.__setattr__(self, "split", Split(x, y))
        if self.each is cross_entropy:
            probe.inspect(self.point.model, self.split, owner=self.point.model)
        if not isinstance(self.point.model, Network) and self.point.model not in _looked_at:
            _looked_at.add(self.point.model)
            self._look_at_slopes()

    def _look_at_slopes(self) -> None:
        """Warn about weights in which f has another slope than its derivative says, or none though it changes.

        On a few images, in float64: central differences along a step of each tensor too small for a kink, and a step
        of a chip's size. What rounds or takes signs within a network moves by neither, and passes derivatives straight
        through or stops them. Where the slopes are right, so may be the second derivatives, or not: an autograd
        function whose backward PyTorch cannot differentiate leaves its own out.
        """
        model = copied(self.point.model).double()
        at = {name: w.double() for name, w in self.point.centre.items()}
        x, y = self.split.x[:_FEW], self.split.y[:_FEW]
        x, y = (t.double() if t.is_floating_point() else t for t in (x, y))

        def f(weights: Mapping[str, Tensor]) -> Tensor:
            torch.manual_seed(0)
            return self.each(logits_of(model, functional.call(model, {**at, **weights}, x.clone())), y).mean()

        wrong, bent, steps = [], [], {}
        devices = [x.device.index] if x.is_cuda else []
        try:
            with torch.random.fork_rng(devices), functional.twice_differentiable(model):
                leaves = {name: w.clone().requires_grad_() for name, w in at.items()}
                slopes = torch.autograd.grad(f(leaves), list(leaves.values()), materialize_grads=True)
                with torch.no_grad():
                    for (name, w), slope in zip(at.items(), slopes, strict=True):
                        luck = philox.normal(0, 0, f"taylor/{name}", w.numel(), w.device)[0].view_as(w)
                        steps[name] = step = self.point.deviation[name].double() * luck
                        said = float((slope * step).sum())
                        found = float(f({name: w + 1e-6 * step}) - f({name: w - 1e-6 * step})) / 2e-6
                        dead = not bool(slope.any()) and not torch.equal(f({name: w + 0.1 * step}), f({}))
                        if dead or abs(found - said) > 0.1 * max(abs(found), abs(said)) + 1e-8:
                            wrong.append(name)
                if not wrong:
                    bent = _bent(f, at, steps)
        except (RuntimeError, TypeError, ValueError):  # parts that insist on a precision
            return
        if wrong:
            warnings.warn(
                f"{', '.join(wrong)} of {type(self.point.model).__name__}: the derivative of the loss is not its slope "
                "(rounding or signs within the network, passed straight through); an expansion describes it poorly: "
                "leave that out of the network, as nvlib's own activation quantisers are", stacklevel=4,
            )  # fmt: skip
        if bent:
            whose = f"{', '.join(bent)} of {type(self.point.model).__name__}"
            warnings.warn(
                f"{whose}: the second derivative of the loss is not what its slope changes by (an autograd function "
                "whose backward PyTorch cannot differentiate: numbers kept on ctx, numpy, once_differentiable); no "
                "curvature of it is right: save tensors by ctx.save_for_backward and compute by torch's operations",
                stacklevel=4,
            )  # fmt: skip

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images and labels, a chunk at a time."""
        yield from zip(self.split.x.split(self.images), self.split.y.split(self.images), strict=True)

    def outputs(self, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Run the network with these weights on arrays."""
        with functional.twice_differentiable(self.point.model):
            return logits_of(self.point.model, functional.call(self.point.model, weights, x.clone()))

    @torch.no_grad()
    def value(self, weights: Mapping[str, Tensor] | None = None) -> float:
        """Return f, at the point or at other weights."""
        weights = self.point.centre if weights is None else {**self.point.centre, **weights}
        total = sum(float(self.each(self.outputs(weights, x), y).double().sum()) for x, y in self.batches())
        return total / len(self.split.y)

    def gradient(self, weights: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Return f', name -> float64 tensor of the weight's shape."""
        return self._sum(self._slopes(self.point.centre if weights is None else {**self.point.centre, **weights}))

    def _differentiable(self, value: Tensor) -> Tensor:
        """Return a loss; InputError where it depends on no weight that autograd knows of."""
        if not value.requires_grad:
            raise InputError(f"the outputs of {type(self.point.model).__name__} have no derivative in its weights "
                             "(detached, or computed under torch.no_grad); an expansion needs one")  # fmt: skip
        return value

    def _slopes(self, weights: Mapping[str, Tensor]) -> Iterator[tuple[Tensor, ...]]:
        for x, y in self.batches():
            leaves = {name: w.detach().requires_grad_() for name, w in weights.items()}
            value = self._differentiable(self.each(self.outputs(leaves, x), y).sum())
            yield torch.autograd.grad(value, list(leaves.values()), materialize_grads=True)

    def _sum(self, parts: Iterator[Sequence[Tensor]]) -> dict[str, Tensor]:
        total = {name: torch.zeros_like(w, dtype=torch.float64) for name, w in self.point.centre.items()}
        for part in parts:
            for into, found in zip(total.values(), part, strict=True):
                into += found
        return {name: (tensor / len(self.split.y)).cpu() for name, tensor in total.items()}

    def graphs(self) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
        """Yield (gradient, weights) of each chunk of images, differentiable once more; kept where they fit."""
        if self._graphs:
            yield from self._graphs
            return
        keep = 4 * activation_bytes(self.point.model, self.split.x) * len(self.split.y) < _KEEP_BYTES
        for x, y in self.batches():
            leaves = [w.detach().requires_grad_() for w in self.point.centre.values()]
            named = dict(zip(self.point.centre, leaves, strict=True))
            value = self._differentiable(self.each(self.outputs(named, x), y).sum())
            made = (list(torch.autograd.grad(value, leaves, create_graph=True, materialize_grads=True)), leaves)
            if keep:
                self._graphs.append(made)
            yield made

    def hessian_times(self, vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return f'' times vectors, name -> (n, ...) float64, for name -> (n, ...).

        The gradient's graph is built once for all vectors, and kept for the next call where it fits in memory.
        """
        names, count = list(self.point.centre), len(next(iter(vectors.values())))
        total = {name: torch.zeros(count, *w.shape, dtype=torch.float64) for name, w in self.point.centre.items()}
        for slopes, leaves in self.graphs():
            for i in range(count):
                v = [vectors[name][i].to(leaf) for name, leaf in zip(names, leaves, strict=True)]
                products = torch.autograd.grad(slopes, leaves, v, retain_graph=True, materialize_grads=True)
                for name, product in zip(names, products, strict=True):
                    total[name][i] += product.cpu()
        return {name: tensor / len(self.split.y) for name, tensor in total.items()}
