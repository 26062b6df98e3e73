"""The notebooks that are of no paper alone: the tour, devices, the theory, the playground.

Those of a paper stand in its file. Which artefacts each makes follows from the artefacts (`nvlib.papers.registry`).
"""

from __future__ import annotations

from nvlib.papers.artefact import Notebook
from nvlib.papers.presets import PRESETS, SIGMAS

# The tour's study is TRICE's Table I, its first and third columns.
TOUR = {
    "smoke": {
        "sigma_d": (0.0, 0.2),
        "seeds": (0,),
        "epochs": 3,
        "recipe": {"lr": 3e-3, "batch_size": 32},  # many small steps, so that a thousand images teach it something
        "chips": 20,
        "images": 1000,
    },
    "quick": {"sigma_d": (0.0, 0.1, 0.2), "seeds": (0,), "epochs": 3, "chips": 400},
    "full": {"sigma_d": (0.0, 0.1, 0.2, 0.3, 0.4), "seeds": (0, 1, 2), "epochs": 10, "chips": 400},
    "paper": {"sigma_d": SIGMAS, "seeds": (0, 1, 2, 3, 4), "epochs": 100, "chips": 10_000},
}

LIBRARY = (
    Notebook("00_tour", {"smoke": 20, "quick": 120, "full": 3600, "paper": 9e6}, ("tour",),
             lambda preset: [TOUR[preset]]),
    Notebook("01_devices", dict.fromkeys(PRESETS, 10.0)),
    Notebook("02_kpp_taylor", {"smoke": 25, "quick": 35, "full": 400, "paper": 3e5}),
    Notebook("08_range", {"smoke": 30, "quick": 40, "full": 600, "paper": 3600}),
    Notebook("10_array", {"smoke": 50, "quick": 80, "full": 3600, "paper": 5e4}, ("array",)),
    Notebook("07_explore", {"smoke": 25, "quick": 180, "full": 900, "paper": 2e4}, ("explore",)),
    Notebook("09_life", {"smoke": 45, "quick": 155, "full": 1.5e4, "paper": 4e5}),
)  # fmt: skip
TOUR_PRESET = "tour"  # the two-minute main job: `SHORT` at quick
SHORT = ("00_tour", "01_devices")
EVERY = {"07_explore": "smoke"}  # without a preset: every notebook at quick, what ships read, but these
