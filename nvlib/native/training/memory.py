"""Where a training step's numbers lie, decided once it is known who reads them.

While code is written, memory is asked for by name and stands in it as a mark, ``<kept 3 block>`` for a block's share or
``<kept 3>`` for the whole. A value that one loop over blocks both makes and reads is needed for one block at a time: it
gets the memory of a single block, which stays in the cache. All else gets that of the batch.

``kept`` lasts from forward to backward, a member's own; ``scratch`` is a thread's. Both are zero at first, and borders
are never written, so no two values share memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

AREAS = ("kept", "scratch")
Phase = tuple[str, str]  # (block | once | start | end, C++)
_MARK = re.compile(r"<(kept|scratch) (\d+)( block)?>")


@dataclass
class Memory:
    """Floats of both areas, each stretch on a whole vector."""

    lanes: int
    blocks: int
    asked: dict[str, list[tuple[object, int]]] = field(default_factory=lambda: {area: [] for area in AREAS})
    sizes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(AREAS, 0))
    offsets: dict[tuple[str, int], tuple[int, bool]] = field(default_factory=dict)

    def block(self, area: str, key: object, floats: int) -> str:
        """C++: a block's share of memory that has so many floats a block."""
        return f"<{area} {self._number(area, key, floats)} block>"

    def whole(self, area: str, key: object, floats: int) -> str:
        """C++: memory of so many floats a block, from its first on."""
        return f"<{area} {self._number(area, key, floats)}>"

    def once(self, area: str, key: object, floats: int) -> str:
        """C++: memory of so many floats, whatever the block."""
        return f"<{area} {self._number(area, key, -floats)}>"

    def _number(self, area: str, key: object, floats: int) -> int:
        held = self.asked[area]
        if (key, floats) not in held:
            held.append((key, floats))
        return held.index((key, floats))

    def lay_out(self, passes: Iterable[Sequence[Phase]], around: Iterable[str]) -> None:
        """Give out memory, knowing all phases of each pass and the C++ around them."""
        used: dict[tuple[str, int], set[object]] = {}
        for number, phases in enumerate(passes):
            stretch = 0
            for mode, text in phases:
                stretch += mode == "once"
                for area, which, block in _MARK.findall(text):
                    place = (number, stretch) if block and mode == "block" else None
                    used.setdefault((area, int(which)), set()).add(place)
        for text in around:
            for area, which, _ in _MARK.findall(text):
                used.setdefault((area, int(which)), set()).add(None)
        for (area, which), places in sorted(used.items(), key=lambda item: item[0]):
            floats = self.asked[area][which][1]
            each = floats > 0 and (len(places) > 1 or None in places)
            self.offsets[area, which] = self.sizes[area], each
            self.sizes[area] += -(-abs(floats) // self.lanes) * self.lanes * (self.blocks if each else 1)

    def resolved(self, text: str) -> str:
        """Return C++ with addresses in place of marks."""

        def address(mark: re.Match[str]) -> str:
            area, which = mark[1], int(mark[2])
            offset, each = self.offsets[area, which]
            step = f" + (ptrdiff_t)block * {self.asked[area][which][1]}" if mark[3] and each else ""
            return f"{area} + {offset}{step}"

        return _MARK.sub(address, text)


def stretches(phases: Sequence[Phase], blocks: int) -> str:
    """Return the calls of a pass: neighbours that work block by block in one loop; ``start`` and ``end`` outside."""
    lines = [text for mode, text in phases if mode == "start"]
    stretch: list[str] = []

    def close() -> None:
        if stretch:
            inner = "\n    ".join(stretch)
            lines.append(f"for (int block = 0; block < {blocks}; block++) {{\n    {inner}\n  }}")
            stretch.clear()

    for mode, text in phases:
        if mode == "block":
            stretch.append(text)
        elif mode == "once":
            close()
            lines.append(text)
    close()
    return "\n  ".join(lines + [text for mode, text in phases if mode == "end"])
