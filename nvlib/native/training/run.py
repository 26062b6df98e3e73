"""Run generated training code: a population's forward and backward passes as one differentiable call.

A program is made for one structure of network, one shape of batch and one machine, and is compared with the module
itself, values and gradients, before it is used. Members are shared out to threads, each member's numbers depend on its
own weights and images alone, so that neither neighbours nor the number of threads changes them, to the bit.
"""

from __future__ import annotations

import copy
import ctypes
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from nvlib.native.build import load, machine
from nvlib.native.graph import Unsupported
from nvlib.native.layout import Machine
from nvlib.native.run import aligned, remembered, structure
from nvlib.native.training.emit import Source, generate
from nvlib.native.training.lower import lower

_KEPT = 16  # programs, the latest used
_CLOSE = 0.05  # how far gradients may be from the module's, relative to their norm: quantisers widen roundings
_POINTER, _POINTERS = ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)
_FORWARD = (_POINTER, _POINTERS, _POINTERS, _POINTER, _POINTER)
_BACKWARD = (_POINTER, _POINTERS, _POINTER, _POINTER, _POINTERS, _POINTER)
_programs: OrderedDict[Hashable, Program | Unsupported] = OrderedDict()


@dataclass(eq=False)
class Program:
    """Compiled code, and memory that passes have done with."""

    source: Source
    ahead: Any
    back: Any
    stacked: bool
    counters: tuple[tuple[str, float], ...]
    images: int
    free: dict[str, list[Tensor]] = field(default_factory=lambda: {"kept": [], "scratch": []})

    def memory(self, kind: str) -> Tensor:
        """Return memory whose borders are zeros."""
        spare = self.free[kind]
        return spare.pop() if spare else aligned(max(1, getattr(self.source, kind))).zero_()

    def forward(
        self, x: Tensor, weights: Sequence[Tensor], buffers: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor], _Rows]:
        """Return results (members, results, batch, classes), what each member keeps for `backward`, and where weights are.

        Results have no axis of their own unless the module stacks them.
        """
        count = len(weights[0])
        results = (self.source.results,) if self.stacked else ()
        out = torch.empty(count, *results, self.images, self.source.classes)
        kept = [self.memory("kept") for _ in range(count)]

        rows = _Rows(x), _Rows(*weights), _Rows(*buffers), _Rows(out)

        def each(member: int) -> None:
            images, w, b, to = (r.of(member) for r in rows)
            self.ahead(images[0], w, b, kept[member].data_ptr(), to[0])

        _each(each, count)
        return out, kept, rows[1]

    def backward(
        self, g: Tensor, weights: Sequence[Tensor], kept: list[Tensor], of: _Rows, wanted: Sequence[bool], gx: Tensor | None
    ) -> list[Tensor | None]:
        """Return the gradients of those weights that are wanted, and fill that of the images; ``kept`` is used up."""
        slopes = [torch.empty_like(w, memory_format=torch.contiguous_format) if want else None
                  for w, want in zip(weights, wanted, strict=True)]  # fmt: skip

        rows = _Rows(g, gx), of, _Rows(*slopes)

        def each(member: int) -> None:
            scratch = self.memory("scratch")
            (of_results, of_images), w, to = (r.of(member) for r in rows)
            self.back(of_results, w, kept[member].data_ptr(), scratch.data_ptr(), to, of_images)
            self.free["scratch"].append(scratch)

        _each(each, len(kept))
        self.free["kept"] += kept
        kept.clear()
        return slopes


class _Pass(torch.autograd.Function):
    """A population's step as one node of the graph."""

    @staticmethod
    def forward(ctx: Any, made: Program, x: Tensor, buffers: list[Tensor], *weights: Tensor) -> Tensor:
        out, ctx.kept, ctx.rows = made.forward(x, weights, buffers)
        ctx.made, ctx.x = made, x.shape
        ctx.save_for_backward(*weights)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        if not ctx.kept:
            raise RuntimeError("a generated training step was differentiated twice; run it again for another gradient")
        gx = torch.empty(ctx.x) if ctx.needs_input_grad[1] else None
        held = ctx.saved_tensors, ctx.kept, ctx.rows
        slopes = ctx.made.backward(g.contiguous(), *held, ctx.needs_input_grad[3:], gx)
        return None, gx, None, *slopes


def logits(module: nn.Module, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Run a module in training mode once for each member of stacked weights, differentiably.

    Buffers that change are updated in place, a row a member.

    Args:
        module: any module in training mode.
        weights: name -> (members, ...), float32 on the CPU: all parameters and buffers.
        x: a batch a member, (members, batch, ...).

    Returns:
        What the module returns, (members, batch, classes) or (members, results, batch, classes).

    Raises:
        Unsupported: if this cannot be done; the message says why.
    """
    return step(program(module, weights, x), weights, x)


def step(made: Program, weights: Mapping[str, Tensor], x: Tensor, seeds: Sequence[int] | None = None) -> Tensor:
    """Run a program again, without looking whether its module is still the one that it was made for; as `logits`.

    ``seeds`` are of what members draw: nothing, in generated code.
    """
    held = [weights[name].contiguous() for name in made.source.parameters]
    buffers = [weights[name] for name in made.source.buffers]
    if any(not buffer.is_contiguous() for buffer in buffers):
        raise Unsupported("buffers that are not contiguous")
    out = _Pass.apply(made, x.contiguous(), buffers, *held)
    with torch.no_grad():
        for name, number in made.counters:
            weights[name] += number
    return out


def program(module: nn.Module, weights: Mapping[str, Tensor], x: Tensor, target: Machine | None = None) -> Program:
    """Return the program for a module and batches like ``x``, made if need be; Unsupported with the reason."""
    _check(module, weights, x)
    target, of_images = target or machine(), x.requires_grad
    key = (structure(module), tuple(x.shape[1:]), of_images, target)
    return remembered(_programs, key, lambda: _made(module, weights, x, target, of_images), _KEPT)


def _check(module: nn.Module, weights: Mapping[str, Tensor], x: Tensor) -> None:
    if any(t.device.type != "cpu" for t in (x, *weights.values())):
        raise Unsupported("generated code runs on the CPU")
    if any(t.is_floating_point() and t.dtype != torch.float32 for t in (x, *weights.values())):
        raise Unsupported("generated code computes in float32")
    if not all(part.training for part in module.modules()):
        raise Unsupported("a part of the module is in evaluation mode")
    if x.ndim < 3 or 0 in x.shape:
        raise Unsupported("no images")


def _made(module: nn.Module, weights: Mapping[str, Tensor], x: Tensor, target: Machine, of_images: bool) -> Program:
    network = lower(module, x[0])
    source = generate(network, target, x.shape[1], of_images)
    if missing := [name for name in (*source.parameters, *source.buffers) if name not in weights]:
        raise Unsupported(f"{missing[0]} is not among the stacked weights")
    ahead = load(source.text, target, "forward", _FORWARD)
    back = load(source.text, target, "backward", _BACKWARD)
    made = Program(source, ahead, back, network.stacked, network.counters, x.shape[1])
    _try(made, module, {name: tensor[:1].detach() for name, tensor in weights.items()}, x[:1].detach())
    return made


def _try(made: Program, module: nn.Module, weights: dict[str, Tensor], x: Tensor) -> None:
    """Raise Unsupported unless values, gradients and buffers agree with the module's."""
    own = copy.deepcopy(module)
    names, of_images = made.source.parameters, bool(made.source.of_images)
    with torch.enable_grad():
        leaves = {name: weights[name][0].clone().requires_grad_() for name in names}
        moved = {name: weights[name][0].clone() for name in weights if name not in leaves}
        images = x[0].clone().requires_grad_(of_images)
        expected = torch.func.functional_call(own, {**moved, **leaves}, (images,))
        generator = torch.Generator().manual_seed(0)
        g = torch.randn(expected.shape, generator=generator) / len(images)
        inputs = [*leaves.values(), *([images] if of_images else [])]
        slopes = torch.autograd.grad(expected, inputs, g, allow_unused=True)
    buffers = [weights[name].clone() for name in made.source.buffers]
    held = [weights[name].contiguous() for name in names]
    out, kept, rows = made.forward(x.contiguous(), held, buffers)
    gx = torch.empty_like(x) if of_images else None
    found = made.backward(g.view(out.shape), held, kept, rows, [True] * len(held), gx)
    pairs: list[tuple[str, Tensor | None, Tensor]] = [("its values", expected.detach().reshape(out.shape), out)]
    pairs += [(f"the gradient of {name}", s, f) for name, s, f in
              zip((*names, "the images"), slopes, [*found, gx], strict=False) if f is not None]  # fmt: skip
    pairs += [(name, moved[name], b) for name, b in zip(made.source.buffers, buffers, strict=True)]
    largest = max(float(s.norm()) for s in slopes if s is not None)
    for what, mine, theirs in pairs:
        mine = torch.zeros_like(theirs) if mine is None else mine.view(theirs.shape)
        if not mine.isfinite().all():  # weights that say nothing about the code
            continue
        scale = float(mine.norm()) if what in ("its values", *made.source.buffers) else max(float(mine.norm()), 0.01 * largest)
        if not float((mine - theirs).norm()) <= _CLOSE * scale + 1e-6:
            raise Unsupported(f"{what} of generated code differ from the module's own")


class _Rows:
    """Addresses of members' rows of contiguous tensors, null for None: ``t[member].data_ptr()`` takes ten times as long."""

    def __init__(self, *tensors: Tensor | None) -> None:
        self.first = [0 if t is None else t.data_ptr() for t in tensors]
        self.steps = [0 if t is None else t.stride(0) * t.element_size() for t in tensors]
        self.kind = _POINTER * max(1, len(tensors))

    def of(self, member: int) -> ctypes.Array:
        """Return the addresses of a member's rows."""
        return self.kind(*(at + member * step for at, step in zip(self.first, self.steps, strict=True)))


def _each(work: Callable[[int], None], count: int) -> None:
    """Do the work of each member, on as many threads as PyTorch has."""
    threads = min(torch.get_num_threads(), count)
    if threads == 1:
        for member in range(count):
            work(member)
    else:
        list(_pool(threads).map(work, range(count)))


@lru_cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)
