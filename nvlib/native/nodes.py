"""What is read off a node of an exported graph: its operator, arguments by name, shape for one image, layer."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import fx

from nvlib.native.graph import Unsupported

BATCH = 2  # images that a module is traced on


def operator_of(node: fx.Node) -> torch._ops.OpOverload:
    """Return a node's operator; Unsupported if it is of another kind."""
    if not isinstance(node.target, torch._ops.OpOverload):
        raise Unsupported(f"operation {getattr(node.target, '__name__', node.target)}")
    return node.target


def source_of(node: fx.Node) -> fx.Node:
    """Return the node that a call's first argument is."""
    first = node.args[0]
    if not isinstance(first, fx.Node):
        raise Unsupported(f"operation {name_of(node)} of {first!r}")
    return first


def name_of(node: fx.Node) -> str:
    """Return the name of a node's operator; Unsupported if it is of another kind."""
    return operator_of(node)._schema.name.split("::")[1]


def arguments_of(node: fx.Node) -> dict[str, Any]:
    """Return every argument of a call by its name, defaults filled in."""
    known = operator_of(node)._schema.arguments
    given = {argument.name: value for argument, value in zip(known, node.args, strict=False)}
    return {argument.name: argument.default_value for argument in known} | given | dict(node.kwargs)


def layer_of(node: fx.Node) -> str:
    """Return the module that a node came from, for a comment: letters, digits, dots and dashes only."""
    stack = node.meta.get("nn_module_stack") or {}
    path = list(stack.values())[-1][0] if stack else node.name
    return re.sub(r"[^\w.-]", "", path.split(".", 1)[-1] if path.startswith("L__self__") else path) or node.name


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """Return the shape of a node's tensor for one image: three axes, or one."""
    shape = tuple(node.meta["val"].shape)
    if len(shape) not in (2, 4) or shape[0] != BATCH:
        raise Unsupported(f"{node.name} of shape {shape}; expected features, or channels, rows and columns")
    return shape[1:]
