"""The layers of any module as matrices and the vectors that pass them, found by running the module once.

A convolution is R = channels_in kh kw inputs by C = channels_out outputs, with one vector an output place; a linear
layer one vector a row of its input; attention one vector a token, for each of its projections; a recurrent matrix one
a time step. A grouped convolution is that many smaller matrices.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from nvlib import modules
from nvlib.copies import private
from nvlib.crossbar import array_weights
from nvlib.errors import InputError, whole
from nvlib.operands import Operands

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_COUNTED = (*_CONVOLUTIONS, nn.Linear, nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase)


@dataclass(frozen=True)
class Layer:
    """One weight matrix on arrays, as often as there are groups, and what passes it for one image.

    ``size``, ``kernel``, ``stride`` and ``padding`` (height, width) are for the layer table of other tools; one
    dimension is written as (n, 1).
    """

    name: str
    rows: int  # R of one group
    columns: int  # C of one group
    vectors: int  # input vectors an image, of each group
    groups: int = 1
    size: tuple[int, int] = (1, 1)  # of the input
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    pooled: bool = False  # what follows is smaller than its output
    block: bool = False  # TSB's, not the backbone's
    apart: bool = False  # a tile for each group, instead of groups that share tiles
    held: int = 0  # values of the largest input held at once, where that is not the whole input

    def __post_init__(self) -> None:
        """Refuse what is no layer."""
        for key in ("rows", "columns", "vectors", "groups"):
            object.__setattr__(self, key, whole(f"layer {self.name!r}: {key}", getattr(self, key), 1))

    @property
    def weights(self) -> int:
        """Return the number of weights."""
        return self.rows * self.columns * self.groups

    @property
    def macs(self) -> int:
        """Return the multiplications of weights with inputs for one image."""
        return self.weights * self.vectors

    @property
    def inputs(self) -> int:
        """Return the values of the input feature map of one image."""
        return self.held or math.prod(self.size) * self.groups * self.rows // math.prod(self.kernel)


def trace(
    model: nn.Module, shape: Sequence[int], also: Sequence[str] = ()
) -> tuple[tuple[Layer, ...], dict[str, tuple[int, int, int]]]:
    """Run a module on one blank image and return its layers in the order in which they first ran.

    Args:
        model: any module; it is not changed.
        shape: of one input, without the batch, e.g. (1, 28, 28).
        also: names of modules whose output is wanted.

    Returns:
        The layers, and the output (channels, height, width) of the modules in ``also``.

    Raises:
        InputError: if the module does not take this input, holds a weight on arrays that was not seen at work, or
            multiplies with one beside its layer.
    """
    shape = _sizes(shape)
    title, model = type(modules.bare(model)).__name__, private(model)
    first = modules.aliases(model)  # a tensor that several layers share is one matrix
    seen: dict[str, Layer] = {}
    outputs: dict[str, tuple[int, int, int]] = {}
    wanted = set(array_weights(model))

    beside = Operands()  # what is multiplied outside of layers
    begun: list[int] = []

    def begin(module: nn.Module, _: tuple) -> None:
        if isinstance(module, _COUNTED):
            begun.append(len(beside.found))

    def note(name: str, module: nn.Module, args: tuple, given: dict, out: Tensor | tuple) -> None:
        if isinstance(module, _COUNTED):
            del beside.found[begun.pop() :]
        for layer in _layers(name, module, _inputs(args, given), out):
            own, _, part = layer.name.partition(" ")
            if own not in first:  # a layer whose weight is none of its parameters
                continue
            layer = replace(layer, name=f"{first[own]} {part}".strip())
            ran = seen.get(layer.name)
            seen[layer.name] = replace(ran, vectors=ran.vectors + layer.vectors) if ran else layer
        if name in also and isinstance(out, Tensor):
            outputs[name] = (out.shape[1], *_pair(out.shape[2:]))

    for name, module in model.named_modules():
        module.register_forward_pre_hook(begin)
        module.register_forward_hook(partial(note, name), with_kwargs=True)
    like, fast = next(model.parameters()), torch.backends.mha.get_fastpath_enabled()
    try:
        with torch.no_grad(), beside:
            torch.backends.mha.set_fastpath_enabled(False)  # it would pass the layers within by
            modules.switched(model)(torch.zeros(1, *shape, dtype=like.dtype, device=like.device))
    except (RuntimeError, TypeError, IndexError) as e:
        raise InputError(f"{title} does not take an input of shape {shape}: {str(e).splitlines()[0]}; "
                         "pass the shape of one image, without the batch") from e  # fmt: skip
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    if missing := sorted(wanted.difference(name.partition(" ")[0] for name in seen)):
        raise InputError(f"{missing[0]} of {title} lies on arrays, but did not run as a layer that can "
                         "be counted (convolution, linear, attention, recurrent)")  # fmt: skip
    places = {a.untyped_storage().data_ptr() for a in beside.found if a.numel()}
    if twice := [name for name in sorted(wanted) if model.get_parameter(name).untyped_storage().data_ptr() in places]:
        raise InputError(f"{twice[0]} of {title} is multiplied with beside its layer as well, which cannot be counted; "
                         "expected calls of the layer alone")  # fmt: skip
    if silent := [name for name in also if name not in outputs]:
        raise InputError(f"{title} has no module {silent[0]!r} that ran; see model.named_modules()")
    return _pooled([layer for name, layer in seen.items() if name.partition(" ")[0] in wanted]), outputs


def input_shape(model: nn.Module, shape: Sequence[int] | None) -> tuple[int, ...]:
    """Return the shape of one input: as given, or as the network was built for (32 x 32 where it takes any)."""
    if shape is not None:
        return _sizes(shape)
    if not hasattr(model, "in_channels") or not hasattr(model, "input_size"):
        raise InputError(f"{type(model).__name__} does not say the shape of its inputs; pass shape=(channels, height, "
                         "width)")  # fmt: skip
    built: Any = model
    size = built.input_size or 32
    return (built.in_channels, size, size)


def _sizes(shape: object) -> tuple[int, ...]:
    """Return the sizes of one input; InputError for anything else."""
    sizes = tuple(shape) if isinstance(shape, Iterable) else ()
    if not sizes or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in sizes):
        raise InputError(f"shape={sizes or shape!r}: expected the sizes of one input without the batch, e.g. "
                         "(1, 28, 28)")  # fmt: skip
    return sizes


def _pair(sizes: Sequence[int]) -> tuple[int, int]:
    """Return (height, width) of one to three sizes; depth counts as height."""
    sizes = (*sizes, 1, 1)[: max(2, len(sizes))]
    return math.prod(sizes[:-1]), sizes[-1]


def _inputs(args: tuple, given: dict) -> list[Tensor]:
    """Return the tensors that a module was called with, by position and by keyword, in its own order."""
    names = {name: i for i, name in enumerate(("input", "x", "query", "key", "value", "hx"))}
    named = sorted(given.items(), key=lambda item: names.get(item[0], len(names)))
    return [each for each in (*args, *(value for _, value in named)) if isinstance(each, Tensor)]


def _layers(name: str, module: nn.Module, inputs: list[Tensor], out: Tensor | tuple) -> list[Layer]:
    """Return the matrices of one module, run once on inputs with a batch of one; none where it has none."""
    at = f"{name}." if name else ""
    if not inputs:
        return []
    x = inputs[0]
    if isinstance(module, _CONVOLUTIONS) and isinstance(out, Tensor):
        rows = module.in_channels // module.groups * math.prod(module.kernel_size)
        size, kernel, stride = (_pair(s) for s in (x.shape[2:], module.kernel_size, module.stride))
        padding = (0,) if isinstance(module.padding, str) else module.padding
        if module.padding == "same":
            padding = tuple(d * (k - 1) // 2 for d, k in zip(module.dilation, module.kernel_size, strict=True))
        high, wide, *_ = (*padding, 0)
        return [Layer(f"{at}weight", rows, module.out_channels // module.groups, math.prod(out.shape[2:]),
                      module.groups, size, kernel, stride, (high, wide))]  # fmt: skip
    if isinstance(module, nn.Linear):
        return [Layer(f"{at}weight", module.in_features, module.out_features, x.numel() // module.in_features)]
    if isinstance(module, nn.MultiheadAttention):
        return _attention(at, module, *(given.numel() // given.shape[-1] for given in (*inputs, x, x)[:3]))
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        steps = x.numel() // x.shape[-1]
        own = [(key, w) for key, w in module.named_parameters() if w.ndim == 2]
        return [Layer(f"{at}{key}", w.shape[1], w.shape[0], steps) for key, w in own]
    return []


def _attention(at: str, module: nn.MultiheadAttention, queries: int, keys: int, values: int) -> list[Layer]:
    """Return the projections of attention: each passes the tokens of its own input."""
    width, tokens = module.embed_dim, {"q": queries, "k": keys, "v": values}
    if module.in_proj_weight is None:
        found = [Layer(f"{at}{key}_proj_weight", w.shape[1], w.shape[0], tokens[key]) for key in tokens
                 for w in [getattr(module, f"{key}_proj_weight")]]  # fmt: skip
    elif queries == keys == values:
        found = [Layer(f"{at}in_proj_weight", width, 3 * width, queries)]
    else:
        found = [Layer(f"{at}in_proj_weight {key}", width, width, tokens[key]) for key in tokens]
    return [*found, Layer(f"{at}out_proj.weight", width, width, queries)]


def _pooled(layers: list[Layer]) -> tuple[Layer, ...]:
    """Mark feature maps that are larger than what the next layer takes: pooling lies between."""
    marked = []
    for layer, after in zip(layers, [*layers[1:], None], strict=True):
        given = layer.vectors * layer.columns * layer.groups
        pooled = after is not None and math.prod(layer.size) > 1 and given > after.inputs * _tokens(after)
        marked.append(replace(layer, name=layer.name.removesuffix(".weight"), pooled=pooled))
    return tuple(marked)


def _tokens(layer: Layer) -> int:
    """Return how many inputs of `Layer.inputs` values a layer takes: one feature map, or a row for each vector."""
    return 1 if math.prod(layer.size) > 1 else layer.vectors
