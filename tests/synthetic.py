"""Tidy results that look like real ones, made up in milliseconds: what figures and pages are tested on."""

import hashlib

import numpy as np
import pandas as pd

FALL = {"none": 0.16, "gaussian": 0.24, "trice": 0.30}  # sigma_d at which a method has lost half


def tidy(
    methods=("none", "gaussian"),
    sigmas=(0.0, 0.1, 0.2, 0.3, 0.4),
    chips=400,
    seeds=3,
    device="rram",
    swept=(),
    **fixed,
):
    """Return rows of the columns that ``nvlib.store.results`` documents, one per chip.

    ``swept``: train_sigma_d at which models are also trained and then tested over all ``sigmas``.
    """
    rng, parts = np.random.default_rng(0), []
    common = {
        "network": "lenet", "dataset": "mnist", "device": device, "reference": "full_scale", "mapping": "differential",
        "bits": 4, "activation_bits": 4, "epochs": 10, "images": 10_000, "chip_seed": 0, "origin": "shipped", **fixed,
    }  # fmt: skip
    for method in methods:
        for seed in range(seeds):
            for sigma_d in sigmas:
                trained = {0.0} if method == "none" else {sigma_d, *swept}
                for train_sigma_d in trained:
                    half = FALL.get(method, 0.2) + 0.01 * seed
                    loss = 88 / (1 + np.exp(-(sigma_d - half) / 0.04)) * (1 + 0.25 * rng.standard_normal(chips))
                    accuracy = np.clip(98.5 - 0.2 * seed - (sigma_d > 0) * np.abs(loss), 9, 99).round(2)
                    training = hashlib.sha256(
                        f"{method}{seed}{train_sigma_d}{sorted(fixed.items())}".encode()
                    ).hexdigest()
                    run = hashlib.sha256(f"{training}{device}{sigma_d}".encode()).hexdigest()
                    parts.append(
                        pd.DataFrame(
                            {
                                "run": run, "training": training, **common, "method": method, "sigma_d": sigma_d,
                                "train_sigma_d": train_sigma_d, "train_seed": seed, "chip": np.arange(chips),
                                "accuracy": accuracy, "loss": 5 - accuracy / 20, "ekl": 0.05 + (100 - accuracy) / 300,
                                "protocol": "matched" if method == "none" or train_sigma_d == sigma_d else "swept",
                            }
                        )
                    )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def analysed(target, folder, analysis, tables, parameters=None):
    """Ship made-up tables as one analysis, as the project does."""
    from nvlib.records import Analysis
    from nvlib.store import Store, compact_analyses

    store, record = Store(target / "runs of analyses", None), Analysis(analysis, (), parameters or {})
    store.save_tables(record, tables, 1.0)
    compact_analyses(store, target / folder, [record])
