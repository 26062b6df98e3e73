"""Wires with a resistance: a tile of linear cells is a matrix all the same.

Cell (i, j) of conductance g_ij lies between row i and column j. A row is driven at its start, a column ends at virtual
ground after its last cell; each segment, one a cell on both, has a resistance (CrossSim's non-interleaved array,
badcrossbar). With conductances in units of one, R_row and R_column in its inverse, currents i of row i's cells at
column voltages u and input V are

    (1 + D_g R_row M) i = g (V - u),   M_jk = min(j, k), j = 1 .. m           i = a V - K u

and the columns are a chain of such rows, u_i - u_(i-1) + u_i - u_(i+1) = R_column (a_i V_i - K_i u_i), eliminated row
by row from the far end:

    S_0 = 1 + R K_0,   S_i = 2 + R K_i - S_(i-1)^-1,   P_(n-1) = S_(n-1)^-1,   P_i = P_(i+1) S_i^-1
    column currents of V alone on row i:   P_i a_i

so `solve` is exact, at n inversions of (m, m) a tile. Without resistance in rows S is diagonal.

One column, all cells g, all inputs alike, r = R_column g:  I / (n g V) = sinh(n t) / (2 n sinh(t/2) cosh((n + 1/2) t)),
2 cosh t - 2 = r. `column_factor` is this closed form, to check against.

`polynomial` is aihwkit's quick estimate (rpu_forward_backward_pass.cpp), of columns alone, by a column's load
a = n R sum_j g_j at full inputs; cell j = 1 .. n, counted from the far end, loses

    g_j -= c g_j (1 - (j/n)^2),   c = a (a (0.05 a - 0.2) + 0.5)

The sum of a column of equal cells is within 0.5 % for a below `LIGHT`, of random ones within 2 %; it is useless above
a = 2. Beyond `LIGHT` a warning says so. (There inputs are pulses of some length, and the load is that of a pulse train,
sum_j g_j |x_j|. Here they are voltages: what a column loses is in proportion to them, so that a tile is a matrix.)
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

LIGHT = 0.7  # load up to which the polynomial holds
_BYTES = 256 << 20  # of (rows, m, m) blocks at a time


def solve(g: Tensor, r_row: float, r_column: float) -> Tensor:
    """Return the effective conductances of tiles: column currents a unit of each input.

    Args:
        g: conductances (..., n, m); row 0 is the farthest from ground, column 0 the nearest to the inputs.
        r_row: resistance of a segment of a row, in the inverse of the unit of ``g``.
        r_column: of a column.

    Returns:
        (..., n, m), in the dtype of ``g``; computed in float64.
    """
    flat = g.double().flatten(0, -3) if g.ndim > 2 else g.double().unsqueeze(0)
    if r_row == 0:
        held = _columns_alone(flat, r_column)
    else:
        at_once = max(1, _BYTES // (8 * flat.shape[1] * flat.shape[2] ** 2))
        held = torch.cat([_both(part, r_row, r_column) for part in flat.split(at_once)])
    return held.view(g.shape).to(g.dtype)


def _columns_alone(g: Tensor, r: float) -> Tensor:
    s = [1 + r * g[:, 0]]
    for i in range(1, g.shape[1]):
        s.append(2 + r * g[:, i] - 1 / s[-1])
    share, held = torch.ones_like(s[0]), []
    for i in reversed(range(g.shape[1])):
        share = share / s[i]
        held.append(share * g[:, i])
    return torch.stack(held[::-1], 1)


def _both(g: Tensor, r_row: float, r: float) -> Tensor:
    tiles, n, m = g.shape
    eye = torch.eye(m, dtype=g.dtype, device=g.device)
    # K = D - D (D + M^-1 / R_row)^-1 D, with M^-1 tridiagonal: 2, and 1 in the end, beside -1
    chain = 2 * eye - torch.diag(torch.ones(m - 1).to(g), 1) - torch.diag(torch.ones(m - 1).to(g), -1)
    chain[-1, -1] = 1
    k = torch.diag_embed(g) - g.unsqueeze(-1) * _inverse(torch.diag_embed(g) + chain / r_row) * g.unsqueeze(-2)
    a = k.sum(-1)  # of (tiles, n, m, m)
    if r == 0:
        return a
    below = [_inverse(eye + r * k[:, 0])]
    for i in range(1, n):
        below.append(_inverse(2 * eye + r * k[:, i] - below[-1]))
    through, held = eye.expand(tiles, m, m), []
    for i in reversed(range(n)):
        through = through @ below[i]
        held.append((through @ a[:, i].unsqueeze(-1)).squeeze(-1))
    return torch.stack(held[::-1], 1)


def _inverse(a: Tensor) -> Tensor:
    """Return the inverse of symmetric positive matrices (..., m, m); strongly negative cells may leave others."""
    factor, failed = torch.linalg.cholesky_ex(a)
    return torch.linalg.inv(a) if bool(failed.any()) else torch.cholesky_inverse(factor)


def column_factor(n: int, r: float) -> float:
    """Return the share of its current that a column of ``n`` equal cells keeps, at r = R_column g."""
    if r == 0:
        return 1.0
    t = 2 * math.asinh(math.sqrt(r) / 2)
    high = math.exp(-t / 2) * (-math.expm1(-2 * n * t)) / (1 + math.exp(-(2 * n + 1) * t))  # sinh(nt) / cosh((n+1/2)t)
    return high / (2 * n * math.sinh(t / 2))


def polynomial(g: Tensor, r: float) -> Tensor:
    """Return the effective conductances of tiles by aihwkit's estimate; as `solve` with no resistance in rows."""
    n = g.shape[-2]
    load = n * r * g.sum(-2, keepdim=True)
    if (worst := float(load.max())) > LIGHT:
        warnings.warn(f"wire_model=polynomial at a load of {worst:.2g}, good up to {LIGHT:g}: sums are off by "
                      "percents; use wire_model=exact", stacklevel=2)  # fmt: skip
    far = 1 - (torch.arange(1, n + 1, dtype=g.dtype, device=g.device) / n).square().unsqueeze(-1)
    return g - load * (load * (0.05 * load - 0.2) + 0.5) * far * g
