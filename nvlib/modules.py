"""The seam: a programmed chip is the same module with other weights, whoever wrote the module.

`Caller` runs a module once with tensors in place of its own and leaves it as it was:

    tied weights, shared parts      a tensor has one name, its first; it is exchanged in every slot that holds it
    buffers, attributes, weights    fresh for each call in evaluation; what `forward` writes to them is dropped
    parametrised layers             weight_norm, spectral_norm, orthogonal, pruned (hooks and `parametrize`): the
                                    *effective* weight, under the layer's own name, is what lies on arrays
    wrappers                        DataParallel, torch.compile: the module beneath; names without the wrapper's part

`private` makes a copy to be evaluated: plain parameters in place of parametrisations, no wrappers, the same modes.
"""

from __future__ import annotations

import copy
import itertools
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from nvlib.errors import InputError
from nvlib.writes import Keeper, at_once

_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)
_SEGMENTS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")  # of torch.compile, FSDP, checkpoints
_TENSORS = ("_parameters", "_buffers")


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
        beneath = _beneath(model)
        if beneath is None:
            return model
        _, model = beneath


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


def _makers(part: nn.Module) -> dict[str, Callable[[], Tensor]]:
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


def given(part: nn.Module, leaf: str) -> Tensor:
    """Return a parameter as its layer multiplies with it, detached: quantised where PyTorch's own layers do that."""
    w: Tensor = part._parameters[leaf]  # type: ignore[assignment]  # a slot that holds one
    if leaf != "weight" or not fake(part):
        return w
    with torch.no_grad():
        return copied(part.get_submodule("weight_fake_quant")).eval()(w).detach()


def parametrised(model: nn.Module) -> dict[str, nn.Module]:
    """Return the tensors that are made from others before each run: name -> the module that holds them."""
    return {f"{path}.{leaf}" if path else leaf: part for path, part in model.named_modules() for leaf in _makers(part)}


def made(part: nn.Module, leaf: str) -> Tensor:
    """Return a parametrised tensor of a module as it is in evaluation, detached; nothing is updated."""
    mode, part.training = part.training, False
    try:
        with torch.no_grad():
            return _makers(part)[leaf]().detach()
    finally:
        part.training = mode


class _Made(nn.Module):
    """A parametrised tensor as a module without inputs, to be called with other originals."""

    def __init__(self, part: nn.Module, leaf: str) -> None:
        super().__init__()
        self.part, self.leaf = part, leaf
        self.training = part.training

    def forward(self) -> Tensor:
        return _makers(self.part)[self.leaf]()


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

    def rebound(value: Any) -> Any:
        if not isinstance(value, types.FunctionType) or not value.__closure__:
            return value
        cells = []
        for cell in value.__closure__:
            try:
                held = cell.cell_contents
            except ValueError:  # empty yet
                held = None
            if isinstance(held, types.FunctionType):
                now = rebound(held)
            else:
                now = copies.get(id(held), held) if isinstance(held, nn.Module | Tensor) else held
            cells.append(cell if now is held else types.CellType(now))
        if all(new is old for new, old in zip(cells, value.__closure__, strict=True)):
            return value
        made = types.FunctionType(value.__code__, value.__globals__, value.__name__, value.__defaults__, tuple(cells))
        made.__kwdefaults__ = value.__kwdefaults__
        return made

    for part in twin.modules():
        functions: list[dict[Any, Any]] = [vars(part), part._forward_hooks, part._forward_pre_hooks]
        for held in functions:
            for key, value in list(held.items()):
                if (now := rebound(value)) is not value:
                    held[key] = now
    return twin


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
    found = {leaf: made(part, leaf).clone() for leaf in _makers(part)}
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
        quantise, part.weight_fake_quant = part.get_submodule("weight_fake_quant").eval(), nn.Identity()
        part._parameters["weight"] = nn.Parameter(quantise(part.weight).detach().clone())


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
    while (below := _beneath(inner)) is not None:
        top, inner = f"{top}{below[0]}.", below[1]
    nested = []
    for path, part in inner.named_modules():
        if path and (below := _beneath(part)) is not None:
            nested.append((f"{path}.{below[0]}.", f"{path}."))

    def plain(name: str) -> str:
        name = name.removeprefix(top)
        for long, brief in sorted(nested, key=lambda pair: -len(pair[0])):
            if name.startswith(long):
                name = brief + name.removeprefix(long)
        return name

    return plain


def _beneath(model: nn.Module) -> tuple[str, nn.Module] | None:
    compiled = model._modules.get("_orig_mod")
    if compiled is not None:
        return "_orig_mod", compiled
    return ("module", model.module) if isinstance(model, _WRAPPERS) else None


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


# -- calls -----------------------------------------------------------------------------------------------------------


class Caller:
    """A module, ready to be called with other tensors in place of its own, by their first names.

    In evaluation a forward may write to anything: it gets copies of the buffers, and of the weights on the first call;
    later ones get the weights themselves, unless the first has shown that it writes to them (``max_norm``, hooks).
    """

    def __init__(self, model: nn.Module) -> None:
        self.model, self.slots = model, slots(model)
        self.buffers, self.parameters = dict(model.named_buffers()), dict(model.named_parameters())
        self.keeper = Keeper(model)
        self.renorms = any(getattr(part, "max_norm", None) is not None for part in model.modules())
        self.written: set[str] | None = None  # weights that its forward writes to, once that is known

    @staticmethod
    def of(model: nn.Module) -> Caller:
        """Look a module over; good as long as its structure stays."""
        return Caller(model)

    def __call__(self, weights: Mapping[str, Tensor], x: Tensor) -> Any:
        """Run the module once on ``x``.

        Args:
            weights: first name -> tensor; buffers among them are updated in place where the module updates its own.
            x: input of the module; it is handed over as it is.

        Returns:
            What the module returns. The module is as it was; in training mode but for buffers not in ``weights``.
        """
        held = dict(weights)
        if self.model.training:
            if self.renorms:
                held = {name: w if name in self.buffers else w.clone() for name, w in held.items()}
            with at_once():
                try:
                    return functional_call(self.model, self._swap(held), (x,), tie_weights=False)
                except RuntimeError as error:
                    if "inplace" not in str(error):
                        raise
                    raise InputError(f"{type(self.model).__name__} writes to a weight in training, which has no "
                                     "derivative; expected a forward that leaves its weights as they are "
                                     "(Recipe(clip=...) limits them after each update)") from error  # fmt: skip
        held |= {name: buffer.clone() for name, buffer in self.buffers.items() if name not in held}
        given: dict[str, Tensor] = {}
        if self.written != set():
            given = {**self.parameters, **{name: w for name, w in weights.items() if name not in self.buffers}}
            held |= {name: tensor.clone() for name, tensor in given.items()}
        with self.keeper(), at_once():
            out = functional_call(self.model, self._swap(held), (x,), tie_weights=False)
        if self.written is None:
            self.written = _written(given, held)
        return out

    def _swap(self, held: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {slot: tensor for name, tensor in held.items() for slot in self.slots[name]}


def _written(given: Mapping[str, Tensor], held: Mapping[str, Tensor]) -> set[str] | None:
    """Return the names of copies that are no longer what was given; None where that cannot be told (within vmap)."""
    try:
        return {name for name, w in given.items() if not torch.equal(held[name].detach(), w.detach())}
    except RuntimeError:
        return None


def call(model: nn.Module, weights: Mapping[str, Tensor], x: Tensor) -> Any:
    """Run a module once with other weights, by first names; see `Caller`."""
    return Caller.of(model)(weights, x)


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Put back, afterwards, what a module's parts hold now (`nvlib.writes`)."""
    with Keeper(model)():
        yield


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode for a while, each part of it back as it was."""
    modes = [(part, part.training) for part in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def twice_differentiable(model: nn.Module) -> Iterator[None]:
    """Run attention and recurrent layers by plain operations for a while: fused kernels have no second derivative."""
    recurrent = any(isinstance(part, nn.RNNBase) for part in model.modules())
    fast = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as plain:
        plain.enter_context(sdpa_kernel(SDPBackend.MATH))
        if recurrent:
            plain.enter_context(torch.backends.mkldnn.flags(enabled=False))
            plain.enter_context(torch.backends.cudnn.flags(enabled=False))
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
