"""The operators that are known, one method a kind: from a node of an exported graph to typed operations.

Arguments are taken by name from the operator's own schema. What a node returns is a view of a storage, flattened or
with three axes, so that operations in place and views of one tensor mean what they mean in PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, fx

from nvlib.native.graph import (
    Constant,
    Convolution,
    Operation,
    Pair,
    Pointwise,
    Pool,
    Recipe,
    Ref,
    Step,
    Unsupported,
    Value,
)
from nvlib.native.nodes import arguments_of, layer_of, name_of, operator_of, shape_of, source_of
from nvlib.native.pointwise import FORMULAS

_VIEWS = {"view", "flatten", "reshape", "squeeze", "unsqueeze", "_unsafe_view", "unflatten", "detach", "alias", "clone",
          "contiguous", "lift_fresh_copy"}  # fmt: skip
_DROPOUT = {"dropout", "feature_dropout", "alpha_dropout"}


class Operates(Protocol):
    """An operation with a result."""

    @property
    def result(self) -> Value:
        """What it makes."""
        ...


More = TypeVar("More", bound=Operates)


@dataclass
class Storage:
    """What one piece of memory holds now: operations in place replace it, for all views of it."""

    value: Value


@dataclass(frozen=True)
class View:
    """A storage as a node sees it: with its three axes, or flattened to one."""

    storage: Storage
    flat: bool

    @property
    def value(self) -> Value:
        """What the storage holds now."""
        return self.storage.value


class Operators(Generic[More]):
    """What has been lowered so far: constants (steps of the recipe), views of activations, operations.

    ``More`` are operations beside those of inference.
    """

    def __init__(self) -> None:
        self.recipe = Recipe()
        self.steps: dict[fx.Node, int] = {}
        self.views: dict[fx.Node, View] = {}
        self.operations: list[Operation | More] = []

    def take(self, node: fx.Node, source: Value | None) -> None:
        """Turn a node that depends on the images (``source``) into operations."""
        name, arguments = name_of(node), arguments_of(node)
        in_place = operator_of(node)._schema.is_mutable
        if in_place:
            name = name.removesuffix("_")
        kept = node.meta["val"]
        if not isinstance(kept, Tensor) or kept.dtype not in (torch.float32, torch.bool):
            raise Unsupported(f"{name} gives other than one float32 tensor")
        handler = self._handler(name)
        view = handler(node, arguments)
        if math.prod(shape_of(node)) != math.prod(view.value.shape):
            raise Unsupported(f"{name} gives {shape_of(node)}, not {view.value.shape}")
        if in_place:
            changed = self.views[source_of(node)]
            if changed.value is source:
                raise Unsupported(f"{name} changes its input in place")
            changed.storage.value = view.value
            view = View(changed.storage, changed.flat)
        self.views[node] = view

    def _handler(self, name: str) -> Callable[[fx.Node, dict[str, Any]], View]:
        handlers = {
            "conv2d": self._convolution, "linear": self._linear, "batch_norm": self._batch_norm,
            "max_pool2d": self._pool, "avg_pool2d": self._pool, "adaptive_avg_pool2d": self._adaptive,
            "mean": self._reduce, "amax": self._reduce, "clamp": self._clamp,
            "clamp_min": self._clamp, "clamp_max": self._clamp, "hardtanh": self._clamp, "relu6": self._clamp,
            "to": self._cast, "_to_copy": self._cast,
        }  # fmt: skip
        if name in handlers:
            return handlers[name]
        if name in _VIEWS or name in _DROPOUT:
            return self._same
        if name in FORMULAS:
            return self._pointwise
        raise Unsupported(f"operation {name}")

    def _source(self, node: fx.Node, *, flat: bool = False) -> Value:
        if node not in self.views:
            raise Unsupported("images in the place of weights")
        if self.views[node].flat != flat:
            raise Unsupported(f"{'three axes' if flat else 'flat features'} where the other was expected")
        return self.views[node].value

    def _bias(self, node: fx.Node | None) -> Constant | None:
        return None if node is None else self._weight(node)

    def _weight(self, node: fx.Node) -> Constant:
        if node not in self.steps:
            raise Unsupported("weights that depend on the images")
        return Constant(self.steps[node], tuple(node.meta["val"].shape))

    def _emit(self, operation: Operation | More, *, flat: bool = False) -> View:
        self.operations.append(operation)
        return View(Storage(operation.result), flat)

    def _same(self, node: fx.Node, arguments: dict[str, Any]) -> View:
        """Views that keep the order of elements, and what evaluation mode switches off."""
        if arguments.get("train"):
            raise Unsupported("dropout that is always on")
        before = self.views[source_of(node)]
        shape = shape_of(node)
        flat = len(shape) == 1
        if math.prod(shape) != math.prod(before.value.shape) or not (flat or shape == before.value.shape):
            raise Unsupported(f"a view of {before.value} as {shape}")
        shared = "clone" not in name_of(node)
        return View(before.storage if shared else Storage(before.value), flat)

    def _convolution(self, node: fx.Node, arguments: dict[str, Any]) -> View:
        source, weight = self._source(arguments["input"]), self._weight(arguments["weight"])
        kernel, stride, dilation = _pair(weight.shape[2:]), _pair(arguments["stride"]), _pair(arguments["dilation"])
        padding = _padding(arguments["padding"], kernel, dilation)
        convolution = Convolution(
            layer_of(node), source, Value.of(shape_of(node)), weight, self._bias(arguments["bias"]), kernel,
            stride, padding, dilation, arguments["groups"],
        )  # fmt: skip
        return self._emit(convolution)

    def _linear(self, node: fx.Node, arguments: dict[str, Any]) -> View:
        source = self._source(arguments["input"], flat=True)
        weight, bias = self._weight(arguments["weight"]), self._bias(arguments["bias"])
        (features,) = shape_of(node)
        kernel = (source.rows, source.columns)
        return self._emit(Convolution(layer_of(node), source, Value(features, 1, 1), weight, bias, kernel), flat=True)

    def _batch_norm(self, node: fx.Node, arguments: dict[str, Any]) -> View:
        """(x - mean) / sqrt(variance + eps) * weight + bias, as x * scale + shift."""
        if arguments["training"]:
            raise Unsupported("batch normalisation by the batch's own statistics")
        refs = {key: None if arguments[key] is None else Ref(self._weight(arguments[key]).step)
                for key in ("weight", "bias", "running_mean", "running_var")}  # fmt: skip
        scale = self.recipe.add(
            Step(call=_norm_scale, arguments=(refs["weight"], refs["running_var"], arguments["eps"]))
        )
        shift = self.recipe.add(Step(call=_norm_shift, arguments=(refs["bias"], refs["running_mean"], Ref(scale))))
        view = self.views[arguments["input"]]
        channels = arguments["running_mean"].meta["val"].numel()
        shape = view.value.shape if view.flat else (channels, 1, 1)
        operands = (view.value, Constant(scale, shape), Constant(shift, shape))
        return self._emit(Pointwise("scale_shift", operands, Value.of(view.value.shape)), flat=view.flat)

    def _pool(self, node: fx.Node, arguments: dict[str, Any]) -> View:
        source, result = self._source(arguments["self"]), Value.of(shape_of(node))
        kernel, padding = _pair(arguments["kernel_size"]), _pair(arguments["padding"])
        stride = _pair(arguments["stride"]) if arguments["stride"] else kernel
        if _pair(arguments.get("dilation", 1)) != (1, 1):
            raise Unsupported("pooling with dilation")
        kind = "max" if "max" in name_of(node) else "mean"
        if kind == "mean" and (arguments["divisor_override"] or (any(padding) and not arguments["count_include_pad"])):
            raise Unsupported("average pooling with a divisor of its own")
        if arguments["ceil_mode"]:
            rounded = [(n + 2 * p - k) // s + 1
                       for n, p, k, s in zip(source.shape[1:], padding, kernel, stride, strict=True)]  # fmt: skip
            if kind == "mean" and rounded != list(result.shape[1:]):
                raise Unsupported("average pooling of incomplete windows")
        return self._emit(Pool(layer_of(node), kind, source, result, kernel, stride, padding))

    def _adaptive(self, node: fx.Node, arguments: dict[str, Any]) -> View:
        source, result = self._source(arguments["self"]), Value.of(shape_of(node))
        if source.rows % result.rows or source.columns % result.columns:
            raise Unsupported("adaptive pooling to a size that does not divide the image's")
        kernel = (source.rows // result.rows, source.columns // result.columns)
        return self._emit(Pool(layer_of(node), "mean", source, result, kernel, kernel))

    def _reduce(self, node: fx.Node, arguments: dict[str, Any]) -> View:
        """The mean or the largest of all rows and columns."""
        source, axes = self._source(arguments["self"]), arguments["dim"] or []
        if sorted(axis % 4 for axis in axes) != [2, 3] or arguments.get("dtype") is not None:
            raise Unsupported(f"{name_of(node)} over other axes than rows and columns")
        kernel, kind = (source.rows, source.columns), "max" if name_of(node) == "amax" else "mean"
        pool = Pool(layer_of(node), kind, source, Value(source.channels, 1, 1), kernel, kernel)
        return self._emit(pool, flat=not arguments["keepdim"])

    def _clamp(self, node: fx.Node, arguments: dict[str, Any]) -> View:
        defaults = {"relu6": (0.0, 6.0)}.get(name_of(node).removesuffix("_"), (None, None))
        low = arguments.get("min", arguments.get("min_val", defaults[0]))
        high = arguments.get("max", arguments.get("max_val", defaults[1]))
        view = self.views[arguments["self"]]
        for function, limit in (("maximum", low), ("minimum", high)):
            if limit is not None:
                view = self._formula(node, function, [view, limit])
        return view

    def _cast(self, node: fx.Node, arguments: dict[str, Any]) -> View:
        view = self.views[arguments["self"]]
        return self._formula(node, "to_float", [view]) if view.value.mask else self._same(node, arguments)

    def _pointwise(self, node: fx.Node, arguments: dict[str, Any]) -> View:
        name = name_of(node)
        name = name.removesuffix("_") if operator_of(node)._schema.is_mutable else name
        if arguments.get("rounding_mode") is not None or arguments.get("decimals"):
            raise Unsupported(f"{name} with rounding of its own")
        if name == "gelu" and arguments["approximate"] == "tanh":
            name = "gelu_tanh"
        operands = [arguments[key] for key in FORMULAS[name].arguments]
        if arguments.get("alpha", 1) != 1 and name in ("add", "sub", "rsub"):
            scaled = "self" if name == "rsub" else "other"
            if name == "rsub" or arguments[scaled] not in self.views:
                raise Unsupported(f"{name} with a factor")
            operands[1] = self._formula(node, "mul", [self.views[arguments["other"]], arguments["alpha"]])
        return self._formula(node, name, operands)

    def _formula(self, node: fx.Node, function: str, operands: list[Any]) -> View:
        """Emit a formula on views, nodes and numbers, repeated along axes as PyTorch would."""
        operands = [self.views.get(o, o) if isinstance(o, fx.Node) else o for o in operands]
        if function not in ("where", "to_float"):  # a comparison counts as 0 or 1
            operands = [self._formula(node, "to_float", [o]) if isinstance(o, View) and o.value.mask else o
                        for o in operands]  # fmt: skip
        views = [o for o in operands if isinstance(o, View)]
        flat = views[0].flat
        if any(view.flat != flat for view in views):
            raise Unsupported("features combined with channels")
        shapes = [view.value.shape for view in views]
        shape = tuple(max(sizes) for sizes in zip(*shapes, strict=True))
        if any(size not in (1, whole) for each in shapes for size, whole in zip(each, shape, strict=True)):
            raise Unsupported("features flattened from different shapes combined")
        if flat and any(each != shape for each in shapes):
            raise Unsupported("flat features of different lengths combined")
        numbers = tuple(
            o.value if isinstance(o, View) else self._repeated(o, shape, flat) if isinstance(o, fx.Node) else float(o)
            for o in operands
        )
        if function == "where" and not (isinstance(numbers[0], Value) and numbers[0].mask):
            raise Unsupported("a choice that does not depend on the images")
        return self._emit(Pointwise(function, numbers, Value.of(shape, FORMULAS[function].mask)), flat=flat)

    def _repeated(self, node: fx.Node, shape: tuple[int, int, int], flat: bool) -> Constant:
        """A constant beside activations: a number, one a channel, or one an element."""
        if node not in self.steps or node.meta["val"].dtype not in (torch.float32, torch.int64):
            raise Unsupported("a constant of another type")
        axes = 1 if flat else 3
        sizes = tuple(node.meta["val"].shape)
        sizes = (1,) * (axes + 1 - len(sizes)) + sizes
        whole = (math.prod(shape),) if flat else shape
        if len(sizes) != axes + 1 or any(s not in (1, w) for s, w in zip(sizes, (1, *whole), strict=True)):
            raise Unsupported(f"a constant of shape {sizes} beside {whole}")
        own = (shape if sizes[1] != 1 or math.prod(shape) == 1 else (1, 1, 1)) if flat else sizes[1:]
        return Constant(self.steps[node], own)


def _norm_scale(weight: Tensor | None, variance: Tensor, eps: float) -> Tensor:
    scale = (variance + eps).rsqrt()
    return scale if weight is None else scale * weight


def _norm_shift(bias: Tensor | None, mean: Tensor, scale: Tensor) -> Tensor:
    return -mean * scale if bias is None else bias - mean * scale


def _pair(value: int | Sequence[int]) -> Pair:
    sizes = [value] if isinstance(value, int) else list(value)
    rows, columns = sizes * 2 if len(sizes) == 1 else sizes
    return rows, columns


def _padding(given: int | Sequence[int] | str, kernel: Pair, dilation: Pair) -> Pair:
    if given == "same":  # PyTorch pads the far side more where the two differ
        rows, columns = (d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True))
        return rows, columns
    return (0, 0) if isinstance(given, str) else _pair(given)
