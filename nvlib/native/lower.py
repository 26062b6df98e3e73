"""From a module to a list of typed operations, by `torch.export`: what runs on images, and what only on weights.

The module is traced in evaluation mode on two images. Nodes that depend on the images become operations; all others
(quantised weights, a quantiser's step) become steps of the recipe that turns a chip's weights into constants. Only
operations that are known (`operators`), and that treat each image by itself, are taken; anything else raises
`Unsupported` with the reason.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any, Never

import torch
from torch import Tensor, fx, nn

from nvlib import functional
from nvlib.native.graph import Network, Ref, Step, Unsupported, Value
from nvlib.native.nodes import BATCH, name_of, operator_of, shape_of
from nvlib.native.operators import Operators, Storage, View


def lower(module: nn.Module, images: Tensor) -> Network:
    """Return what ``module`` computes for one of ``images`` (batch, ...); Unsupported where that is not known here."""
    with torch.inference_mode():
        program = exported(module, images)
    signature = program.graph_signature
    if signature.buffers_to_mutate or signature.user_inputs_to_mutate:
        raise Unsupported("it writes to its buffers or its input in evaluation mode")
    return _network(program)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what the exporter remarks to itself: what it refuses, a warning of nvlib's says in a line."""
    log = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):  # whole graphs are printed there
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def exported(module: nn.Module, images: Tensor) -> torch.export.ExportedProgram:
    """Return the graph of a module in its mode for one of ``images`` (batch, ...); Unsupported with the reason."""
    if images.ndim not in (2, 4):
        raise Unsupported(f"inputs with {images.ndim} axes; expected channels, rows and columns, or features")
    example = images[:1].detach().expand(BATCH, *images.shape[1:]).contiguous()
    try:
        with quiet(), functional.unchanged(module):
            return torch.export.export(module, (example,), strict=False)
    except Exception as error:  # whatever the exporter refuses: control flow on values, foreign code
        line = (str(error).strip().splitlines() or [""])[0][:200]
        raise Unsupported(f"torch.export: {type(error).__name__}: {line}") from error


def _network(program: torch.export.ExportedProgram) -> Network:
    """One pass over an exported graph."""
    known, inputs = Operators[Never](), program.graph_signature.user_inputs
    source: Value | None = None
    result: tuple[Any, ...] = ()
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in inputs:
            if source is not None:
                raise Unsupported("more than one input")
            shape = shape_of(node)
            source = Value.of(shape)
            known.views[node] = View(Storage(source), flat=len(shape) == 1)
        elif node.op == "placeholder":
            known.steps[node] = known.recipe.add(leaf(node, program))
        elif node.op == "call_function" and name_of(node) == "_assert_tensor_metadata":
            continue
        elif node.op == "call_function" and any(argument in known.views for argument in node.all_input_nodes):
            known.take(node, source)
        elif node.op == "call_function":
            known.steps[node] = known.recipe.add(_constant(node, known))
        elif node.op == "output":
            (result,) = node.args
        elif node.users:
            raise Unsupported(f"a node of kind {node.op}")
    if source is None or len(result) != 1 or result[0] not in known.views:
        raise Unsupported("it does not return one tensor that depends on its input")
    value = known.views[result[0]].value
    if value is source or value.mask:
        raise Unsupported("it returns its input, or a comparison")
    return Network(source, value, shape_of(result[0]), tuple(known.operations), known.recipe)


def leaf(node: fx.Node, program: torch.export.ExportedProgram) -> Step:
    """A tensor of the module, or one that its code makes of numbers."""
    signature = program.graph_signature
    name = signature.inputs_to_parameters.get(node.name) or signature.inputs_to_buffers.get(node.name)
    if name is not None:
        return Step(name=name)
    lifted = signature.inputs_to_lifted_tensor_constants.get(node.name)
    if lifted is None:
        raise Unsupported(f"input {node.name} of an unknown kind")
    return Step(fixed=program.constants[lifted].detach().clone())


def _constant(node: fx.Node, known: Operators[Never]) -> Step:
    """A call that no image takes part in."""
    call = operator_of(node)
    if torch.Tag.nondeterministic_seeded in call.tags:
        raise Unsupported(f"{name_of(node)} draws random numbers")
    if call._schema.is_mutable:
        raise Unsupported(f"{name_of(node)} changes a tensor in place")

    def earlier(n: fx.Node) -> Any:
        return Ref(known.steps[n])

    arguments: Any = fx.map_arg(node.args, earlier)
    options: Any = fx.map_arg(node.kwargs, earlier)
    return Step(call=call, arguments=arguments, options=options)
