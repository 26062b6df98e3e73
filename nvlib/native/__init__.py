"""Generated code for many chips of one network on a CPU.

One chip of a small network on ten thousand images is thousands of tiny matrix products, and a library spends most of
its time around them. Here the network is exported once (`lower`), its operations are joined into kernels (`fuse`) and
written as C++ with the *images innermost* (`emit`): an activation is stored as (channel, row, column, 16 images), so
that every multiplication is one instruction on 16 images and one weight, whatever the layer's shape. It is compiled
once for all networks of that structure (`build`) and called for one chip at a time by as many threads as PyTorch would
use (`run`).

    nvlib.native.logits(model, chips, x)        (chips, batch, classes)

    nvlib.native.training.logits(module, weights, x)    the same in training mode, with derivatives

It is a way to be fast, never needed to be right: whatever is not known here raises `Unsupported` with the reason, and
the engine loops over chips.
"""

from nvlib.native import training
from nvlib.native.build import description
from nvlib.native.graph import Unsupported
from nvlib.native.run import logits, rehearsal

__all__ = ["Unsupported", "description", "logits", "rehearsal", "training"]
