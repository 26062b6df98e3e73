"""From a module in training mode to typed operations, by `torch.export`.

As `nvlib.native.lower`, with what differs in training: BatchNorm takes the batch's statistics, activation quantisers
move their ranges (an operator of its own stands for one, `nvlib::running_quantise`), and several results may be
stacked, as methods that watch inner layers do. Only what has a derivative here is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from nvlib.native.graph import Convolution, Pointwise, Step, Unsupported, Value
from nvlib.native.lower import exported, leaf
from nvlib.native.nodes import arguments_of, layer_of, name_of, operator_of, shape_of
from nvlib.native.operators import Operators, Storage, View
from nvlib.native.training.derivatives import DERIVATIVES
from nvlib.native.training.graph import BatchNorm, Quantiser, Training


def lower(module: nn.Module, images: Tensor) -> Training:
    """Return what ``module`` computes in training mode for ``images`` (batch, ...); Unsupported if not known here."""
    return _network(exported(module, images))


def _network(program: torch.export.ExportedProgram) -> Training:
    known, inputs = TrainingOperators(), program.graph_signature.user_inputs
    stacked = False
    source: Value | None = None
    results: Sequence[Any] = ()
    stacks: dict[fx.Node, list[fx.Node]] = {}
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
            if name_of(node) == "stack" and not arguments_of(node)["dim"]:
                stacks[node] = list(arguments_of(node)["tensors"])
            else:
                known.take(node, source)
        elif node.op == "call_function":
            known.count(node)
        elif node.op == "output":
            (results,) = node.args
        elif node.users:
            raise Unsupported(f"a node of kind {node.op}")
    if len(results) == 1 and results[0] in stacks:
        results, stacked = stacks[results[0]], True
    if source is None or not results or (len(results) > 1 and not stacked) or any(node not in known.views for node in results):
        raise Unsupported("it does not return one tensor that depends on its input")
    if any(len(shape_of(node)) != 1 for node in results):
        raise Unsupported("its result is not one vector of logits an image")
    values = tuple(known.views[node].value for node in results)
    if source in values or len(set(values)) < len(values):
        raise Unsupported("it returns its input, or one result twice")
    names = {number: step.name for number, step in enumerate(known.recipe.steps) if step.name is not None}
    _checked(known, names)
    return Training(source, values, stacked, tuple(known.operations), names, tuple(known.counters))


def _checked(known: TrainingOperators, names: dict[int, str]) -> None:
    """Refuse weights that are computed or shared, and element-wise work without a derivative here."""
    used: set[str] = set()
    for operation in known.operations:
        if isinstance(operation, Convolution):
            constants = [operation.weight, *([operation.bias] if operation.bias else [])]
            if any(constant.step not in names for constant in constants):
                raise Unsupported(f"{operation.name}: a weight that is computed in the forward pass")
            own = {names[constant.step] for constant in constants}
        elif isinstance(operation, BatchNorm):
            own = {name for name in (operation.weight, operation.bias, operation.mean) if name is not None}
        else:
            own = {operation.range} if isinstance(operation, Quantiser) else set()
        if used & own:
            raise Unsupported(f"{min(used & own)} serves two layers")
        used |= own
        if isinstance(operation, Pointwise):
            if operation.function not in DERIVATIVES:
                raise Unsupported(f"{operation.function} has no derivative in generated code")
            if any(not isinstance(o, float | Value) for o in operation.operands):
                raise Unsupported(f"{operation.function} with a tensor of the module")
            if any(value.shape != operation.result.shape for value in operation.values):
                raise Unsupported(f"{operation.function} of different shapes")


class TrainingOperators(Operators[BatchNorm | Quantiser]):
    """Operators in training mode; counters beside."""

    def __init__(self) -> None:
        super().__init__()
        self.counters: list[tuple[str, float]] = []

    def count(self, node: fx.Node) -> None:
        """Take a call that no image takes part in: only that a buffer grows by a number is known."""
        name, arguments = name_of(node), arguments_of(node)
        own = arguments.get("self")
        buffer = self.recipe.steps[self.steps[own]].name if own in self.steps else None
        if name == "add_" and buffer is not None and isinstance(arguments["other"], int) and not node.users:
            self.counters.append((buffer, arguments["other"] * arguments["alpha"]))
        elif node.users or operator_of(node)._schema.is_mutable:
            raise Unsupported(f"{name} of the module's own tensors")

    def _handler(self, name: str) -> Any:
        if name == "running_quantise":
            return self._quantise
        if name in ("dropout", "feature_dropout", "alpha_dropout", "bernoulli"):
            return self._dropout
        if name in ("detach", "lift_fresh_copy", "to", "_to_copy"):
            raise Unsupported(f"operation {name} in training")
        return super()._handler(name)

    def _dropout(self, node: fx.Node, arguments: dict[str, Any]) -> View:
        if arguments.get("train") and arguments.get("p", 1):
            raise Unsupported("dropout")
        return self._same(node, arguments | {"train": False})

    def _quantise(self, node: fx.Node, arguments: dict[str, Any]) -> View:
        view = self.views[arguments["x"]]
        held = self.recipe.steps[self.steps[arguments["range"]]].name
        if held is None:
            raise Unsupported("a quantiser whose range is no buffer")
        result = Value.of(view.value.shape)
        quantiser = Quantiser(layer_of(node), view.value, result, held, arguments["bits"], arguments["momentum"])
        return self._emit(quantiser, flat=view.flat)

    def _batch_norm(self, node: fx.Node, arguments: dict[str, Any]) -> View:
        if not arguments["training"]:
            raise Unsupported("batch normalisation with frozen statistics")
        names: list[str | None] = []
        for key in ("weight", "bias", "running_mean", "running_var"):
            given = arguments[key]
            step = None if given is None else self.recipe.steps[self.steps[given]] if given in self.steps else Step()
            if step is not None and step.name is None:
                raise Unsupported(f"batch normalisation with a computed {key}")
            names.append(None if step is None else step.name)
        view = self.views[arguments["input"]]
        if view.flat and (view.value.rows, view.value.columns) != (1, 1):
            raise Unsupported("batch normalisation of flattened channels")
        result = Value.of(view.value.shape)
        weight, bias, mean, variance = names
        norm = BatchNorm(layer_of(node), view.value, result, weight, bias, mean, variance, arguments["momentum"],
                         arguments["eps"])  # fmt: skip
        return self._emit(norm, flat=view.flat)
