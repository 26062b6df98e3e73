"""What befalls a chip: effects on its cells after programming, and the protocol of circuits round its arrays.

An effect is a frozen dataclass: what happens to cells after they were programmed. Effects of a `nvlib.Crossbar` are
applied in order, each to what the one before left; without any, weights are drawn as one Gaussian each, as ever. As
text, ``drift:time=3600`` or ``stuck:hrs=0.09,lrs=0.0175``, they stand in commands, study files and records.

    protocol    `Effect`, `Programmed` (the cells as an effect meets them)
    common      `CommonVariation`: variation that a die, a row, a column or a neighbourhood shares
    retention   `Retention`: the deviation measured at a time, in place of programming's
    stuck       `StuckCells`: at the lowest or the highest level, with published rates
    drift       `Drift`: power-law decay, an exponent a cell
    read        `ReadNoise`: each reading is another
    limits      `Limits`: cells stop at 0 and at the top

>>> from nvlib import effects
>>> effects.get("drift:time=3600").time
3600.0
>>> list(effects.KINDS)
['common', 'retention', 'stuck', 'drift', 'read', 'limits']
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import MISSING, fields
from typing import Any, cast

from nvlib import plugins
from nvlib.devices import Device
from nvlib.effects.common import CommonVariation
from nvlib.effects.drift import Drift
from nvlib.effects.limits import Limits
from nvlib.effects.protocol import Effect, Programmed
from nvlib.effects.read import ReadNoise
from nvlib.effects.retention import Retention
from nvlib.effects.stuck import PRESETS, StuckCells
from nvlib.errors import InputError, unknown
from nvlib.records import values

KINDS: dict[str, type] = {
    kind.name: kind for kind in (CommonVariation, Retention, StuckCells, Drift, ReadNoise, Limits)
}  # in the order of a chip's life
EXAMPLE = "stuck:hrs=0.09,lrs=0.0175, drift:time=3600"

__all__ = [
    "KINDS", "PRESETS", "CommonVariation", "Drift", "Effect", "Limits", "Programmed", "ReadNoise",
    "Retention", "StuckCells", "chain", "get", "numbers", "on", "text",
]  # fmt: skip


def get(given: str | Effect) -> Effect:
    """Return an effect from its text; an effect itself as it is.

    ``name:key=value,...``; of stuck cells also ``stuck:chen2015``, a preset.

    Raises:
        InputError: for a text that names none, or a value that cannot be used.
    """
    if not isinstance(given, str):
        if not isinstance(given, Effect) or isinstance(given, type):
            raise InputError(f"effect {given!r} is none; expected a text such as 'drift:time=3600', or one with a name "
                             "and `befall` (nvlib.effects)")  # fmt: skip
        return given
    name, colon, rest = given.strip().partition(":")
    if name not in KINDS:
        plugins.installed()
    if name not in KINDS:
        raise InputError(f"{unknown('effect', name, KINDS)}; e.g. {EXAMPLE}")
    kind = KINDS[name]
    known = {field.name: field for field in fields(kind)}
    if name == "stuck" and rest in PRESETS:
        return StuckCells(*PRESETS[rest][:2])
    held = {}
    for part in rest.split(",") if colon else []:
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            said = f"key=value, e.g. {name}:{next(iter(known))}=..."
            presets = f", or {' or '.join(PRESETS)}" if name == "stuck" else ""
            raise InputError(f"effect {given!r}: {part.strip()!r} is not usable; expected {said}{presets}")
        if key not in known:
            raise unknown(f"number of {name}", key, known)
        if key in held:
            raise InputError(f"effect {given!r}: {key} is given twice; expected it once")
        held[key] = _parsed(given, key, value, str(known[key].type))
    if lacking := [k for k, field in known.items() if field.default is MISSING and k not in held]:
        raise InputError(f"effect {given!r}: {lacking[0]} is missing; expected {name}:{lacking[0]}=...")
    if name == "stuck" and not rest:
        raise InputError(f"effect {given!r} says no rates; expected hrs=, lrs=, or a preset: {', '.join(PRESETS)}")
    return kind(**held)


def _parsed(given: str, key: str, value: str, kind: str) -> object:
    if "str" in kind:
        return value
    try:
        return int(value) if kind == "int" else float(value)
    except ValueError:
        what = "a whole number" if kind == "int" else "a number"
        raise InputError(f"effect {given!r}: {key}={value} is not usable; expected {what}") from None


def text(effects: Iterable[Effect]) -> tuple[str, ...]:
    """Return effects as their texts, in order."""
    return tuple(str(effect) for effect in effects)


def chain(given: str) -> tuple[Effect, ...]:
    """Return the effects of one text, ``stuck:chen2015 + drift:time=3600``; of "" and ``none`` no effect.

    Raises:
        InputError: as `get`.
    """
    return () if given.strip() in ("", "none") else tuple(map(get, given.split(" + ")))


def on(device: Device, given: object) -> tuple[Effect, ...]:
    """Return effects, from texts too, as they are on a device.

    Raises:
        InputError: for what is no effect, what the device has no numbers for, and an order that cannot be.
    """
    several = given if isinstance(given, list | tuple) else (given,)
    found: list[Effect] = []
    time = None
    for effect in map(get, several):
        if found and getattr(effect, "first", False):
            before = found[-1]
            if not getattr(before, "first", False) or before.name == "retention":
                raise InputError(f"effect {effect.name!r} is of programming; expected it before {before.name!r}")
        if effect.name == "drift" and any(e.name == "retention" for e in found):
            raise InputError("effects retention and drift: the deviations of retention are total ones; expected one of "
                             "them")  # fmt: skip
        if hasattr(effect, "after"):
            effect = effect.after(time)
        found.append(effect.on(device) if hasattr(effect, "on") else effect)
        time = getattr(effect, "time", None) if effect.name in ("drift", "retention") else time
    return tuple(found)


def numbers(effect: Effect, device: Device) -> dict[str, object]:
    """Return all that an effect on a device depends on, in plain types: what a record holds of it."""
    return effect.numbers(device) if hasattr(effect, "numbers") else {"name": effect.name, **values(cast(Any, effect))}
