"""How long a training is, and what becomes of the percentile: a table of our own, of no paper.

Whole schedules of several lengths (the learning rate falls to zero at the end of each), one training each, scored on
the same chips. Beside them the largest weight, which every deviation is relative to, in two measures: of the first
layer as it is, and of the layer where it is the most standard deviations of the layer's weights: the one grows with all
weights, the other says how far a typical weight strays. Gauss once more with its weights clipped after each update.

    weight-spans    of a training: spans, the weights of each layer
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from nvlib.catalogue import MARKS
from nvlib.papers.range_table import CHIPS, LENET
from nvlib.records import Analysis
from nvlib.store import Store, results
from nvlib.summary import results_table

if TYPE_CHECKING:
    from nvlib.studies.analyses import Make

AT = 0.2  # sigma_d that all are trained and scored at
EPOCHS = (10, 20, 50, 100)
METHODS = ("none", "gaussian", "trice")
CLIP = "deviations:2.5"
CLIPPED = f"gaussian {MARKS[1]} weights clipped at 2.5 deviations"
TRICE = {"warm": 5, "n_train": 300, "tolerance": 1e-4, "images": None}  # its search as the paper sets it
IMAGES = 55_000  # that all are trained on
LAYER = "conv1.weight"  # the first
COMMANDS = f"""for epochs in {" ".join(map(str, EPOCHS))}; do
  python -m nvlib study --method {" ".join(METHODS)} --sigma-d {AT:g} --epochs $epochs --chips {CHIPS}
  python -m nvlib study --method gaussian --clip {CLIP} --sigma-d {AT:g} --epochs $epochs --chips {CHIPS}
done
python -m nvlib.papers.analyses training-length"""


def length_rows(store: Store | None = None) -> pd.DataFrame:
    """Return the first `CHIPS` chips of each length of training that the store has, of one training each.

    Columns of `nvlib.results`. Gauss with clipped weights has a method of its own, `CLIPPED`.
    """
    store = store or Store()
    found = results(store, **LENET, range="max", sigma_d=AT, epochs=list(EPOCHS), method=list(METHODS), train_seed=0,
                    clipping=["none", CLIP], chip_seed=0)  # fmt: skip
    kept = [name for name in found["training"].unique() if _asked(name, store)]
    found = found[found["training"].isin(kept)].astype({"method": str})
    clipped = found["clipping"] == CLIP
    found.loc[clipped, "method"] = CLIPPED
    return found.reset_index(drop=True)


def _asked(name: str, store: Store) -> bool:
    """Whether a training is on all images, by the usual recipe but for clipping, TRICE by the paper's search."""
    training = store.training(name)
    asked = TRICE if training.method == "trice" else {}
    clipped = training.recipe.get("clip", "none") != "none"
    return (
        training.images == IMAGES and not training.recipe.get("start")
        and all(training.parameters.get(key) == value for key, value in asked.items())
        and (training.method == "gaussian" or not clipped)
    )  # fmt: skip


def length_table(k: float = 1, store: Store | None = None) -> pd.DataFrame:
    """Return a row a method and length: `nvlib.summary.results_table` with epochs and the first layer's weights.

    Columns beside: epochs; largest, the largest |w| of the first layer, in the units of the weights; span, the largest
    |w| in standard deviations of its layer, where that is most, and widest, that layer. Empty where `weight_spans` has
    none.
    """
    store = store or Store()
    df, spans = length_rows(store), weight_spans(store)
    if df.empty:
        return pd.DataFrame()
    whose = df.drop_duplicates(["method", "epochs"])[["method", "epochs", "training"]]
    parts = [results_table(df[df["epochs"] == epochs], k).assign(epochs=epochs) for epochs in sorted(set(df["epochs"]))]
    spans = spans.assign(span=spans["largest"] / spans["deviation"]).sort_values("span")
    most = spans.drop_duplicates("training", keep="last").rename(columns={"layer": "widest"})
    first = spans[spans["layer"] == LAYER][["training", "largest"]]
    table = pd.concat(parts, ignore_index=True).merge(whose, on=["method", "epochs"])
    for part in (first, most[["training", "span", "widest"]]):
        table = table.merge(part, on="training", how="left")
    return table.drop(columns="training")


def weight_spans(store: Store | None = None) -> pd.DataFrame:
    """Return how far weights reach: a row a training and layer; columns largest, deviation, count."""
    found = (store or Store()).analysed(("weight-spans",), "spans")
    return found if len(found) else pd.DataFrame(columns=["training", "layer", "largest", "deviation", "count"])


def planned(where: Store | None = None) -> list[tuple[Analysis, Make]]:
    """Return the analyses of the weights of all lengths that the store has with their weights."""
    where = where or Store()
    names = sorted(set(length_rows(where)["training"]))
    return [(Analysis("weight-spans", (name,), {}), partial(_spans, name)) for name in names if where.has_weights(name)]


def _spans(training: str, record: Analysis, store: Store) -> dict[str, pd.DataFrame]:
    weights = store.weights(training) or {}
    return {"spans": pd.DataFrame([
        {"training": training, "layer": name, "largest": float(w.abs().max()), "deviation": float(w.std()),
         "count": w.numel()}
        for name, w in weights.items() if w.dim() > 1
    ])}  # fmt: skip
