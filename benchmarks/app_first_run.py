"""How long a fresh server takes to show the first page: seconds of the app's first and second script run.

The clock starts once streamlit is imported and knows which components are installed, which a server does before anybody
looks. The first run then pays for importing pandas, plotly and nvlib, and for reading the results; the second is what a
reader waits for at each click.
CPU time is that of this process with all its threads: the measure to go by on a machine that others use too.

    python benchmarks/app_first_run.py [repeats]        NVLIB_RESULTS=<folder> reads other results
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUN = """
import os, time
from streamlit import delta_generator
from streamlit.components.v2.component_manager import BidiComponentManager
from streamlit.testing.v1 import AppTest

delta_generator._use_warning_has_been_displayed = True  # a server never looks whether to warn; it takes a tenth

def clock():
    times = os.times()
    return time.perf_counter(), times.user, times.system

app = AppTest.from_file("app/main.py", default_timeout=120)
app._bidi_component_manager = BidiComponentManager()  # of what is installed: a server looks for it when it starts
app._bidi_component_manager.discover_and_register_components(start_file_watching=False)
marks = [clock()]
for _ in range(2):
    app.run()
    marks.append(clock())
assert app.get("plotly_chart") and not app.exception, "the page shows no figure"
for label, start, end in zip(("first", "second"), marks, marks[1:]):
    wall, user, system = (b - a for a, b in zip(start, end))
    print(f"{label:6} run: {wall:5.2f} s wall, {user:5.2f} s user CPU, {system:5.2f} s system CPU")
"""


def made_up(folder: str) -> str:
    """Write results like those that ship, for a checkout without any, and return their folder."""
    sys.path.insert(0, str(ROOT / "tests"))
    from synthetic import tidy

    (Path(folder) / "synthetic").mkdir()
    tidy().to_parquet(Path(folder) / "synthetic" / "samples.parquet")
    return folder


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"NVLIB_RUNS": str(Path(folder) / "runs")}  # none: what ships is shown
        if "NVLIB_RESULTS" not in environment and not any(ROOT.glob("results/*/samples.parquet")):
            environment["NVLIB_RESULTS"] = made_up(folder)
        for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 3):
            subprocess.run([sys.executable, "-c", RUN], cwd=ROOT, env=environment, check=True)
