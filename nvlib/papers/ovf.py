"""OVF (the authors of NFT; OVF alone): its figures and text. Protocol, panels and studies are NFT's."""

from __future__ import annotations

from functools import partial

from nvlib.papers.artefact import Artefact, Claim, Notebook, Paper
from nvlib.papers.drawing import of_chips
from nvlib.papers.measures import fewer_failures, gain, least_gain
from nvlib.papers.nft import AT_FAILING, CONVERGENCE, GAINS, VGG8, convergence, curves, panels

NOTEBOOK = "05_ovf"
SHOWN = ("gaussian", "ovf", "none")

_ARTEFACTS = (
    Artefact(
        "ovf-fig3", "mean noisy accuracy against sigma_d: six panels, OVF alone", panels("ovf-fig3", ("ovf",)),
        NOTEBOOK, VGG8, partial(curves, ("none", "gaussian", "ovf")),
        (of_chips("Mean", "ovf-fig3", SHOWN, "mean_curves"),
         of_chips("Over Gauss", "ovf-fig3", SHOWN, "difference_curves", **GAINS)),
        options="--preset full; with the data, some 10 hours of two cores",
    ),
    Artefact(
        "ovf-fig4", "EKL divergence of correct predictions, OVF alone",
        (
            Claim("OVF's EKL lies below Gauss's", "sign", least_gain("gaussian", ("ovf",), "ekl"), unit="nats"),
            Claim("Gauss's EKL lies above no noise's (at 0.1)", "sign", gain("gaussian", "none", "ekl", sigma_d=0.1),
                  unit="nats"),
        ),
        NOTEBOOK, VGG8, partial(curves, ("none", "gaussian", "ovf")),
        (of_chips("EKL", "ovf-fig4", SHOWN, "mean_curves", of="ekl"),), options="--preset full",
    ),
    Artefact(
        "ovf-convergence", "10 trainings of VGG-8 on MNIST at sigma_d = 0.35: how many fail to converge",
        (Claim("OVF fails less often than Gauss (0 against 6 of 10)", "gain",
               fewer_failures("ovf", "gaussian"), 60.0, "% of runs"),),
        NOTEBOOK, VGG8, partial(convergence, ("gaussian", "ovf")),
        (of_chips("Trainings", "ovf-convergence", ("gaussian", "ovf"), "converging", AT_FAILING),),
        options=CONVERGENCE,
    ),
)  # fmt: skip

OVF = Paper(
    "OVF",
    """@misc{ovf,
  title  = {Sustainable Deployment of Deep Neural Networks on Non-Volatile Compute-in-Memory Accelerators},
  author = {Qin, Yifan and Yan, Zheyu and Wen, Wujie and Hu, Xiaobo Sharon and Shi, Yiyu},
}""",
    _ARTEFACTS,
    Notebook(NOTEBOOK, {"smoke": 20, "quick": 540, "full": 3e4, "paper": 1e8}),
)
