"""What all pages share: the choice in the sidebar, the chips it selects, and the text around a figure.

sidebar -> frozen `Query`, bound to the address -> `chips` (cached read) -> one call of `nvlib.figures` -> `show`.
Nothing here needs torch, so a page opens at once; nothing here is drawn, `nvlib.figures` does that. Each file imports
only from those before it:

    pages        what there is to open
    plugged      methods and networks of one's own, given when the app was started
    query        `Query`, and the names that are chosen among
    widgets      choices bound to the address, and what is said of an address that cannot be used
    stored       the stored chips that a query selects, and what their trainings cost
    beside       other stored settings laid over them
    jobs         studies launched from pages      answers    what is lacking computed in place
    empty_state  what to do where nothing is stored
    sidebar      the choice itself
    pictures     a figure as PNG or SVG
    show         a figure with caption, table, downloads, provenance and code
"""

from common import plugged
from common.answers import offer
from common.beside import beside, laid
from common.empty_state import command, missing, nearest, offer_nearest
from common.query import DATASETS, FIRST, METHODS, NETWORKS, SETTING, Query
from common.show import code, columns, downloads, figure, guarded, interval, numbers, show, told
from common.sidebar import query, sidebar
from common.stored import chips, costs, deployed, ideal, selected, stored
from common.widgets import choice, number

__all__ = [
    "DATASETS", "FIRST", "METHODS", "NETWORKS", "SETTING", "Query", "beside", "chips", "choice", "code",
    "columns", "command", "costs", "deployed", "downloads", "figure", "guarded", "ideal", "interval", "laid", "missing",
    "nearest", "number", "numbers", "offer", "offer_nearest", "plugged", "query", "selected", "show", "sidebar",
    "stored", "told",
]  # fmt: skip
