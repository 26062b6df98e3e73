"""What a module is to the seam, whoever wrote it: names of its tensors, wrappers, parametrisations, deep copies.

    tied weights, shared parts      a tensor has one name, its first; it is exchanged in every slot that holds it
    parametrised layers             weight_norm, spectral_norm, orthogonal, pruned (hooks and `parametrize`): the
                                    *effective* weight, under the layer's own name, is what lies on arrays
    wrappers                        DataParallel, torch.compile: the module beneath; names without the wrapper's part

`nvlib.copies` makes copies to be evaluated of it, `nvlib.functional` runs it with other tensors.
"""

from __future__ import annotations

import copy
import itertools
import types
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from nvlib.code import installed
from nvlib.errors import InputError

MATRICES = (nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd)  # layers that multiply with their tensor `weight`
LAYERS = (*MATRICES, nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase)  # and those with several matrices
_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)
_SEGMENTS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")  # of torch.compile, FSDP, checkpoints
_TENSORS = ("_parameters", "_buffers")
_FUNCTIONS = (types.FunctionType, types.MethodType)


# -- names -----------------------------------------------------------------------------------------------------------


def slots(model: nn.Module) -> dict[str, list[str]]:
    """Return every slot that holds a tensor of a module, by the tensor's first name: name -> names of slots."""
    first: dict[int, str] = {}
    found: dict[str, list[str]] = {}
    for path, part in model.named_modules():
        for kind in _TENSORS:
            for leaf, tensor in getattr(part, kind).items():
                if tensor is not None:
                    name = f"{path}.{leaf}" if path else leaf
                    found.setdefault(first.setdefault(id(tensor), name), []).append(name)
    return found


def aliases(model: nn.Module) -> dict[str, str]:
    """Return the first name of a tensor by each name it has, parameters and buffers: name -> first name."""
    first: dict[int, str] = {}
    both = (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False))
    return {name: first.setdefault(id(tensor), name) for name, tensor in both}


def state(model: nn.Module) -> dict[str, Tensor]:
    """Return all parameters and buffers by every name they have, a part at a time.

    What ``state_dict`` gives is its author's choice (an adapter's leaves the frozen weights out), and has more than
    tensors where a part keeps extra state.
    """
    return {f"{path}.{leaf}" if path else leaf: tensor for path, part in model.named_modules(remove_duplicate=False)
            for kind in _TENSORS for leaf, tensor in getattr(part, kind).items() if tensor is not None}  # fmt: skip


def address(model: nn.Module) -> Callable[[str], str]:
    """Return the function from a tensor's name to what its random numbers are addressed by: without wrappers' parts.

    A model and the same model in DataParallel, in torch.compile or as the only part, ``module``, of another, meet the
    same chips.
    """
    inner = tuple(f"{path}.module." if path else "module." for path, part in model.named_modules()
                  if isinstance(part, _WRAPPERS))  # fmt: skip
    names = [name for name, _ in model.named_parameters()]

    def short(name: str) -> str:
        for prefix in sorted(inner, key=len, reverse=True):
            if name.startswith(prefix):
                name = prefix.removesuffix("module.") + name.removeprefix(prefix)
        return ".".join(part for part in name.split(".") if part not in _SEGMENTS)

    depth, stripped = 0, [short(name) for name in names]
    while stripped and all(name.startswith("module.") for name in stripped):
        depth, stripped = depth + 1, [name.removeprefix("module.") for name in stripped]

    def addressed(name: str) -> str:
        name = short(name)
        for _ in range(depth):
            name = name.removeprefix("module.")
        return name

    return addressed


# -- wrappers and parametrisations -----------------------------------------------------------------------------------


def bare(model: nn.Module) -> nn.Module:
    """Return the module beneath wrappers that only say where or how it runs (DataParallel, torch.compile)."""
    while True:
        within = beneath(model)
        if within is None:
            return model
        _, model = within


def beneath(model: nn.Module) -> tuple[str, nn.Module] | None:
    """Return the attribute and the module that a wrapper holds; None for what is no wrapper."""
    compiled = model._modules.get("_orig_mod")
    if compiled is not None:
        return "_orig_mod", compiled
    return ("module", model.module) if isinstance(model, _WRAPPERS) else None


def usable(model: nn.Module, *, values: bool = True) -> None:
    """Refuse what is no module whose weights can be exchanged; InputError says what to pass.

    ``values``: whether weights need any; what is only counted may be on the meta device.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"a model of type {type(model).__name__} cannot be programmed; expected an nn.Module")
    for name, part in model.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            said = f"{name} of {type(model).__name__}" if name else "the model"
            raise InputError(f"{said} is compiled by TorchScript, which holds its weights; expected the module that it "
                             "was made from")  # fmt: skip
    for name, parameter in model.named_parameters():
        if is_lazy(parameter):
            raise InputError(f"{name} of {type(model).__name__} has no shape yet; run the model on an image first")
        if values and parameter.is_meta:
            raise InputError(f"{name} of {type(model).__name__} is on the meta device, without values; load them")
        if parameter.layout != torch.strided:
            raise InputError(f"weights {name} are sparse; expected dense floats")


def apart(model: nn.Module) -> None:
    """Refuse parameters that lie in the same memory as another: a copy parts them, and chips would as well."""
    places: dict[int, list[tuple[int, int, str]]] = {}
    for name, p in model.named_parameters():
        dense = p.numel() > 0 and sum((n - 1) * s for n, s in zip(p.shape, p.stride(), strict=True)) + 1 == p.numel()
        if dense and not p.is_meta:
            start = int(p.storage_offset())
            places.setdefault(p.untyped_storage().data_ptr(), []).append((start, start + p.numel(), name))
    for spans in places.values():
        for (_, end, name), (start, _, other) in itertools.pairwise(sorted(spans)):
            if start < end:
                raise InputError(f"{name} and {other} of {type(model).__name__} are two parameters in the same memory, "
                                 "which a copy of the model parts; expected one parameter under both names (a.weight = "
                                 "b.weight), or its use in both places (F.linear(x, a.weight.t()))")  # fmt: skip


def makers(part: nn.Module) -> dict[str, Callable[[], Tensor]]:
    """Return how each parametrised tensor of one module is made from its originals: leaf -> call."""
    found: dict[str, Callable[[], Tensor]] = {}
    if parametrize.is_parametrized(part):
        found = dict(cast(nn.ModuleDict, part.parametrizations).items())
    for hook in part._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm):
            found[hook.name] = partial(hook.compute_weight, part)
        elif isinstance(hook, SpectralNorm):
            found[hook.name] = partial(_spectral, hook, part)
        elif isinstance(hook, prune.BasePruningMethod):
            found[hook._tensor_name] = partial(hook.apply_mask, part)
    return found


def _spectral(hook: SpectralNorm, part: nn.Module) -> Tensor:
    return hook.compute_weight(part, do_power_iteration=part.training)


def fake(part: nn.Module) -> bool:
    """Whether a layer quantises its weight in forward by PyTorch's own convention."""
    return isinstance(getattr(part, "weight_fake_quant", None), nn.Module) and "weight" in part._parameters


def _requantised(part: nn.Module, quantise: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the weight of a fake-quantised layer as it multiplies with it, by its quantiser.

    A convolution that PyTorch has fused with its normalisation quantises w g, and divides by g afterwards; g is gamma /
    deviation of a channel.
    """
    w = part.get_parameter("weight")
    norm = part._modules.get("bn")
    if not isinstance(norm, nn.modules.batchnorm._BatchNorm) or not hasattr(part, "freeze_bn"):
        return quantise(w).detach().clone()
    gamma, variance = cast(Tensor, norm.weight), cast(Tensor, norm.running_var)
    axis = int(isinstance(part, nn.modules.conv._ConvTransposeNd))
    g = (gamma / (variance + norm.eps).sqrt()).view([-1 if i == axis else 1 for i in range(w.ndim)])
    return torch.where(g == 0, w, quantise(w * g) / g).detach()


def given(part: nn.Module, leaf: str) -> Tensor:
    """Return a parameter as its layer multiplies with it, detached: quantised where PyTorch's own layers do that."""
    w: Tensor = part._parameters[leaf]  # type: ignore[assignment]  # a slot that holds one
    if leaf != "weight" or not fake(part):
        return w
    with torch.no_grad():
        return _requantised(part, switched(copied(part.get_submodule("weight_fake_quant"))))


def parametrised(model: nn.Module) -> dict[str, nn.Module]:
    """Return the tensors that are made from others before each run: name -> the module that holds them."""
    return {f"{path}.{leaf}" if path else leaf: part for path, part in model.named_modules() for leaf in makers(part)}


def made(part: nn.Module, leaf: str) -> Tensor:
    """Return a parametrised tensor of a module as it is in evaluation, detached; nothing is updated."""
    makes = getattr(part, "parametrizations", {})
    modes = [(p, p.training) for p in (part, *(makes[leaf].modules() if leaf in makes else ()))]
    try:
        for p, _ in modes:
            p.training = False
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            before = torch.get_rng_state()
            found = makers(part)[leaf]().detach()
            drawn = not torch.equal(before, torch.get_rng_state())
    finally:
        for p, mode in modes:
            p.training = mode
    if drawn:
        warnings.warn(
            f"{leaf} of {type(part).__name__} is drawn at random by its parametrisation in evaluation: the same chips "
            "have other weights each time; let it draw in training alone (self.training)", stacklevel=2,
        )  # fmt: skip
    return found


def originals(model: nn.Module) -> set[str]:
    """Return the slots of what parametrised tensors are made of: ``weight_g``, all within ``parametrizations``."""
    every = model.named_parameters(remove_duplicate=False)
    found = {name for name, _ in every if "parametrizations" in name.split(".")}
    for path, part in model.named_modules(remove_duplicate=False):
        found.update(f"{path}.{leaf}{end}".removeprefix(".") for leaf in makers(part) for end in ("_g", "_v", "_orig"))
    return found


def in_dtype(model: nn.Module, dtype: torch.dtype, on: str | torch.device | None = None) -> nn.Module:
    """Bring a module's floats to a type, in place, and return it; complex tensors keep theirs.

    ``Module.to(dtype)`` makes complex buffers (rotary positions) real, and drops what is imaginary in them.
    """
    return model._apply(lambda t: t.to(on, dtype if t.is_floating_point() else t.dtype))


class _Made(nn.Module):
    """A parametrised tensor as a module without inputs, to be called with other originals."""

    def __init__(self, part: nn.Module, leaf: str) -> None:
        super().__init__()
        self.part, self.leaf = part, leaf
        self.training = part.training

    def forward(self) -> Tensor:
        return makers(self.part)[self.leaf]()


def effective(model: nn.Module, name: str, weights: Mapping[str, Tensor]) -> Tensor:
    """Return a parametrised tensor made from stacked originals, (members, ...), differentiable in them.

    Args:
        model: the module with its parametrisations.
        name: of the tensor, one of `parametrised`.
        weights: name -> (members, ...); what it lacks comes from the model. Buffers in it are updated in place.
    """
    path, _, leaf = name.rpartition(".")
    made, prefix, known = _Made(model.get_submodule(path), leaf), f"{path}." if path else "", aliases(model)
    own = {f"part.{n.removeprefix(prefix)}": weights[known[n]] for n in known
           if n.startswith(prefix) and known[n] in weights}  # fmt: skip
    if not own:
        count = len(next(iter(weights.values())))
        return made().unsqueeze(0).expand(count, *made().shape)
    rows = zip(*(tensor.unbind() for tensor in own.values()), strict=True)
    return torch.stack([functional_call(made, dict(zip(own, row, strict=True)), (), tie_weights=False) for row in rows])


# -- copies ----------------------------------------------------------------------------------------------------------


def switched(model: nn.Module, training: bool = False) -> nn.Module:
    """Put a module in evaluation or training mode and return it; a ``train`` of its author's may return nothing."""
    model.train(training)
    return model


def copied(model: nn.Module) -> nn.Module:
    """Return a deep copy of a module; what cannot be copied (a lock, an open file) is shared with it."""
    memo: dict[int, Any] = {}
    for part in model.modules():
        for key, value in vars(part).items():
            several = value if isinstance(value, list | tuple) else [value]
            for tensor in several if key not in _TENSORS else ():
                if isinstance(tensor, Tensor) and not tensor.is_leaf:  # made in forward: deepcopy refuses it
                    memo[id(tensor)] = tensor.detach().clone()
    try:
        done = dict(memo)
        return _rebound(copy.deepcopy(model, done), done)
    except Exception:
        plain = vars(nn.Module())
        for part in model.modules():
            for key, value in vars(part).items():
                if key not in plain:
                    try:
                        copy.deepcopy(value, dict(memo))
                    except Exception:
                        memo[id(value)] = value
    return _rebound(copy.deepcopy(model, memo), memo)


def _rebound(twin: nn.Module, copies: Mapping[int, Any]) -> nn.Module:
    """Let functions that a copy holds (a forward put in its place, hooks) see its parts, not the original's."""
    for part in twin.modules():
        functions: list[dict[Any, Any]] = [vars(part), part._forward_hooks, part._forward_pre_hooks]
        for held in functions:
            for key, value in list(held.items()):
                if isinstance(value, _FUNCTIONS) and (now := _reached(value, copies, set())) is not value:
                    held[key] = now
    return twin


def _reached(value: Any, copies: Mapping[int, Any], seen: set[int]) -> Any:
    """Return what a function reaches (by its closure, its defaults, global names), with parts of a model as copied.

    A function that reaches none is itself; one that reaches a part by a global name sees the other globals as they are
    now. ``seen``: what is being looked at.
    """
    if isinstance(value, nn.Module | Tensor):
        return copies.get(id(value), value)
    if id(value) in seen:
        return value
    seen = seen | {id(value)}
    if type(value) in (list, tuple, dict):
        items = list(value.values() if isinstance(value, dict) else value)
        now = [_reached(item, copies, seen) for item in items]
        if all(new is old for new, old in zip(now, items, strict=True)):
            return value
        return dict(zip(value, now, strict=True)) if isinstance(value, dict) else type(value)(now)
    if isinstance(value, types.MethodType):
        function = _reached(value.__func__, copies, seen)
        return value if function is value.__func__ else types.MethodType(function, value.__self__)
    if not isinstance(value, types.FunctionType) or installed(value):
        return value
    cells = tuple(_cell(cell, copies, seen) for cell in value.__closure__ or ())
    around = {name: value.__globals__[name] for name in _names(value.__code__) if name in value.__globals__}
    given = (value.__defaults__, value.__kwdefaults__, around)
    defaults, by_keyword, found = (_reached(part, copies, seen) for part in given)
    same = all(new is old for new, old in zip(cells, value.__closure__ or (), strict=True))
    if same and defaults is given[0] and by_keyword is given[1] and found is around:
        return value
    scope = value.__globals__ if found is around else value.__globals__ | found
    made = types.FunctionType(value.__code__, scope, value.__name__, defaults, cells or None)
    made.__kwdefaults__ = by_keyword
    return made


def _cell(cell: types.CellType, copies: Mapping[int, Any], seen: set[int]) -> types.CellType:
    try:
        held = cell.cell_contents
    except ValueError:  # empty yet
        return cell
    now = _reached(held, copies, seen)
    return cell if now is held else types.CellType(now)


def _names(code: types.CodeType) -> set[str]:
    """Return the names that code, and code within it, looks up: globals and attributes."""
    return set(code.co_names).union(*(_names(c) for c in code.co_consts if isinstance(c, types.CodeType)))
