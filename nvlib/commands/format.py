"""How results are written on a terminal: a line a method and sigma_d, under a line that says what they share."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping

import pandas as pd
from rich.console import Console
from rich.table import Table

from nvlib.statistics import Estimate
from nvlib.store import COLUMNS, DEPLOYED

# columns in which runs of one table may differ; those that differ in any other stand in tables of their own
OWN = {"run", "training", "method", "sigma_d", "train_sigma_d", "train_seed", "train_range", "train_effects", "origin",
       "chip", "accuracy", "loss", "ekl", *DEPLOYED}  # fmt: skip
SHARED = [column for column in COLUMNS if column not in OWN]
NUMBER = re.compile(r"\s*[-+\d.]")


def summary(table: pd.DataFrame, k: float, records: Mapping[str, Mapping] | None = None) -> str:
    """Return the statistics of a table of samples, each group of runs that may be compared under its heading.

    Args:
        table: as `nvlib.store.results` returns it, not empty.
        k: percentile, in percent.
        records: training -> its record; tells trainings apart that differ in parameters or recipe.
    """
    table = table.assign(trained_at=table["train_sigma_d"].where(table["protocol"] == "swept", -1.0))
    parts = []
    for shared, rows in table.groupby(SHARED, observed=True, sort=True):
        rows = rows.assign(variant=_variants(rows, records or {}))
        alike = rows.groupby(["variant", "trained_at"], observed=True, sort=True)
        body = pd.concat([_lines(same, k) for _, same in alike], ignore_index=True)
        for column, blank in (("trained at", "-"), ("parameters", "")):
            if (body[column] == blank).all():
                body = body.drop(columns=column)
        parts.append(f"{heading(dict(zip(SHARED, shared, strict=True)))}\n{columns(body)}")
    return "\n\n".join(parts)


def heading(shared: Mapping[str, object]) -> str:
    """Return in a line what runs share."""
    bits = f"{shared['bits']}-bit weights"
    if shared["activation_bits"]:
        bits += f", {shared['activation_bits']}-bit activations"
    words = [
        f"{shared['network']} on {shared['dataset']}", str(shared["device"]), str(shared["reference"]),
        str(shared["mapping"]), bits, f"{shared['epochs']} epochs", f"{shared['images']:,} test images",
        str(shared["protocol"]),
    ]  # fmt: skip
    if shared["device_numbers"]:
        words[1] += f" (own, numbers {shared['device_numbers']})"
    if shared["method_code"]:
        words.append(f"method of code {shared['method_code']}")
    if shared["deployment"]:
        said = str(shared["deployment_parameters"])
        words.append(f"deployed by {shared['deployment']}" + (f" {said}" if said else ""))
    short = [f"{what} in {shared[column]}" for what, column in (("trained", "train_precision"), ("scored", "precision"))
             if shared[column] != "float32"]  # fmt: skip
    words += [" and ".join(short)] if short else []
    if shared["range"] != "max":
        words.append(f"range {shared['range']}")
    if shared["effects"]:
        words.append(f"then {shared['effects']}")
    if shared["periphery"]:
        words.append(f"through {shared['periphery']}")
    if shared["clipping"] != "none":
        words.append(f"clipped in training to {shared['clipping']}")
    if shared["chip_seed"]:
        words.append(f"chips of seed {shared['chip_seed']}")
    return ", ".join(words)


def columns(table: pd.DataFrame) -> str:
    """Return a table of text in aligned columns, numbers to the right; a terminal's width bounds it, nothing else."""
    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else 10_000, highlight=False, markup=False, emoji=False)
    drawn = Table(box=None, padding=0, header_style="bold")
    parts: list[list[str]] = []
    for column in table:
        gap = "  " if parts else ""  # in the text: padding and widths of rich's own take a third of a second a page
        parts.append([f"{gap}{word}" for word in table[column]])
        head, right = f"{gap}{column.strip()}", all(map(NUMBER.match, parts[-1]))
        width = None if terminal else max([len(head), *map(len, parts[-1])])
        drawn.add_column(head, justify="right" if right else "left", overflow="fold", width=width)
    for row in zip(*parts, strict=True):
        drawn.add_row(*row)
    with console.capture() as said:
        console.print(drawn)
    return "\n".join(line.rstrip() for line in said.get().splitlines())


def interval(low: float | None, high: float | None) -> str:
    """Return limits in brackets; a dash where there are too few chips."""
    known = low is not None and high is not None and low == low and high == high
    return f"[{low:.2f}, {high:.2f}]" if known else "-"


def estimate(found: Estimate, unit: str = "") -> str:
    """Return an estimate with its interval and note."""
    limits = interval(found.low, found.high)
    note = f" ({found.note})" if found.note else ""
    return f"{found.value:.2f}{unit}{'' if limits == '-' else ' ' + limits}{note}"


def _lines(rows: pd.DataFrame, k: float) -> pd.DataFrame:
    """Return a row a method and sigma_d of runs that differ in nothing else but seeds."""
    from nvlib.summary import results_table

    found, trained = results_table(rows, k=k), rows["trained_at"].iloc[0]
    limits = {of: zip(found[f"{of}_low"], found[f"{of}_high"], strict=True) for of in ("mean", "kpp")}
    return pd.DataFrame(
        {
            "method": found["method"],
            "sigma_d": found["sigma_d"].map("{:g}".format),
            "trained at": "-" if trained < 0 else f"{trained:g}",
            "mean": found["mean"].map("{:.2f}".format),
            "95 %": [interval(*pair) for pair in limits["mean"]],
            f"KPP({k:g})": found["kpp"].map("{:.2f}".format),
            "95 % ": [interval(*pair) for pair in limits["kpp"]],
            "worst": found["worst"].map("{:.2f}".format),
            "EKL": found["ekl"].map("{:.4f}".format),
            "chips": found["n"],
            "seeds": found["seeds"],
            "parameters": rows["variant"].iloc[0],
        }
    )


def _variants(table: pd.DataFrame, records: Mapping[str, Mapping]) -> pd.Series:
    """Return for each row what tells its training from others of its method: the values in which they differ."""
    said: dict[str, str] = {}
    pairs = table[["method", "training"]].drop_duplicates()
    for _, group in pairs.groupby("method", observed=True):
        flat = {t: {**records[t]["parameters"], **records[t]["recipe"], "train_range": records[t].get("range", "max"),
                    "train_effects": " + ".join(e["effect"] for e in records[t].get("effects", ()))}
                for t in group["training"] if t in records}  # fmt: skip
        names = sorted({name for values in flat.values() for name in values})
        several = [n for n in names if len({repr(values.get(n)) for values in flat.values()}) > 1]
        for training, values in flat.items():
            said[training] = ", ".join(f"{n}={_word(values[n])}" for n in several if n in values)
    return table["training"].astype(str).map(said).fillna("")


def _word(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).replace(" ", "")
