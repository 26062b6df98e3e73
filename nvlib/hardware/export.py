"""The layer table as circuit-level tools read it: DNN+NeuroSim's NetWork.csv.

One line a layer, no header, whole numbers:

    input height, width, channels, kernel height, width, output channels, pooled (1 or 0), stride

as its public files NetWork_VGG8.csv and NetWork_ResNet18.csv have it (V1.3; V1.0's file lacks the stride). A linear
layer is a 1x1 convolution on 1 x 1. The tool knows no padding: on an input of 32 x 32 it counts 30 x 30 places for a
3x3 kernel. Its own files give the size without padding, and so does this by default; with ``padded`` the size is given
with padding, so that it counts the places that there are. Groups, which it does not know either, become a line each.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from nvlib.errors import InputError
from nvlib.hardware.chip import Estimate
from nvlib.hardware.layers import Layer, input_shape, trace


def network_csv(
    model: nn.Module | Estimate | Sequence[Layer],
    path: str | Path | None = None,
    shape: Sequence[int] | None = None,
    *,
    padded: bool = False,
    stride: bool = True,
) -> str:
    """Return the layer table as text, and write it where a path is given.

    Args:
        model: any module, an estimate (with TSB's block where it has one), or layers.
        path: where to write it.
        shape: of one input without the batch.
        padded: give sizes with padding.
        stride: write the eighth column (V1.1 and later).

    Raises:
        InputError: for a layer that the format cannot hold.
    """
    if isinstance(model, nn.Module):
        layers = trace(model, input_shape(model, shape))[0]
    else:
        layers = model.records if isinstance(model, Estimate) else tuple(model)
    lines = []
    for layer in layers:
        (height, width), (kh, kw) = layer.size, layer.kernel
        if layer.stride[0] != layer.stride[1] and width > 1:
            raise InputError(f"layer {layer.name} has stride {layer.stride}; the table holds one for both directions")
        if height * width == 1:
            height = layer.vectors
        if padded:
            height, width = height + 2 * layer.padding[0], width + 2 * layer.padding[1]
        line = [height, width, layer.rows // (kh * kw), kh, kw, layer.columns, int(layer.pooled)]
        lines += [",".join(map(str, line + [layer.stride[0]] * stride))] * layer.groups
    text = "\n".join(lines) + "\n"
    if path is not None:
        Path(path).write_text(text)
    return text
