"""Takes over a module's products with weights on arrays, while it runs, whoever wrote the module.

A function mode sees every call of a PyTorch function. Calls that multiply an input by a weight are handed to
``multiply``: linear layers, convolutions in one to three dimensions (whatever padding mode, since padding is a call of
its own), attention's projections, and matrix products. A weight is known by identity; so are its views (transposed,
split, reshaped, copied): what elements they hold is found by taking the same view of their places. A weight that enters
anything else would be multiplied past the arrays, and is refused.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from nvlib.errors import InputError

_CONVOLUTIONS = {F.conv1d: 1, F.conv2d: 2, F.conv3d: 3}
_CASTS = {"contiguous", "clone", "detach", "data", "to", "float", "double", "half", "bfloat16", "type", "type_as",
          "alias", "requires_grad_"}  # fmt: skip
_VIEWS = _CASTS | {
    "t", "T", "mT", "H", "mH", "transpose", "permute", "view", "reshape", "flatten", "unflatten", "squeeze",
    "unsqueeze", "chunk", "split", "split_with_sizes", "tensor_split", "unbind", "narrow", "select", "__getitem__",
    "expand", "swapaxes", "view_as", "reshape_as", "movedim",
}  # fmt: skip
_LOOKED_UP = {"embedding", "embedding_bag"}  # digital, of the weights as they were programmed
_RIGHT = {"matmul", "__matmul__", "mm"}
_ATTENTION = F.multi_head_attention_forward


@dataclass(frozen=True)
class Product:
    """What is multiplied: inputs (..., R) by (O, R), or a convolution; the bias is not part of it.

    Attributes:
        name: of the weight.
        transposed: whether the weight lies as (R, O).
        outputs: which of the weight's outputs, (outputs,); None: all in order.
        convolve: (x, w, groups) -> the convolution with no bias; None for a matrix product.
        groups: of the convolution.
    """

    name: str
    transposed: bool = False
    outputs: Tensor | None = None
    convolve: Callable[[Tensor, Tensor, int], Tensor] | None = None
    groups: int = 1


@dataclass(frozen=True)
class _Held:
    """A weight or a view of one: its name, the tensor, the places in the weight that it holds (None: all, in order)."""

    name: str
    tensor: Tensor
    places: Tensor | None = None

    def where(self) -> Tensor:
        if self.places is not None:
            return self.places
        return torch.arange(self.tensor.numel(), device=self.tensor.device).view(self.tensor.shape)


def _unhanded(function: Any) -> types.FunctionType:
    """Return a function of `torch.nn.functional` that runs its own body under a mode; what it calls is seen."""
    known = {**function.__globals__, "has_torch_function": lambda *_: False}
    return types.FunctionType(function.__code__, known, function.__name__, function.__defaults__, function.__closure__)


_attention = _unhanded(_ATTENTION)
_attention.__kwdefaults__ = _ATTENTION.__kwdefaults__


class Products(TorchFunctionMode):
    """While it is on, products with held weights are ``multiply(product, x)``.

    Args:
        held: the weights as the module holds them, by name; each with its shape.
        multiply: (product, x) -> the product of its shape, without bias.
        title: of the module, for messages.
    """

    def __init__(self, held: Mapping[str, Tensor], multiply: Callable[[Product, Tensor], Tensor], title: str) -> None:
        super().__init__()
        self.known = {id(tensor): _Held(name, tensor) for name, tensor in held.items()}
        self.shapes = {name: tensor.shape for name, tensor in held.items()}
        self.multiply, self.title = multiply, title

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        """Pass a call on, but for products."""
        kwargs = kwargs or {}
        met = [self.known[id(a)] for a in _tensors((*args, *kwargs.values())) if id(a) in self.known]
        if not met:
            return func(*args, **kwargs)
        if func is _ATTENTION:
            with self:
                return _attention(*args, **kwargs)
        if func is F.linear:
            return self._linear(*args, **kwargs)
        if func in _CONVOLUTIONS:
            return self._convolution(func, *args, **kwargs)
        name = _name(func)
        if name in _RIGHT and len(args) == 2:
            return self._matmul(*args)
        if name == "__rmatmul__":
            return self._matmul(args[1], args[0])
        if name == "addmm":
            return self._addmm(*args, **kwargs)
        out = func(*args, **kwargs)
        if name in _VIEWS and id(args[0]) in self.known:
            return self._view(self.known[id(args[0])], name, func, out, args[1:], kwargs)
        if name in _LOOKED_UP or not any(True for _ in _tensors(out if isinstance(out, tuple | list) else (out,))):
            return out
        raise self._refused(met[0].name, name)

    def _refused(self, name: str, what: str) -> InputError:
        return InputError(f"{name} of {self.title} lies on arrays, but enters {what!r}; tiles take linear layers, "
                          "convolutions, attention and products with a matrix: leave out the periphery")  # fmt: skip

    def _view(self, of: _Held, name: str, func: Any, out: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        if name in _CASTS:
            places: Any = of.places
        else:
            places = func(of.where(), *args, **kwargs)
        each = zip(out, places, strict=True) if isinstance(out, tuple | list) else [(out, places)]
        for tensor, place in each:
            self.known[id(tensor)] = _Held(of.name, tensor, place)
        return out

    # -- products ----------------------------------------------------------------------------------------------------

    def _matrix(self, name: str, places: Tensor | None, shape: torch.Size) -> Product:
        """Return the product with a view (O', R) of a weight, whole rows of it or of its transpose."""
        if places is None:
            return Product(name)
        whole = self.shapes[name]
        size, rows = whole.numel(), shape[1]
        first, steps = places[:, 0], torch.arange(rows, device=places.device)
        if rows * whole[0] == size and torch.equal(places, first[:, None] + steps) and not (first % rows).any():
            outputs, transposed, every = first // rows, False, whole[0]
        elif len(whole) == 2 and rows == whole[0] and torch.equal(places, first[:, None] + steps * whole[1]):
            outputs, transposed, every = first, True, whole[1]
        else:
            raise InputError(f"{name} of {self.title} is multiplied in parts of its inputs; tiles and converters take "
                             "a weight's inputs whole: leave out the periphery")  # fmt: skip
        same = len(outputs) == every and torch.equal(outputs, torch.arange(every, device=outputs.device))
        return Product(name, transposed, None if same else outputs)

    def _linear(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        held = self.known.get(id(weight))
        if held is None or id(input) in self.known or weight.ndim != 2:
            raise self._refused((held or self.known.get(id(input)) or self.known[id(bias)]).name, "linear")
        out = self.multiply(self._matrix(held.name, held.places, weight.shape), input)
        return out if bias is None else out + bias

    def _convolution(self, func: Any, input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1,
                     padding: Any = 0, dilation: Any = 1, groups: int = 1) -> Tensor:  # fmt: skip
        held, axes = self.known.get(id(weight)), _CONVOLUTIONS[func]
        if held is None or held.places is not None or id(input) in self.known:
            raise self._refused((held or next(iter(self.known.values()))).name, _name(func))

        def convolve(x: Tensor, w: Tensor, groups: int) -> Tensor:
            return func(x, w, None, stride, padding, dilation, groups)

        single = input.ndim == axes + 1
        out = self.multiply(Product(held.name, convolve=convolve, groups=groups), input[None] if single else input)
        if bias is not None:
            out = out + bias.view(-1, *[1] * axes)
        return out[0] if single else out

    def _matmul(self, a: Tensor, b: Tensor) -> Tensor:
        left, right = self.known.get(id(a)), self.known.get(id(b))
        held = right or left
        if held is None or (left and right) or held.tensor.ndim != 2:
            raise self._refused((held or next(iter(self.known.values()))).name, "matmul")
        if held is right:
            return self.multiply(self._matrix(held.name, held.where().T, b.T.shape), a)
        x = b if b.ndim == 1 else b.mT
        out = self.multiply(self._matrix(held.name, held.places, a.shape), x)
        return out if b.ndim == 1 else out.mT

    def _addmm(self, input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
        out = self._matmul(mat1, mat2)
        return beta * input + alpha * out


def _tensors(values: Any) -> Any:
    """Yield the tensors among arguments, those in lists too."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from (part for part in value if isinstance(part, Tensor))


def _name(func: Any) -> str:
    """Return what a function is called; of a property, the property."""
    name = getattr(func, "__name__", str(func))
    return getattr(func.__self__, "__name__", name) if name == "__get__" else name

