r"""All weights at once: the loss of a chip as a quadratic form of Gaussians, and its law.

With z the chip's luck, D the diagonal of deviations at sigma_d = 1, b = D f' and A = D f'' D,

    f(chip) ~ f0 + sigma_d b^T z + sigma_d^2 z^T A z / 2

so one expansion serves every sigma_d. Four laws of it, each with less left out:

    linear     f0 + sigma_d b^T z: Gaussian
    gaussian   Gaussian with the mean f0 + sigma_d^2 tr(A) / 2 and the variance of the next
    diagonal   A without its off-diagonal: independent weights, from f' and the diagonal of f'' alone
    full       A's leading eigenvectors spelt out, all else in a rest with the right variance and skewness

tr(A) needs the diagonal only. tr(A^2) and tr(A^3), on which the spread and the tail hang, do not: they are estimated
from products of A with random signs, off the leading eigenvectors (Meyer, Musco, Musco, Woodruff, "Hutch++", 2021),
with standard errors. Eigenvectors: Lanczos (ARPACK through scipy).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, eigsh

from nvlib.errors import InputError, unknown
from nvlib.taylor.diagonal import diagonal, signs
from nvlib.taylor.loss import Loss
from nvlib.taylor.quadratic import Quadratic

LAWS = ("linear", "gaussian", "diagonal", "full")


@dataclass(frozen=True, eq=False)
class Expansion:
    """f0, b and A of a model on a device, per unit of sigma_d.

    Attributes:
        f0: loss of a chip without variation, nats.
        names: which layer's, in order; sizes: how many weights each.
        f1, f2: gradient and diagonal of the Hessian, per weight, (weights,).
        deviation: of each weight at sigma_d = 1, (weights,).
        slices: deviation from the cells of each slice, (slices, weights).
        lam, beta: leading eigenvalues of A, and b along their vectors.
        square, cube: tr(A^2), tr(A^3), each with its standard error.
        bent: b^T A b.
        blocks: name -> tr(A_LL^2) of a layer's own block, where it was estimated.
        how: what the diagonal is; what was switched off.
        images: how many the loss is a mean over.
    """

    f0: float
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    f1: NDArray[np.float64] = field(repr=False)
    f2: NDArray[np.float64] = field(repr=False)
    deviation: NDArray[np.float64] = field(repr=False)
    slices: NDArray[np.float64] = field(repr=False)
    lam: NDArray[np.float64] = field(repr=False)
    beta: NDArray[np.float64] = field(repr=False)
    square: tuple[float, float]
    cube: tuple[float, float]
    bent: float
    blocks: dict[str, float]
    how: str
    images: int

    @property
    def b(self) -> NDArray[np.float64]:
        """First-order coefficient of each weight, nats per sigma_d."""
        return self.f1 * self.deviation

    @property
    def a(self) -> NDArray[np.float64]:
        """Second-order coefficient of each weight (A's diagonal), nats per sigma_d^2."""
        return self.f2 * self.deviation**2

    def law(self, sigma_d: float, law: str = "full") -> Quadratic:
        """Return the law of the loss at a sigma_d > 0 by one of `LAWS`.

        Raises:
            InputError: for an unknown law, or a sigma_d without variation.
        """
        if law not in LAWS:
            raise unknown("law of the loss", law, LAWS)
        if not (math.isfinite(sigma_d) and sigma_d > 0):
            raise InputError(f"sigma_d={sigma_d!r} gives no law; expected a number above 0")
        b, a, s1, s2 = self.b, self.a, sigma_d, sigma_d**2
        first = float(b @ b) * s1**2
        if law == "linear":
            return Quadratic(self.f0, variance_rest=first)
        mean = self.f0 + s2 * float(a.sum()) / 2
        if law == "gaussian":
            return Quadratic(mean, variance_rest=first + s2**2 * float(a @ a) / 2)
        if law == "diagonal":
            return Quadratic.of_terms(self.f0, s2 * a, s1 * b)
        square, cube = s2**2 * self.square[0], s2**3 * self.cube[0]
        return Quadratic.of_traces(mean, s2 * self.lam, s1 * self.beta, first, square, cube, s2 * s1**2 * self.bent)

    def layers(self, sigma_d: float) -> pd.DataFrame:
        """Return what each layer carries at a sigma_d: one row a layer.

        Columns: layer, weights, f1 and f2 (means of |f'| and f''), slope and curvature (|b| and tr A of the layer),
        mean (expected rise of the loss if it alone strayed), variance (if it alone strayed; from its block of A where
        that was estimated, else from the diagonal), mean_share and variance_share.
        """
        rows, start = [], 0
        for name, size in zip(self.names, self.sizes, strict=True):
            own = slice(start, start + size)
            b, a = self.b[own], self.a[own]
            square = self.blocks.get(name, float(a @ a))
            rows.append(
                {
                    "layer": name,
                    "weights": size,
                    "f1": float(np.abs(self.f1[own]).mean()),
                    "f2": float(self.f2[own].mean()),
                    "slope": float(np.linalg.norm(b)),
                    "curvature": float(a.sum()),
                    "mean": sigma_d**2 * float(a.sum()) / 2,
                    "variance": sigma_d**2 * float(b @ b) + sigma_d**4 * square / 2,
                }
            )
            start += size
        table = pd.DataFrame(rows)
        shares = {f"{c}_share": table[c] / table[c].sum() for c in ("mean", "variance")}
        return table.assign(**shares)

    def bits(self, sigma_d: float) -> pd.DataFrame:
        """Return what each slice of cells carries at a sigma_d: slice, weight 2^(jK), mean and variance, shares.

        tr(A^2) of a slice's cells alone is taken as tr(A^2) times the square of their part in tr(A): exact where slices
        stray in proportion (a uniform device), an approximation elsewhere.
        """
        rows, trace = [], float(self.a.sum())
        for j, deviation in enumerate(self.slices):
            b, a = self.f1 * deviation, self.f2 * deviation**2
            square = self.square[0] * (float(a.sum()) / trace) ** 2
            variance = sigma_d**2 * float(b @ b) + sigma_d**4 * square / 2
            rows.append({"slice": j, "mean": sigma_d**2 * float(a.sum()) / 2, "variance": variance})
        table = pd.DataFrame(rows)
        shares = {f"{c}_share": table[c] / table[c].sum() for c in ("mean", "variance")}
        return table.assign(**shares)

    def concentration(self) -> pd.DataFrame:
        """Return how few weights carry the expected rise: share of weights (largest first), share of tr(A)."""
        a = np.sort(self.a)[::-1]
        take = np.unique(np.geomspace(1, len(a), 200).round().astype(int))
        return pd.DataFrame({"weights": take / len(a), "share": np.cumsum(a)[take - 1] / a.sum()})


def expand(
    loss: Loss,
    *,
    how: str | None = None,
    vectors: int = 20,
    probes: int = 16,
    block_probes: int = 0,
    seed: int = 0,
) -> Expansion:
    """Expand the loss of a model on chips to second order in all weights.

    Args:
        loss: at a `point`, over the images that matter.
        how: to the diagonal; see `diagonal`.
        vectors: leading eigenvectors of A to spell out; 0: none.
        probes: random vectors for tr(A^2) and tr(A^3), at least 2; 0: the diagonal's and the eigenvectors' part alone.
        block_probes: random vectors for each layer's own block; 0: none.
        seed: of the random vectors.

    Raises:
        InputError: for numbers of vectors that cannot be used.
    """
    if vectors < 0 or probes < 0 or probes == 1 or block_probes < 0 or vectors >= len(loss.point):
        raise InputError(
            f"vectors={vectors}, probes={probes}, block_probes={block_probes}; expected fewer vectors than weights, "
            "and no probes or at least 2"
        )
    where, spread = loss.point, loss.point.flat(loss.point.deviation).numpy()
    found = diagonal(loss, how)
    f1, f2 = where.flat(loss.gradient()).numpy(), where.flat(found.values).numpy()

    def times(z: NDArray[np.float64]) -> NDArray[np.float64]:
        """A z, for z (weights,) or (n, weights)."""
        stacked = where.split(torch.from_numpy(np.atleast_2d(z) * spread))
        product = loss.hessian_times(stacked)
        flat = torch.cat([product[name].flatten(1) for name in where.centre], 1).numpy() * spread
        return flat.reshape(z.shape)

    b, n = f1 * spread, len(spread)
    lam, basis = np.zeros(0), np.zeros((n, 0))
    if vectors:
        start = np.random.default_rng(seed).standard_normal(n)
        lam, basis = eigsh(LinearOperator((n, n), matvec=times, dtype=float), vectors, which="LM", v0=start, tol=1e-2)
    square, cube = (float(lam @ lam), 0.0), (float((lam**3).sum()), 0.0)
    if probes:
        v = _flat(signs(loss, range(probes), seed))
        v -= (v @ basis) @ basis.T  # deflated: what the eigenvectors explain is known exactly
        image = times(v)
        image -= (image @ basis) @ basis.T
        again = times(image)
        squares, cubes = (image * image).sum(1), (image * again).sum(1)
        square = (square[0] + float(squares.mean()), float(squares.std(ddof=1)) / math.sqrt(probes))
        cube = (cube[0] + float(cubes.mean()), float(cubes.std(ddof=1)) / math.sqrt(probes))
    elif not vectors:
        a = f2 * spread**2
        square, cube = (float(a @ a), 0.0), (float((a**3).sum()), 0.0)
    sizes = tuple(w.numel() for w in where.centre.values())
    return Expansion(
        f0=loss.value(),
        names=tuple(where.centre),
        sizes=sizes,
        f1=f1,
        f2=f2,
        deviation=spread,
        slices=np.concatenate([s.double().flatten(1).cpu().numpy() for s in where.slices.values()], 1),
        lam=lam,
        beta=b @ basis,
        square=square,
        cube=cube,
        bent=float(b @ times(b)),
        blocks=_blocks(loss, times, sizes, block_probes, seed) if block_probes else {},
        how=found.note,
        images=len(loss.split.y),
    )


def _flat(parts: dict[str, torch.Tensor]) -> NDArray[np.float64]:
    return torch.cat([t.double().flatten(1) for t in parts.values()], 1).cpu().numpy()


def _blocks(
    loss: Loss, times: Callable[[np.ndarray], np.ndarray], sizes: tuple[int, ...], probes: int, seed: int
) -> dict[str, float]:
    """Estimate tr(A_LL^2) of each layer's own block."""
    v, ends, found = _flat(signs(loss, range(probes), seed + 1)), np.cumsum((0, *sizes)), {}
    for name, start, stop in zip(loss.point.centre, ends, ends[1:], strict=False):
        alone = np.zeros_like(v)
        alone[:, start:stop] = v[:, start:stop]
        found[name] = float((times(alone)[:, start:stop] ** 2).sum(1).mean())
    return found
