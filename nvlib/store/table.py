"""The tidy table of samples, one row a chip: its columns, and how records and blocks of chips become it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nvlib import devices
from nvlib.records import Training

COLUMNS = [
    "run", "training", "network", "dataset", "method", "device", "sigma_d", "train_sigma_d", "reference", "mapping",
    "bits", "activation_bits", "epochs", "train_seed", "chip_seed", "chip", "accuracy", "loss", "ekl", "protocol",
    "images", "origin", "deployment", "deployment_parameters", "precision", "train_precision", "device_numbers",
    "method_code", "deployment_code", "range", "train_range", "clipping",
    "effects", "train_effects", "periphery", "before", "cells", "verified", "pulses", "passes", "seconds",
]  # fmt: skip
DEPLOYED = COLUMNS[-6:]  # what a deployed chip has beside its scores; NaN where nothing was deployed
CATEGORIES = [
    "run", "training", "network", "dataset", "method", "device", "reference", "mapping", "protocol", "origin",
    "deployment", "deployment_parameters", "precision", "train_precision", "device_numbers", "method_code",
    "deployment_code", "range", "train_range", "clipping", "effects", "train_effects",
    "periphery",
]  # fmt: skip
# what a table that was written before there were these columns lacks, and what its rows have there: the usual
LATER = {"deployment": "", "deployment_parameters": "", "precision": "float32", "train_precision": "float32",
          "device_numbers": "", "method_code": "", "deployment_code": "", "range": "max", "train_range": "max",
          "clipping": "none", "effects": "", "train_effects": "", "periphery": ""}  # fmt: skip
# what is done to trainings and chips beyond a device and its sigma_d; at the usual on a chip that is merely programmed
CONDITIONS = ("deployment", "range", "train_range", "clipping", "effects", "train_effects", "periphery")
DIGITS = 8  # of a digest, in a column


def of_training(training: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns that a training decides, from its record."""
    return {
        "network": training["network"] if training["width"] == 1 else f"{training['network']} x{training['width']:g}",
        "dataset": training["dataset"],
        "method": training["method"],
        "train_sigma_d": float(training["sigma_d"]),
        "activation_bits": training["activation_bits"],
        "epochs": training["epochs"],
        "train_seed": training["seed"],
        "train_precision": training.get("precision", "float32"),
        "method_code": (training.get("code") or "")[:DIGITS],
        "train_range": training.get("range", "max"),
        "clipping": training["recipe"].get("clip", "none"),
        "train_effects": " + ".join(held["effect"] for held in training.get("effects", ())),
    }


def describe(run: str, training: Mapping[str, Any], evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns that say what the chips of an evaluation are, from its record and its training's."""
    matched = training["method"] == "none" or (
        training["sigma_d"] == evaluation["sigma_d"] and training["device"] == evaluation["device"]
    )
    return {
        "run": run,
        "training": evaluation["training"],
        **of_training(training),
        "device": evaluation["device"]["name"],
        "sigma_d": float(evaluation["sigma_d"]),
        "reference": evaluation["reference"],
        "mapping": evaluation["mapping"],
        "bits": evaluation["bits"],
        "chip_seed": evaluation["seed"],
        "images": evaluation["images"],
        "protocol": "matched" if matched else "swept",
        "origin": "yours",
        "deployment": (evaluation["deployment"] or {}).get("name", ""),
        "device_numbers": _numbers(evaluation["device"]),
        "deployment_code": (evaluation["deployment"] or {}).get("code", "")[:DIGITS],
        "range": evaluation.get("range", "max"),
        "effects": " + ".join(held["effect"] for held in evaluation.get("effects", ())),
        "periphery": evaluation.get("periphery", ""),
    }


def _numbers(device: Mapping[str, Any]) -> str:
    """Return what tells a device of one's own from another of its name, digits of its numbers; "" for a built-in."""
    numbers = {key: value for key, value in device.items() if key != "name"}
    known = device["name"] in devices.names() and devices.get(device["name"]).numbers() == numbers
    text = json.dumps(numbers, sort_keys=True, separators=(",", ":"))
    return "" if known else hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def assembled(parts: Sequence[tuple[dict[str, Any], pd.DataFrame]]) -> pd.DataFrame:
    """Return the table of blocks of chips, each with what `describe` says of it; each chip of a run once."""
    if not parts:
        return empty()
    lengths = [len(block) for _, block in parts]
    table = filled(pd.concat([block for _, block in parts], ignore_index=True))
    for column in ("deployment_parameters", "precision"):  # blocks have them where they are not the default
        table[column] = table[column].fillna(LATER[column])
    for column in parts[0][0]:
        values = [said[column] for said, _ in parts]
        if column in CATEGORIES:
            codes, held = pd.factorize(np.array(values, dtype=object), sort=True)
            table[column] = pd.Categorical.from_codes(np.repeat(codes, lengths), held)
        else:
            table[column] = np.repeat(values, lengths)
    table = table.astype(dict.fromkeys(DEPLOYED, "float64"))[COLUMNS]
    return table.drop_duplicates(["run", "chip"], ignore_index=True)


def read_shipped(paths: Sequence[Path]) -> pd.DataFrame:
    """Read shipped samples, one table below the other, as `joined` would give them.

    Strings stay as they are stored, each once and a number a row: quick to read and small. Files that are as they were
    are not read again.
    """
    return _read(tuple((path, path.stat().st_mtime_ns) for path in paths)).copy() if paths else empty()


@lru_cache(maxsize=2)  # everything that ships is some 50 MB
def _read(paths: tuple[tuple[Path, int], ...]) -> pd.DataFrame:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile, read_schema

    parts = []
    for path, _ in paths:
        held = set(read_schema(path).names)
        with ParquetFile(path, read_dictionary=[c for c in CATEGORIES if c in held]) as file:
            part = file.read()
        for column, value in LATER.items():
            if column not in held:
                codes = pa.repeat(pa.scalar(0, pa.int32()), len(part))
                part = part.append_column(column, pa.DictionaryArray.from_arrays(codes, [value]))
        parts.append(part)
    try:
        whole = pa.concat_tables(parts, promote_options="permissive").unify_dictionaries().to_pandas()
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):  # written by versions that differ
        return joined([filled(part.to_pandas()) for part in parts])
    for column in CATEGORIES:
        known = whole[column].cat.categories
        whole[column] = whole[column].cat.reorder_categories(known.sort_values())
    return filled(whole)


def shipped_samples(path: Path, name: str, columns: list[str]) -> pd.DataFrame:
    """Read the chips of one run from a shipped table; those columns alone where nothing was deployed."""
    from pyarrow.parquet import read_schema

    extra = ["deployment_parameters", *DEPLOYED] if "deployment" in read_schema(path).names else []
    rows = pd.read_parquet(path, columns=[*columns, *extra], filters=[("run", "==", name)])
    return rows if extra and rows["before"].notna().any() else rows[columns]


def filled(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the columns that came later, which it may lack."""
    lacking = {**LATER, **dict.fromkeys(DEPLOYED, float("nan"))}
    return table.assign(**{c: value for c, value in lacking.items() if c not in table})


def joined(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return tables one below the other; columns of strings become categories, in order."""
    parts = [part.astype(dict.fromkeys(CATEGORIES, "category")) for part in parts if len(part)]
    if not parts:
        return empty()
    for column in CATEGORIES:
        held = sorted(set().union(*(part[column].cat.categories for part in parts)))
        for part in parts:
            part[column] = part[column].cat.set_categories(held)
    return pd.concat(parts, ignore_index=True)


def trimmed(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with categories of the values it holds only."""
    table = table.astype(dict.fromkeys(CATEGORIES, "category"))
    return table.assign(**{c: table[c].cat.remove_unused_categories() for c in CATEGORIES})


def empty() -> pd.DataFrame:
    """Return a table without rows."""
    numbers = {f.name for f in fields(Training) if f.type in ("int", "float")}
    floats = {"sigma_d", "train_sigma_d", "accuracy", "loss", "ekl", *DEPLOYED}
    whole = (numbers | {"chip", "train_seed", "chip_seed", "images"}) - floats
    kinds = {c: "float64" if c in floats else "int64" if c in whole else "object" for c in COLUMNS}
    table = pd.DataFrame({c: pd.Series(dtype=kind) for c, kind in kinds.items()})
    return table.astype(dict.fromkeys(CATEGORIES, "category"))
