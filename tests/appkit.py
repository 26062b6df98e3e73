"""What the tests of the dashboard share: its pages, made-up results, and what a sound page is."""

import json
import runpy
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from synthetic import analysed, tidy

from nvlib import devices

APP = Path(__file__).parents[1] / "app"
PAGES = tuple(f"views/{name}.py" for name in runpy.run_path(str(APP / "common" / "pages.py"))["PAGES"])


CLAIMS = pd.DataFrame({
    "artefact": ["trice-table1", "tsb-share"], "paper": ["TRICE", "TSB"], "notebook": ["03_trice", "06_tsb"],
    "main": True, "claim": ["Gauss lies above none", "share"], "said_by": ["TRICE", "TSB"], "rule": "sign",
    "printed": [46.2, None], "ours": [62.0, None], "low": [50.0, None], "high": [70.0, None],
    "unit": ["points", "%"], "at": ["sigma_d = 0.2", ""], "n": [400, None],
    "verdict": ["holds", "not yet computed"], "protocol": ["LeNet", ""], "substitute": "", "note": "",
})  # fmt: skip


@cache
def components():
    """Return what a server looks for when it starts, installed components: once, not with every app under test."""
    from streamlit.components.v2.component_manager import BidiComponentManager

    manager = BidiComponentManager()
    manager.discover_and_register_components(start_file_watching=False)
    return manager


def launched():
    """Return the app before its first run."""
    from streamlit.testing.v1 import AppTest

    at = AppTest.from_file(str(APP / "main.py"), default_timeout=120)
    at._bidi_component_manager = components()
    return at


def sound(at):
    """Return the page if it shows neither a traceback nor an error."""
    assert not at.exception, at.exception
    assert not at.error, [e.value for e in at.error]
    return at


def charts(at):
    return at.get("plotly_chart")


def opened(app, page):
    return sound(app.switch_page(f"views/{page}.py").run())


def button(at, label):
    return next(b for b in at.button if b.label.startswith(label))


def deployed(chips=20):
    """Return chips with and without two deployment methods."""
    rng, parts = np.random.default_rng(1), []
    for name, gain, share in (("tsb", 20.0, 0.01), ("swim", 10.0, 0.1)):
        rows = tidy(methods=("gaussian",), sigmas=(0.2, 0.3), chips=chips, seeds=1)
        before = rows["accuracy"]
        after = (before + gain * rng.random(len(rows))).clip(upper=98)
        parts.append(rows.assign(
            run=rows["run"].str.slice(0, 60) + name, deployment=name, deployment_parameters="", before=before,
            accuracy=after, cells=1000.0, verified=1000 * share, pulses=1100.0, passes=500.0, seconds=1.5,
        ))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def taylor():
    """Return tables of the Taylor analysis of one model, made up."""
    model = {"method": "gaussian", "train_sigma_d": 0.2, "train_seed": 0}
    sigma_d = [0.01, 0.05, 0.2]
    both = {f"{of}{part}": 0.1 for of in ("mean", "variance") for part in ("", "_share", "_seen", "_error")}
    laws = [{"sigma_d": s, "law": law, "k": k, "percentile": s, "seen": 1.1 * s, "low": s, "high": 1.2 * s,
             "chips": 400} for s in sigma_d for law in ("linear", "full") for k in (1.0, 5.0)]  # fmt: skip
    tables = {
        "predicted": laws,
        "quantiles": [{"sigma_d": s, "p": p, "predicted": p, "seen": p} for s in sigma_d for p in (0.1, 0.5, 0.9)],
        "chips": [{"sigma_d": s, "chip": i, "loss": s * i, "accuracy": 90.0, "taylor": s * i}
                  for s in (0.02, 0.05) for i in range(5)],
        "layers": [{"layer": f"conv{i}.weight", "sigma_d": s, "weights": 54, "f1": 0.1, "f2": 0.2, "slope": 0.5, **both}
                   for i in (1, 2) for s in (0.02, 0.1)],
        "bits": [{"slice": i, "sigma_d": s, **both} for i in (0, 1) for s in (0.02, 0.1)],
        "training": [{"epoch": e, "split": split, "layer": layer, "sigma_d": 0.2, "noisy": 90.0,
                      **dict.fromkeys(("f", "f1", "f2", "slope", "curvature"), 1.0 / (1 + e))}
                     for e in range(4) for split in ("train", "test") for layer in ("all", "conv1.weight")],
    }  # fmt: skip
    model["training"] = "0" * 64
    return {name: pd.DataFrame(rows).assign(**{k: v for k, v in model.items() if k not in rows[0]})
            for name, rows in tables.items()}  # fmt: skip


def records(rows):
    """Return the trainings of made-up chips, as a folder of shipped results holds them."""
    made = {}
    for row in rows.drop_duplicates("training").itertuples():
        quiet = row.method == "none"
        made[row.training] = {"record": {
            "network": row.network, "width": 1.0, "dataset": row.dataset, "fingerprint": "0" * 64, "images": 55_000,
            "method": row.method, "parameters": {}, "device": None if quiet else devices.get(row.device).numbers(),
            "sigma_d": row.train_sigma_d, "reference": None if quiet else row.reference,
            "mapping": None if quiet else row.mapping, "bits": row.bits, "activation_bits": row.activation_bits,
            "epochs": row.epochs, "recipe": {}, "seed": row.train_seed, "kind": "training", "version": 1,
        }}  # fmt: skip
    return made


def write(root):
    """Write results as the project ships them: a folder per study, deployed chips, tables of the analysis, claims."""
    (root / "synthetic").mkdir()
    parts = [tidy(swept=(0.2,)), tidy(device="pcm", sigmas=(1.0,), chips=40), deployed()]
    rows = pd.concat(parts, ignore_index=True)
    rows[["deployment", "deployment_parameters"]] = rows[["deployment", "deployment_parameters"]].fillna("")
    rows.to_parquet(root / "synthetic" / "samples.parquet")
    (root / "synthetic" / "records.json").write_text(json.dumps(records(rows), default=list))
    made = taylor()
    following = {"training": made.pop("training")}
    analysed(root, "taylor", "taylor", made)
    analysed(root, "following", "following", following)
    CLAIMS.to_csv(root / "claims.csv", index=False)
    return root
