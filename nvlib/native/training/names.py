"""What C++ of a training step calls things: values, their gradients, numbers of a batch, weights, functions."""

from __future__ import annotations

import math

from nvlib.native.fuse import Border, borders
from nvlib.native.graph import Pointwise, Pool, Value
from nvlib.native.layout import Buffer, Machine
from nvlib.native.training.graph import Operation, Training
from nvlib.native.training.memory import Memory


class Names:
    """A network, a machine and a batch, with what the code written so far has asked for."""

    def __init__(self, network: Training, machine: Machine, images: int, of_images: bool) -> None:
        self.network, self.machine, self.images, self.of_images = network, machine, images, of_images
        self.blocks = -(-images // machine.lanes)
        self.memory = Memory(machine.lanes, self.blocks)
        self.parameters: list[str] = []
        self.buffers: list[str] = []
        self.functions: dict[str, str] = {}
        self.wide = borders(network.operations)
        self.users: dict[Value, list[Operation | str]] = {}
        for operation in network.operations:
            for value in operation.values if isinstance(operation, Pointwise) else [operation.source]:
                self.users.setdefault(value, []).append(operation)
        for result in network.results:
            self.users.setdefault(result, []).append("result")
        self.spreads: dict[Value, Buffer] = {}  # of plain convolutions, by result
        self.started: set[Value] = set()
        self.zeroed: list[str] = []

    # -- memory ------------------------------------------------------------------------------------------------------

    def buffer(self, value: Value) -> Buffer:
        """Return how a value is kept."""
        return Buffer(value, self.wide.get(value, Border()), self.machine.lanes)

    def gradient(self, value: Value) -> Buffer:
        """Return how its gradient is kept: where a convolution made it, with the border its second pass needs."""
        return self.spreads.get(value) or Buffer(value, Border(), self.machine.lanes)

    def at(self, value: Value) -> str:
        """C++: a block of a value."""
        return self.memory.block("kept", ("value", value), self.buffer(value).size)

    def all_of(self, value: Value) -> str:
        """C++: a value, block by block."""
        return self.memory.whole("kept", ("value", value), self.buffer(value).size)

    def of(self, value: Value) -> str:
        """C++: a block of the gradient of a value."""
        return self.memory.block("scratch", ("gradient", value), self.gradient(value).size)

    def all_of_gradient(self, value: Value) -> str:
        """C++: the gradient of a value, block by block."""
        return self.memory.whole("scratch", ("gradient", value), self.gradient(value).size)

    def which(self, pool: Pool) -> str:
        """C++: where the places of a block's maxima are kept."""
        return f"(int*)({self.memory.block('kept', ('which', pool), math.prod(pool.result.shape) * self.machine.lanes)})"

    def state(self, key: object, floats: int) -> str:
        """C++: numbers of a batch."""
        return self.memory.once("kept", ("state", key), floats)

    def sums(self, key: object, floats: int) -> str:
        """C++: sums over a batch in backward, zero at its start."""
        at = self.memory.once("scratch", ("sums", key), floats)
        self.zeroed.append(f"clear({at}, {floats});")
        return at

    @property
    def valid(self) -> str:
        """C++: ones for lanes that hold an image, zeros for others."""
        whole = self.images % self.machine.lanes == 0
        return "all(1.f)" if whole else f"(block == {self.blocks - 1} ? last_valid() : all(1.f))"

    # -- pointers and functions --------------------------------------------------------------------------------------

    def weight(self, name: str | None) -> str:
        """C++: a parameter, or null."""
        return "(const float*)0" if name is None else f"weights[{self._number(self.parameters, name)}]"

    def slope(self, name: str | None) -> str:
        """C++: the gradient of a parameter, or null."""
        return "(float*)0" if name is None else f"slopes[{self._number(self.parameters, name)}]"

    def own(self, name: str | None) -> str:
        """C++: a buffer of the module, or null."""
        return "(float*)0" if name is None else f"buffers[{self._number(self.buffers, name)}]"

    @staticmethod
    def _number(names: list[str], name: str) -> int:
        if name not in names:
            names.append(name)
        return names.index(name)

    def call(self, text: str, *given: str) -> str:
        """C++: a call of a function of this text."""
        name = self.functions.setdefault(text, f"kernel_{len(self.functions) + 1}")
        return f"{name}({', '.join(given)});"

    def adds(self, value: Value) -> bool:
        """Whether a gradient is there already, to be added to; from now on it is."""
        there = value in self.started
        self.started.add(value)
        return there

    def wants(self, value: Value) -> bool:
        """Whether the gradient of a value is wanted."""
        return value is not self.network.source or self.of_images
