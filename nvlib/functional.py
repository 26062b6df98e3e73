"""The seam: a programmed chip is the same module with other weights. `Caller` runs it once and leaves it as it was.

Buffers, attributes and weights are fresh for each call in evaluation: what `forward` writes to them is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from nvlib.errors import InputError
from nvlib.modules import slots
from nvlib.writes import Keeper, at_once, exchanged


class Caller:
    """A module, ready to be called with other tensors in place of its own, by their first names.

    In evaluation a forward may write to anything: it gets copies of the buffers, and of the weights on the first call;
    later ones get the weights themselves, unless the first has shown that it writes to them (``max_norm``, hooks).
    """

    def __init__(self, model: nn.Module) -> None:
        self.model, self.slots = model, slots(model)
        self.buffers, self.parameters = dict(model.named_buffers()), dict(model.named_parameters())
        self.keeper = Keeper(model)
        self.renorms = any(getattr(part, "max_norm", None) is not None for part in model.modules())
        self.written: set[str] | None = None  # weights that its forward writes to, once that is known
        self.homes: list[tuple[str, dict[str, Any], str]] = []  # a tensor's name, the slots of a part, which of them
        if model.training and self.buffers:
            first = {id(tensor): name for name, tensor in (*self.parameters.items(), *self.buffers.items())}
            self.homes = [(first[id(tensor)], held, leaf) for part in model.modules()
                          for held in (part._parameters, part._buffers) for leaf, tensor in held.items()
                          if tensor is not None]  # fmt: skip

    @staticmethod
    def of(model: nn.Module) -> Caller:
        """Look a module over; good as long as its structure stays."""
        return Caller(model)

    def __call__(self, weights: Mapping[str, Tensor], x: Tensor) -> Any:
        """Run the module once on ``x``.

        Args:
            weights: first name -> tensor; buffers among them are updated in place where the module updates its own, or
                puts others in their place.
            x: input of the module; it is handed over as it is.

        Returns:
            What the module returns. The module is as it was; in training mode but for buffers not in ``weights``.
        """
        held = dict(weights)
        if self.model.training:
            if self.renorms:
                held = {name: w if name in self.buffers else w.clone() for name, w in held.items()}
            with at_once(), self._elsewhere(held), self._kept(held):
                try:
                    return functional_call(self.model, self._swap(held), (x,), tie_weights=False)
                except RuntimeError as error:
                    if "inplace" not in str(error):
                        raise
                    raise InputError(f"{type(self.model).__name__} writes to a weight in training, which has no "
                                     "derivative; expected a forward that leaves its weights as they are "
                                     "(Recipe(clip=...) limits them after each update)") from error  # fmt: skip
        held |= {name: buffer.clone() for name, buffer in self.buffers.items() if name not in held}
        given: dict[str, Tensor] = {}
        if self.written != set():
            given = {**self.parameters, **{name: w for name, w in weights.items() if name not in self.buffers}}
            held |= {name: tensor.clone() for name, tensor in given.items()}
        with self.keeper(), at_once(), self._elsewhere(held):
            out = functional_call(self.model, self._swap(held), (x,), tie_weights=False)
        if self.written is None:
            self.written = _written(given, held)
        return out

    @contextmanager
    def _kept(self, held: Mapping[str, Tensor]) -> Iterator[None]:
        """Write what a forward in training puts in place of buffers into those that it was given."""
        if not self.homes:
            yield
            return
        places = {name: _place(tensor) for name, tensor in held.items() if name in self.buffers}

        def keep(*_: object) -> None:
            for name, place, leaf in self.homes:
                own, now = held.get(name), place.get(leaf)
                if own is None or (now is own and places.get(name, 0) == (_place(own) if name in places else 0)):
                    continue
                if name not in places:
                    raise InputError(f"{name} of {type(self.model).__name__} is assigned in training's forward: what "
                                     "is put there is not trained; expected a buffer (register_buffer)")  # fmt: skip
                if now is None or now is own or now.shape != own.shape:
                    raise InputError(f"{name} of {type(self.model).__name__} gets another shape or memory in "
                                     "training's forward; expected copy_, or an assignment in its shape")  # fmt: skip
                with torch.no_grad():
                    own.copy_(now)

        hook = self.model.register_forward_hook(keep)
        try:
            yield
        finally:
            hook.remove()

    def _elsewhere(self, held: Mapping[str, Tensor]) -> AbstractContextManager[None]:
        """Exchange tensors that lists and the like hold, too; what its parts do by themselves is left to them."""
        if not self.keeper.aliases:
            return nullcontext()
        own = {**self.parameters, **self.buffers}
        return exchanged(self.keeper.aliases, {id(own[name]): tensor for name, tensor in held.items() if name in own})

    def _swap(self, held: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {slot: tensor for name, tensor in held.items() for slot in self.slots[name]}


def _place(tensor: Tensor | None) -> int:
    """Return where a tensor lies; 0 where that cannot be told (within vmap)."""
    try:
        return 0 if tensor is None else tensor.data_ptr()
    except RuntimeError:
        return 0


def _written(given: Mapping[str, Tensor], held: Mapping[str, Tensor]) -> set[str] | None:
    """Return the names of copies that are no longer what was given; None where that cannot be told (within vmap)."""
    try:
        return {name for name, w in given.items() if not torch.equal(held[name].detach(), w.detach())}
    except RuntimeError:
        return None


def call(model: nn.Module, weights: Mapping[str, Tensor], x: Tensor) -> Any:
    """Run a module once with other weights, by first names; see `Caller`."""
    return Caller.of(model)(weights, x)


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Put back, afterwards, what a module's parts hold now (`nvlib.writes`)."""
    with Keeper(model)():
        yield


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode for a while, each part of it back as it was."""
    modes = [(part, part.training) for part in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for part, mode in modes:
            part.training = mode


class _Plainly(TorchFunctionMode):
    """Compute by plain operations what PyTorch differentiates once alone."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is nn.functional.hardsigmoid:
            return nn.functional.relu6((args[0] if args else kwargs["input"]) + 3) / 6
        return func(*args, **kwargs)


@contextmanager
def twice_differentiable(model: nn.Module) -> Iterator[None]:
    """Run attention and recurrent layers by plain operations for a while: fused kernels have no second derivative."""
    recurrent = any(isinstance(part, nn.RNNBase) for part in model.modules())
    fast = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as plain:
        plain.enter_context(sdpa_kernel(SDPBackend.MATH))
        plain.enter_context(_Plainly())
        if recurrent:
            plain.enter_context(torch.backends.mkldnn.flags(enabled=False))
            plain.enter_context(torch.backends.cudnn.flags(enabled=False))
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
