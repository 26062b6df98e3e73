"""The engine: many weight sets of one module, stacked on a leading axis, run and differentiated as one.

A programmed chip is the same module with other weights, so chips of a Monte-Carlo run, TRICE's candidates, OVF's
louder forwards and a grid of trainings are all one thing: a dict of tensors (members, ...) and a module that is
called with each member's slice. `forward` does that, by `torch.func.vmap` or by a loop over members; the two agree to
the last bits, and a module that vmap refuses is looped over with one warning that names the cause.

Floats differ in the last bits between ways of running, never the chips (their weights): a `Plan` names the way, is
recorded with the samples, and is what a resumed or distributed run reuses.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from nvlib.errors import InputError, unknown

WAYS = ("loop", "vmap")
_CPU_BYTES = 24 << 20  # activations of one pass on a CPU: about what its caches hold; larger batches were slower
_CUDA_SHARE = 0.25  # share of a GPU's free memory that activations of one pass may take
_refused: set[type] = set()


@dataclass(frozen=True)
class Plan:
    """How a population is run: members and images at a time, the way, threads, and the machine's kind."""

    members: int
    images: int
    how: str
    threads: int
    device: str


def stack(models: Sequence[nn.Module]) -> dict[str, Tensor]:
    """Stack the parameters and buffers of models of one shape: name -> (members, ...), detached copies."""
    if not models:
        raise InputError("no models to stack; expected at least one")
    states = [{**dict(m.named_parameters()), **dict(m.named_buffers())} for m in models]
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in states]
    if any(shape != shapes[0] for shape in shapes):
        raise InputError("models of different shapes cannot be stacked; expected one network at one width")
    return {name: torch.stack([state[name].detach() for state in states]) for name in states[0]}


def members(weights: Mapping[str, Tensor]) -> int:
    """Return how many members stacked weights hold."""
    sizes = {len(tensor) for tensor in weights.values()}
    if len(sizes) != 1:
        raise InputError(f"stacked weights have leading axes of sizes {sorted(sizes)}; expected one size for all")
    return sizes.pop()


def forward(
    model: nn.Module, weights: Mapping[str, Tensor], x: Tensor, *, per_member: bool = False, how: str | None = None
) -> Tensor:
    """Run a module once for each member of stacked weights.

    Tensors that ``weights`` lacks come from the module, shared. In training mode, buffers that change (BatchNorm's
    statistics) must be among the stacked weights; they are updated in place, a row a member.

    Args:
        model: any module.
        weights: name -> (members, ...), parameters and buffers; from `nvlib.program` with a range, or `stack`.
        x: inputs (batch, ...), shared by the members; or (members, batch, ...) with ``per_member``.
        per_member: whether each member has inputs of its own.
        how: ``vmap`` or ``loop``; None takes vmap on CUDA and the loop on a CPU.

    Returns:
        (members, batch, classes); differentiable.

    Raises:
        InputError: for stacked weights of different lengths or an unknown way.
    """
    count = members(weights)
    if per_member and len(x) != count:
        raise InputError(f"inputs for {len(x)} members do not match weights of {count}; expected one set a member")
    how = how or way(model, x)
    if how not in WAYS:
        raise unknown("way to run a population", how, WAYS)
    refusal = None
    if how == "vmap" and type(model) not in _refused:
        try:
            return vmap(
                lambda w, inputs: functional_call(model, w, (inputs,)),
                in_dims=(0, 0 if per_member else None),
                randomness="different",
            )(dict(weights), x)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, NotImplementedError, ValueError) as error:
            refusal = error
    outs = []
    for member in range(count):
        own = {name: tensor[member] for name, tensor in weights.items()}
        outs.append(functional_call(model, own, (x[member] if per_member else x,)))
    if refusal is not None:  # and the loop went well: it is vmap's refusal, not an error of the model
        _refused.add(type(model))
        cause = str(refusal).strip().splitlines()[0]
        warnings.warn(f"vmap refuses {type(model).__name__} ({cause}); running its chips in a loop", stacklevel=2)
    return torch.stack(outs)


def way(model: nn.Module, x: Tensor) -> str:
    """Return the way `forward` runs a module by default: vmap on CUDA, unless refused, else the loop."""
    return "vmap" if x.is_cuda and type(model) not in _refused else "loop"


def activation_bytes(model: nn.Module, x: Tensor) -> int:
    """Measure the bytes that the outputs of a module's layers take for one image of ``x`` (batch, ...)."""
    total = 0

    def count(_: nn.Module, __: object, out: object) -> None:
        nonlocal total
        tensors = out if isinstance(out, tuple | list) else [out]
        total += sum(t.numel() * t.element_size() for t in tensors if isinstance(t, Tensor))

    leaves = [m for m in model.modules() if not list(m.children())]
    hooks = [m.register_forward_hook(count) for m in leaves]
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(x[:1])
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return max(total, x[:1].numel() * x.element_size())


def plan(model: nn.Module, x: Tensor, count: int) -> Plan:
    """Choose how to run ``count`` members on inputs ``x`` (batch, ...) within a memory bound.

    On a CPU one member at a time on as many images as the caches hold; on CUDA as many members and images as a share
    of the free memory holds.
    """
    each = activation_bytes(model, x)
    how = way(model, x)
    if x.is_cuda:
        fit = max(1, int(torch.cuda.mem_get_info(x.device)[0] * _CUDA_SHARE) // each)
        images = min(len(x), 1000, fit)
        at_once = min(count, max(1, fit // images)) if how == "vmap" else 1
    else:
        images = min(len(x), max(1, _CPU_BYTES // each))
        at_once = min(count, 16)
    return Plan(at_once, images, how, torch.get_num_threads(), x.device.type)


def halved(plan: Plan) -> Plan:
    """Return the plan with half the work at a time, for when memory ran out; InputError if there is none left."""
    if plan.members > 1:
        return replace(plan, members=-(-plan.members // 2))
    if plan.images > 1:
        return replace(plan, images=-(-plan.images // 2))
    raise InputError("one chip on one image does not fit in memory; use a smaller width or another machine")
