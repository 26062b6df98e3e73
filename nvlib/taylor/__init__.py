r"""The Taylor analysis of KPP: why a model's percentile is what it is, and how far a second-order expansion can tell.

The loss of a chip is a function of its weights, w_q + sigma_d d z with z Gaussian (`point`). To second order it is a
quadratic form of Gaussians, whose law is known: TRICE (Sec. III, Eqs. 2 to 6) takes one weight and approximates that
law; here the law is exact, of one weight or of all, and stands beside simulated chips. Each file imports only from
those before it:

    point       where the loss is expanded: weights as programmed, the deviation of each, activation quantisation off
    loss        the loss over a data set, its gradient, products with its Hessian
    diagonal    the Hessian's diagonal: exact, Gauss-Newton, or estimated with its standard error; finite differences
    quadratic   the law of a quadratic form of Gaussians: cumulants, distribution, percentiles
    one         one weight: Eq. 6 as printed and put right, the exact law, simulation; the loss along a weight
    expansion   all weights: f0, b, A; laws at any sigma_d; shares of layers and slices
    chips       theory against simulated chips: percentiles, Q-Q, from which sigma_d on it fails, ranks
    study       the analysis of a model as tables, and of a training as it goes

What the expansion cannot hold, on top of its order: a network of ReLU and max-pooling is piecewise linear in each
weight, so the loss has kinks, and its derivatives at a point know nothing of them. A deviation that crosses many kinks
meets another curvature than the one at its start.

>>> from nvlib import taylor
>>> round(float(taylor.percentile(f1=0.5, f2=4.0, sigma=0.1, q=0.01)), 3)  # nats above f0
0.225
"""

from nvlib.taylor.chips import across, confront, fails_from, one_by_one, quantiles, ranks, sample
from nvlib.taylor.diagonal import Diagonal, diagonal, differences, exact, gauss_newton, stochastic
from nvlib.taylor.expansion import LAWS, Expansion, expand
from nvlib.taylor.loss import Loss, cross_entropy, squared_error
from nvlib.taylor.one import Cut, compare, cut, percentile, simulate, slope_effect, upper
from nvlib.taylor.point import Point, point, smooth
from nvlib.taylor.quadratic import Quadratic
from nvlib.taylor.study import SIGMA_D, Analysis, Size, analyse, follow, snapshot

__all__ = [
    "point", "Point", "smooth", "Loss", "cross_entropy", "squared_error",
    "diagonal", "Diagonal", "exact", "gauss_newton", "stochastic", "differences",
    "percentile", "slope_effect", "simulate", "compare", "upper", "cut", "Cut",
    "Quadratic", "expand", "Expansion", "LAWS",
    "sample", "one_by_one", "confront", "fails_from", "quantiles", "ranks", "across",
    "analyse", "Analysis", "Size", "SIGMA_D", "follow", "snapshot",
]  # fmt: skip
