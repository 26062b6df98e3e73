"""Counts, energy, latency and area of a network on one accelerator, layer by layer.

Layers run one after another, each on its own tiles (as the tool of `constants` does by default). What is counted is
said in the package; what is charged for it:

    energy    array  v ceil(H/h) R C' a e_cell         (a: share of input bits that are high)
              adc, accumulate  conversions each,   drivers  v ceil(H/h) n,   scale  v C (with ``column_scale``)
              buffer  traffic,   interconnect  traffic x side of the chip,   leakage  all arrays x latency
    latency   read  ceil(v/c) ceil(H/h) S cycles,   accumulate  that times `accumulate_cycles`,
              buffer, interconnect  traffic
    area      arrays of whole tiles, with what belongs to them;  one buffer for the largest input of a layer

Energies are in joules, times in seconds, areas in square metres; an image at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from torch import nn

from nvlib.array.periphery import SUBTRACT
from nvlib.conditions import Crossbar
from nvlib.crossbar import MAPPINGS, weight_bits
from nvlib.errors import InputError, number, unknown, whole_field
from nvlib.hardware.constants import TECHNOLOGIES, Technology
from nvlib.hardware.layers import Layer, input_shape, trace

ENERGY = ("array", "adc", "accumulate", "scale", "drivers", "buffer", "interconnect", "leakage")
LATENCY = ("read", "accumulate", "buffer", "interconnect")
AREA = ("cells", "adc", "accumulate", "periphery", "interconnect", "buffer")
BUFFER = "global buffer"  # the row of the table that is no layer


@dataclass(frozen=True)
class Accelerator:
    """Arrays, converters and technology.

    Attributes:
        rows, columns: A and B, cells of an array.
        cell_bits: K.
        weight_bits: M; None takes the bits the model was built for.
        activation_bits: H.
        serial_bits: h, bits of an input that a read applies; its cells are charged for as one bit's (assumed).
        subtract: ``digital``, every column has its conversions, or ``array``: the columns of a pair share them.
        adc_bits: of an ADC.
        share: S, columns of one ADC, or pairs of them.
        tile: T, arrays of a tile.
        mapping: ``differential`` or ``signed``, as in `nvlib.crossbar`.
        activity: share of input bits that are high (assumed; no value of a weight or input is looked at).
        technology: a name in `TECHNOLOGIES`, or a `Technology`.
        column_scale: each output is multiplied by a factor of its own, as weight ranges of an output channel want
            (``/channel`` in `nvlib.ranges`): one digital multiplication an output. One factor a tensor is part of the
            quantiser behind it, and free.

    Raises:
        InputError: for values that make no accelerator.
    """

    rows: int = 128
    columns: int = 128
    cell_bits: int = 2
    weight_bits: int | None = None
    activation_bits: int = 8
    serial_bits: int = 1
    adc_bits: int = 5
    share: int = 8
    tile: int = 16
    mapping: str = "differential"
    activity: float = 0.25
    technology: str | Technology = "22nm"
    subtract: str = "digital"
    column_scale: bool = False

    def __post_init__(self) -> None:
        """Check every field."""
        upto = {"cell_bits": 8, "weight_bits": 16, "activation_bits": 16, "serial_bits": 16, "adc_bits": 14}
        for key in ("rows", "columns", "share", "tile", *upto):
            whole_field(self, key, 1, upto.get(key, 2**16), optional=key == "weight_bits")
        if self.columns % self.share:
            raise InputError(f"share={self.share} does not divide the {self.columns} columns of an array; "
                             "choose a divisor")  # fmt: skip
        number("activity", self.activity, 0, 1, otherwise=", the share of input bits that are high")
        for key, known in (("mapping", MAPPINGS), ("subtract", SUBTRACT)):
            if getattr(self, key) not in known:
                raise unknown(key, getattr(self, key), known)
        if isinstance(self.technology, str) and self.technology not in TECHNOLOGIES:
            raise unknown("technology", self.technology, TECHNOLOGIES)
        if not isinstance(self.column_scale, bool):
            raise InputError(f"column_scale={self.column_scale!r} is not usable; expected True or False")
        self.slices(self.weight_bits or self.cell_bits)

    @classmethod
    def of(cls, crossbar: Crossbar, **changes: object) -> Accelerator:
        """Return what a crossbar with a periphery says: the record that accuracy is computed with.

        Args:
            crossbar: its device, bits, mapping, range and periphery.
            **changes: other fields, e.g. ``technology="32nm"``.

        Raises:
            InputError: without a periphery, or with ideal converters, which have no cost.
        """
        p = crossbar.periphery
        if p is None or p.input_bits is None or p.adc_bits is None:
            raise InputError(f"periphery {'none' if p is None else str(p)!r} has no converters to charge for; expected "
                             "input_bits and adc_bits, e.g. 'isaac'")  # fmt: skip
        held: dict[str, Any] = {
            "rows": p.rows, "columns": p.columns, "cell_bits": crossbar.device.bits, "weight_bits": crossbar.bits,
            "activation_bits": p.input_bits, "serial_bits": p.serial_bits or p.input_bits, "adc_bits": p.adc_bits,
            "mapping": crossbar.mapping, "subtract": p.subtract, "column_scale": crossbar.range.per == "channel",
        }  # fmt: skip
        return cls(**{**held, **_fields(changes)})

    @property
    def held_bits(self) -> int:
        """Return M; InputError where neither the record nor a model says it."""
        if self.weight_bits is None:
            raise InputError("the accelerator does not say the bits of a weight; pass weight_bits= (8 in TSB)")
        return self.weight_bits

    @property
    def sums(self) -> int:
        """Return the columns of one conversion."""
        return self.chains if self.subtract == "array" else 1

    @property
    def pulses(self) -> int:
        """Return the reads of an input: H / h."""
        return -(-self.activation_bits // self.serial_bits)

    @property
    def charges(self) -> Technology:
        """Return the technology."""
        return self.technology if isinstance(self.technology, Technology) else TECHNOLOGIES[self.technology]

    @property
    def chains(self) -> int:
        """Return the chains of cells a weight lies on."""
        return 2 if self.mapping == "differential" else 1

    def slices(self, bits: int) -> int:
        """Return the cells of one chain: M / K."""
        if bits % self.cell_bits:
            raise InputError(f"weight_bits={bits} does not fit cells of {self.cell_bits} bits; expected a multiple")
        return bits // self.cell_bits


@dataclass(frozen=True)
class Estimate:
    """What a network costs.

    Attributes:
        layers: one row a layer, and one for the global buffer's area: counts, then ``energy_*`` (J), ``latency_*``
            (s), ``area_*`` (m^2) by component and in all.
        accelerator: what it was estimated for.
        design: ``base``, or one of TSB's.
        records: the layers themselves.
    """

    layers: pd.DataFrame
    accelerator: Accelerator
    design: str = "base"
    records: tuple[Layer, ...] = field(default=(), repr=False)

    @property
    def totals(self) -> pd.Series:
        """Return the sums over layers, with edp (J s) and utilisation (of the arrays that one copy of each fills)."""
        total = self.layers.select_dtypes("number").sum()
        a = self.accelerator
        total["utilisation"] = total["cells"] / (total["arrays"] * a.rows * a.columns)
        total["edp"] = total["energy"] * total["latency"]
        return total.drop(["copies", "vectors", "rows", "columns", "groups"])


def estimate(
    model: nn.Module | Sequence[Layer],
    shape: Sequence[int] | None = None,
    accelerator: Accelerator | None = None,
    *,
    design: str = "base",
    **changes: object,
) -> Estimate:
    """Estimate what a network costs for one image.

    Args:
        model: any module, or its layers from `trace`.
        shape: of one input without the batch; None takes the network's own, where it names one.
        accelerator: what it runs on; by default `Accelerator()`.
        design: what the estimate is called.
        **changes: fields of the accelerator to change, e.g. ``mapping="signed"``.

    Raises:
        InputError: for values that cannot be used.
    """
    a = Accelerator(**{**vars(accelerator or Accelerator()), **_fields(changes)})
    if isinstance(model, nn.Module):
        bits = weight_bits(model, a.weight_bits)
        records = trace(model, input_shape(model, shape))[0]
    else:
        records, bits = tuple(model), a.weight_bits
        if bits is None:
            raise InputError("layers do not say the bits of their weights; pass weight_bits= (8 in TSB)")
        if not records:
            raise InputError("no layers to estimate; expected at least one")
    a = Accelerator(**{**vars(a), "weight_bits": bits})
    table = pd.DataFrame([_counts(layer, a) for layer in records])
    _areas(table, records, a)
    _latencies(table, a)
    _energies(table, a)
    table["edp"] = table["energy"] * table["latency"]
    return Estimate(table, a, design, records)


def _fields(changes: dict[str, Any]) -> dict[str, Any]:
    known = Accelerator.__dataclass_fields__
    for name in changes:
        if name not in known:
            raise unknown("field of the accelerator", name, known)
    return changes


# -- counts and charges ----------------------------------------------------------------------------------------------


def _counts(layer: Layer, a: Accelerator) -> dict[str, object]:
    columns = layer.columns * a.slices(a.held_bits) * a.chains
    blocks = -(-layer.rows // a.rows)
    arrays = layer.groups * blocks * -(-columns // a.columns)
    apart = layer.groups if layer.apart else 1
    tiles = apart * -(-arrays // (apart * a.tile))
    reads = layer.vectors * a.pulses
    cells = layer.groups * layer.rows * columns
    return {
        "name": layer.name, "block": layer.block, "rows": layer.rows, "columns": layer.columns,
        "groups": layer.groups, "vectors": layer.vectors, "weights": layer.weights, "cells": cells, "arrays": arrays,
        "utilisation": cells / (arrays * a.rows * a.columns), "tiles": tiles,
        "copies": min(layer.vectors, tiles * a.tile // arrays), "allocated": tiles * a.tile, "macs": layer.macs,
        "conversions": reads * layer.groups * blocks * columns // a.sums, "array_reads": reads * arrays,
        "scalings": layer.vectors * layer.groups * layer.columns * a.column_scale,
        "traffic": layer.vectors * a.activation_bits * layer.groups * (layer.rows + layer.columns),
    }  # fmt: skip


def _areas(table: pd.DataFrame, records: Sequence[Layer], a: Accelerator) -> None:
    """Add areas, and the row of the global buffer."""
    t, arrays = a.charges, table["allocated"]
    perimeter = (a.rows + a.columns) / 256
    each = {
        "cells": a.rows * a.columns * t.cell_area,
        "adc": max(1, a.columns // a.sums // a.share) * t.converter_area(a.adc_bits),
        "accumulate": t.accumulate_area * a.columns / 128,
        "periphery": t.periphery_area * perimeter,
        "interconnect": t.wire_area * perimeter,
    }
    for part in AREA:
        table[f"area_{part}"] = arrays * each.get(part, 0.0)
    held = max(layer.inputs for layer in records) * a.activation_bits
    row = dict.fromkeys(table.columns, 0) | {"name": BUFFER, "block": False, "utilisation": math.nan,
                                             "area_buffer": held * t.buffer_area}  # fmt: skip
    table.loc[len(table)] = row
    table["area"] = table[[f"area_{part}" for part in AREA]].sum(axis=1)


def _latencies(table: pd.DataFrame, a: Accelerator) -> None:
    t = a.charges
    turns = -(-table["vectors"] // table["copies"].clip(lower=1))
    table["latency_read"] = turns * a.pulses * a.share * t.cycle
    table["latency_accumulate"] = table["latency_read"] * t.accumulate_cycles
    table["latency_buffer"] = table["traffic"] * t.buffer_time
    table["latency_interconnect"] = table["traffic"] * t.wire_time
    table["latency"] = table[[f"latency_{part}" for part in LATENCY]].sum(axis=1)


def _energies(table: pd.DataFrame, a: Accelerator) -> None:
    t = a.charges
    side = 1e3 * math.sqrt(table["area"].sum())  # mm
    reads = table["vectors"] * a.pulses
    table["energy_array"] = reads * table["cells"] * a.activity * t.cell_read
    table["energy_adc"] = table["conversions"] * t.conversion(a.adc_bits)
    table["energy_accumulate"] = table["conversions"] * t.accumulate
    table["energy_scale"] = table["scalings"] * t.scale
    table["energy_drivers"] = table["array_reads"] * t.drivers * a.rows / 128
    table["energy_buffer"] = table["traffic"] * t.buffer
    table["energy_interconnect"] = table["traffic"] * t.wire * side
    table["energy_leakage"] = table["allocated"].sum() * t.leakage * table["latency"]
    table["energy"] = table[[f"energy_{part}" for part in ENERGY]].sum(axis=1)
