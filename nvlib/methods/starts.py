"""Where trainings start: a module for each seed, and which of its parts rest in training."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from nvlib import models, modules
from nvlib.code import contents
from nvlib.errors import InputError


def models_of(model: str | nn.Module | Callable[[int], nn.Module], seeds: list[int]) -> list[nn.Module]:
    """Return a module a seed: built by name or by function; a module itself is where all of them start."""
    if isinstance(model, nn.Module):
        _trainable(model)
        return [modules.copied(modules.bare(model)) for _ in seeds]
    if isinstance(model, str):
        built: list[nn.Module] = [models.build(model, seed=s) for s in seeds]
        if not isinstance(built[0], models.Network):  # a file of one's own
            _alike(built, seeds)
        return built
    if not callable(model):
        raise InputError(f"model={model!r} is none; expected a name of nvlib.models.MODELS, a module, or a function of "
                         "a seed that makes one")  # fmt: skip
    try:
        inspect.signature(model).bind(seeds[0])
    except TypeError as error:
        raise InputError(f"model={model!r} is not callable with a seed alone ({error}); expected a function of a seed "
                         "that makes a module: lambda seed: ...") from None  # fmt: skip
    except ValueError:  # one that has no signature
        pass
    made = []
    for s in seeds:
        with torch.random.fork_rng(devices=[]):  # what a function draws without a seed is the member's own too
            torch.default_generator.manual_seed(s)
            one = model(s)
        _trainable(one)
        made.append(modules.bare(one))
    _alike(made, seeds)
    return made


def _alike(made: list[nn.Module], seeds: list[int]) -> None:
    """Refuse networks that differ in more than their tensors: trained together, all would be as the first."""
    first = _settings(made[0]) if len(made) > 1 else {}
    for seed, model in zip(seeds[1:], made[1:], strict=True):
        now = _settings(model)
        if [p.shape for p in model.parameters()] != [p.shape for p in made[0].parameters()]:
            continue  # refused as such
        if other := [name for name in {**first, **now} if first.get(name) != now.get(name)]:
            raise InputError(f"the networks of seeds {seeds[0]} and {seed} differ in more than their tensors: "
                             f"{other[0]}; trained together both would be as the first: train one seed at a time, or "
                             "keep what differs in a buffer")  # fmt: skip


@torch.no_grad()
def _settings(model: nn.Module) -> dict[str, object]:
    """Return all that decides how a network computes but for its parameters and buffers, by what it is."""
    twin, plain = modules.copied(model), vars(nn.Module())
    found: dict[str, object] = {}
    for tensor in (*twin.parameters(), *twin.buffers()):
        tensor.data = torch.zeros_like(tensor)  # in lists and the like as well
    for path, part in twin.named_modules():
        at = f"{path} ({type(part).__name__})" if path else type(part).__name__
        made = modules.makers(part)
        hooks = [*part._forward_pre_hooks.values(), *part._forward_hooks.values()]
        found |= {f"the class of {at}": contents(type(part)), f"the mode of {at}": part.training,
                  f"hooks of {at}": contents(hooks)}  # fmt: skip
        found |= {f"{key} of {at}": contents(value) for key, value in vars(part).items()
                  if key not in plain and key not in made and not key.startswith("_flat_weight")}  # fmt: skip
    return found | {f"requires_grad of {name}": p.requires_grad for name, p in model.named_parameters()}


def _trainable(model: nn.Module) -> None:
    """Refuse what is no module whose weights can be trained here."""
    modules.usable(model)
    modules.apart(model)
    if sparse := [name for name, part in model.named_modules() if getattr(part, "sparse", False) is True]:
        raise InputError(f"{sparse[0]} of {type(model).__name__} gives sparse gradients, which no optimiser here "
                         "takes; expected sparse=False")  # fmt: skip


def resting(model: nn.Module) -> tuple[str, ...]:
    """Return the parts that stay in evaluation mode: put in it alone, or normalisation whose parameters are frozen."""
    found = []
    for name, part in model.named_modules():
        own = list(part.parameters(recurse=False))
        frozen = isinstance(part, _BatchNorm) and own and not any(parameter.requires_grad for parameter in own)
        if frozen or (model.training and not part.training):
            found.append(name)
    return tuple(found)
