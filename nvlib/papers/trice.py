"""The artefacts of TRICE (Yan et al., ICCAD 2023): figures, Table I and the numbers in its text.

Protocol: first percentile of accuracy (k = 1), every model tested at the sigma_d it was trained at (matched),
`full_scale` and `differential`; LeNet with 4-bit weights and activations, VGG-8 and ResNet-18 with 6. TRICE stands
beside the same search with a plain Gaussian, and beside RC at sigma_t = sigma_d, which the paper does not show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from nvlib import devices, statistics
from nvlib.catalogue import span
from nvlib.errors import InputError
from nvlib.papers.artefact import Artefact, Claim
from nvlib.papers.measures import Finding, Measure, gain, half_width, least_gain, protocol
from nvlib.papers.printed_numbers import number
from nvlib.papers.select import Evidence, Protocol
from nvlib.papers.substitutes import WIDTHS, whole
from nvlib.statistics import Estimate

BASE = {"reference": "full_scale", "mapping": "differential", "protocol": "matched"}
LENET = {**BASE, "network": "lenet", "dataset": "mnist", "device": "rram", "bits": 4, "images": 10_000}
CIFAR = {**BASE, "device": "rram", "bits": 6}
ENOUGH = (1000, 2000, 5000, 10_000)  # test images: fewer are a smoke test's
GRID = {"ratio": (0.5, 1.0, 1.5, 2.0), "th": (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)}  # of fig4, at sigma_d = 0.25


def lenet(**other: object) -> tuple[Protocol, ...]:
    """Return LeNet on MNIST under the decided protocol."""
    return (Protocol({**LENET, **other}),)


def large(network: str) -> tuple[Protocol, ...]:
    """Return a large network on CIFAR-10, at its width or parts of it; then reduced in width on MNIST."""
    reduced = [f"{network} x{width:g}" for width in WIDTHS]
    return (
        *whole(CIFAR, network, "cifar10"),
        Protocol({**CIFAR, "network": reduced, "dataset": "mnist", "images": ENOUGH}, "reduced width, MNIST"),
    )


# -- measures of its own ---------------------------------------------------------------------------------------------


def share_below(k: float) -> object:
    """Return the measure of the share of chips below a k-th percentile that other chips gave, in percent.

    Even chips give the percentile, odd ones are counted. Both are samples of n chips: the share's standard deviation
    is sqrt(p (1 - p) (1 / n + 1 / n)), p = k / 100, and 1 / sqrt(trainings) of that for their mean.
    """

    def measure(results: Evidence, settings: Sequence[Protocol]) -> Finding | None:
        found = results.select(settings, ("gaussian",))
        if found is None:
            return None
        rows = found[0]
        at = 0.2 if (rows.sigma_d == 0.2).any() else rows.sigma_d.max()
        rows = rows[rows.sigma_d == at]
        shares, n = [], 0
        for _, part in rows.groupby("train_seed"):
            even, odd = part[part.chip % 2 == 0].accuracy, part[part.chip % 2 == 1].accuracy
            shares.append(100 * (odd < statistics.kpp(even, k).value).mean())
            n = len(odd)
        p = k / 100
        half = 100 * 1.96 * math.sqrt(2 * p * (1 - p) / n / len(shares))
        value = sum(shares) / len(shares)
        return Finding(Estimate(value, value - half, value + half, n), f"sigma_d = {at:g}", protocol(rows))

    return measure


def grid_rows(results: Evidence, settings: Sequence[Protocol]) -> pd.DataFrame:
    """Return the chips of the grid of fig4: RC-Manual at sigma_d = 0.25 under every sigma_t and th, of one size."""
    chosen = results.select(settings, ("rc_manual",), None, 0.25)
    if chosen is None:
        return pd.DataFrame()
    rows = results.under(chosen[1], method="rc_manual", sigma_d=0.25)
    first = chosen[0].iloc[0]
    for column in ("network", "epochs", "train_images", "images"):
        rows = rows[rows[column] == first[column]]
    return rows


def interior(results: Evidence, settings: Sequence[Protocol]) -> Finding | None:
    """Measure how far the best size of noise inside the grid lies above both ends of it, along sigma_t and along th.

    The least of the four differences; limits are the least over ends of the largest over inner points, Bonferroni's.
    """
    rows = grid_rows(results, settings)
    if rows.empty:
        return None
    rows = rows.assign(ratio=[p["ratio"] for p in rows.parameters], th=[p["th"] for p in rows.parameters])
    found = []
    for axis, other, at in (("ratio", "th", 2.0), ("th", "ratio", 1.0)):
        part = rows[rows[other] == at]
        points = sorted(part[axis].unique())
        if len(points) < 3:
            return None
        for end in (points[0], points[-1]):
            inner = [_difference(part, axis, point, end, len(points) - 2) for point in points[1:-1]]
            best = max(inner, key=lambda e: e.value)
            limits = [[e.low for e in inner], [e.high for e in inner]]
            low, high = (None if None in side else max(side) for side in limits)
            found.append(replace(best, low=low, high=high))
    least = min(found, key=lambda e: e.value)
    low, high = ([getattr(e, side) for e in found] for side in ("low", "high"))
    least = replace(least, low=None if None in low else min(low), high=None if None in high else min(high))
    return Finding(least, "sigma_d = 0.25", protocol(rows))


def _difference(part: pd.DataFrame, axis: str, a: float, b: float, looks: int) -> Estimate:
    """Return KPP at one point of a grid minus that at another, on the same chips, over seeds or one seed's chips."""
    seeds = [
        statistics.kpp_difference(*(both[both[axis] == point].sort_values("chip").accuracy for point in (a, b)),
                                  confidence=1 - 0.05 / looks)
        for _, both in part.groupby("train_seed")
    ]  # fmt: skip
    if len(seeds) == 1:
        return replace(seeds[0], n=1, note="one training: interval over chips")
    return statistics.mean([e.value for e in seeds], 1 - 0.05 / looks)


def law_mean(results: Evidence, settings: Sequence[Protocol]) -> Finding:
    """Return minus the mean of right-censored noise at th = 2, in units of sigma_t; exact."""
    from nvlib import noise

    value = -float(noise.get("rc", 2.0).mean())
    return Finding(Estimate(value, value, value, 1, "closed form"), "th = 2", "closed form")


_POINT = {"f1": 0.5, "f2": 4.0, "sigma": 0.1, "q": 0.01}


def eq6(results: Evidence, settings: Sequence[Protocol]) -> Finding:
    """Simulate the percentile of a quadratic loss that Eq. 6, as printed, says."""
    from nvlib import taylor

    printed = float(taylor.percentile(**_POINT, f0=0.05, law="printed"))
    ours = taylor.simulate(**_POINT, f0=0.05, draws=200_000)
    return Finding(ours, "f(w) = 0.05", "200,000 draws of the quadratic", paper=round(printed, 4))


def slope(results: Evidence, settings: Sequence[Protocol]) -> Finding:
    """Return by how much the exact percentile falls with |f'|."""
    from nvlib import taylor

    value = -float(taylor.slope_effect(**_POINT))
    return Finding(Estimate(value, value, value, 1, "exact law"), "f' = 0.5", "exact law of the quadratic")


def derivative(column: str, a: str, b: str) -> Measure:
    """Return the measure of how far ``a``'s mean f'' (``f2``) or |f'| (``f1``) lies above ``b``'s, in percent of b's.

    Of the whole network on training images, at `nvlib.papers.theory.AT`, seed by seed; of what ships.
    """

    def measure(results: Evidence, settings: Sequence[Protocol]) -> Finding | None:
        from nvlib.papers import theory

        if results.store.shipped is None:
            return None
        try:
            seeds = [theory.table("snapshots", theory.AT, seed) for seed in (0, 1, 2)]
        except InputError:  # it does not ship (yet)
            return None
        table = pd.concat(seeds, ignore_index=True)
        whole = table[(table.layer == "all") & (table.split == "train")]
        each = whole.pivot_table(index="train_seed", columns="method", values=column, observed=True)
        if not {a, b} <= set(each) or (ratio := (each[a] / each[b]).dropna()).empty:
            return None
        estimate = statistics.mean(100 * (ratio - 1))
        what = "LeNet/MNIST, rram; full_scale, differential; 10 epochs; derivatives on 20,000 training images"
        return Finding(estimate, f"sigma_d = {theory.AT:g}", f"{what}; {span([len(ratio)], 'training')} a method")

    return measure


def middle_levels(results: Evidence, settings: Sequence[Protocol]) -> Finding:
    """Return how many times more FeFET2 strays at its middle levels than at the outer ones; exact."""
    low, inner, *_ = devices.get("fefet2").deviation
    return Finding(Estimate(inner / low, inner / low, inner / low, 1, "closed form"), "levels 1 and 2", "Eq. 17")


# -- the artefacts ---------------------------------------------------------------------------------------------------

NOTEBOOK = "03_trice"

TRICE = (
    Artefact(
        "trice-fig2", "accuracy distribution of a noisy LeNet with its percentiles",
        (Claim("5 % of chips lie below the 5th percentile (share of fresh chips)", "equal", share_below(5), 5.0, "%"),),
        NOTEBOOK, lenet(),
    ),
    Artefact(
        "trice-fig3", "histograms of RC, LC, RT and LT noise",
        (Claim("right-censored noise has a negative mean (minus it)", "sign", law_mean, unit="sigma_t"),), "01_devices",
    ),
    Artefact(
        "trice-fig4", "grid of sigma_t and th: the first percentile rises, then falls, along both",
        (Claim("the best sigma_t and th lie inside the grid, above both ends", "sign", interior),),
        NOTEBOOK, lenet(), "reproduce trice-fig4 --preset quick",
    ),
    Artefact(
        "trice-table1", "LeNet on MNIST, RRAM: five trainings, sigma_d from 0 to 0.4",
        (
            Claim("TRICE lies above Gauss", "gain", gain("trice", "gaussian", table="trice-table1"), 15.42),
            Claim("Gauss lies above no noise", "gain", gain("gaussian", "none", table="trice-table1"), 49.45),
            Claim("CorrectNet lies below Gauss", "gain", gain("gaussian", "correctnet", table="trice-table1"), 26.5),
            Claim("RC at sigma_t = sigma_d lies above Gauss: the censoring alone", "sign",
                  gain("rc", "gaussian", sigma_d=0.3), ours=True),
            Claim("the search alone (plain Gaussian) lies above Gauss", "sign",
                  gain("trice_gauss", "gaussian", sigma_d=0.3), ours=True),
            Claim("TRICE lies above the same search with a plain Gaussian", "sign",
                  gain("trice", "trice_gauss", sigma_d=0.3), ours=True),
        ),
        NOTEBOOK, lenet(), "reproduce trice-table1 --preset full",
    ),
    *(
        Artefact(
            f"trice-fig5{letter}", f"{shown} on CIFAR-10: first percentile against sigma_d",
            (Claim("TRICE lies above Gauss, up to", "gain", gain("trice", "gaussian"),
                   number(f"trice-fig5{letter}", method="trice")),),
            NOTEBOOK, large(network), f"reproduce trice-fig5{letter} --preset full; with CIFAR-10",
        )
        for letter, network, shown in (("a", "vgg8", "VGG-8"), ("b", "resnet18", "ResNet-18"))
    ),
    *(
        Artefact(
            f"trice-fig6{letter}", f"LeNet on MNIST, {shown}: first percentile against sigma_d",
            (Claim("TRICE lies above Gauss, up to", "gain", gain("trice", "gaussian"),
                   number(f"trice-fig6{letter}", method="trice")),),
            NOTEBOOK, lenet(device=device), f"reproduce trice-fig6{letter} --preset quick",
        )
        for letter, device, shown in (("a", "fefet1", "FeFET1"), ("b", "fefet2", "FeFET2"))
    ),
    Artefact(
        "trice-fig7", "programmed conductance of uniform and non-uniform devices",
        (Claim("FeFET2's middle levels stray more than the outer ones", "equal", middle_levels, 2.0, "times"),),
        "01_devices",
    ),
    Artefact(
        "trice-fig8", "RC, LC, RT, LT and Gauss at sigma_d = 0.25",
        (Claim("RC lies above the best other law, at least", "gain",
               least_gain("rc", ("lc", "rt", "lt", "gaussian"), sigma_d=0.25), number("trice-fig8", method="rc")),
         Claim("RC lies above the best other law (at 0.3)", "gain",
               least_gain("rc", ("lc", "rt", "lt", "gaussian"), sigma_d=0.3), number("trice-fig8", method="rc"),
               ours=True)),
        NOTEBOOK, lenet(), "reproduce trice-fig8 --preset quick",
    ),
    Artefact(
        "trice-eq6", "the percentile of the loss from f, f' and f'' (Eqs. 2-6) against simulation",
        (
            Claim("Eq. 6 gives the 99th percentile of the loss (f' = 0.5, f'' = 4, sigma = 0.1)", "equal", eq6,
                  unit="nats"),
            Claim("a larger |f'| lowers the loss's percentile there (by, per unit of f')", "sign", slope, unit="nats"),
        ),
        "02_kpp_taylor",
    ),
    Artefact(
        "trice-n", "10,000 chips give the first percentile to +-0.009",
        (Claim("half an interval's width on 10,000 chips, at most", "bound",
               half_width("kpp", 10_000, ("none", "gaussian")), number("trice-n", metric="kpp1_half_width")),
         Claim("300 chips give a mean to a point (II-B: enough)", "bound",
               half_width("mean", 300, ("none", "gaussian")), 1.0)),
        NOTEBOOK, (*lenet(), *lenet(images=1000)), "reproduce trice-n --preset quick; 10,000 chips on 1,000 images",
    ),
    Artefact(
        "trice-text", "gains named in the text",
        (
            Claim("TRICE lies above no noise", "gain", gain("trice", "none", table="trice-table1"),
                  number("trice-text", method="trice", metric="kpp1_gain_over_none_max")),
            Claim("Gauss lies above no noise", "gain", gain("gaussian", "none", table="trice-table1"),
                  number("trice-text", method="gaussian")),
            Claim("CorrectNet lies above no noise (Table I itself has 29.55, at 0.15)", "gain",
                  gain("correctnet", "none", sigma_d=0.1), number("trice-text", method="correctnet")),
            Claim("TRICE lies above RC-Manual", "gain", gain("trice", "rc_manual", table="trice-table1"),
                  number("trice-text", metric="kpp1_gain_over_rc_manual_max")),
            Claim("right-truncated noise lies below Gauss", "sign", least_gain("gaussian", ("rt",))),
            Claim("left-truncated noise lies below Gauss", "sign", least_gain("gaussian", ("lt",))),
        ),
        NOTEBOOK, lenet(), "reproduce trice-text --preset full",
    ),
    Artefact(
        "trice-3c", "noise injection lowers f'', right-censored noise raises |f'| (III-C)",
        (
            Claim("f'' falls with Gaussian injection: without noise it lies above", "sign",
                  derivative("f2", "none", "gaussian"), unit="%"),
            Claim("|f'| is larger under RC than under Gauss", "sign", derivative("f1", "rc", "gaussian"), unit="%"),
        ),
        "02_kpp_taylor", needs="python -m nvlib.papers.theory",
    ),
)
