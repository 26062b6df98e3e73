"""What a network is found to be, on a few images, before a number is made of it.

A Monte-Carlo evaluation takes for granted that a network maps images (batch, ...) to logits (batch, classes), each
image by itself and the same each time. Where that does not hold, a plausible number comes out all the same. So the
clean network is run three times on at most 4 images, as a copy in float64, in evaluation mode:

    twice on all of them   the same comes out, or it draws random numbers: chips of one seed differ from call to call
    on each half of them   the same comes out, or an image's outputs depend on those beside it: batch statistics
    what comes out         is logits, or it is refused; probabilities, which accuracy suffices with, are warned about

What cannot be a result is refused in a line (`InputError`); what can, but is not what it seems, is warned about. A
model of which nothing was said is not run again while its weights, attributes and code stay as they were.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from nvlib.data import Split
from nvlib.errors import InputError
from nvlib.functional import Caller
from nvlib.modules import copied, switched
from nvlib.native.graph import Unsupported
from nvlib.native.run import structure

_IMAGES = 4
_AGAIN = {torch.float64: 1e-9}  # of the outputs' scale: what the same sums in another order do not reach
_BESIDE = {torch.float64: 1e-6}
_AGAIN_ELSE, _BESIDE_ELSE = 1e-4, 1e-2  # in lower precision quantised activations move by a step
_sound: WeakKeyDictionary[nn.Module, tuple[Hashable, int]] = WeakKeyDictionary()  # its state then, its classes


def ready(model: nn.Module, split: Split) -> Split:
    """Return a split as a model takes it: floats in the dtype of its parameters, where they share one."""
    kinds = {p.dtype for p in model.parameters() if p.is_floating_point()}
    if not split.x.is_floating_point() or len(kinds) != 1 or split.x.dtype in kinds:
        return split
    return Split(split.x.to(kinds.pop()), split.y)


def inspect(model: nn.Module, split: Split, *others: Split, owner: nn.Module | None = None) -> bool:
    """Run a model on a few images and look at what comes out; the model is not changed.

    Args:
        model: any module, on the device of the images.
        split: images in the dtype of the model, and labels.
        *others: further splits, whose labels are looked at.
        owner: the model as the user has it, of which ``model`` is a private copy; it is remembered.

    Returns:
        Whether the owner was known, and has been changed since.

    Raises:
        InputError: if the model does not run on these images, does not give logits (batch, classes) of at least two
            classes, gives numbers that are not finite, or has no class of one of the labels.
    """
    state = None if owner is None else _state(model, split.x)
    known, classes = _sound.get(owner, (None, 0)) if owner is not None else (None, 0)
    if state is None or known != state:
        classes, said = _run(model, split)
        if owner is not None and state is not None and not said:
            _sound[owner] = state, classes
        for line in said:
            warnings.warn(line, stacklevel=3)
    changed = known is not None and known != state
    if changed and state is None and owner is not None:
        _sound.pop(owner, None)
    for y in (part.y for part in (split, *others)):
        if (top := int(y.max())) >= classes:
            image = int((y == top).nonzero()[0])
            raise InputError(f"label {top} (of image {image}) is none of the {classes} classes of {_name(model)}; "
                             f"expected 0 .. {classes - 1}")  # fmt: skip
    return changed


def remembers(model: nn.Module, x: Tensor, resting: Iterable[str] = ()) -> bool:
    """Whether what a module computes in training depends on more than weights, buffers and torch's random numbers.

    That is an attribute that it counts or averages in, a generator of its own, numpy's random numbers: run twice from
    the same weights, buffers and random numbers it gives something else. ``resting``: parts that stay in evaluation.
    """
    outs, x = [], x[:_IMAGES]
    try:
        with _looked_at(model) as twin, torch.no_grad():
            twin, x = twin.double(), x.double() if x.is_floating_point() else x
            switched(twin, training=True)
            for name in resting:
                twin.get_submodule(name).training = False
            run = Caller.of(twin)
            for _ in range(2):
                torch.manual_seed(0)
                outs.append(run({name: buffer.clone() for name, buffer in twin.named_buffers()}, x.clone()))
        return all(isinstance(out, Tensor) for out in outs) and not _close(outs[0], outs[1], _AGAIN[torch.float64])
    except Exception:  # what cannot be run on a few images in float64; the call that counts says what is wrong
        return False


def _run(model: nn.Module, split: Split) -> tuple[int, list[str]]:
    """Return how many classes a model has, and what is to be said of it."""
    x, said = split.x[:_IMAGES], []
    with _looked_at(model) as twin:
        try:
            out, again, halves = _outputs(twin.double(), x.double() if x.is_floating_point() else x)
        except Exception:  # whatever float64 does not suit: parts that insist on a precision
            out = None
    if out is None:
        with _looked_at(model) as twin:
            out, again, halves = _outputs(twin, x)
    classes = _classes(model, out, len(x))
    _finite(model, out)
    name = _name(model)
    if again is None or not _close(out, again, _AGAIN.get(out.dtype, _AGAIN_ELSE)):
        said.append(f"{name} draws random numbers in evaluation (dropout without training=self.training, noise in "
                    "forward): the same chips give other numbers each time")  # fmt: skip
    elif halves is None or not _close(out, halves, _BESIDE.get(out.dtype, _BESIDE_ELSE)):
        said.append(f"{name} computes an image's outputs from those beside it in evaluation (batch statistics, as "
                    "BatchNorm without running statistics, or ranges that are learnt): results depend on how many "
                    "images run at once")  # fmt: skip
    if bool((out >= 0).all()) and bool(((out.sum(1) - 1).abs() < 1e-3).all()):
        said.append(f"{name} gives probabilities (a softmax at its end): loss and EKL are those of a second softmax; "
                    "let it return logits")  # fmt: skip
    elif isinstance([*model.modules()][-1], nn.Sigmoid) and bool(((out >= 0) & (out <= 1)).all()):
        said.append(f"{name} gives numbers from 0 to 1 (a sigmoid at its end): loss and EKL are those of a softmax "
                    "of them; let it return logits")  # fmt: skip
    return classes, said


@torch.no_grad()
def _state(model: nn.Module, x: Tensor) -> tuple[Hashable, ...] | None:
    """Return what decides how a model computes: code, settings, sums of its tensors; None where that cannot be told."""
    try:
        code = structure(model)
        sums = tuple(t.sum().item() for t in (*model.parameters(), *model.buffers()))
    except (Unsupported, RuntimeError):  # the second: a kind of tensor that has no sum
        return None
    return code, sums, x.shape[1:], x.dtype


def _outputs(model: nn.Module, x: Tensor) -> tuple[Any, Tensor | None, Tensor | None]:
    """Return what a model gives; what it gives again, None if it drew random numbers; and by halves.

    Each run starts from the model as it is, as each chip does: what a forward writes to it is gone.
    """
    run = partial(Caller.of(model), {})
    try:
        with torch.no_grad():
            before = _generators(x)
            out = run(x.clone())
            drew = any(not torch.equal(a, b) for a, b in zip(before, _generators(x), strict=True))
            if not isinstance(out, Tensor):
                return out, out, out
            again = None if drew else run(x.clone())
            try:
                halves = torch.cat([run(half.clone()) for half in x.chunk(2)])
            except ValueError:  # "expected more than 1 value per channel": statistics of a batch
                halves = None
        return out, again, halves
    except (InputError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        said, kind = " ".join(str(error).split())[:200], str(x.dtype).removeprefix("torch.")
        raise InputError(f"{_name(model)} does not run on images of shape {tuple(x.shape[1:])}, {kind}: "
                         f"{type(error).__name__}: {said}") from error  # fmt: skip


def _classes(model: nn.Module, out: object, count: int) -> int:
    """Return how many classes a model's outputs have; InputError if they are no logits."""
    if not isinstance(out, Tensor):
        found = f"a {type(out).__name__} of {len(out)}" if isinstance(out, tuple | list | dict) else type(out).__name__
    elif out.ndim != 2 or len(out) != count or out.shape[1] < 2 or not out.is_floating_point():
        found = f"{str(out.dtype).removeprefix('torch.')} of shape {tuple(out.shape)}"
    else:
        return out.shape[1]
    raise InputError(
        f"{_name(model)} gives {found} for {count} images; expected logits, floats of shape ({count}, classes) with at "
        "least two classes: wrap it in a module that returns them"
    )


def _finite(model: nn.Module, out: Tensor) -> None:
    """Raise InputError for logits that are NaN or +inf; -inf is how classes are masked."""
    if not bool((out.isnan() | (out == torch.inf)).any()):
        return
    tensors = (*model.named_parameters(), *model.named_buffers())
    bad = [name for name, t in tensors if t.is_floating_point() and not torch.isfinite(t).all()]
    why = f"; not finite are {', '.join(bad[:5])}" if bad else ""
    raise InputError(f"logits of {_name(model)} are not finite{why}; a model like that cannot be evaluated, mend it "
                     "or train it again")  # fmt: skip


def _close(a: Tensor, b: Tensor, share: float) -> bool:
    """Whether outputs agree but for a share of their scale; not for a single image, since steps of quantisers move."""
    if a.shape != b.shape:
        return False
    finite = torch.where(a.isfinite() & b.isfinite(), a - b, 0).abs().amax(1)
    scale = torch.where(a.isfinite(), a, 0).abs().amax().clamp(min=1e-12)
    return bool(finite.sort().values[len(finite) // 2] <= share * scale)


@contextmanager
def _looked_at(model: nn.Module) -> Iterator[nn.Module]:
    """Give a copy of a model in evaluation mode; random numbers go on afterwards as if nothing had been drawn."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    others = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=devices), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they come again where it counts
        try:
            yield switched(copied(model))
        finally:
            random.setstate(others[0])
            np.random.set_state(others[1])


def _generators(x: Tensor) -> list[Tensor]:
    """Return the states of the generators that a model on this device draws from."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(x.device)] if x.is_cuda else [])]


def _name(model: nn.Module) -> str:
    return type(model).__name__
