"""Making a network of one's own: what its factory is given, and what its network must be.

The factory is called with those of these arguments that it names, by keyword:

    classes          how many outputs
    in_channels      channels of the images (1 where it must be given and nothing is known of them)
    width            factor on channels and hidden units      (a factory without it has one width)
    bits             weight bits M                            (8 where it must be given and nothing was asked)
    activation_bits  bits H of its activations                (0, likewise)

and returns an `nn.Module` from images (batch, channels, height, width) to logits (batch, classes), on the CPU, with at
least one convolution or linear layer: their weights go on arrays (`nvlib.mapping` lists them). Initial weights are to
be drawn from torch, whose generator is seeded. Attributes of the module say what the library cannot see:

    bits             M; if it has none, the factory's own default, else 8; what was asked for if that was
    activation_bits  H; if it has none, that of its `ActivationQuantiser` layers, else 0
    input_size       pixels of a side that images are scaled to; none: images as they are
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from nvlib import plugins
from nvlib.crossbar import array_weights
from nvlib.errors import InputError
from nvlib.models import own
from nvlib.models.networks import ActivationQuantiser, checked_bits
from nvlib.models.own import Own
from nvlib.modules import switched

BITS = 8  # of a network that does not say: the papers', but for the LeNet
_NEEDED = {"in_channels": 1, "bits": BITS, "activation_bits": 0}  # where a factory has no default and nothing is asked


def make(
    found: Own,
    factory: Callable[..., Any],
    *,
    classes: int,
    width: float,
    bits: int | None = None,
    activation_bits: int | None = None,
    in_channels: int | None = None,
) -> nn.Module:
    """Call a factory and check what it makes; arguments as `nvlib.models.build` has them.

    Raises:
        InputError: for what is no network that can be put on arrays, or not the one that was asked for.
        Broken: if the factory raises an error.
    """
    asked = {"classes": classes, "in_channels": in_channels, "width": width, "bits": bits,
             "activation_bits": activation_bits}  # fmt: skip
    given = _arguments(found, factory, asked)
    if width != 1 and "width" not in given:
        raise InputError(f"{found.network} has one width; its {found.factory} takes no argument width={width:g}")
    with _watched(found, f"{found.factory}({', '.join(f'{k}={v}' for k, v in given.items())})"):
        model = factory(**given)
    if not isinstance(model, nn.Module):
        raise InputError(f"{found.network}: {found.factory} returned {type(model).__name__}; expected an nn.Module")
    for name, parameter in model.named_parameters():
        if is_lazy(parameter) or parameter.device.type != "cpu":
            what = "has no shape yet" if is_lazy(parameter) else f"is on {parameter.device}"
            raise InputError(f"{found.network}: {name} {what}; expected parameters with a shape, on the CPU")
    try:
        array_weights(model, warn=False)
    except InputError as error:
        raise InputError(f"{found.network}: {error}") from None
    _complete(found, model, given.get("bits") if bits is None else bits, bits is not None, activation_bits)
    return switched(model, training=True)


def fits(network: str, model: nn.Module, x: Tensor, classes: int) -> None:
    """Raise InputError unless a user's own network maps images (batch, ...) to (batch, classes).

    Raises:
        InputError: for logits of another shape.
        Broken: if the network raises an error.
    """
    found, mode = own.find(network), model.training
    with _watched(found, f"images of shape {tuple(x.shape)}"), torch.no_grad():
        out = switched(model)(x)
    model.train(mode)
    if not isinstance(out, Tensor) or tuple(out.shape) != (len(x), classes):
        what = f"a tensor of shape {tuple(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
        raise InputError(f"{found.network} gives {what} for {len(x)} images of {classes} classes; expected logits of "
                         f"shape {(len(x), classes)}: let {found.factory} take classes")  # fmt: skip


def _arguments(found: Own, factory: Callable[..., Any], asked: dict[str, Any]) -> dict[str, Any]:
    """Return what a factory is given: those of the arguments that it names, where there is a value for them."""
    with _watched(found, found.factory):
        parameters = inspect.signature(factory).parameters
    given = {}
    for name, parameter in parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        needed = parameter.default is parameter.empty
        if name in asked and parameter.kind != parameter.POSITIONAL_ONLY:
            value = asked[name]
            if value is None:
                value = _NEEDED[name] if needed else parameter.default
            if value is not None:
                given[name] = value
        elif needed:
            raise InputError(f"{found.network}: {found.factory} needs {name!r}, which nothing gives it; expected a "
                             f"default for it (given are: {', '.join(asked)})")  # fmt: skip
    return given


def _complete(found: Own, model: nn.Module, bits: int | None, asked: bool, activation_bits: int | None) -> None:
    """Give a module the attributes that the library reads; InputError for one it cannot use.

    ``bits`` are those that were asked for, or else the factory's own.
    """
    quantisers = [module.bits for module in model.modules() if isinstance(module, ActivationQuantiser)]
    held = getattr(model, "activation_bits", None)
    held = max(quantisers, default=0) if held is None else held
    if held:
        checked_bits(f"activation_bits of {found.network}", held)
    if activation_bits is not None and held != activation_bits:
        raise InputError(f"{found.network} quantises its activations to {held} bits (0: not at all), not to the "
                         f"{activation_bits} asked for; let {found.factory} take activation_bits")  # fmt: skip
    size = getattr(model, "input_size", None)
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise InputError(f"input_size={size!r} of {found.network}: expected the pixels of a side, or None for any")
    wanted: Any = bits if asked else getattr(model, "bits", BITS if bits is None else bits)
    checked_bits(f"bits of {found.network}", wanted)
    given: Any = model
    with _watched(found, "an attribute of its network"):
        given.bits, given.activation_bits, given.input_size = wanted, held, size


def _watched(found: Own, what: str) -> AbstractContextManager[None]:
    return plugins.watched(found.source, what, found.network)
