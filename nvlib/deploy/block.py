"""TSB's block: one small 1x1 convolution for all places and channels, attached to a plain module from outside.

    F = (F_1, ..., F_g),   g = ceil(C / c)      the C channels of a feature map in groups of c, the last zero-padded
    F'_i = W F_i                                 the same W for every group and every place            (Eqs. 3-4)

and the F'_i joined, padding removed. With several layers in the block, W is their product: W_l ... W_1 (between them
stands no activation, without which the identity could not be one).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from torch import Tensor, nn

from nvlib.errors import InputError
from nvlib.modules import slots


def groups(channels: int, width: int) -> int:
    """Return the number of groups, ceil(channels / width): Eq. 3."""
    return -(-channels // width)


def transform(x: Tensor, layers: Sequence[Tensor]) -> Tensor:
    """Apply the block to features (batch, C, ...): Eq. 4.

    Args:
        x: features, channels on the second axis.
        layers: weights (c, c) in order.
    """
    (batch, channels), width = x.shape[:2], layers[0].shape[0]
    count = groups(channels, width)
    if padding := count * width - channels:
        x = nn.functional.pad(x, (*[0] * 2 * (x.ndim - 2), 0, padding))
    kind = (nn.functional.conv1d, nn.functional.conv2d, nn.functional.conv3d)[max(0, x.ndim - 3)]
    rows = x.reshape(batch * count, width, *x.shape[2:])
    for w in layers:
        rows = rows @ w.T if x.ndim == 2 else kind(rows, w.reshape(*w.shape, *[1] * (x.ndim - 2)))
    return rows.reshape(batch, count * width, *x.shape[2:])[:, :channels]


def folded(weight: Tensor, layers: Sequence[Tensor]) -> Tensor:
    """Return a convolution's stacked weights (chips, C, ...), or biases, with the block multiplied into them.

    The block is linear and acts on the convolution's outputs, so that the two are one convolution: W F(x; w) =
    F(x; W w). A chip with its block is then, once more, the same module with other weights.
    """
    chips, channels = weight.shape[:2]
    width = layers[0].shape[-1]
    count = groups(channels, width)
    rows = weight.reshape(chips, channels, -1)
    if padding := count * width - channels:
        rows = nn.functional.pad(rows, (0, 0, 0, padding))
    rows = rows.view(chips, count, width, -1)
    for w in layers:
        rows = w.unsqueeze(1) @ rows
    return rows.reshape(chips, count * width, -1)[:, :channels].reshape(weight.shape)


def foldable(model: nn.Module, places: Sequence[str]) -> bool:
    """Whether the block can be multiplied into the layers after which it stands.

    These are ungrouped convolutions without hooks, whose weights and biases no other layer has (tied ones).
    """
    kinds, held = (nn.Conv1d, nn.Conv2d, nn.Conv3d), slots(model)
    alone = all(held.get(f"{place}.{leaf}", [leaf]) == [f"{place}.{leaf}"]
                for place in places for leaf, w in model.get_submodule(place)._parameters.items() if w is not None)
    return alone and all(
        type(layer) in kinds and layer.groups == 1 and not layer._forward_hooks and not layer._forward_pre_hooks
        for layer in map(model.get_submodule, places)
    )


class Attached(nn.Module):
    """A backbone with one block after each of the named layers; the backbone itself is not changed.

    Args:
        backbone: any module.
        places: names of the layers after which the block acts, on their outputs (batch, C, ...).
        layers: initial weights (c, c) of the block, in order.

    Raises:
        InputError: for a layer that the backbone does not have.
    """

    def __init__(self, backbone: nn.Module, places: Sequence[str], layers: Sequence[Tensor]) -> None:
        super().__init__()
        self.backbone, self.places = backbone, tuple(places)
        known(backbone, places)
        self.block = nn.ParameterList(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the backbone's output, its features transformed on the way; no hook stays behind."""
        layers = [self.block[i] for i in range(len(self.block))]
        ran: set[str] = set()

        def act(place: str, _: nn.Module, __: object, out: Tensor) -> Tensor:
            ran.add(place)
            return transform(out, layers)

        hooks = [self.backbone.get_submodule(p).register_forward_hook(partial(act, p)) for p in self.places]
        try:
            out = self.backbone(x)
        finally:
            for hook in hooks:
                hook.remove()
        if silent := [place for place in self.places if place not in ran]:
            raise InputError(f"layer {silent[0]} of {type(self.backbone).__name__} did not run; choose one that does")
        return out


def known(model: nn.Module, names: Sequence[str]) -> None:
    """Raise InputError for a layer that a model does not have."""
    have = dict(model.named_modules())
    if missing := [name for name in names if name not in have or not name]:
        listed = ", ".join(name for name in have if name)
        raise InputError(f"{type(model).__name__} has no layer {missing[0]!r}; it has {listed}")


def attached(chips: Mapping[str, Tensor], layers: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return the stacked weights of `Attached`: the backbone's and the block's, (chips, c, c) each."""
    return {f"backbone.{k}": w for k, w in chips.items()} | {f"block.{i}": w for i, w in enumerate(layers)}
