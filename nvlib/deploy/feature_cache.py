"""What of a network is frozen is computed once: the network cut in two, before the first layer that is trained.

`torch.export` gives the network's operations as a graph. Those that depend on a trained tensor are the tail; what of
the others the tail reads is the border. The head is run once for each chip and image, and training runs the tail on
what it left. Where the images themselves are the border, nothing is kept and all chips share them. A network that
cannot be exported, or that has several borders, is run whole: same results, more slowly.

In the tail, normalisation in evaluation mode is written as the affine map it is, x a + b, whose derivative costs one
product (that of the library's normalisation took a third of a training step of LeNet-3).
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from nvlib import modules, population
from nvlib.native import lower

CACHE_BYTES = 1 << 30  # of a block's kept border, on a CPU
_CUDA_SHARE = 0.25


@dataclass(frozen=True)
class Cut:
    """A network as a frozen head (None: there is none) and a tail that takes what the head gives."""

    head: nn.Module | None
    tail: nn.Module
    numbers: int  # of the border, an image; 0 where the images are

    @torch.no_grad()
    def border(self, chips: Mapping[str, Tensor], x: Tensor, images: int = 250) -> Tensor:
        """Return what the head leaves for each chip, (chips, n, ...); the images (n, ...) where there is no head."""
        if self.head is None:
            return x
        own = known(self.head, chips)
        parts = x.split(images)
        if not own:  # nothing of a chip's own comes before: one border for all
            return torch.cat([self.head(part) for part in parts])
        return torch.cat([population.forward(self.head, own, part) for part in parts], 1)

    def shared(self, chips: Mapping[str, Tensor]) -> bool:
        """Whether all chips have one border."""
        return self.head is None or not known(self.head, chips)


def room(cut: Cut, images: int, x: Tensor) -> int:
    """Return how many chips' borders of so many images fit."""
    if cut.head is None:
        return 1 << 30
    held = CACHE_BYTES if not x.is_cuda else int(torch.cuda.mem_get_info(x.device)[0] * _CUDA_SHARE)
    return held // (images * cut.numbers * x.element_size())


def known(module: nn.Module, chips: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return those stacked tensors that a module has."""
    names = {name for name, _ in (*module.named_parameters(), *module.named_buffers())}
    return {name: tensor for name, tensor in chips.items() if name in names}


def cut(module: nn.Module, x: Tensor, trained: Collection[str]) -> Cut:
    """Cut a module, in evaluation mode, before the first use of the ``trained`` parameters; x: some images."""
    whole = Cut(None, module, 0)
    try:
        program = _export(module, x)
    except Exception:  # whatever the exporter refuses: control flow on values, foreign code
        return whole
    signature = program.graph_signature
    if signature.buffers_to_mutate or signature.user_inputs_to_mutate or len(signature.user_inputs) != 1:
        return whole
    first = modules.aliases(module)  # of a tied tensor, the name that chips know
    names = {node: first.get(name, name)
             for node, name in (signature.inputs_to_parameters | signature.inputs_to_buffers).items()}  # fmt: skip
    state = {**dict(module.named_parameters(remove_duplicate=False)), **dict(module.named_buffers())}
    constants = {
        node: program.constants[target].detach()
        for node, target in signature.inputs_to_lifted_tensor_constants.items()
    }
    graph = program.graph
    if any(n.op not in ("placeholder", "call_function", "output") for n in graph.nodes):
        return whole  # graphs within the graph: of torch.no_grad, of control flow
    placeholders = {n: names.get(n.name) for n in graph.nodes if n.op == "placeholder"}
    (source,) = (n for n in placeholders if n.name in signature.user_inputs)
    after: set[fx.Node] = {n for n, name in placeholders.items() if name in trained}
    images: set[fx.Node] = {source}
    for node in graph.nodes:
        if node.op != "placeholder":
            if after.intersection(node.all_input_nodes):
                after.add(node)
            if images.intersection(node.all_input_nodes):
                images.add(node)
    (out,) = (n for n in graph.nodes if n.op == "output")
    if out not in after or len(out.args[0]) != 1:
        return whole

    borders = [n for n in images - after if isinstance(n.meta.get("val"), Tensor) and _feeds(n, after)]
    if len(borders) != 1 or borders[0].meta["val"].shape[:1] != source.meta["val"].shape[:1]:
        return whole
    border = borders[0]
    values: dict[fx.Node, tuple[str | None, Tensor]] = {
        n: (name, state[name]) if name else (None, constants[n.name])
        for n, name in placeholders.items() if name or n.name in constants
    }  # fmt: skip
    tail = _part(graph, values, border, out.args[0][0])
    if border is source:
        return Cut(None, tail, 0)
    return Cut(_part(graph, values, source, border), tail, border.meta["val"][:1].numel())


def _feeds(node: fx.Node, after: set[fx.Node]) -> bool:
    """Whether the tail reads a node, itself or by way of a size other than the number of images."""
    return any(u in after or (_size(u) and not _batch(u) and _feeds(u, after)) for u in node.users)


def _size(node: fx.Node) -> bool:
    return node.op == "call_function" and not isinstance(node.meta.get("val"), Tensor)


def _batch(node: fx.Node) -> bool:
    """Whether a node is the number of images, which every border knows."""
    return node.target is torch.ops.aten.sym_size.int and bool(node.args[1] == 0)


def _export(module: nn.Module, x: Tensor) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=2)
    with torch.enable_grad(), lower.quiet():  # with derivatives: quantisers pass them straight through
        return torch.export.export(module, (x[:3].clone(),), dynamic_shapes=({0: batch},), strict=False)


class Part(nn.Module):
    """A piece of a network: its operations, with the tensors that it needs under their own names."""

    def __init__(self, run: fx.GraphModule, tensors: list[tuple[str | None, Tensor]]) -> None:
        super().__init__()
        self.order: list[str] = []
        for i, (name, tensor) in enumerate(tensors):
            name = name or f"constant_{i}"
            owner: nn.Module = self
            *path, leaf = name.split(".")
            for step in path:
                if step not in owner._modules:
                    owner.add_module(step, nn.Module())
                owner = owner.get_submodule(step)
            owner.register_buffer(leaf, tensor.detach())
            self.order.append(name)
        self.run = [run]  # not a child: its graph holds no tensors

    def forward(self, x: Tensor) -> Tensor:
        """Run the piece on its border."""
        return self.run[0](*(operator.attrgetter(name)(self) for name in self.order), x)


def _part(
    graph: fx.Graph, values: Mapping[fx.Node, tuple[str | None, Tensor]], source: fx.Node, result: fx.Node
) -> Part:
    """Return the operations between two nodes as a module; tensors it reads become its inputs, in order."""
    needed: set[fx.Node] = set()
    waiting = [result]
    while waiting:
        node = waiting.pop()
        if node not in needed and node is not source:
            needed.add(node)
            waiting += [] if _batch(node) else node.all_input_nodes
    new, copied, tensors = fx.Graph(), {}, []
    for node in graph.nodes:
        if node in needed and node.op == "placeholder":
            copied[node] = new.placeholder(node.name)
            tensors.append(values[node])
    copied[source] = new.placeholder("x")
    for node in graph.nodes:
        if node in needed and node.op == "call_function":
            target = node.target
            if getattr(target, "__name__", "") == "_assert_tensor_metadata.default" or not (
                node.users or node is result
            ):
                continue
            given = ((source, 0), {}) if _batch(node) else (node.args, node.kwargs)
            arguments = fx.map_arg(given, copied.__getitem__)
            if target is torch.ops.aten.batch_norm.default and not node.args[5]:
                target = affine_norm
            copied[node] = new.call_function(target, *arguments)
    new.output(copied[result])
    return Part(fx.GraphModule(nn.Module(), new), tensors)


def affine_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor, training: bool,
    momentum: float, eps: float, cudnn: bool,
) -> Tensor:  # fmt: skip
    """Return batch normalisation in evaluation mode, as x a + b."""
    a = torch.rsqrt(variance + eps)
    a = a if weight is None else a * weight
    b = -mean * a if bias is None else bias - mean * a
    shape = (1, -1, *[1] * (x.ndim - 2))
    return torch.addcmul(b.view(shape), x, a.view(shape))
