"""Where trainings start: a module for each seed, and which of its parts rest in training."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from nvlib import models, modules
from nvlib.errors import InputError


def models_of(model: str | nn.Module | Callable[[int], nn.Module], seeds: list[int]) -> list[nn.Module]:
    """Return a module a seed: built by name or by function; a module itself is where all of them start."""
    if isinstance(model, nn.Module):
        _trainable(model)
        return [modules.copied(modules.bare(model)) for _ in seeds]
    if isinstance(model, str):
        return [models.build(model, seed=s) for s in seeds]
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
    return made


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
