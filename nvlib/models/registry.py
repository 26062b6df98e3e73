"""Networks by name, the papers' and a user's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from nvlib import catalogue, plugins
from nvlib.errors import InputError, number, unknown, whole
from nvlib.models import factory, own
from nvlib.models.networks import checked_bits

MODELS: dict[str, Callable[..., nn.Module]] = catalogue.classes("networks")
_OURS = dict(MODELS)


def named(name: str) -> str:
    """Return a network's name as records have it: ``mine.py:small`` -> ``own:mine.small@0f1e2d3c4b5a6978``.

    Raises:
        InputError: for an unknown name, or a file that is not there or fails.
    """
    if own.is_own(name):
        return own.find(name).network
    if own.is_file(name):
        return own.given(name).network
    if name not in MODELS:
        plugins.installed()
    if name not in MODELS:
        raise unknown("network", name, MODELS)
    return name if MODELS[name] is _OURS.get(name) else own.registered(name, MODELS[name]).network


def build(
    name: str,
    *,
    classes: int = 10,
    width: float = 1.0,
    bits: int | None = None,
    activation_bits: int | None = None,
    in_channels: int | None = None,
    seed: int | None = None,
) -> nn.Module:
    """Build a network by name, in training mode, with fresh weights.

    Args:
        name: one of `MODELS`, or a file of one's own, ``mine.py:small``: see `nvlib.models.own`.
        classes: number of outputs.
        width: factor on the number of channels and hidden units, for small machines.
        bits: weight bits M the network is built for; None takes its own.
        activation_bits: bits H of its activations, 0 for none; None takes its own.
        in_channels: channels of the images; None takes the network's own (LeNets 1, the others 3).
        seed: makes the initial weights a function of itself; None draws them from torch's global generator.

    Returns:
        The module, with attributes ``bits``, ``activation_bits`` and ``input_size`` (None: any).

    Raises:
        InputError: for an unknown name or a value out of range, and for what goes wrong in a user's own file.

    Example:
        >>> import nvlib
        >>> model = nvlib.build("vgg8", width=0.25, classes=10)
        >>> sum(p.numel() for p in model.parameters())
        809498
    """
    name = named(name)
    for what, value in (("classes", classes), ("in_channels", in_channels)):
        if value is not None:
            whole(what, value, 1)
    number("width", width, 0, 16, above=True, otherwise=": a factor, 1 is the paper's network")
    if activation_bits:
        checked_bits("activation_bits", activation_bits)
    # torch's CPU generator keeps 32 bits of a seed: a larger one would silently be another's twin
    if seed is not None and not 0 <= seed < 2**32:
        raise InputError(f"seed={seed!r}: expected a whole number from 0 to 2**32 - 1")
    given = {"bits": bits, "activation_bits": activation_bits, "in_channels": in_channels}
    given = {key: value for key, value in given.items() if value is not None}
    made = partial(_maker(name), classes=classes, width=width)
    if seed is None:
        return made(**given)
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)  # the CPU's alone: torch.manual_seed reseeds CUDA too
        return made(**given)


def _maker(name: str) -> Callable[..., nn.Module]:
    """Return what makes a network; a user's file was run when it was named, before any seed is set: it may draw."""
    if not own.is_own(name):
        return MODELS[name]
    found = own.find(name)
    held = MODELS.get(found.factory)
    if held is None or plugins.source_of(held) != found.source:
        held = getattr(plugins.module_of(found.source), found.factory, None)
    if not callable(held):
        raise InputError(f"{name}: {found.source.name}.py has no {found.factory!r} to call; expected a function")
    return partial(factory.make, found, held)
