"""A model with the circuits round its arrays: the same chips, and a module whose products pass tiles and converters.

`attach` runs the model on some images with its quantised weights. That shows which products weights on arrays take
part in (others are refused), and what ranges their converters need (`Periphery`); these then stay, whatever is run. The
chips of a `Circuits` are those of `nvlib.program`, cell by cell:

    circuits = attach(model, crossbar, images)
    chips = circuits.program(range(8), seed=0)
    nvlib.forward(circuits.module, chips, x)            (chips, batch, classes)

Without converters a chip with wires is a plain module with other weights, and the module is the model's own.

>>> from nvlib import Crossbar, circuits, data, models
>>> model, mnist = models.build("lenet3").eval(), data.load("mnist", limit=20)
>>> crossbar = Crossbar("rram", 0.1, periphery="adc_bits=6,rows=64,images=20").on(model)
>>> tiled = circuits.attach(model, crossbar, mnist.train.x)
>>> len(tiled.program(range(2), seed=0))  # tensors
6
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from nvlib import copies, functional, modules, philox
from nvlib.array import Periphery
from nvlib.array.converters import Converter, Seen, input_range, sum_range
from nvlib.array.layout import wired
from nvlib.array.products import Product, Products
from nvlib.array.reading import Reading, marks
from nvlib.array.tiles import Errors, Layer, multiply
from nvlib.cells import Chips
from nvlib.conditions import Crossbar, scale_and_signed
from nvlib.crossbar import array_weights, deviate, own_weights, programmable, read_back
from nvlib.effects import ReadNoise
from nvlib.errors import InputError

_BATCH = 100  # images at a time of the calibration
_FEW = 16  # images that show what is multiplied, where nothing is calibrated


@dataclass(frozen=True)
class Circuits:
    """A model on tiles.

    Attributes:
        module: what is run: the model, its products with weights on arrays taken over.
        layers: how each weight lies, by name: its tiles, converters and their ranges.
        crossbar: the conditions.
    """

    module: nn.Module
    layers: Mapping[str, Layer]
    crossbar: Crossbar
    _own: Mapping[str, Tensor]
    _address: Callable[[str], str]

    def program(self, index: range, seed: int = 0) -> dict[str, Tensor]:
        """Return what `module` needs of chips ``index``, by name, (chips, ...): weights, cells, converters' errors."""
        return next(self.readings(seed=seed, index=index))

    @torch.no_grad()
    def readings(self, *, seed: int, index: range) -> Iterator[dict[str, Tensor]]:
        """Yield what `program` gives, as each reading of the cells has it, without end (`nvlib.crossbar.readings`)."""
        c = _before_reading(self.crossbar)
        chips: dict[str, Chips] = {}
        for name, w in self._own.items():
            address, w = self._address(name), w.unsqueeze(0)  # with its derivatives, as `program`: to the last bit
            held, z = deviate(w, c, seed, index, address)
            chips[name] = Chips(held, w, c, z, seed=seed, index=index, name=address)
        found = self._read(chips, seed, index, 0)
        for read in itertools.count(1):
            yield found
            found = self._read(chips, seed, index, read) if self.crossbar.images_a_read else found

    def _read(self, chips: Mapping[str, Chips], seed: int, index: range, read: int) -> dict[str, Tensor]:
        c, p, out = self.crossbar, _periphery(self.crossbar), {}
        for i, (name, layer) in enumerate(self.layers.items()):
            w, cells = self._own[name].detach().unsqueeze(0), chips[name]
            held = cells.weights(read) if cells.crossbar.effects else cells.held
            s, _ = scale_and_signed(w, c)
            if _pairs(c):  # a pair of columns a weight: its difference will do
                planes = held.div(torch.where(s > 0, s, 1)).unsqueeze(1)
            else:
                planes = _planes(cells.levels(read), w, c, layer)
            if not p.converts:
                counts = torch.tensor(layer.counts, dtype=planes.dtype, device=planes.device)
                out[name] = torch.tensordot(planes, counts, ([1], [0])) * s
                continue
            out |= {f"model.{name}": held, f"planes_{i}": planes}
            if p.read == "outputs":
                noise = _noise(c)
                both = _columns(cells.spreads(noise.deviation, read).square_(), w, c)
                out[f"variance_{i}"] = (both.sum(2) if p.subtract == "array" else both.flatten(1, 2)).to(w.dtype)
                out["chip"] = torch.tensor([[seed - (1 << 63), at] for at in index], device=w.device)
            if p.varies:
                errors = _errors(p, layer, planes, seed, index, self._address(name))
                out |= {f"gain_{i}": errors.gain, f"shift_{i}": errors.shift}
        return out


class _Converted(nn.Module):
    """A module whose products with weights on arrays pass tiles and converters; without derivatives."""

    def __init__(
        self, model: nn.Module, layers: Mapping[str, Layer], clean: Mapping[str, Tensor], c: Crossbar,
        notes: Mapping[str, Sequence[Callable[[Tensor], None]]] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.notes = notes or {}
        self.model, self.layers, self.title = model, dict(layers), type(model).__name__
        self.varies, self.reads = _periphery(c).varies, _periphery(c).read == "outputs" and notes is None
        if self.reads:
            self.register_buffer("chip", torch.zeros(2, dtype=torch.int64))
        for i, (name, layer) in enumerate(layers.items()):
            w = clean[name]
            s, _ = scale_and_signed(w, c)
            self.register_buffer(f"scale_{i}", s.to(w.dtype).flatten() if s.numel() > 1 else s.to(w.dtype).reshape(()))
            self.register_buffer(f"planes_{i}", _ideal(w, c, layer))
            if self.reads:
                self.register_buffer(f"variance_{i}", torch.zeros_like(getattr(self, f"planes_{i}")))
            if self.varies:
                shape = (len(layer.cuts), len(layer.counts), layer.outputs)
                self.register_buffer(f"gain_{i}", torch.ones(shape, dtype=w.dtype, device=w.device))
                self.register_buffer(f"shift_{i}", torch.zeros(shape, dtype=w.dtype, device=w.device))

    def forward(self, x: Tensor) -> Tensor:
        """Return what the model returns."""
        places, calls = {name: i for i, name in enumerate(self.layers)}, dict.fromkeys(self.layers, 0)
        seed, chip = self.get_buffer("chip").tolist() if self.reads else (0, 0)
        seen = marks(x) if self.reads else ()

        def product(asked: Product, x: Tensor) -> Tensor:
            i, layer = places[asked.name], self.layers[asked.name]
            errors = Errors(getattr(self, f"gain_{i}"), getattr(self, f"shift_{i}")) if self.varies else None
            reading = None
            if self.reads:
                calls[asked.name] += 1
                address = f"{chip}/{asked.name}/{calls[asked.name]}"
                reading = Reading(getattr(self, f"variance_{i}"), seed + (1 << 63), address, seen)
            return multiply(layer, asked, x, getattr(self, f"planes_{i}"), getattr(self, f"scale_{i}"), errors,
                            self.notes.get(asked.name), reading)  # fmt: skip

        held = {name: _slot(self.model, name) for name in self.layers}
        with torch.no_grad(), Products(held, product, self.title):
            return self.model(x)


def attach(model: nn.Module, crossbar: Crossbar, images: Tensor) -> Circuits:
    """Put a model on tiles with converters and wires.

    Args:
        model: any module; it is not changed. A copy is run, in evaluation mode.
        crossbar: with a periphery.
        images: training images, the first `Periphery.images` of which its ranges are calibrated on; where nothing is
            calibrated, a few of any.

    Raises:
        InputError: for fewer images, a device whose conductances are not known where wires need them, and a model
            whose weights on arrays take part in other than products (recurrent layers, transposed convolutions, ...).
    """
    p = _periphery(crossbar)
    _before_reading(crossbar)
    if p.calibrates and len(images) < p.images:
        raise InputError(f"{len(images)} training images are fewer than the {p.images} that converters' ranges are "
                         f"calibrated on; expected as many, or images={len(images)} in the periphery")  # fmt: skip
    modules.usable(model)
    crossbar = crossbar.on(model)
    address = modules.address(model)
    twin = modules.switched(copies.private(model))
    own = {name: w.detach().clone().requires_grad_(w.requires_grad)
           for name, w in own_weights(twin, array_weights(twin)).items()}  # fmt: skip
    with torch.no_grad():
        for name, w in own.items():
            programmable(name, w)
        clean = {name: w.detach().unsqueeze(0) for name, w in own.items()}
        for name, w in clean.items():
            _slot(twin, name).copy_(read_back(w, crossbar, None)[0])
        layers = _layers(twin, clean, crossbar, images[: p.images if p.calibrates else _FEW].split(_BATCH))
        module = _Converted(twin, layers, clean, crossbar).eval() if p.converts else model
    return Circuits(module, layers, crossbar, own, address)


# -- how weights lie, and what their converters need ------------------------------------------------------------------


def _layers(twin: nn.Module, clean: Mapping[str, Tensor], c: Crossbar, batches: tuple[Tensor, ...]) -> dict[str, Layer]:
    """Run the ideal chip on images and return how each weight lies, with its converters."""
    p, title = _periphery(c), type(twin).__name__
    lying: dict[str, Layer] = {}
    inputs = {name: Seen(len(batches)) for name in clean}

    def exact(asked: Product, x: Tensor) -> Tensor:
        found = _lies(asked, clean[asked.name].shape[1:], c)
        if lying.setdefault(asked.name, found) != found:
            raise InputError(f"{asked.name} of {title} is multiplied in two ways; tiles take it in one: leave out the "
                             "periphery")  # fmt: skip
        if found.transposed and c.range.per == "channel":
            raise InputError(f"range {str(c.range)!r}: the outputs of {asked.name} of {title} are on another axis; "
                             "expected a range of the whole tensor")  # fmt: skip
        inputs[asked.name].add(x)
        w = _slot(twin, asked.name)
        if asked.convolve is not None:
            return asked.convolve(x, w, asked.groups)
        w = found.matrix(w)
        return nn.functional.linear(x, w if asked.outputs is None else w[asked.outputs])

    for x in batches:
        with Products({name: _slot(twin, name) for name in clean}, exact, title):
            out = functional.call(twin, {}, x.clone())
        if not isinstance(out, Tensor):
            raise InputError(f"{title} returns a {type(out).__name__}; expected logits, one tensor (batch, classes): "
                             "wrap it in a module that returns them alone")  # fmt: skip
    if silent := [name for name in clean if name not in lying]:
        raise InputError(f"{', '.join(silent)} of {title} did not run as a product that tiles take (linear, "
                         "convolution, attention, matrix product); leave out the periphery")  # fmt: skip
    lying = {name: lying[name] for name in clean}
    if not p.converts:
        return lying
    fed = {name: _fed(name, layer, inputs[name], c, title) for name, layer in lying.items()}
    if p.adc_bits is None:
        return fed
    sums = {name: [Seen(len(batches)) for _ in layer.counts] for name, layer in fed.items()}
    if p.calibrates_sums:
        notes = {name: [seen.add for seen in each] for name, each in sums.items()}
        ideal = _Converted(twin, fed, clean, c, notes).eval()
        for x in batches:
            functional.call(ideal, {}, x.clone())
    return {name: replace(layer, adcs=_adcs(layer, sums[name], c, p.adc_bits)) for name, layer in fed.items()}


def _lies(asked: Product, shape: torch.Size, c: Crossbar) -> Layer:
    """Return how a weight lies on tiles, as it is multiplied."""
    p, k = _periphery(c), c.device.bits
    counts = [2.0 ** (j * k) for j in range(c.weight_bits // k)]
    if p.subtract == "digital":
        counts = [sign * count for count in counts for sign in (1, -1)]
    layer = Layer(tuple(shape), asked.transposed, asked.groups, p.rows, tuple(counts))
    return replace(layer, rows=min(p.rows, layer.inputs))


def _fed(name: str, layer: Layer, seen: Seen, c: Crossbar, title: str) -> Layer:
    """Return a layer with its DAC."""
    p = _periphery(c)
    if p.input_bits == 1 and seen.negative:
        raise InputError(f"input_bits=1 cannot tell the signs of the inputs of {name} of {title}; expected 2 or more")
    full = input_range(p.input_range, seen, p.input_bits)
    dac = None if p.input_bits is None else Converter(full, seen.negative, p.input_bits)
    return replace(layer, dac=dac, full=full, serial_bits=p.serial_bits)


def _full_cell(layer: Layer, c: Crossbar) -> float:
    """Return a full cell in steps: the top level times the largest digit of an input."""
    digit = 1.0 if layer.dac is None else layer.dac.limits[1]
    if layer.serial_bits is not None:
        digit = min(digit, 2.0**layer.serial_bits - 1)
    return digit * (2**c.device.bits - 1)


def _adcs(layer: Layer, seen: list[Seen], c: Crossbar, bits: int) -> tuple[Converter, ...]:
    """Return the ADC of each plane, of so many bits."""
    p = _periphery(c)
    signed = layer.dac is None or layer.dac.signed or p.subtract == "array"
    if layer.dac is None and p.subtract == "digital":
        signed = any(each.negative for each in seen) or not p.calibrates_sums
    return tuple(
        Converter(sum_range(p.adc_range, each, bits=bits, signed=signed, codes=p.codes, rows=layer.rows,
                            full_cell=_full_cell(layer, c), sliced=c.weight_bits > c.device.bits,
                            unit=layer.dac is not None), signed, bits, p.codes)
        for each in seen
    )  # fmt: skip


# -- chips -----------------------------------------------------------------------------------------------------------


def _pairs(c: Crossbar) -> bool:
    """Whether a weight is one pair of columns that no wire tells apart."""
    return c.bits == c.device.bits and _periphery(c).subtract == "array" and not _periphery(c).wired


def _ideal(w: Tensor, c: Crossbar, layer: Layer) -> Tensor:
    """Return the planes of a weight (1, ...) whose cells hold what they were meant to: (planes, ...), in levels."""
    c = replace(c, sigma_d=0.0, effects=())
    held, _ = deviate(w, replace(c, periphery=None), 0, range(1), "")
    return _planes(Chips(held, w, c, None, seed=0, index=range(1), name="").levels(), w, c, layer)[0]


def _planes(v: Tensor, w: Tensor, c: Crossbar, layer: Layer) -> Tensor:
    """Return what the cells of a weight (1, ...) are, from outside, by plane: (chips, planes, ...), in levels.

    ``v``: what they hold, (chips, weights, cells): the holding chain, then the idle one.
    """
    p, both = _periphery(c), _columns(v, w, c)
    if p.wired:
        row, column, low = _conductance(c)
        top = 2**c.device.bits - 1
        both = wired(both * ((1 - low) / top) + low, layer, p.columns, row, column, p.wire_model)
        both = (both - low) * (top / (1 - low))
    both = both[:, :, 0] - both[:, :, 1] if p.subtract == "array" else both.flatten(1, 2)
    return both.to(w.dtype)


def _columns(v: Tensor, w: Tensor, c: Crossbar) -> Tensor:
    """Return a number of each cell, (chips, weights, cells), by slice and sign of its column, (chips, slices, 2, ...).

    ``signed``: the other column has none, 0.
    """
    slices = c.weight_bits // c.device.bits
    hold, idle = v[..., :slices], v[..., slices:] if c.mapping == "differential" else torch.zeros(()).to(v)
    negative = (w[0] < 0).reshape(-1, 1)
    both = torch.stack([torch.where(negative, idle, hold), torch.where(negative, hold, idle)], -1)
    return both.movedim(1, -1).reshape(len(v), slices, 2, *w.shape[1:])


def _conductance(c: Crossbar) -> tuple[float, float, float]:
    """Return the resistance of segments along rows and columns times the top level's conductance, and g_min / g_max."""
    p, device = _periphery(c), c.device
    siemens = {"S": 1.0, "mS": 1e-3, "uS": 1e-6, "nS": 1e-9, "pS": 1e-12}.get(device.unit)
    if p.on_resistance is not None:
        most = 1 / p.on_resistance
    elif siemens is not None:
        most = device.levels[-1] * siemens
    else:
        raise InputError(f"wires need conductances, and those of {device.name} are in {device.unit!r}; expected "
                         "on_resistance=... (ohm) in the periphery, or a device in S")  # fmt: skip
    own = 0.0 if device.unit == "level" else device.levels[0] / device.levels[-1]
    low = own if p.on_off is None else 1 / p.on_off
    return p.wire_row * most, p.wire_column * most, low


def _errors(p: Periphery, layer: Layer, planes: Tensor, seed: int, index: range, name: str) -> Errors:
    """Draw the errors of some chips' converters: (chips, tiles, planes, O) each."""
    shape = (len(index), len(layer.cuts), len(layer.counts), layer.outputs)

    def drawn(what: str, *shape: int) -> Tensor:
        return philox.normal(seed, index, f"array/{what}/{name}", math.prod(shape[1:]), planes.device).view(shape)

    gain = 1 + p.adc_gain * drawn("adc gain", *shape)
    shift = torch.zeros(shape, dtype=torch.float64, device=planes.device)
    if p.adc_offset:
        steps = torch.tensor([adc.step for adc in layer.adcs or ()], dtype=torch.float64, device=planes.device)
        shift = p.adc_offset * drawn("adc offset", *shape) * steps.view(-1, 1)
    if p.dac_offset:
        off = p.dac_offset * drawn("dac offset", len(index), layer.inputs)
        matrix = layer.matrix(planes.double())
        shift += torch.stack([(matrix[..., a:b] * off[:, None, None, a:b]).sum(-1) for a, b in layer.cuts], 1)
    return Errors(gain.to(planes.dtype), shift.to(planes.dtype))


def _periphery(c: Crossbar) -> Periphery:
    """Return what is between the arrays and the numbers; InputError for a crossbar without."""
    if c.periphery is None:
        raise InputError("the crossbar has no periphery; expected one, e.g. Crossbar(periphery='adc_bits=8')")
    return c.periphery


def _noise(c: Crossbar) -> ReadNoise:
    """Return the read noise that is drawn at the outputs."""
    last = c.effects[-1] if c.effects else None
    if not isinstance(last, ReadNoise):
        raise InputError(f"read=outputs with {f'{last} last' if last else 'no effect'}; expected the crossbar's last "
                         "effect to be read noise, e.g. effects='read'")  # fmt: skip
    return last


def _before_reading(c: Crossbar) -> Crossbar:
    """Return the crossbar of what cells hold, without periphery and without the noise that is drawn at the outputs."""
    if _periphery(c).read == "cells":
        return replace(c, periphery=None)
    _noise(c)
    return replace(c, periphery=None, effects=c.effects[:-1])


def _slot(model: nn.Module, name: str) -> Tensor:
    """Return the tensor that a module holds now under a name."""
    path, _, leaf = name.rpartition(".")
    return getattr(model.get_submodule(path), leaf)
