"""The pages in the order of the navigation: what a new one of `views/` is entered in, and nowhere else."""

from typing import NamedTuple


class Page(NamedTuple):
    """A page: what it is called, its icon among Google's material symbols, and what a reader does there."""

    title: str
    icon: str
    invites: str = ""  # how the Overview points to it, after "or"

    @property
    def symbol(self) -> str:
        """The icon as Streamlit writes it."""
        return f":material/{self.icon}:"


PAGES = {  # the file's name in views/; the first one opens
    "overview": Page("Overview", "home"),
    "explore": Page("Explore", "query_stats", "follow the curves over sigma_d"),
    "compare": Page("Compare", "balance", "set methods side by side"),
    "why": Page("Why (Taylor)", "function", "ask why the tail falls"),
    "device_lab": Page("Device lab", "memory", "bring a device of yours"),
    "life": Page("Life", "schedule", "follow a chip as it ages"),
    "tiles": Page("Array", "grid_on", "put tiles, converters and wires round a chip"),
    "deploy": Page("Deploy", "build", "verify, retrain or calibrate a programmed chip"),
    "run": Page("Run", "play_circle", "run a study"),
    "reproduce": Page("Reproduce", "fact_check", "check what the papers claim"),
}


def file(page: str) -> str:
    """The path of a page's script, from the folder of the router."""
    return f"views/{page}.py"
