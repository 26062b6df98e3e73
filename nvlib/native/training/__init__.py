"""Generated code for training steps of small networks on CPUs: forwards and backwards, for a population.

As `nvlib.native` for evaluation: the network is exported in training mode (`lower`), written as C++ with the images
innermost (`emit`, from `convolution`, `linear` and `stages`), compiled once and called as one node of PyTorch's graph
(`run`). What is not known raises `Unsupported` with the reason, and the engine loops over members.
"""

from nvlib.native.training.run import Program, logits, program, step

__all__ = ["Program", "logits", "program", "step"]
