"""From operations to kernels: a convolution or a pooling with what is done to each of its results, in one pass.

An element-wise operation joins the latest kernel among those that make its operands, so that its operands are in
registers or were stored before; a max-pooling of non-overlapping windows joins the convolution before it, which then
computes whole windows. Only what another kernel reads is stored, with a border of zeros as wide as the widest padding
of the convolutions that read it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from nvlib.native.graph import Convolution, Network, Operation, Pair, Pointwise, Pool, Unsupported, Value

_WINDOW = 4  # results of a convolution that one fused pooling takes, at most: they are in registers together


@dataclass(eq=False)
class Kernel:
    """One pass: the root, element-wise work before and after a fused pooling, and what is stored."""

    root: Convolution | Pool | None
    shape: tuple[int, int, int]
    pool: Pool | None = None
    before: list[Pointwise] = field(default_factory=list)
    after: list[Pointwise] = field(default_factory=list)
    stored: list[Value] = field(default_factory=list)

    @property
    def operations(self) -> list[Operation]:
        """All operations of the kernel, in order."""
        return [o for o in (self.root, *self.before, self.pool, *self.after) if o is not None]

    @property
    def made(self) -> list[Value]:
        """Values as they are at the end: those that later operations can take from registers."""
        first = [] if self.root is None else [self.root.result]
        early = [self.pool.result] if self.pool else first + [o.result for o in self.before]
        return early + [o.result for o in self.after]

    @property
    def read(self) -> list[Value]:
        """Values that come from memory beside the root's source, each once."""
        own = {o.result for o in self.operations}
        return list(dict.fromkeys(v for o in self.before + self.after for v in o.values if v not in own))

    @property
    def whole_blocks(self) -> bool:
        """Whether several blocks of images go through together: one result a channel, so weights are what is read."""
        return isinstance(self.root, Convolution) and self.root.result.shape[1:] == (1, 1) and self.pool is None

    @property
    def title(self) -> str:
        """What it does, for a comment."""
        words = []
        for operation in self.operations:
            if isinstance(operation, Convolution):
                kernel = "x".join(map(str, operation.kernel))
                words.append(f"{operation.name}: {kernel} convolution, {operation.source} -> {operation.result}")
            elif isinstance(operation, Pool):
                words.append(f"{operation.kind}-pooling to {operation.result}")
            else:
                words.append(operation.function)
        return ", ".join(words)


@dataclass(frozen=True)
class Border:
    """Zeros around a stored value: rows above and below, columns left and right."""

    rows: int = 0
    columns: int = 0


def fuse(network: Network) -> list[Kernel]:
    """Return kernels in the order to run them."""
    users = _users(network)
    kernels: list[Kernel] = []
    home: dict[Value, Kernel] = {}
    for operation in network.operations:
        kernel = _joined(operation, kernels, home, users, network.result)
        if kernel is None:
            kernel = Kernel(None if isinstance(operation, Pointwise) else operation, operation.result.shape)
            kernels.append(kernel)
            if isinstance(operation, Pointwise):
                kernel.before.append(operation)
        home[operation.result] = kernel
    for kernel in kernels:
        inside = set(kernel.operations)
        for operation in kernel.operations:
            if operation.result is network.result or any(user not in inside for user in users[operation.result]):
                kernel.stored.append(operation.result)
        if any(value.mask for value in kernel.stored):
            raise Unsupported("a comparison that is used far from where it is made")
    return [kernel for kernel in kernels if kernel.stored]


def _users(network: Network) -> dict[Value, list[Operation]]:
    users: dict[Value, list[Operation]] = {network.source: []}
    for operation in network.operations:
        users[operation.result] = []
        for value in operation.values if isinstance(operation, Pointwise) else [operation.source]:
            users[value].append(operation)
    return users


def _joined(
    operation: Operation, kernels: list[Kernel], home: dict[Value, Kernel], users: dict[Value, list[Operation]],
    result: Value,
) -> Kernel | None:  # fmt: skip
    """Add an operation to a kernel that can take it and return that one, or None."""
    if isinstance(operation, Pool):
        kernel = home.get(operation.source)
        if kernel is None or not _takes_pool(kernel, operation, users, result):
            return None
        kernel.pool, kernel.shape = operation, operation.result.shape
        return kernel
    if isinstance(operation, Convolution):
        return None
    candidates = [home[value] for value in operation.values if value in home]
    if not candidates:
        return None
    kernel = max(candidates, key=kernels.index)
    near = [value for value in operation.values if home.get(value) is kernel]
    if operation.result.shape != kernel.shape or any(v not in kernel.made or v.shape != kernel.shape for v in near):
        return None
    (kernel.after if kernel.pool else kernel.before).append(operation)
    return kernel


def _takes_pool(kernel: Kernel, pool: Pool, users: dict[Value, list[Operation]], result: Value) -> bool:
    if not isinstance(kernel.root, Convolution) or kernel.pool or pool.kind != "max":
        return False
    if any(pool.padding) or pool.kernel != pool.stride or math.prod(pool.kernel) > _WINDOW:
        return False
    windows = zip(pool.result.shape[1:], pool.kernel, pool.source.shape[1:], strict=True)
    if any(many * size > whole for many, size, whole in windows):  # the last window is not whole
        return False
    inside = {*kernel.operations, pool}
    return all(v is not result and all(user in inside for user in users[v]) for v in kernel.made)


def borders(operations: Iterable[object]) -> dict[Value, Border]:
    """Return how wide a border of zeros each value needs."""
    found: dict[Value, Border] = {}
    for operation in operations:
        if isinstance(operation, Convolution):
            rows, columns = (_reach(operation, axis) for axis in (0, 1))
            known = found.get(operation.source, Border())
            found[operation.source] = Border(max(known.rows, rows), max(known.columns, columns))
    return found


def _reach(convolution: Convolution, axis: int) -> int:
    """How far a convolution reads beyond its source along rows (0) or columns (1), on the wider side."""
    before = convolution.padding[axis]
    last = (convolution.result.shape[1 + axis] - 1) * convolution.stride[axis]
    last += convolution.dilation[axis] * (convolution.kernel[axis] - 1) - before
    return max(0, before, last - (convolution.source.shape[1 + axis] - 1))


def near_equal(total: int, most: int) -> list[int]:
    """Split ``total`` into the fewest near-equal parts of at most ``most``, larger ones first."""
    parts = -(-total // most)
    return [total // parts + (i < total % parts) for i in range(parts)]


def runs(parts: Iterable[int]) -> list[Pair]:
    """Return (size, how many) of equal neighbours."""
    found: list[Pair] = []
    for part in parts:
        if found and found[-1][0] == part:
            found[-1] = (part, found[-1][1] + 1)
        else:
            found.append((part, 1))
    return found
