"""Run generated code: one program for networks of one structure, chips shared out to threads.

A program holds no weights: every call takes them from the chips and, what chips lack, from the module as it is now.
Two modules of one structure (code, settings, shapes) therefore share a program, and a structure that changed gets
another: also where a helper or a constant that its code reaches was redefined (`identity`). Each image has a lane of
its own and each chip is computed by itself, so that a result depends neither on the chips and images beside it nor on
the number of threads, to the bit. A new program must agree with the module on a few images before it is used.
"""

from __future__ import annotations

import math
import queue
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from nvlib import functional
from nvlib.native.build import load, machine
from nvlib.native.emit import Source, generate
from nvlib.native.graph import Recipe, Unsupported
from nvlib.native.identity import Reader
from nvlib.native.layout import BLOCKS, Machine
from nvlib.native.lower import lower

T = TypeVar("T")
_KEPT = 64  # programs, the latest used
_ALIGN = 64  # bytes
_OWN = frozenset(vars(nn.Module())) - {"training"}  # what every module has; its tensors and children are read apart
_programs: OrderedDict[Hashable, Program | Unsupported] = OrderedDict()


@dataclass(frozen=True)
class Program:
    """Compiled code for one structure of network and one size of image."""

    source: Source
    recipe: Recipe
    function: Callable[..., None]
    machine: Machine

    def chips(self, module: nn.Module, weights: Mapping[str, Tensor]) -> Tensor:
        """Pack constants: (chips, floats of a chip)."""
        own = _tensors(module)
        first: dict[int, str] = {}  # of tied tensors, the name that chips know
        tied = {name: first.setdefault(id(tensor), name) for name, tensor in own.items()}
        given = {name: weights[known] for name, known in tied.items() if known in weights} | dict(weights)
        count = len(next(iter(weights.values())))
        rows = self.recipe.compute(given, own, count)
        packed = torch.empty(count, self.source.chip)
        for row, outcomes in zip(packed, rows, strict=True):
            for slot in self.source.slots:
                numbers = outcomes[slot.step].reshape(-1)
                row[slot.offset : slot.offset + slot.size] = numbers if slot.order is None else numbers[slot.order]
        return packed

    def images(self, x: Tensor) -> Tensor:
        """Lay images out in blocks, images innermost: (blocks, channels, rows, columns, lanes), zeros around."""
        buffer, lanes = self.source.images, self.machine.lanes
        blocks = -(-len(x) // (lanes * BLOCKS)) * BLOCKS
        laid = aligned(blocks, buffer.value.channels, buffer.rows, buffer.columns, lanes).zero_()
        border, value = buffer.border, buffer.value
        inside = laid[:, :, border.rows : border.rows + value.rows, border.columns : border.columns + value.columns]
        x = x.reshape(len(x), *value.shape)
        whole, rest = divmod(len(x), lanes)
        inside[:whole] = x[: whole * lanes].view(whole, lanes, *value.shape).permute(0, 2, 3, 4, 1)
        if rest:
            inside[whole, ..., :rest] = x[whole * lanes :].permute(1, 2, 3, 0)
        return laid

    def logits(self, chips: Tensor, images: Tensor, count: int, threads: int) -> Tensor:
        """Run packed chips on laid-out images; (chips, ``count``, ...)."""
        groups = len(images) // BLOCKS
        out = aligned(len(chips), len(images), self.source.logits.size // self.machine.lanes, self.machine.lanes)
        parts = 1 if len(chips) % threads == 0 else min(threads, groups)  # so that no thread waits for the last chip
        jobs = [(chip, groups * part // parts, groups * (part + 1) // parts)
                for chip in range(len(chips)) for part in range(parts)]  # fmt: skip
        threads = min(threads, len(jobs))
        memory: queue.SimpleQueue[Tensor] = queue.SimpleQueue()
        for _ in range(threads):
            memory.put(aligned(max(1, self.source.scratch)).zero_())

        def work(job: tuple[int, int, int]) -> None:
            chip, first, last = job
            scratch = memory.get()
            pointers = (t.data_ptr() for t in (images, chips[chip], out[chip], scratch))
            self.function(*pointers, first, last)
            memory.put(scratch)

        if threads == 1:
            for job in jobs:
                work(job)
        else:
            pool = ThreadPoolExecutor(threads)
            try:
                list(pool.map(work, jobs))
            finally:
                pool.shutdown(cancel_futures=True)
        return out.transpose(2, 3).reshape(len(chips), -1, *self.source.shape)[:, :count]


def logits(module: nn.Module, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Run a module in evaluation mode once for each chip of stacked weights.

    Args:
        module: any module.
        weights: name -> (chips, ...), float32 on the CPU; what they lack comes from the module.
        x: images (batch, channels, rows, columns) or features (batch, features), shared by the chips.

    Returns:
        (chips, batch, ...), float32, without a graph.

    Raises:
        Unsupported: if this cannot be done; the message says why.
    """
    check(module, weights, x)
    with torch.inference_mode():
        made = program(module, x)
        return made.logits(made.chips(module, weights), made.images(x), len(x), torch.get_num_threads())


def rehearsal(module: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    """Return a call to be timed: as many copies of the module as there are threads, once, on images laid out before."""
    threads = torch.get_num_threads()
    copies = {name: tensor.detach().expand(threads, *tensor.shape) for name, tensor in _tensors(module).items()}
    check(module, copies, x)
    with torch.inference_mode():
        made = program(module, x)
        chips, images = made.chips(module, copies), made.images(x)
    return lambda: made.logits(chips, images, len(x), threads)


def check(module: nn.Module, weights: Mapping[str, Tensor], x: Tensor) -> None:
    """Raise Unsupported unless a call is in float32, on the CPU, in evaluation mode and without derivatives."""
    own = _tensors(module)
    tensors = [x, *weights.values(), *own.values()]
    for name, tensor in weights.items():
        if name not in own or tensor.shape[1:] != own[name].shape:
            raise Unsupported(f"the module has no {name} of shape {tuple(tensor.shape[1:])}")
    if any(t.device.type != "cpu" for t in tensors):
        raise Unsupported("generated code runs on the CPU")
    if any(t.is_floating_point() and t.dtype != torch.float32 for t in tensors) or not x.is_floating_point():
        raise Unsupported("generated code computes in float32")
    if any(m.training for m in module.modules()):
        raise Unsupported("training mode is never run by generated code")
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        raise Unsupported("generated code has no derivatives; call it under torch.no_grad()")
    if len(x) == 0:
        raise Unsupported("no images")


def program(module: nn.Module, x: Tensor, target: Machine | None = None) -> Program:
    """Return the program for a module and images like ``x``, made if need be; Unsupported with the reason."""
    target = target or machine()
    key = (structure(module), tuple(x.shape[1:]), target)

    def make() -> Program:
        network = lower(module, x)
        source = generate(network, target)
        made = Program(source, network.recipe, load(source.text, target), target)
        _try(made, module, x[:5])
        return made

    return remembered(_programs, key, make, _KEPT)


def remembered(programs: OrderedDict[Hashable, T | Unsupported], key: Hashable, make: Callable[[], T], most: int) -> T:
    """Return a program made before, or made now; a refusal is remembered likewise, and raised again."""
    if key not in programs:
        try:
            programs[key] = make()
        except Unsupported as refusal:
            programs[key] = refusal
        except Exception as error:  # a gap in this package must cost time, not the result
            programs[key] = Unsupported(f"{type(error).__name__}: {error}")
        while len(programs) > most:
            programs.popitem(last=False)
    programs.move_to_end(key)
    found = programs[key]
    if isinstance(found, Unsupported):
        raise Unsupported(str(found))
    return found


def _try(made: Program, module: nn.Module, x: Tensor) -> None:
    """Raise Unsupported unless code agrees with its module, but for roundings that quantisers of activations widen."""
    with torch.inference_mode():
        expected = functional.call(module, {}, x.clone())
        own = {name: tensor[None] for name, tensor in module.named_parameters()} or {"": torch.empty(1)}
        got = made.logits(made.chips(module, own), made.images(x), len(x), 1)[0]
    finite = expected.isfinite()
    if got.shape != expected.shape:
        raise Unsupported(f"generated code gives {tuple(got.shape)}, the module {tuple(expected.shape)}")
    if not finite.any():  # weights that say nothing about the code
        return
    furthest = (got - expected)[finite].abs().amax()
    if not furthest <= 0.1 * expected[finite].abs().amax() + 1e-4:
        raise Unsupported(f"generated code is {float(furthest):.3g} away from the module's own result")


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by every name they have."""
    return dict((*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)))


def structure(module: nn.Module) -> Hashable:
    """Return what decides a module's code: the code of its classes, settings and shapes, not weights.

    Raises:
        Unsupported: where that cannot be told: hooks, tensors that are neither parameter nor buffer.
    """
    hooked = nn.modules.module
    if hooked._global_forward_hooks or hooked._global_forward_pre_hooks:
        raise Unsupported("all modules have hooks")
    parts: list[Hashable] = []
    read = Reader({id(tensor) for tensor in (*module.parameters(), *module.buffers())})
    for name, part in module.named_modules(remove_duplicate=False):
        if isinstance(part, nn.RNNBase):
            raise Unsupported(f"{name or 'the module'} is recurrent")
        if any(value for key, value in vars(part).items() if key.endswith("_hooks") and key in _OWN):
            raise Unsupported(f"{name or 'the module'} has hooks")
        held = {key: value for key, value in vars(part).items() if key not in _OWN}
        read.where = name or "the module"
        parts.append((name, read.value(type(part)), read.value(held)))
        parts.append(tuple((key, None if t is None else (t.shape, t.dtype))
                           for key, t in (*part._parameters.items(), *part._buffers.items())))  # fmt: skip
    first: dict[int, str] = {}
    parts.append(tuple(first.setdefault(id(t), name) for name, t in module.named_parameters(remove_duplicate=False)))
    return tuple(parts)


def aligned(*shape: int) -> Tensor:
    """Uninitialised floats that start where a vector may."""
    extra = _ALIGN // 4
    whole = torch.empty(math.prod(shape) + extra)
    start = -whole.data_ptr() % _ALIGN // 4
    return whole[start : start + math.prod(shape)].view(shape)
