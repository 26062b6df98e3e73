"""One choice (device, size of the variation, methods, conventions), and the chips that answer it: stored, or live.

The dashboard and the notebook `07_explore` ask the same way. Where the store holds the chips of a choice they are
shown at once; where it does not, chips of a stored model can be scored while the reader waits.

    query      `Query`, and the names that are chosen among
    select     the rows of the table of results that answer a query
    overlay    other stored settings (epochs, ranges, parameters), and a table with them as methods of their own
    code_text  a choice as Python and as a command
    live       what there is for a choice; chips scored now, block by block, as rows of the same table
    html       numbers and figures as HTML, text and JSON    widgets    the controls (ipywidgets, when asked)
    panel      the playground of the notebook

`query` and `select` need neither torch nor plotly; the others load them when used.

>>> from nvlib import explore, store
>>> query = explore.Query(sigma_d=0.1, method=("gaussian",), k=5)
>>> ships = store.results(network="lenet", method="gaussian", origin="shipped")
>>> sorted(explore.answer(query, ships).models)
['gaussian']
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from nvlib.explore.query import DATASETS, FIRST, MEASURED, METHODS, NETWORKS, RANGES, RELATIVE, SETTING, Query

_HOME = {"Answer": "live", "answer": "live", "Live": "live", "score": "live", "variants": "live", "SIZES": "live",
         "Panel": "panel", "beside": "overlay", "laid": "overlay"}  # fmt: skip

__all__ = [
    "Query", "NETWORKS", "DATASETS", "METHODS", "FIRST", "RANGES", "RELATIVE", "MEASURED", "SETTING", "Answer",
    "answer", "Live", "score", "variants", "SIZES", "Panel", "beside", "laid",
]  # fmt: skip

if TYPE_CHECKING:
    from nvlib.explore.live import SIZES, Answer, Live, answer, score, variants
    from nvlib.explore.overlay import beside, laid
    from nvlib.explore.panel import Panel


def __getattr__(key: str) -> object:
    if key in _HOME:
        return getattr(importlib.import_module(f"nvlib.explore.{_HOME[key]}"), key)
    raise AttributeError(f"module 'nvlib.explore' has no attribute {key!r}; it has: {', '.join(__all__)}")


def __dir__() -> list[str]:
    return __all__
