"""A reader's choice, and the names that it is made of: those of the library, which the notebooks share."""

from nvlib.explore import DATASETS, FIRST, MEASURED, METHODS, NETWORKS, RANGES, RELATIVE, SETTING, Query

__all__ = ["DATASETS", "FIRST", "MEASURED", "METHODS", "NETWORKS", "RANGES", "RELATIVE", "SETTING", "Query"]
