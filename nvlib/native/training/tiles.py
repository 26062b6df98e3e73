"""Sums of products in registers: the C++ that all of a layer's three passes are made of.

    sum[r][c] += row_r * column_c        over one or several loops

A row is one number spread over the lanes (a weight) or a vector (a gradient); a column is a vector of images, or, for
the gradient of a linear layer's weights, of features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from nvlib.native.fuse import near_equal, runs


def tile(
    rows: Sequence[str],
    columns: Sequence[str],
    loops: Sequence[str],
    start: Callable[[int, int], str],
    finish: Callable[[int, int, str], Iterable[str]],
) -> str:
    """Return the text of one tile.

    Args:
        rows: C++ of each row's vector, inside the innermost loop.
        columns: likewise of each column's.
        loops: what opens the loops, outermost first, each with its brace.
        start: (row, column) -> what the sum starts with.
        finish: (row, column, sum) -> lines that use it.
    """
    names = [[f"sum_{r}_{c}" for c in range(len(columns))] for r in range(len(rows))]
    lines = [f"vec {name} = {start(r, c)};" for r, row in enumerate(names) for c, name in enumerate(row)]
    lines += loops
    lines += [f"const vec column_{c} = {text};" for c, text in enumerate(columns)]
    for r, text in enumerate(rows):
        sums = " ".join(f"{name} += row * column_{c};" for c, name in enumerate(names[r]))
        lines.append(f"{{ const vec row = {text}; {sums} }}")
    lines.append("}" * len([loop for loop in loops if loop.rstrip().endswith("{")]))
    lines += [line for r, row in enumerate(names) for c, name in enumerate(row) for line in finish(r, c, name)]
    return "\n      ".join(lines)


def spans(name: str, total: int, most: int, body: Callable[[int], str]) -> str:
    """Return loops of ``name`` over ``total`` in near-equal steps of at most ``most``; body: step -> text."""
    text, first = [], 0
    for size, many in runs(near_equal(total, max(1, most))):
        last = first + size * many
        text.append(f"for (int {name} = {first}; {name} < {last}; {name} += {size}) {{\n{body(size)}\n}}")
        first = last
    return "\n".join(text)
