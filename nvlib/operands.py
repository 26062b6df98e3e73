"""What a layer multiplies with: its weight as given, or one that it makes of it.

A layer of a class of its own may quantise, standardise or mask its weight in ``forward``. The noise of a chip's weight
then passes through that: it is rounded away, or doubled. Such a layer is run alone on noise, with its weight moved, and
the factors of its products are compared with the weight.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nvlib import functional, modules

_PRODUCTS = {nn.functional.linear, nn.functional.bilinear, nn.functional.conv1d, nn.functional.conv2d,
             nn.functional.conv3d, nn.functional.conv_transpose1d, nn.functional.conv_transpose2d,
             nn.functional.conv_transpose3d, torch.matmul, torch.mm, torch.bmm, torch.addmm, torch.einsum,
             Tensor.matmul, Tensor.__matmul__, Tensor.__rmatmul__, Tensor.mm}  # fmt: skip
_PLAIN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_told: WeakSet[nn.Module] = WeakSet()


class _Operands(TorchFunctionMode):
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


def changed(model: nn.Module, names: Collection[str]) -> list[str]:
    """Return those of the names of weights whose layer changes them before it multiplies; each layer is told once.

    Looked at are linear and convolutional layers with a forward or hooks of their own, each alone, on noise.
    """
    found, known = [], modules.aliases(model)
    for path, part in model.named_modules():
        name = f"{path}.weight" if path else "weight"
        base = next((c for c in _PLAIN if isinstance(part, c)), None)
        if base is None or not (type(part).forward is not base.forward or "forward" in vars(part)
                                or part._forward_pre_hooks):  # fmt: skip
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
            with torch.no_grad(), functional.evaluating(part), torch.random.fork_rng([]), _Operands() as operands:
                functional.call(part, {"weight": moved}, x)
        except Exception:  # a layer that does not run alone; the whole network's run says whether it matters
            continue
        like = [a for a in operands.found if a.numel() == w.numel()]
        if like and not any(_same(a, moved) for a in like):
            found.append(known[name])
    return found


def _same(a: Tensor, w: Tensor) -> bool:
    """Whether a factor is the weight, in its shape or transposed."""
    if a.shape == w.shape:
        return torch.equal(a, w)
    return (w.ndim == 2 and a.shape == w.T.shape and torch.equal(a, w.T)) or torch.equal(a.flatten(), w.flatten())
