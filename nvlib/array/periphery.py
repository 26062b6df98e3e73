"""The settings of tiles, converters and wires as one value.

Units: one *step* of a column's sum is one level of a cell times one step of its input. A *full cell* is a cell at its
top level whose input is full, (2^K - 1) levels times the largest digit; a column's sum never exceeds its rows, so many
full cells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from nvlib.errors import InputError, number, unknown, whole

SUBTRACT = ("array", "digital")
CODES = ("midtread", "midrise")
WIRE_MODELS = ("exact", "polynomial")
READS = ("cells", "outputs")
INPUT_RANGES = "max, calibrated, percentile:99.9 or a number"
ADC_RANGES = "calibrated, bound, granular, percentile:99.9 or a number of full cells"


@dataclass(frozen=True)
class Periphery:
    """Tiles, converters and wires of all layers on arrays; as text ``rows=256,adc_bits=6``: what is not the default.

    Attributes:
        rows, columns: A and B, cells of a tile.
        input_bits: H, of an input's code: 0 .. 2^H - 1, or -(2^(H-1) - 1) .. 2^(H-1) - 1 in layers that see negative
            inputs; None: inputs as they are.
        serial_bits: bits of an input that are fed at a time, in pulses of the input's sign; None: the whole input.
        input_range: what the largest code stands for: ``max`` or ``percentile:p`` of |x| in each layer over the
            calibration images, ``calibrated`` (the percentile that changes |x| least, as in CrossSim), or a number.
        adc_bits: of a column's ADC; None: sums as they are.
        adc_range: its full scale: ``bound`` (the largest sum there can be; steps are never finer than one step of the
            sum), ``granular`` (its steps are those of the sum), a number of full cells (aihwkit's ``out_bound``), or
            of each layer and slice over the calibration images: ``percentile:p`` of |sum|, ``calibrated`` (CrossSim's
            way: unsliced weights take the percentile that changes sums least, slices the bound over 2^k with the
            largest k that holds the 99.99th percentile).
        codes: of signed sums and inputs: ``midtread``, zero and 2^b - 1 levels in all; ``midrise``, 2^b levels and no
            zero, as in CrossSim's QuantizerADC (of sums; inputs are always midtread).
        adc_gain: standard deviation of an ADC's gain about 1, an ADC a column of each tile, once a chip.
        adc_offset: standard deviation of its offset, in its steps.
        dac_gain: standard deviation of a DAC's gain about 1, a DAC a row of each tile, once a chip.
        dac_offset: standard deviation of its offset, in steps of a pulse.
        subtract: negative columns are subtracted in the ``array``, before the ADC, or ``digital``, after it.
        wire_row, wire_column: resistance of the wires along rows (inputs) and columns (sums), ohm a cell.
        wire_model: ``exact``, or ``polynomial`` (after aihwkit; columns alone, light loads).
        on_resistance: of a cell at the top level, ohm; None: the device's own.
        on_off: conductance of the top level over that of the lowest; None: the device's own.
        images: training images that ranges are calibrated on, the first ones.
        read: where the read noise of the crossbar (its last effect) is drawn: of the ``cells``, one reading for as many
            images as the effect says; or at the ``outputs``, where every product is a reading (`nvlib.array.reading`).

    Raises:
        InputError: for values that cannot be used.
    """

    rows: int = 128
    columns: int = 128
    input_bits: int | None = 8
    serial_bits: int | None = None
    input_range: str = "max"
    adc_bits: int | None = 8
    adc_range: str = "calibrated"
    codes: str = "midtread"
    adc_gain: float = 0.0
    adc_offset: float = 0.0
    dac_gain: float = 0.0
    dac_offset: float = 0.0
    subtract: str = "array"
    wire_row: float = 0.0
    wire_column: float = 0.0
    wire_model: str = "exact"
    on_resistance: float | None = None
    on_off: float | None = None
    images: int = 500
    read: str = "cells"

    def __post_init__(self) -> None:
        """Check every field, and bring it to its plain type."""
        held: dict[str, object] = {name: whole(name, getattr(self, name), 1, 2**16) for name in ("rows", "columns")}
        held["images"] = whole("images", self.images, 1)
        for name, least, most in (("input_bits", 1, 16), ("serial_bits", 1, 16), ("adc_bits", 2, 24)):
            if getattr(self, name) is not None:
                held[name] = whole(name, getattr(self, name), least, most, ", or none")
        for name, kinds, words in (("input_range", ("max", "calibrated"), INPUT_RANGES),
                                   ("adc_range", ("calibrated", "bound", "granular"), ADC_RANGES)):  # fmt: skip
            held[name] = _range(name, getattr(self, name), kinds, words)
        for name in ("adc_gain", "adc_offset", "dac_gain", "dac_offset", "wire_row", "wire_column"):
            held[name] = number(name, getattr(self, name), 0.0)
        if self.on_resistance is not None:
            held["on_resistance"] = number("on_resistance", self.on_resistance, 0.0, above=True)
        if self.on_off is not None:
            held["on_off"] = number("on_off", self.on_off, 1.0, above=True)
        for name, known in (("subtract", SUBTRACT), ("codes", CODES), ("wire_model", WIRE_MODELS),
                            ("read", READS)):  # fmt: skip
            if getattr(self, name) not in known:
                raise unknown(name, getattr(self, name), known)
        for name, value in held.items():
            object.__setattr__(self, name, value)
        self._agree()

    def _agree(self) -> None:
        """Refuse settings that do not go together."""
        if self.serial_bits is not None and (self.input_bits is None or self.serial_bits > self.input_bits):
            raise InputError(f"serial_bits={self.serial_bits} of input_bits={_text(self.input_bits)} cannot be fed; "
                             "expected at most the bits of an input")  # fmt: skip
        if self.adc_range == "granular" and self.input_bits is None:
            raise InputError("adc_range=granular has no step where input_bits=none; expected a number of input bits")
        if self.input_bits is None and (self.dac_offset or self.dac_gain):
            raise InputError("dac_gain and dac_offset are of a DAC; expected input_bits beside them")
        if self.adc_bits is None and (self.adc_offset or self.adc_gain):
            raise InputError("adc_gain and adc_offset are of an ADC; expected adc_bits beside them")
        if self.read == "outputs" and self.wired:
            raise InputError("read=outputs is exact where sums are linear in the cells, which wires are not; expected "
                             "read=cells, or no wires")  # fmt: skip
        if self.wire_model == "polynomial" and self.wire_row:
            raise InputError(f"wire_model=polynomial knows columns alone, not wire_row={self.wire_row:g}; expected "
                             "wire_model=exact, or wire_column")  # fmt: skip

    def __str__(self) -> str:
        """Return it as text: the fields that are not the defaults; ``default`` where all are."""
        changed = (f"{f.name}={_text(getattr(self, f.name))}" for f in fields(self)
                   if getattr(self, f.name) != f.default)  # fmt: skip
        return ",".join(changed) or "default"

    @property
    def converts(self) -> bool:
        """Whether products are taken over; else a chip, with wires too, is a plain module with other weights."""
        return self.input_bits is not None or self.adc_bits is not None or self.read == "outputs"

    @property
    def calibrates(self) -> bool:
        """Whether a range is found on training images."""
        inputs = (self.input_bits, self.adc_bits) != (None, None) and not _is_number(self.input_range)
        return inputs or self.calibrates_sums

    @property
    def calibrates_sums(self) -> bool:
        """Whether the ADCs' ranges are."""
        return self.adc_bits is not None and self.adc_range.partition(":")[0] in ("calibrated", "percentile")

    @property
    def varies(self) -> bool:
        """Whether chips differ in their converters."""
        return any((self.adc_gain, self.adc_offset, self.dac_gain, self.dac_offset))

    @property
    def wired(self) -> bool:
        """Whether wires have a resistance."""
        return bool(self.wire_row or self.wire_column)

    @property
    def pulses(self) -> int:
        """Return how many pulses feed an input."""
        return 1 if self.serial_bits is None or self.input_bits is None else -(-self.input_bits // self.serial_bits)


def _text(value: object) -> str:
    return "none" if value is None else f"{value:.12g}" if isinstance(value, float) else str(value)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _range(name: str, given: object, kinds: tuple[str, ...], words: str) -> str:
    """Return a range's canonical text."""
    text = f"{given:.12g}" if isinstance(given, int | float) and not isinstance(given, bool) else given
    wrong = InputError(f"{name}={given!r} is not usable; expected {words}")
    if not isinstance(text, str):
        raise wrong
    kind, _, number = text.strip().partition(":")
    if kind == "percentile":
        if not _is_number(number) or not 0 < float(number) <= 100:
            raise wrong
        return f"percentile:{float(number):.12g}"
    if kind in kinds and not number:
        return kind
    if not _is_number(text) or float(text) <= 0:
        raise wrong
    return f"{float(text):.12g}"
