"""What a layer multiplies with: its weight as given, or one that it makes of it.

A layer of a class of its own may quantise, standardise or mask its weight in ``forward``. The noise of a chip's weight
then passes through that: it is rounded away, or doubled. Such a layer is run alone on noise, with its weight moved, and
the factors of its products are compared with the weight.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nvlib import functional, modules
from nvlib.modules import LAYERS

_PRODUCTS = {nn.functional.linear, nn.functional.bilinear, nn.functional.conv1d, nn.functional.conv2d,
             nn.functional.conv3d, nn.functional.conv_transpose1d, nn.functional.conv_transpose2d,
             nn.functional.conv_transpose3d, torch.matmul, torch.mm, torch.bmm, torch.addmm, torch.einsum,
             Tensor.matmul, Tensor.__matmul__, Tensor.__rmatmul__, Tensor.mm}  # fmt: skip
_PLAIN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_told: WeakSet[nn.Module] = WeakSet()


class Operands(TorchFunctionMode):
    """Keep what is multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Tensor] = []

    def __torch_function__(
        self, func: Callable[..., object], types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        if func in _PRODUCTS:
            self.found += [a for a in (*args, *(kwargs or {}).values()) if isinstance(a, Tensor)]
        return func(*args, **(kwargs or {}))


def _own(part: nn.Module) -> type[nn.Module] | None:
    """Return the class of a layer whose forward, or what is done before it, is not that of its class."""
    base = next((c for c in _PLAIN if isinstance(part, c)), None)
    if base is None:
        return None
    names = [name for name in ("forward", "_conv_forward") if hasattr(base, name)]
    own = any(getattr(type(part), name) is not getattr(base, name) or name in vars(part) for name in names)
    return base if own or part._forward_pre_hooks else None


def remade(model: nn.Module, weights: Mapping[str, Tensor], first: list[Tensor], other: list[Tensor]) -> list[str]:
    """Return the names of weights of which a network makes others before it multiplies, outside of their layers.

    Args:
        model: any module; layers with a forward of their own are looked at by `changed`.
        weights: what it ran with, by first names.
        first: the factors of its products (`Operands`) on some images.
        other: those on other images: what is the same there is no activation.
    """
    steady = [a for a, b in zip(first, other, strict=False) if a.shape == b.shape and torch.equal(a, b)]
    held = [*weights.values(), *model.parameters(), *model.buffers()]
    strange = [a for a in steady if not _held(a, [w for w in held if w.numel() == a.numel()])]
    sizes = {a.numel() for a in strange}
    return [name for name in suspects(model, weights, first) if weights[name].numel() in sizes]


def suspects(model: nn.Module, weights: Mapping[str, Tensor], found: list[Tensor]) -> list[str]:
    """Return the names of weights that are no factor of a product, though something of their size is.

    Of plain layers, and of matrices that no layer multiplies with (``array_weights`` alone names them).
    """
    known = modules.aliases(model)
    layers = {known[slot] for path, part in model.named_modules() for leaf in part._parameters
              if isinstance(part, LAYERS) and (slot := f"{path}.{leaf}" if path else leaf) in known}  # fmt: skip
    plain = {name for name in weights if name not in layers}
    plain |= {known[f"{path}.weight" if path else "weight"] for path, part in model.named_modules()
             if isinstance(part, _PLAIN) and isinstance(part._parameters.get("weight"), nn.Parameter)
             and not _own(part)}  # fmt: skip
    sized = {name: [a for a in found if a.numel() == w.numel()] for name, w in weights.items() if name in plain}
    return [name for name, like in sized.items() if like and not _held(weights[name], like)]


def changed(model: nn.Module, names: Collection[str]) -> list[str]:
    """Return those of the names of weights whose layer changes them before it multiplies; each layer is told once.

    Looked at are linear and convolutional layers with a forward or hooks of their own, each alone, on noise.
    """
    found, known = [], modules.aliases(model)
    for path, part in model.named_modules():
        name = f"{path}.weight" if path else "weight"
        if not (base := _own(part)):
            continue
        if known.get(name) not in names or part in _told or modules.fake(part):
            continue
        _told.add(part)
        generator = torch.Generator().manual_seed(0)
        w = part.weight.detach()
        shape = (2, part.in_features) if base is nn.Linear else (2, part.in_channels, *(
            d * (k - 1) + 3 for d, k in zip(part.dilation, part.kernel_size, strict=True)))  # fmt: skip
        x = torch.randn(shape, generator=generator).to(w)
        moved = w + 0.05 * w.abs().max() * torch.randn(w.shape, generator=generator).to(w)
        try:
            with torch.no_grad(), functional.evaluating(part), torch.random.fork_rng([]), Operands() as operands:
                functional.call(part, {"weight": moved}, x)
        except Exception:  # a layer that does not run alone; the whole network's run says whether it matters
            continue
        like = [a for a in operands.found if a.numel() == w.numel()]
        if like and not any(_same(a, moved) for a in like):
            found.append(known[name])
    return found


def _held(a: Tensor, several: Collection[Tensor]) -> bool:
    """Whether one of several tensors of its size has a tensor's numbers, in whichever order."""
    if any(torch.equal(a, b) for b in several):
        return True
    return any(torch.equal(a.flatten().sort().values, b.flatten().sort().values) for b in several)  # slow


def _same(a: Tensor, w: Tensor) -> bool:
    """Whether a factor is the weight, in its shape or transposed."""
    if a.shape == w.shape:
        return torch.equal(a, w)
    return (w.ndim == 2 and a.shape == w.T.shape and torch.equal(a, w.T)) or torch.equal(a.flatten(), w.flatten())
