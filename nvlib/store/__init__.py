"""Where results live: a directory for each record (`nvlib.records`), whole or absent.

    runs/<hash>/record.json  environment.json  plan.json                    what it is, where and how it was computed
               history.parquet  weights.safetensors  DONE                   of a training
               trace.parquet                                                of one that searched: its candidates
               network.json                                                 of a user's own network: its file, as text
               code.json                                                    of a user's own method: its file, as text
               samples-<first>-<last>.parquet                               of an evaluation, a file a block of chips
               <table>.parquet  DONE                                        of an analysis
    runs/.damaged/<hash>-<time>/                                            files that were found damaged

Every file is written beside its place and renamed, so that a kill loses at most the block under way and leaves no half
file under a final name; what it leaves half written goes when the run is done. What is read is checked by its own
format; what does not hold is set aside with a warning and computed again by its study. Results that ship with the
project lie compacted in results/<study>/, with SHA256SUMS. Nothing here needs torch but reading and writing weights,
and no pickle is ever loaded.

    locations  where runs and shipped results lie
    checksums  SHA256SUMS of what ships, and what becomes of a damaged file
    formats    tables and tensors that tell their own damage
    files      writing a file whole or not at all
    table      the tidy table of samples
    shipped    results that ship with the project
    runs       the store
    query      what it has, as one tidy table
    verify     every file of it, looked at
    shipping   writing results that ship
    remove     runs that are no longer wanted

>>> from nvlib import store
>>> ships = store.results(network="lenet3", origin="shipped")
>>> set(ships.network), len(ships) > 100
({'lenet3'}, True)
"""

from nvlib.provenance import environment
from nvlib.records import VERSION
from nvlib.store.checksums import ASIDE, SUMS, Damage, Damaged
from nvlib.store.files import DiskFull, atomic_write, remove_partial, write_json
from nvlib.store.locations import local_runs, project_root, shipped_results
from nvlib.store.query import results
from nvlib.store.remove import dependents, remove
from nvlib.store.runs import Store
from nvlib.store.shipping import compact, compact_analyses
from nvlib.store.table import COLUMNS, DEPLOYED, describe
from nvlib.store.verify import Finding, seal, verify

__all__ = [
    "Store", "results", "COLUMNS", "DEPLOYED", "describe", "local_runs", "project_root", "shipped_results",
    "write_json", "atomic_write", "remove_partial", "DiskFull", "Damage", "Damaged", "SUMS", "ASIDE", "Finding",
    "verify", "seal", "compact", "compact_analyses", "dependents", "remove", "environment", "VERSION",
]  # fmt: skip
