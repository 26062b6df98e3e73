"""Copies to be evaluated: plain parameters in place of parametrisations, no wrappers, the same modes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from nvlib.errors import InputError
from nvlib.modules import (
    address,
    aliases,
    apart,
    bare,
    beneath,
    copied,
    effective,
    fake,
    given,
    made,
    makers,
    parametrised,
    usable,
)


@torch.no_grad()
def private(model: nn.Module) -> nn.Module:
    """Return a copy to be run with other weights: no wrappers, plain parameters for parametrised tensors.

    Modes are the model's; a parametrised tensor is made as evaluation makes it. Names are the model's, less the parts
    of wrappers; a parametrised tensor has the name of the tensor that its layer uses (``conv1.weight``).
    """
    with torch.inference_mode(False):
        usable(model)
        apart(model)
        twin = bare(copied(bare(model)))
        for part in list(twin.modules()):
            for leaf, child in list(part._modules.items()):
                if child is not None and bare(child) is not child:
                    part._modules[leaf] = bare(child)
        for part in list(twin.modules()):
            _flatten(part)
    return twin


def _flatten(part: nn.Module) -> None:
    """Put plain parameters in place of what one module of a private copy makes before each run."""
    found = {leaf: made(part, leaf).clone() for leaf in makers(part)}
    if parametrize.is_parametrized(part):
        del part._modules["parametrizations"]
        part.__class__ = type(part).__bases__[0]  # the class with the properties is shared with the original
    for key, hook in list(part._forward_pre_hooks.items()):
        if isinstance(hook, WeightNorm | SpectralNorm | prune.BasePruningMethod):
            del part._forward_pre_hooks[key]
    for leaf, tensor in found.items():
        for key in [f"{leaf}{end}" for end in ("_g", "_v", "_orig", "_mask", "_u")]:
            part._parameters.pop(key, None)
            part._buffers.pop(key, None)
        part.__dict__.pop(leaf, None)
        part._buffers.pop(leaf, None)
        part._parameters[leaf] = nn.Parameter(tensor)
    if fake(part):
        held = given(part, "weight")
        part.weight_fake_quant, part._parameters["weight"] = nn.Identity(), nn.Parameter(held)


def as_private(model: nn.Module, weights: Mapping[str, Tensor]) -> tuple[nn.Module, dict[str, Tensor]]:
    """Return a module that can be called as it is, and stacked weights by its tensors' first names.

    That is the module itself, but for wrapped and parametrised ones, which get a `private` copy. There, tensors that
    ``weights`` lacks are the model's own all the same, with their gradients.

    Raises:
        InputError: for a name that the module does not have.
    """
    usable(model)
    made = parametrised(model)
    short = address(model)
    wrapped = bare(model) is not model or any(bare(part) is not part for part in model.modules())
    if not made and not wrapped and not any(fake(part) for part in model.modules()):
        return model, _named(model, weights)
    count = len(next(iter(weights.values())))
    twin = private(model)
    known = aliases(twin)
    plain = _plain_names(model)
    held: dict[str, Tensor] = {}
    if torch.is_grad_enabled() or made:
        given = {aliases(model).get(name, name): w for name, w in weights.items()}
        for name in made:
            if name not in weights and plain(name) in known:
                held[known[plain(name)]] = effective(model, name, given)
        if torch.is_grad_enabled():
            for name, own in model.named_parameters():
                if plain(name) in known and own.requires_grad:
                    held.setdefault(known[plain(name)], own.unsqueeze(0).expand(count, *own.shape))
    originals = {name for name, _ in (*model.named_parameters(remove_duplicate=False),
                                      *model.named_buffers(remove_duplicate=False))}  # fmt: skip
    for name, w in weights.items():
        if plain(name) in known:
            held[known[plain(name)]] = w
        elif short(name) in known:
            held[known[short(name)]] = w
        elif name not in originals:
            raise _stranger(model, name)
    return twin, held


def _plain_names(model: nn.Module) -> Callable[[str], str]:
    """Return the function from a name in a model to the name in its private copy."""
    top = ""
    inner = model
    while (below := beneath(inner)) is not None:
        top, inner = f"{top}{below[0]}.", below[1]
    nested = []
    for path, part in inner.named_modules():
        if path and (below := beneath(part)) is not None:
            nested.append((f"{path}.{below[0]}.", f"{path}."))

    def plain(name: str) -> str:
        name = name.removeprefix(top)
        for long, brief in sorted(nested, key=lambda pair: -len(pair[0])):
            if name.startswith(long):
                name = brief + name.removeprefix(long)
        return name

    return plain


def _named(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    known = aliases(model)
    held: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if name not in known:
            raise _stranger(model, name)
        if known[name] == name or known[name] not in weights:
            held[known[name]] = tensor
    return held


def _stranger(model: nn.Module, name: str) -> InputError:
    return InputError(f"weights hold {name!r}, which {type(model).__name__} does not have; expected names from "
                      "model.named_parameters() or nvlib.program")  # fmt: skip
