"""How sensitive the loss is to each weight: the diagonal of its second derivative, as SWIM ranks by.

    d^2 L / dw_i^2,   L = mean over images of the cross-entropy

of networks of ReLUs and max-pooling that of the Gauss-Newton matrix (`nvlib.curvature`), exact or sampled.

Source of the idea: Yan, Hu, Shi, "SWIM", DAC 2022. SWIM's own single pass propagates second derivatives backward layer
by layer and leaves out the terms between neurons, as Optimal Brain Damage does (LeCun et al., 1990); these two keep
them.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from nvlib import curvature as diagonals
from nvlib import functional, philox
from nvlib.data import Split
from nvlib.errors import unknown

ESTIMATES = ("exact", "sampled")


def curvature(
    model: nn.Module, weights: Mapping[str, Tensor], split: Split, names: Sequence[str], *, estimate: str = "exact",
    seed: int = 0,
) -> dict[str, Tensor]:  # fmt: skip
    """Return the diagonal of the second derivative of the mean loss.

    Args:
        model: in evaluation mode.
        weights: name -> tensor, where it is taken; what it lacks comes from the model.
        split: images (labels play no part: neither estimate depends on them).
        names: of the tensors.
        estimate: ``exact`` or ``sampled``.
        seed: of the sampled labels.

    Returns:
        name -> float64, in the shape of the tensor.
    """
    if estimate not in ESTIMATES:
        raise unknown("estimate of the curvature", estimate, ESTIMATES)
    own = dict(model.named_parameters())
    at = {name: weights.get(name, own[name]).detach() for name in names}
    rest = {name: w.detach() for name, w in weights.items() if name not in at}

    def call(w: Mapping[str, Tensor], x: Tensor) -> Tensor:
        with functional.twice_differentiable(model):
            return functional.call(model, {**rest, **w}, x)

    u = philox.uniform(seed, 0, "swim/labels", len(split.x), split.x.device)[0]
    columns = diagonals.exact if estimate == "exact" else diagonals.sampled
    found = diagonals.by_image(call, at, split.x, u, columns)
    if not any(bool(f.any()) for f in found.values()):
        warnings.warn(
            f"the curvature of every weight of {type(model).__name__} is zero on {len(split.x)} images (outputs "
            "detached or under torch.no_grad, or probabilities that are 0 and 1 to the last digit): weights are ranked "
            "by their size alone", stacklevel=3,
        )  # fmt: skip
    return found
