"""C++ for a network: one function a kernel, and `run_chip`, which calls them for one chip on a range of blocks.

Consecutive kernels that work block by block run together, so that a block's activations stay in the cache; layers of
single results (linear ones) take several blocks at once, so that their weights are read less often. Kernels of one
shape share a function.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from nvlib.native.convolution import tiled
from nvlib.native.fuse import Border, Kernel, borders, fuse
from nvlib.native.graph import Network, Unsupported, Value
from nvlib.native.kernels import Function, Writer
from nvlib.native.layout import BLOCKS, Buffer, Machine, Packing, Slot
from nvlib.native.pointwise import PRELUDE


@dataclass(frozen=True)
class Source:
    """Generated code, and what its caller needs to know: sizes in floats."""

    text: str
    images: Buffer
    logits: Buffer
    shape: tuple[int, ...]
    slots: tuple[Slot, ...]
    chip: int
    scratch: int


def generate(network: Network, machine: Machine) -> Source:
    """Return the C++ that computes a network on a machine."""
    kernels, wide = fuse(network), borders(network.operations)
    if wide.get(network.result, Border()) != Border():
        raise Unsupported("its result is also read inside")
    stored = [network.source, *(value for kernel in kernels for value in kernel.stored)]
    buffers = {value: Buffer(value, wide.get(value, Border()), machine.lanes) for value in stored}
    packing = Packing()
    names: dict[str, str] = {}
    functions = [Writer(kernel, machine, buffers, packing).function(names, tiled) for kernel in kernels]
    texts = [text.replace("KERNEL", name) for text, name in names.items()]
    body, scratch = _calls(network, kernels, functions, buffers)
    text = "\n".join([f"#define LANES {machine.lanes}", PRELUDE, *texts, body])
    return Source(
        text, buffers[network.source], buffers[network.result], network.shape, tuple(packing.slots.values()),
        packing.size, scratch,
    )  # fmt: skip


def _calls(
    network: Network, kernels: list[Kernel], functions: list[Function], buffers: dict[Value, Buffer]
) -> tuple[str, int]:
    """Return `run_chip` and the floats of memory it needs for what lies between images and logits."""
    pairs = zip(kernels, functions, strict=True)
    stages = [list(stage) for _, stage in groupby(pairs, lambda pair: pair[0].whole_blocks)]
    seen: dict[Value, set[int]] = {}
    for number, stage in enumerate(stages):
        for _, function in stage:
            for value in function.values:
                seen.setdefault(value, set()).add(number)
    wide = {number for number, stage in enumerate(stages) if stage[0][0].whole_blocks}
    places, scratch = {}, 0
    for value, where in seen.items():
        if value not in (network.source, network.result):
            copies = BLOCKS if len(where) > 1 or where & wide else 1
            places[value] = (scratch, copies)
            scratch += buffers[value].size * copies

    def pointer(value: Value, block: str) -> str:
        size = buffers[value].size
        if value in places:
            offset, copies = places[value]
            return f"scratch + {offset}" + (f" + {block} * {size}" if block and copies > 1 else "")
        start = "images" if value is network.source else "logits"
        return f"{start} + (group * {BLOCKS}{f' + {block}' if block else ''}) * {size}"

    lines = []
    for number, stage in enumerate(stages):
        block = "" if number in wide else "block"
        lines.append("{" if number in wide else f"for (int block = 0; block < {BLOCKS}; block++) {{")
        for kernel, function in stage:
            given = [pointer(value, block) for value in function.values]
            given += [f"chip + {offset}" for offset in function.constants]
            lines += [f"  // {kernel.title}", f"  {function.name}({', '.join(given)});"]
        lines.append("}")
    inner = "\n    ".join(lines)
    return f"""
// One chip on groups first..last-1 of {BLOCKS} blocks of images.
extern "C" void run_chip(
    const float* images, const float* chip, float* logits, float* scratch, ptrdiff_t first, ptrdiff_t last) {{
  for (ptrdiff_t group = first; group < last; group++) {{
    {inner}
  }}
}}
""", scratch
