"""The steps of a training: which way a population takes them, and how a loss is differentiated.

Generated code, forwards and backwards, or the loop: one of each is measured where generating and compiling can pay. A
training keeps its way, since ways agree to training noise only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from nvlib import native, population
from nvlib.errors import InputError


def backward(losses: Tensor) -> None:
    """Leave the gradients of losses, (members,) or their sum, in the weights; InputError where none has one."""
    if not losses.requires_grad:
        by = "by a network whose outputs are detached or computed under torch.no_grad"
        where = by if torch.is_grad_enabled() else "under torch.no_grad or inference_mode"
        raise InputError(f"the loss depends on no weight: it was computed {where}; training needs gradients")
    losses.sum().backward()


def hooks_of(models: Sequence[nn.Module]) -> dict[str, list[list[Callable[[Tensor], Tensor | None]]]]:
    """Return the hooks that modules have on the gradients of their parameters: name -> those of each module, in order.

    A population's weights are others than a module's own, so that its hooks must be called by whoever trains them.
    """
    found: dict[str, list[list[Callable[[Tensor], Tensor | None]]]] = {}
    for i, model in enumerate(models):
        for name, parameter in model.named_parameters():
            if getattr(parameter, "_post_accumulate_grad_hooks", None):
                raise InputError(f"{name} of {type(model).__name__} has a hook that runs after its gradient is there, "
                                 "which is not called here; expected one on the gradient (register_hook), or none")
            if parameter._backward_hooks:
                found.setdefault(name, [[] for _ in models])[i] = list(parameter._backward_hooks.values())
    return found


def hooked(
    weights: Mapping[str, Tensor], hooks: Mapping[str, list[list[Callable[[Tensor], Tensor | None]]]],
    owner: Sequence[int],
) -> None:  # fmt: skip
    """Let hooks see, and change, the gradients of stacked weights, row by row; ``owner`` says whose a row's are."""
    for name, each in hooks.items():
        if (whole := weights[name].grad) is None:
            continue
        rows = list(whole.unbind())
        for row, of in enumerate(owner):
            for hook in each[of]:
                rows[row] = rows[row] if (now := hook(rows[row])) is None else now
        weights[name].grad = torch.stack(rows)


def training_way(
    model: nn.Module, weights: Mapping[str, Tensor], x: Tensor, steps: int, precision: str = "float32"
) -> str:
    """Choose how the steps of a training are run, by measuring one of each way where that can pay.

    Args:
        model: the module, in training mode; it and the weights are not changed.
        weights: name -> (members, ...), all parameters and buffers.
        x: a batch a member, (members, batch, ...).
        steps: how many there will be.
        precision: of products; generated code has float32 alone.
    """
    if x.is_cuda or x.dtype != torch.float32 or precision != "float32":
        return population.way(model, x)
    held = {name: tensor.detach().clone().requires_grad_(tensor.requires_grad) for name, tensor in weights.items()}
    seeds = range(population.members(held))  # what it draws here is nobody's

    def step(how: str) -> None:
        backward(population.forward(model, held, x, per_member=True, how=how, seeds=seeds).square().mean())

    loop = population.seconds(lambda: step("loop"), budget=0.2)
    if loop * steps < population.WORTH:
        return "loop"
    try:
        native.training.program(model, held, x)
    except native.Unsupported as reason:
        population.warn_once(model, str(reason))
        return "loop"
    return "native" if population.seconds(lambda: step("native"), budget=0.2) < loop else "loop"


def refusal(model: nn.Module, weights: Mapping[str, Tensor], x: Tensor) -> str | None:
    """Return why training steps cannot be run by generated code, with one warning; None if they can."""
    try:
        native.training.program(model, weights, x)
    except native.Unsupported as reason:
        population.warn_once(model, str(reason))
        return str(reason)
    return None


def stepper(
    model: nn.Module, weights: Mapping[str, Tensor], x: Tensor, how: str, precision: str = "float32"
) -> Callable[..., Tensor]:
    """Return `forward` for the steps of a training: (weights, x), inputs a member, the way and the code looked up once.

    Args:
        model: the module, in training mode; it must not be changed afterwards.
        weights: as those to come.
        x: as those to come.
        how: the way; generated code that is not to be had is replaced by the loop, with one warning.
        precision: of products.
    """
    if how == "native":
        try:
            return partial(native.training.step, native.training.program(model, weights, x))
        except native.Unsupported as reason:
            population.warn_once(model, str(reason))
            how = "loop"
    return partial(population.forward, model, per_member=True, how=how, precision=precision)
