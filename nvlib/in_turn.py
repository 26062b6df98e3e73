"""Members of a population one after another: the way that runs whatever PyTorch runs.

On a CPU images lie with channels last where a module takes them so, since its convolutions are faster then. What a
module draws (dropout) it draws for each member from a seed of the member's own.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextlib import nullcontext
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from nvlib import functional
from nvlib.errors import InputError
from nvlib.functional import Caller
from nvlib.native import layers

_drawing: WeakKeyDictionary[nn.Module, dict[bool, bool]] = WeakKeyDictionary()  # whether it draws random numbers
_last: WeakKeyDictionary[nn.Module, dict[Hashable, bool]] = WeakKeyDictionary()  # whether channels may be last


def run(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    x: Tensor,
    per_member: bool,
    seeds: Sequence[int] | None = None,
) -> Tensor:
    """Run members one after another.

    Args:
        model: any module, in its mode.
        weights: name -> (members, ...).
        x: inputs (batch, ...) shared by the members, or (members, batch, ...).
        per_member: which of the two.
        seeds: of what each member draws; None: PyTorch's own generators go on.

    Returns:
        (members, batch, classes), differentiable in the weights.

    Raises:
        InputError: if the module returns something else than one tensor.
    """
    unsafe = not x.is_cuda and _unsafe_channels_last(model)
    last = not (x.is_cuda or unsafe) and _takes_channels_last(model, weights, x[0] if per_member else x)
    arrange = _channels_last if last else Tensor.contiguous if unsafe else (lambda images: images)
    inputs = x if per_member else [x] * len(next(iter(weights.values())))
    arranged = [arrange(own) for own in x] if per_member else [arrange(x)] * len(inputs)
    names, rows = list(weights), zip(*(tensor.unbind() for tensor in weights.values()), strict=True)
    call, outs, writes = Caller.of(model), [], None
    with layers.faster(model), nullcontext() if seeds is None else torch.random.fork_rng(_where(x)):
        # unbind's derivative stacks members once; that of indexing would fill a whole stack for each member
        for member, (row, plain, own) in enumerate(zip(rows, inputs, arranged, strict=True)):
            if seeds is not None:
                for generator in _generators(x):
                    generator.manual_seed(seeds[member])
            given = own if writes is False else arrange(plain.clone())  # the first: does it write to its input?
            outs.append(logits_of(model, call(dict(zip(names, row, strict=True)), given)))
            if writes is None:
                writes = not torch.equal(given, own)
    return torch.stack(outs)


def draws(model: nn.Module, weights: Mapping[str, Tensor], x: Tensor) -> bool:
    """Whether a module as it is draws random numbers for images (batch, ...); two of them tell, once a module and mode.

    What it changes are buffers of the trial's own.
    """
    known, mode = _drawing.setdefault(model, {}), model.training
    if mode not in known:
        state = {name: buffer.clone() for name, buffer in model.named_buffers()}
        state |= {name: tensor[0].detach().clone() for name, tensor in weights.items()}
        with torch.no_grad(), torch.random.fork_rng(_where(x)):
            before = [generator.get_state() for generator in _generators(x)]
            functional.call(model, state, x[:2].clone())
            after = [generator.get_state() for generator in _generators(x)]
        known[mode] = not all(map(torch.equal, before, after))
    return known[mode]


def logits_of(model: nn.Module, out: object) -> Tensor:
    """Return what a module returned, or raise InputError unless it is one tensor."""
    if not isinstance(out, Tensor):
        held = f" of {', '.join(map(repr, out))}" if isinstance(out, Mapping) else ""
        raise InputError(f"{type(model).__name__} returns a {type(out).__name__}{held}; expected logits, one tensor "
                         "(batch, classes): wrap it in a module that returns them alone")  # fmt: skip
    return out


def _where(x: Tensor) -> list[int]:
    """Return the GPU that a tensor is on, if it is on one."""
    return [x.device.index] if x.is_cuda else []


def _generators(x: Tensor) -> list[torch.Generator]:
    """Return torch's own generators, from which a module on this device draws."""
    return [torch.default_generator, *(torch.cuda.default_generators[i] for i in _where(x))]


def _unsafe_channels_last(model: nn.Module) -> bool:
    """Whether PyTorch's gradient of a weight would write beyond its memory with channels last.

    Seen in torch 2.15 on a processor with AVX2: convolutions of 1 x 1 with a stride, of fewer than eight channels,
    such as the shortcuts of a narrow ResNet-18. Channels first they are right.
    """
    return torch.is_grad_enabled() and any(
        isinstance(part, nn.Conv2d) and part.kernel_size == (1, 1) and max(part.stride) > 1
        and part.in_channels // part.groups < 8 for part in model.modules()
    )  # fmt: skip


def _takes_channels_last(model: nn.Module, weights: Mapping[str, Tensor], x: Tensor) -> bool:
    """Whether a module takes images (batch, ...) with channels last; not if it has ``x.view(n, -1)`` on activations.

    Two images tell, once a module and size of image, on buffers of their own and without drawing random numbers.
    """
    if x.ndim != 4:
        return False
    code = tuple(type(part).forward for part in model.modules())  # another one once a class is edited in a notebook
    known, size = _last.setdefault(model, {}), (tuple(x.shape[1:]), code)
    if size not in known:
        state = {name: buffer.clone() for name, buffer in model.named_buffers()}
        state |= {name: tensor[0].detach().clone() for name, tensor in weights.items()}
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]), functional.unchanged(model):
                functional.call(model, state, _channels_last(x[:2].clone()))
            known[size] = True
        except Exception:  # whatever it is, the call that counts says it too
            known[size] = False
    return known[size]


def _channels_last(x: Tensor) -> Tensor:
    if x.ndim != 4:
        return x
    _, channels, rows, columns = x.shape
    x = x.contiguous(memory_format=torch.channels_last)
    # strides spelt out: images of one channel are contiguous both ways, and PyTorch would take them for channels first
    return x.as_strided(x.shape, (channels * rows * columns, 1, columns * channels, channels))
