"""A call as a value: made when it is wanted, and written as the Python that makes it, both from one statement.

    read = call("papers.rows", "nft-fig3", ("gaussian", "ovf"), Given("results"))
    draw = call("figures.mean_curves", Given("table"), of="ekl")
    draw.make(table=read.make(results=papers.Evidence()))      the figure
    program(("table", read), draw)                             the lines that draw it, with their imports

Functions are named by their path below `nvlib` (``np.`` for numpy), and imported when the call is made.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_OUTSIDE = {"np": ("numpy", "import numpy as np")}


@dataclass(frozen=True)
class Given:
    """A value that is known by a name: written as that, handed over when the call is made."""

    name: str


@dataclass(frozen=True)
class Call:
    """A call of a function of nvlib; see `call`."""

    function: str
    args: tuple[Any, ...]
    options: tuple[tuple[str, Any], ...]

    def make(self, **given: Any) -> Any:
        """Make the call, and those that are among its arguments, with the values of what is `Given`."""
        options = {key: _value(part, given) for key, part in self.options}
        return _resolved(self.function)(*(_value(part, given) for part in self.args), **options)

    def __str__(self) -> str:
        """Return the call as Python."""
        parts = [*map(_written, self.args), *(f"{key}={_written(part)}" for key, part in self.options)]
        return f"{self.function}({', '.join(parts)})"

    def needs(self) -> set[str]:
        """Return the names of what is `Given`."""
        found = {part.name for part in self._parts() if isinstance(part, Given)}
        return found.union(*(part.needs() for part in self._parts() if isinstance(part, Call)))

    def roots(self) -> set[str]:
        """Return what must be imported: the first part of each function's path."""
        inner = (part.roots() for part in self._parts() if isinstance(part, Call))
        return {self.function.partition(".")[0]}.union(*inner)

    def _parts(self) -> Iterator[Any]:
        yield from self.args
        yield from (part for _, part in self.options)


def call(function: str, *args: Any, **options: Any) -> Call:
    """Return a call as a value.

    Args:
        function: its path below `nvlib`, e.g. ``figures.mean_curves``; ``results`` is `nvlib.results`.
        *args: plain values, `Given`, or calls.
        **options: likewise, by keyword.
    """
    return Call(function, args, tuple(options.items()))


def program(*lines: Call | tuple[str, Call] | str, imports: str = "") -> str:
    """Return lines of Python with the imports that their calls need.

    Args:
        *lines: calls, (name, call) for what is given a name, or text as it stands.
        imports: what the text needs beside, ``from nvlib import`` names separated by commas.
    """
    calls = [line[1] if isinstance(line, tuple) else line for line in lines if not isinstance(line, str)]
    roots = set().union(*(one.roots() for one in calls), filter(None, imports.replace(" ", "").split(",")))
    outside = [text for root, (_, text) in _OUTSIDE.items() if root in roots]
    inside = sorted(roots - set(_OUTSIDE))
    head = [*outside, *([f"from nvlib import {', '.join(inside)}"] if inside else [])]
    body = [line if isinstance(line, str) else f"{line[0]} = {line[1]}" if isinstance(line, tuple) else str(line)
            for line in lines]  # fmt: skip
    return "\n".join([*head, "", *body])


def _value(part: Any, given: dict[str, Any]) -> Any:
    if isinstance(part, Given):
        return given[part.name]
    return part.make(**given) if isinstance(part, Call) else part


def _written(part: Any) -> str:
    return part.name if isinstance(part, Given) else str(part) if isinstance(part, Call) else repr(part)


def _resolved(function: str) -> Any:
    root, *rest = function.split(".")
    if root in _OUTSIDE:
        found: Any = importlib.import_module(_OUTSIDE[root][0])
    elif rest:
        found = importlib.import_module(f"nvlib.{root}")
        if len(rest) > 1:
            found = importlib.import_module(f"nvlib.{root}.{rest.pop(0)}")
    else:
        found, rest = importlib.import_module("nvlib"), [root]
    for part in rest:
        found = getattr(found, part)
    return found
