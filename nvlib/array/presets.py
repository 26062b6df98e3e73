"""Published settings of tiles and converters, and the text that names them.

Facts only: what a preset leaves out (a design's weight bits, its cells, an encoding of negative weights) is the
crossbar's. None takes the range of a converter from the batch that passes it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from nvlib.array.periphery import Periphery
from nvlib.errors import InputError, unknown


@dataclass(frozen=True)
class Preset:
    """Settings with their source, and how they differ from it."""

    periphery: Periphery
    source: str
    note: str


_CONFIG = "CrossSim 3.2, simulator/configs"
PRESETS = {
    "isaac": Preset(
        Periphery(rows=128, columns=128, input_bits=16, serial_bits=1, adc_bits=9, adc_range="granular",
                  subtract="digital", on_resistance=2e3, on_off=1e3),
        f"ISAAC (Shafiee et al., ISCA 2016), as in {_CONFIG}",
        "16-bit weights on 2-bit cells there; its offset encoding with a unit column is the crossbar's mapping here",
    ),
    "prime": Preset(
        Periphery(rows=256, columns=256, input_bits=6, serial_bits=3, adc_bits=6, on_resistance=1e3, on_off=20.0),
        f"PRIME (Chi et al., ISCA 2016), as in {_CONFIG}",
        "8-bit weights on 4-bit cells there",
    ),
    "sonos": Preset(
        Periphery(rows=1152, columns=256, input_bits=8, adc_bits=8, on_resistance=35e3),
        f"SONOS (Xiao et al., IEEE TCAS-I 69, 2022), as in {_CONFIG}",
        "8-bit weights on one pair of cells there; pulses of an input are added before its one conversion",
    ),
    "neurosim": Preset(
        Periphery(input_bits=8, serial_bits=1, adc_bits=5, subtract="digital", on_resistance=6e3, on_off=150.0),
        "DNN+NeuroSim V1.3 at its defaults (Peng et al., IEDM 2019)",
        "its ADC spans the sums of the batch that passes; here ranges are calibrated and stay",
    ),
    "crosssim": Preset(
        Periphery(rows=256, columns=256, input_range="calibrated", codes="midrise"),
        "CrossSim 3.2: QuantizerADC, ranges calibrated as in applications/dnn/calibration.py",
        "8-bit converters and 256 x 256 cells, as in its tutorial",
    ),
    "aihwkit": Preset(
        Periphery(rows=512, columns=512, input_bits=7, adc_bits=9, adc_range="12"),
        "aihwkit 1.1, IOParameters: inp_res 1/126, out_res 1/510, out_bound 12",
        "no output noise; the input's range is calibrated, where noise management takes each vector's maximum",
    ),
    "aihwkit_standard": Preset(
        Periphery(rows=512, columns=512, input_bits=8, adc_bits=8, adc_range="10"),
        "aihwkit 1.1, StandardIOParameters: 1/254 both, out_bound 10",
        "no output noise; the input's range is calibrated, where noise management takes each vector's maximum",
    ),
}  # fmt: skip
_KINDS = {f.name: str(f.type) for f in fields(Periphery)}


def get(given: str | Periphery | None) -> Periphery | None:
    """Return a periphery from its text; a periphery itself, and None, as they are.

    Args:
        given: fields, ``rows=256,adc_bits=6,input_bits=none``; or a preset's name, which fields may follow:
            ``isaac,adc_bits=8``; ``none`` is None.

    Raises:
        InputError: for a preset, a field or a value that is none.
    """
    if given is None or isinstance(given, Periphery):
        return given
    if not isinstance(given, str):
        raise InputError(f"periphery={given!r} is none; expected a text such as 'adc_bits=6,rows=256', one of "
                         f"{', '.join(PRESETS)}, or a nvlib.array.Periphery")  # fmt: skip
    if given.strip() == "none":
        return None
    first, *rest = [part.strip() for part in given.split(",")]
    base = Periphery()
    if "=" in first:
        rest = [first, *rest]
    elif first in PRESETS:
        base = PRESETS[first].periphery
    elif first != "default":
        raise unknown("periphery", first, [*PRESETS, "default", "or fields such as adc_bits=6"])
    changes: dict[str, Any] = {}
    for part in rest:
        name, equals, value = (text.strip() for text in part.partition("="))
        if not equals or name not in _KINDS:
            raise unknown("field of a periphery", name, _KINDS)
        if name in changes:
            raise InputError(f"periphery={given!r} has {name} twice; expected it once")
        changes[name] = _value(name, value)
    return replace(base, **changes)


def called(text: str) -> str:
    """Return the name of a preset for its canonical text, as records have it; any other text as it is."""
    return next((name for name, held in PRESETS.items() if str(held.periphery) == text), text)


def _value(name: str, text: str) -> object:
    """Return a field's value from its text."""
    kind = _KINDS[name]
    if text == "none" and "None" in kind:
        return None
    if kind.startswith("str"):
        return text
    try:
        return int(text) if kind.startswith("int") else float(text)
    except ValueError:
        words = "a whole number" if kind.startswith("int") else "a number"
        more = ", or none" if "None" in kind else ""
        raise InputError(f"{name}={text!r} is not usable; expected {words}{more}") from None
