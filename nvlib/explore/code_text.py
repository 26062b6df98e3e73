"""A choice as what a reader can type: the Python that reads its chips, and the command that computes them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import fields

import pandas as pd

from nvlib.explore.query import CONDITIONS, METHODS, SETTING, Query


def code(df: pd.DataFrame, query: Query, call: str, beside: Sequence[str] = ()) -> str:
    """Return the Python that reads the rows ``df`` of a query and draws its figure by ``call``.

    Args:
        df: the rows.
        query: the choice.
        call: an expression in ``df``.
        beside: what is laid beside the query's rows, and so in ``df``.
    """
    if beside:
        made = ", ".join(f"{f.name}={getattr(query, f.name)!r}" for f in fields(query)
                         if getattr(query, f.name) != f.default)  # fmt: skip
        at = f", sigma_d={query.sigma_d!r}" if df["sigma_d"].nunique() == 1 else ""
        one = f"df = df[df.method == {df['method'].iloc[0]!r}]\n" if df["method"].nunique() == 1 else ""
        return (f"from nvlib import explore, figures, results\n\nquery = explore.Query({made})\n"
                f"df = explore.laid(results(), query, {list(beside)!r}{at})\n{one}{call}")  # fmt: skip
    where = {column: getattr(query, column) for column in CONDITIONS}
    where |= {"method": sorted(df["method"].unique()), "deployment": ""}
    where |= dict(zip(SETTING, query.setting or (), strict=False))
    if df["sigma_d"].nunique() == 1:
        where["sigma_d"] = query.sigma_d
    if query.protocol == "matched":
        where["protocol"] = "matched"
    else:
        where["train_sigma_d"] = sorted(df["train_sigma_d"].unique().tolist())
    lines = "".join(f"    {column}={value!r},\n" for column, value in where.items())
    return f"from nvlib import figures, results\n\ndf = results(\n{lines})\n{call}"


def command(query: Query, methods: Sequence[str] | None = None) -> str:
    """Return the command that computes what a query asks for; the only place that spells it."""
    network, _, width = query.network.partition(" x")
    words = ["python", "-m", "nvlib", "study", "--network", network, "--dataset", query.dataset]
    words += ["--method", *(methods or query.method or METHODS)]
    words += ["--device", query.device, "--sigma-d", f"{query.sigma_d:g}"]
    extra = {
        "--width": width,
        "--train-sigma-d": "" if query.train_sigma_d is None else f"{query.train_sigma_d:g}",
        "--reference": "" if query.reference == "full_scale" else query.reference,
        "--mapping": "" if query.mapping == "differential" else query.mapping,
        "--range": "" if query.range == "max" else query.range,
        "--effects": query.effects,
        "--periphery": query.periphery,
        "--epochs": "" if not query.setting or query.setting[0] == 10 else str(query.setting[0]),
    }
    words += [word for flag, value in extra.items() if value for word in (flag, value)]
    return shlex.join(words)
