"""Verdicts: from a paper's number, ours and its interval, by rules that were written before any result was looked at.

    gain    the paper: a lies above b, up to P. Holds: the interval lies above 0 and reaches P. In direction: it lies
            above 0 and ends below P. Does not hold: it ends below P and does not lie above 0.
    ratio   the paper: a is P times b. As a gain, with 1 in the place of 0.
    sign    the paper: a lies above b, without a number. Holds: the interval lies above 0; does not hold: below.
    bound   the paper: at most P. Holds: the whole range lies at or below P. In direction: the middle does.
    equal   the paper: P. Holds: P lies in the interval, or agrees as printed. In direction: within 10 % of P.

An interval that holds both what is claimed and its contrary (0 and P, for a gain; 1 and P, for a ratio) decides
nothing: ``undecided``. On a substitute for the paper's network or data set a claim ``holds in direction`` at best, and
what does not hold there leaves the paper's own case ``undecided``. So does a measurement on too few chips for an
interval. Without a measurement: ``not yet computed``.

Two things were changed since: a measurement without an interval had counted as not computed, and a ratio had been
judged as a gain, which it cannot fail. The second changed no verdict.
"""

from __future__ import annotations

from nvlib.errors import unknown
from nvlib.statistics import Estimate

HOLDS, DIRECTION, FAILS = "holds", "holds in direction", "does not hold"
UNDECIDED, MISSING = "undecided", "not yet computed"
VERDICTS = (HOLDS, DIRECTION, FAILS, UNDECIDED, MISSING)
RULES = ("gain", "ratio", "sign", "bound", "equal")


def judge(rule: str, estimate: Estimate | None, paper: float | None = None, substitute: str = "") -> str:
    """Return the verdict on a claim.

    Args:
        rule: one of `RULES`.
        estimate: ours; None where nothing was measured.
        paper: the paper's number; without one it is judged which of the two lies above.
        substitute: what stood in for the paper's network or data set.

    Raises:
        InputError: for an unknown rule.
    """
    if rule not in RULES:
        raise unknown("rule", rule, RULES)
    if estimate is None:
        return MISSING
    if estimate.interval is None:
        return UNDECIDED
    verdict = _judged(rule, estimate.value, *estimate.interval, paper)
    return {HOLDS: DIRECTION, FAILS: UNDECIDED}.get(verdict, verdict) if substitute else verdict


def _judged(rule: str, value: float, low: float, high: float, paper: float | None) -> str:
    neutral = 1 if rule == "ratio" else 0
    if paper is None or rule == "sign":
        paper = neutral
    elif rule == "bound":
        return HOLDS if high <= paper else DIRECTION if value <= paper else FAILS
    elif rule == "equal":
        same = low <= paper <= high or abs(value - paper) <= _half_digit(paper)
        return HOLDS if same else DIRECTION if abs(value - paper) <= abs(paper) / 10 else FAILS
    if low > neutral:
        return HOLDS if high >= paper else DIRECTION
    return UNDECIDED if high > neutral and high >= paper else FAILS


def _half_digit(paper: float) -> float:
    """Return half a unit of a printed number's last digit."""
    digits = f"{paper}".rstrip("0").partition(".")[2]
    return 0.5 * 10.0 ** -len(digits) * (1 + 1e-9)
