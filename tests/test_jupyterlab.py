"""The playground in JupyterLab, in a real headless browser: run, moved by keyboard, live chips; all on loopback.

Run with ``make test-browser``. The notebook's tables are left to papermill and nbval: its cells up to the playground
are opened here.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
import test_browser

pytestmark = pytest.mark.browser
chromium, watched = test_browser.chromium, test_browser.watched
FIGURE = ".jp-OutputArea .js-plotly-plot .main-svg"
QUIET = (  # no look for news or updates, which the server itself would ask another machine for
    "--LabApp.news_url=", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
)  # fmt: skip


@pytest.fixture
def lab(tmp_path):
    """JupyterLab on a free port, with the first cells of the notebook; nothing of it reaches the user's settings."""
    book = json.loads((test_browser.ROOT / "notebooks" / "07_explore.ipynb").read_text())
    last = next(i for i, cell in enumerate(book["cells"]) if "explore.Panel(" in "".join(cell["source"]))
    code = [cell for cell in book["cells"][: last + 1] if cell["cell_type"] == "code"]
    for cell in code:
        cell.update(outputs=[], execution_count=None)
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "playground.ipynb").write_text(json.dumps({**book, "cells": code}))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    homes = {name: str(tmp_path / name) for name in (
        "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR",
    )}  # fmt: skip
    environment = {**os.environ, **homes, "NVLIB_RUNS": str(tmp_path / "runs"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
               "--ServerApp.port_retries=0", "--IdentityProvider.token=", f"--ServerApp.root_dir={tmp_path / 'tree'}",
               *QUIET]  # fmt: skip
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            until = time.monotonic() + 120
            while time.monotonic() < until:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/api/status", timeout=5)
                    break
                except OSError:
                    assert process.poll() is None, (tmp_path / "log").read_text()
                    time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()  # the server shuts its kernels down
            process.wait(30)


def subtitle(page):
    """Return what stands under the title of the first figure."""
    return page.locator(f"{FIGURE} .gtitle-subtitle").first.text_content()


def test_the_playground_answers_in_jupyterlab(chromium, lab):
    with watched(chromium) as page:
        page.goto(f"{lab}/lab/tree/playground.ipynb?reset")
        page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
        page.get_by_text("| Idle").wait_for()  # cells that are run before the kernel is there are not run at all
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()

        page.locator(FIGURE).first.wait_for()
        assert "= 0.2 of full scale" in subtitle(page)
        before = page.locator(".nvlib-numbers").inner_text()
        assert "shipped" in before and "1,200" in before

        handle = page.locator(".widget-slider", has_text="sigma_d").get_by_role("slider")
        handle.focus()
        for _ in range(2):
            handle.press("ArrowRight")
        page.wait_for_function(
            "() => document.querySelector('.js-plotly-plot .gtitle-subtitle')?.textContent.includes('= 0.3 of full')"
        )
        page.wait_for_function("old => document.querySelector('.nvlib-numbers').innerText !== old", arg=before)

        button = page.locator("button.jupyter-button:not([disabled])", has_text=re.compile("Score .* chips now"))
        button.click()
        page.get_by_text(re.compile("^60 of 60 chips")).wait_for()
        page.get_by_text("Scored now, not stored: chips 0 to 29 of seed 0").wait_for()
        page.wait_for_function("() => document.querySelector('.js-plotly-plot .gtitle-subtitle').textContent"
                               ".includes('250 test images')")  # fmt: skip
