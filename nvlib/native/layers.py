"""Layers of a training step on a CPU by `nvlib.native.passes`, in place of PyTorch's.

    with layers.allowed(True):                  a training says that it is run so (it keeps that beside its weights)
        with layers.faster(model):              where the model is called
            out = model(x)
    out.sum().backward()

What a module calls (``F.batch_norm`` in training mode, ``F.max_pool2d`` of 2 x 2, ``F.relu``) is the same function,
to the rounding of float32 sums; whatever does not fit (another shape, memory that is not channels last, another type)
is left to PyTorch. Only networks with BatchNorm are touched: it is their narrow layers that PyTorch is slow at. The
gradients can be taken once, not differentiated again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from nvlib.native.graph import Unsupported
from nvlib.native.passes import MOST, passes

_FEW = 1 << 13  # numbers: below, a call costs more than it saves
_active: list[Faster] = []
_allowed: list[bool] = [False]


@contextlib.contextmanager
def allowed(whether: bool) -> Iterator[None]:
    """Say for a while whether `faster` may be."""
    _allowed.append(whether)
    try:
        yield
    finally:
        _allowed.pop()


def faster(model: nn.Module) -> contextlib.AbstractContextManager:
    """Return the mode for a forward in training mode; one that does nothing where it is not allowed."""
    return Faster() if _allowed[-1] and model.training else contextlib.nullcontext()


def wanted(model: nn.Module) -> bool:
    """Whether a module has what is made faster, and there is a compiler for it."""
    return any(isinstance(part, nn.BatchNorm2d) for part in model.modules()) and available()


def available() -> bool:
    """Whether the code is there or can be compiled."""
    try:
        passes()
    except Unsupported:
        return False
    return True


def quantised(x: Tensor, step: Tensor, top: Tensor) -> Tensor | None:
    """Return x on the grid of an activation quantiser, straight through; None where no mode is active or x not fit.

    Args:
        x: non-negative.
        step: of the grid, float32 ().
        top: its end, float32 ().
    """
    return _Quantise.apply(x, float(step), float(top)) if _active and _dense(x) else None


class Faster(TorchFunctionMode):
    """The mode."""

    def __enter__(self) -> Faster:
        _active.append(self)
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        _active.pop()
        super().__exit__(*error)

    def __torch_function__(
        self, func: Callable, types: object, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Take a call over if it is one of those, and fits."""
        own = _OWN.get(func)
        if own is not None:
            out = own(*args, **(kwargs or {}))
            if out is not None:
                return out
        return func(*args, **(kwargs or {}))


def _batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor | None:
    if not (training and _last(x) and x.shape[1] <= MOST and x.numel() > x.shape[1]):
        return None
    if any(w is None or w.dtype != torch.float32 or not w.is_contiguous() for w in (weight, bias)):
        return None
    y, known = _Normalise.apply(x, weight, bias, eps)
    with torch.no_grad():
        for running, fresh in ((running_mean, known[0]), (running_var, known[1])):
            if running is not None:
                running.lerp_(fresh, momentum)
    return y


def _max_pool(
    x: Tensor,
    kernel_size: int | tuple[int, ...],
    stride: int | tuple[int, ...] | None = None,
    padding: int | tuple[int, ...] = 0,
    dilation: int | tuple[int, ...] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | None:
    plain = _both(kernel_size, 2) and (stride is None or _both(stride, 2)) and _both(padding, 0) and _both(dilation, 1)
    if not plain or ceil_mode or return_indices or not _last(x):
        return None
    if min(x.shape[2:]) < 2 or x.shape[3] * x.shape[1] > 1 << 15:
        return None
    return _Pool.apply(x)


def _relu(x: Tensor, inplace: bool = False) -> Tensor | None:
    return None if inplace or not _dense(x) else _Rectify.apply(x)


_OWN: dict[Any, Callable[..., Tensor | None]] = {
    F.batch_norm: _batch_norm, F.max_pool2d: _max_pool, F.relu: _relu, torch.relu: _relu, Tensor.relu: _relu,
}  # fmt: skip


def _both(value: int | tuple[int, ...], expected: int) -> bool:
    return value == expected or (isinstance(value, tuple | list) and tuple(value) == (expected, expected))


def _fits(x: object) -> TypeGuard[Tensor]:
    if not isinstance(x, Tensor) or x.dtype not in (torch.float32, torch.bfloat16) or x.device.type != "cpu":
        return False
    return x.numel() >= _FEW and torch.is_grad_enabled() and not torch.is_inference(x)


def _last(x: object) -> TypeGuard[Tensor]:
    """Whether a tensor is of images, channels last."""
    return _fits(x) and x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)


def _dense(x: object) -> TypeGuard[Tensor]:
    """Whether a tensor's numbers lie together, in one of both orders."""
    return _fits(x) and (x.is_contiguous() or _last(x))


def _like(g: Tensor, x: Tensor) -> Tensor:
    """Return a gradient in a tensor's order and type."""
    order = torch.contiguous_format if x.is_contiguous() else torch.channels_last
    return g.to(x.dtype).contiguous(memory_format=order)


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        y, known = passes().normalise(x, weight, bias, eps)
        ctx.save_for_backward(x, weight, known)
        ctx.mark_non_differentiable(known)
        return y, known

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor, _: object) -> tuple[Tensor | None, ...]:
        x, weight, known = ctx.saved_tensors
        return *passes().normalise_back(x, _like(g, x), weight, known), None


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = passes().pool(x)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        x, y = ctx.saved_tensors
        return passes().pool_back(x, y, _like(g, y))


class _Rectify(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = passes().rectify(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return passes().rectify_back(y, _like(g, y))


class _Quantise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, step: float, top: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.top = top
        return passes().quantise(x, step, top)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        return passes().quantise_back(x, _like(g, x), ctx.top), None, None
