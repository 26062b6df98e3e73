"""The engine: many weight sets of one module, stacked on a leading axis, run and differentiated as one.

A programmed chip is the same module with other weights, so chips of a Monte-Carlo run, TRICE's candidates, OVF's
louder forwards and a grid of trainings are all one thing: a dict of tensors (members, ...) and a module that is
called with each member's slice. `forward` does that in one of three ways, which agree to the last bits: by
`torch.func.vmap`, by a loop over members, or by code generated for the network (`nvlib.native`; on CPUs; in training
mode with derivatives). What refuses a module is replaced by the loop, with one warning that names the cause.

Floats differ in the last bits between ways of running, never the chips (their weights): a `Plan` names the way, is
recorded with the samples, and is what a resumed or distributed run reuses.

>>> import torch
>>> from nvlib import models, population
>>> population.way(models.build("lenet3"), torch.zeros(1, 1, 28, 28)) in population.WAYS
True
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.func import vmap

from nvlib import copies, functional, in_turn, native
from nvlib.errors import InputError, instance, unknown
from nvlib.functional import Caller, evaluating
from nvlib.precision import casting, check, products

WAYS = ("loop", "vmap", "native")
_CPU_BYTES = 24 << 20  # activations of one pass on a CPU: about what its caches hold; larger batches were slower
_CUDA_SHARE = 0.25  # share of a GPU's free memory that activations of one pass may take
_NATIVE_BYTES = 256 << 20  # images of one pass of generated code: a second copy of them, laid out for it
_FEW = 20_000  # images times members that are not worth measuring
WORTH = 15.0  # seconds of looping from which generating and compiling (2 to 12 s) pays
_BATCH = 128  # images at a time of a loop in bfloat16, whose products want long columns
_GAIN = 1.25  # times that a shorter precision is to be faster, to be worth other last digits
_refused: set[type] = set()
_taken: WeakSet[nn.Module] = WeakSet()  # by vmap
_said: set[tuple[type, str]] = set()


@dataclass(frozen=True)
class Plan:
    """How a population is run: members and images at a time, the way, threads, the machine's kind, the precision."""

    members: int
    images: int
    how: str
    threads: int
    device: str
    precision: str = "float32"


def place_of(on: str | torch.device) -> torch.device:
    """Return where to compute, which may be on another machine; InputError for what is nowhere supported."""
    try:
        place = torch.device(on)
    except (RuntimeError, TypeError):
        raise InputError(f"on={on!r} is no device; expected 'cpu' or 'cuda'") from None
    if place.type not in ("cpu", "cuda"):
        raise InputError(f"on={on!r} is not supported; expected 'cpu' or 'cuda'")
    return place


def usable(on: str | torch.device) -> None:
    """Refuse to compute where nothing can; InputError says where one can."""
    place = place_of(on)
    if place.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"on={on!r}, but PyTorch finds no CUDA device here; expected 'cpu', or a machine with one")
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise InputError(f"on={on!r}, but there are {count} CUDA devices here; expected at most 'cuda:{count - 1}'")


def stack(models: Sequence[nn.Module]) -> dict[str, Tensor]:
    """Stack the parameters and buffers of models of one shape: name -> (members, ...), detached copies.

    Example:
        >>> import nvlib
        >>> weights = nvlib.stack([nvlib.build("lenet3", seed=s) for s in (0, 1, 2)])
        >>> nvlib.population.members(weights)
        3
    """
    if not models:
        raise InputError("no models to stack; expected at least one")
    for model in models:
        instance("model", model, nn.Module, "a torch.nn.Module")
    states = [{**dict(m.named_parameters()), **dict(m.named_buffers())} for m in models]
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in states]
    if any(shape != shapes[0] for shape in shapes):
        raise InputError("models of different shapes cannot be stacked; expected one network at one width")
    return {name: torch.stack([state[name].detach() for state in states]) for name in states[0]}


def members(weights: Mapping[str, Tensor]) -> int:
    """Return how many members stacked weights hold."""
    if not weights:
        raise InputError("no weights to run; expected name -> (members, ...), from nvlib.program with a range")
    sizes = {len(tensor) for tensor in weights.values()}
    if len(sizes) != 1:
        raise InputError(f"stacked weights have leading axes of sizes {sorted(sizes)}; expected one size for all")
    return sizes.pop()


def forward(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    x: Tensor,
    *,
    per_member: bool = False,
    how: str | None = None,
    precision: str = "float32",
    seeds: Sequence[int] | None = None,
) -> Tensor:
    """Run a module once for each member of stacked weights.

    Tensors that ``weights`` lacks come from the module, shared. In training mode, buffers that change (BatchNorm's
    statistics) must be among the stacked weights; they are updated in place, a row a member. In evaluation mode each
    member starts from the module's buffers, and neither they nor ``x`` are changed.

    Args:
        model: any module.
        weights: name -> (members, ...), parameters and buffers; from `nvlib.program` with a range, or `stack`.
        x: inputs (batch, ...), shared by the members; or (members, batch, ...) with ``per_member``.
        per_member: whether each member has inputs of its own.
        how: ``vmap``, ``loop`` or ``native``; None takes vmap on CUDA and the loop on a CPU.
        precision: of the products (`nvlib.precision`); ``native`` has float32 alone. Logits are of the inputs' type.
        seeds: of the random numbers that the module draws itself (dropout), one a member, who then draws the same
            whoever runs beside it, and leaves torch's generators as they were; None: those go on.

    Returns:
        (members, batch, classes); differentiable, but for ``native`` in evaluation mode.

    Raises:
        InputError: for stacked weights of different lengths, of names that the module does not have, an unknown way,
            a precision that it has not, or a module that returns something else than one tensor.

    Example:
        >>> import nvlib
        >>> model, mnist = nvlib.build("lenet3").eval(), nvlib.load("mnist", limit=10)
        >>> chips = nvlib.program(model, "rram", 0.1, index=range(2))
        >>> nvlib.forward(model, chips, mnist.test.x).shape
        torch.Size([2, 10, 10])
    """
    if not isinstance(x, Tensor):
        raise InputError(f"inputs of type {type(x).__name__} cannot be run; expected a tensor (batch, ...)")
    if not isinstance(weights, Mapping) or not all(isinstance(w, Tensor) for w in weights.values()):
        raise InputError(f"weights of type {type(weights).__name__} cannot be run; expected name -> tensor (members, "
                         "...), from nvlib.program with a range")  # fmt: skip
    if precision != "float32":
        if how == "native":
            raise InputError(f"generated code computes in float32, not in {precision}; expected how='loop'")
        check(precision, x.device)
    with products(precision, x.device), casting(precision, x.device):
        try:
            try:
                outs = _forward(model, weights, x, per_member, how, seeds)
            except RuntimeError as error:
                if not (torch.is_inference_mode_enabled() and "grad" in str(error)):
                    raise
                outs = _differentiating(model, weights, x, per_member, how, seeds)
        except (InputError, torch.OutOfMemoryError):
            raise
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            kind, said = str(x.dtype).removeprefix("torch."), " ".join(str(error).split())[:200]
            raise InputError(f"{type(model).__name__} does not run on inputs of shape {tuple(x.shape)}, {kind}: "
                             f"{type(error).__name__}: {said}") from error  # fmt: skip
        return outs.to(x.dtype) if x.is_floating_point() else outs  # of whole numbers (tokens) come floats


def _forward(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    x: Tensor,
    per_member: bool,
    how: str | None,
    seeds: Sequence[int] | None,
) -> Tensor:
    _check_stacked(model, weights)
    count = members(weights)
    if per_member and len(x) != count:
        raise InputError(f"inputs for {len(x)} members do not match weights of {count}; expected one set a member")
    how = how or way(model, x)
    if how not in WAYS:
        raise unknown("way to run a population", how, WAYS)
    model, weights = copies.as_private(model, weights)
    if how == "native":
        try:
            if model.training:
                own = x if per_member else x.expand(count, *x.shape)
                return native.training.logits(model, weights, own)
            if per_member:
                raise native.Unsupported("each member has inputs of its own")
            return native.logits(model, weights, x)
        except native.Unsupported as reason:
            warn_once(model, str(reason))
        # a plan for generated code takes more images than a loop should; training takes the batch that it is given
        if not (per_member or x.is_cuda or model.training):
            with torch.no_grad():
                images = max(1, _CPU_BYTES // activation_bytes(model, x))
            return torch.cat([in_turn.run(model, weights, part, False) for part in x.split(images)], 1)
    refusal = None
    if how == "vmap" and seeds is not None and in_turn.draws(model, weights, x[0] if per_member else x):
        how = "loop"  # vmap draws for all members at once
    if how == "vmap" and type(model) not in _refused:
        run, before = Caller.of(model), {}
        if model.training and model not in _taken:  # a refusal may come after buffers have been updated
            before = {name: weights[name].detach().clone() for name in run.buffers if name in weights}
        try:
            outs = vmap(
                lambda w, inputs: in_turn.logits_of(model, run(w, inputs)),
                in_dims=(0, 0 if per_member else None),
                randomness="different",
            )(dict(weights), x.clone())
            _taken.add(model)
            return outs
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, NotImplementedError, ValueError) as error:
            refusal = error
            with torch.no_grad():
                for name, buffer in before.items():
                    weights[name].copy_(buffer)
    outs = in_turn.run(model, weights, x, per_member, seeds)
    if refusal is not None:  # and the loop went well: it is vmap's refusal, not an error of the model
        _refused.add(type(model))
        cause = str(refusal).strip().splitlines()[0]
        warnings.warn(f"vmap refuses {type(model).__name__} ({cause}); running its chips in a loop", stacklevel=3)
    return outs


def _differentiating(model: nn.Module, weights: Mapping[str, Tensor], x: Tensor, *args: Any) -> Tensor:
    """Run a module that takes derivatives within its forward (`torch.enable_grad`): inference mode has none."""
    with torch.inference_mode(False), torch.no_grad():
        return _forward(model, {name: w.clone() for name, w in weights.items()}, x.clone(), *args)


def _check_stacked(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Refuse the weights of a single chip, whose first axis would be taken for members, and those of other shapes."""
    shapes = {name: tensor.shape for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    for name, tensor in weights.items():
        if name in shapes and tensor.ndim and tensor.shape == shapes[name] != tensor.shape[1:]:
            raise InputError(f"weights {name} are those of one chip, {tuple(tensor.shape)}; expected a leading axis of "
                             "chips: index=range(...) of nvlib.program, or tensor[None]")  # fmt: skip
        if name in shapes and tensor.shape[1:] != shapes[name]:
            raise InputError(f"weights {name} have shape {tuple(tensor.shape)}; expected (members, "
                             f"{', '.join(map(str, shapes[name]))}), as {type(model).__name__} has it")  # fmt: skip


def warn_once(model: nn.Module, reason: str) -> None:
    """Warn that generated code is not to be had, once a class and reason."""
    if (type(model), reason) not in _said:
        _said.add((type(model), reason))
        name = type(model).__name__
        warnings.warn(f"no generated code for {name} ({reason}); running its chips in a loop", stacklevel=3)


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
    try:
        with torch.no_grad(), evaluating(model):
            functional.call(model, {}, x[:2].clone())  # of one image alone, normalisation over a batch would complain
    finally:
        for hook in hooks:
            hook.remove()
    return max(total // len(x[:2]), x[:1].numel() * x.element_size())


def plan(model: nn.Module, x: Tensor, count: int, *, how: str | None = None, precision: str = "float32") -> Plan:
    """Choose how to run ``count`` members on inputs ``x`` (batch, ...) within a memory bound.

    On a CPU one member at a time on as many images as the caches hold; by generated code where the work is large
    enough to pay for compiling it and a quick measurement shows it faster. On CUDA as many members and images as a
    share of the free memory holds.

    Args:
        model: any module; it is run in evaluation mode.
        x: all inputs.
        count: members.
        how: a way to insist on; None chooses.
        precision: of the products, taken where a quick measurement shows it faster than the best way in float32.
    """
    if check(precision, x.device) != "float32":
        return _shorter(plan(model, x, count, how=how), model, x, count, precision)
    if how is not None and how not in WAYS:
        raise unknown("way to run a population", how, WAYS)
    each, threads = activation_bytes(model, x), torch.get_num_threads()
    if x.is_cuda:
        how = how or way(model, x)
        fit = max(1, int(torch.cuda.mem_get_info(x.device)[0] * _CUDA_SHARE) // each)
        images = min(len(x), 1000, fit)
        at_once = min(count, max(1, fit // images)) if how == "vmap" else 1
        return Plan(at_once, images, how, threads, x.device.type)
    images = min(len(x), max(1, _CPU_BYTES // each))
    how = how or ("native" if _native_pays(model, x, count, images) else way(model, x))
    if how == "native":
        images = min(len(x), max(64, _NATIVE_BYTES // (x[:1].numel() * x.element_size()) // 64 * 64))
    return Plan(min(count, max(16, threads)), images, how, threads, x.device.type)


def in_precision(best: Plan, precision: str) -> Plan:
    """Return a plan in a precision, by a way that has it; on a CPU by the loop, a batch of images at a time."""
    if precision == "float32" or best.device != "cpu":
        return replace(best, precision=precision)
    return replace(best, how="loop", images=_BATCH, precision=precision)


def _shorter(best: Plan, model: nn.Module, x: Tensor, count: int, precision: str) -> Plan:
    """Return the best plan in float32, or the one in a shorter precision where it is faster by enough to change."""
    if count * len(x) < _FEW:
        return best
    short = in_precision(best, precision)
    few, batch = x[: min(best.images, 256)], x[: min(short.images, 256)]
    with torch.inference_mode(), evaluating(model):
        one = {name: rows.to(x.device) for name, rows in stack([model]).items()}
        if best.how == "native":
            block = x[:1024]
            now = seconds(native.rehearsal(model, block)) / len(block) / best.threads
        else:
            now = seconds(lambda: forward(model, one, few, how=best.how)) / len(few)
        then = seconds(lambda: forward(model, one, batch, how=short.how, precision=precision)) / len(batch)
    return short if then * _GAIN < now else best


def _native_pays(model: nn.Module, x: Tensor, count: int, images: int) -> bool:
    """Measure whether generated code is faster than the loop by enough to pay for its compilation."""
    if count * len(x) < _FEW:
        return False
    few, block, threads = x[: min(images, 256)], x[:1024], torch.get_num_threads()  # more: its weights cost a packing
    with torch.inference_mode(), evaluating(model):
        one = stack([model])
        loop = seconds(lambda: forward(model, one, few, how="loop")) / len(few)
        if loop * count * len(x) < WORTH:
            return False
        try:
            generated = seconds(native.rehearsal(model, block)) / len(block) / threads
        except native.Unsupported as reason:
            warn_once(model, str(reason))
            return False
    return generated < loop


def seconds(run: Callable[[], object], budget: float = 0.5) -> float:
    """Return the shortest of up to five runs, after one that is not counted."""
    run()
    spent: list[float] = []
    while len(spent) < 5 and sum(spent) < budget:
        began = time.perf_counter()
        run()
        spent.append(time.perf_counter() - began)
    return min(spent)


def halved(plan: Plan) -> Plan:
    """Return the plan with half the work at a time, for when memory ran out; InputError if there is none left."""
    if plan.members > 1:
        return replace(plan, members=-(-plan.members // 2))
    if plan.images > 1:
        return replace(plan, images=-(-plan.images // 2))
    raise InputError("one chip on one image does not fit in memory; use a smaller width or another machine")
