"""The dashboard in a real headless browser: pages open, the address reproduces the view, nothing leaves the machine.

Run with ``make test-browser``. Needs Debian's chromium (``apt-get install chromium fonts-dejavu``), or BROWSER_PATH.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from synthetic import tidy

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[1]
CHART = ".stPlotlyChart .main-svg"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server on a free port, with made-up results; it must answer on the loopback only."""
    root = tmp_path_factory.mktemp("results")
    (root / "synthetic").mkdir()
    tidy(swept=(0.2,)).to_parquet(root / "synthetic" / "samples.parquet")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "NVLIB_RESULTS": str(root), "NVLIB_RUNS": str(root / "runs")}
    command = [sys.executable, "-m", "streamlit", "run", "app/main.py", "--server.port", str(port)]
    log = (root / "log").open("w")
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(150):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1)
                break
            except OSError:
                assert process.poll() is None, (root / "log").read_text()
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def chromium():
    path = os.environ.get("BROWSER_PATH") or shutil.which("chromium") or shutil.which("google-chrome")
    assert path, "no browser: apt-get install chromium fonts-dejavu, or set BROWSER_PATH to a Chrome"
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.fail("playwright is missing: pip install 'nvlib[dev]'")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(params=["light", "dark"])
def page(request, chromium):
    """A page that fails its test if anything is asked of another machine, or a script breaks in it."""
    page = chromium.new_page(viewport={"width": 1400, "height": 1000}, color_scheme=request.param)
    page.set_default_timeout(60_000)
    asked, broken = [], []
    page.on("request", lambda r: asked.append(r.url))
    page.on("websocket", lambda w: asked.append(w.url))
    page.on("pageerror", lambda e: broken.append(str(e)))
    yield page
    page.close()
    away = {url for url in asked if urlsplit(url).hostname not in ("127.0.0.1", None)}
    assert not away, f"requests left the loopback: {sorted(away)}"
    assert not broken, broken


def slider(page, label):
    return page.get_by_test_id("stSlider").filter(has_text=label).get_by_role("slider")


def subtitle(page):
    """Return the line under the first figure's title."""
    return page.get_by_test_id("stCaptionContainer").filter(has_text="trainings of").first.inner_text()


def idle(page):
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")


@pytest.mark.parametrize("path", ["/", "/explore", "/explore?view=Distribution", "/explore?view=Cumulative"])
def test_pages_draw(page, server, path):
    page.goto(server + path)
    page.wait_for_selector(CHART)
    idle(page)
    assert not page.get_by_test_id("stException").count() and not page.get_by_test_id("stAlert").count()
    assert page.locator(CHART).first.bounding_box()["width"] > 500


def test_address_sets_the_view_and_reload_keeps_it(page, server):
    page.goto(f"{server}/?sigma_d=0.3&method=gaussian&k=5")
    for _ in range(2):
        page.wait_for_selector(CHART)
        idle(page)
        assert slider(page, "sigma_d").get_attribute("aria-valuetext") == "0.3"
        assert "= 0.3 of full scale" in " ".join(subtitle(page).split())
        assert page.get_by_test_id("stMetric").count() == 4 and page.get_by_text("5th percentile (KPP)").count()
        page.reload()


def test_moving_a_slider_writes_the_address(page, server):
    page.goto(server)
    page.wait_for_selector(CHART)
    handle = slider(page, "sigma_d")
    handle.focus()
    for _ in range(2):
        handle.press("ArrowRight")
    page.wait_for_url(re.compile(r"sigma_d=0\.3"))
    page.wait_for_function("document.body.innerText.includes('0.3 of full scale')")
    shown = page.get_by_test_id("stMetric").all_inner_texts()
    page.goto(page.url)
    page.wait_for_selector(CHART)
    idle(page)
    assert page.get_by_test_id("stMetric").all_inner_texts() == shown
    page.get_by_test_id("stSidebarNavLink").filter(has_text="Explore").click()
    page.get_by_role("heading", name="Explore").wait_for()
    page.wait_for_selector(CHART)
    assert slider(page, "sigma_d").get_attribute("aria-valuetext") == "0.3" and "sigma_d=0.3" in page.url


def test_device_without_result_and_back(page, server):
    page.goto(f"{server}/?device=pcm")
    page.get_by_text("No result yet").wait_for()
    page.locator("code").filter(has_text=re.compile(r"nvlib study .*--device\s+pcm")).wait_for()
    assert slider(page, "sigma_d").get_attribute("aria-valuetext") in ("1.0", "1")
    page.get_by_role("button", name="Show the nearest result").click()
    page.wait_for_selector(CHART)
    idle(page)
    assert slider(page, "sigma_d").get_attribute("aria-valuetext") == "0.2" and "pcm" not in page.url


def test_bad_address_is_answered(page, server):
    page.goto(f"{server}/explore?device=nope&sigma_d=9&k=abc&method=%3Cscript%3E")
    page.wait_for_selector(CHART)
    warning = page.get_by_test_id("stAlert").first.inner_text()
    for text in ("device=nope", "sigma_d=9", "k=abc", "cannot be used"):
        assert text in warning


def test_downloads_a_table(page, server):
    page.goto(f"{server}/explore?view=Table")
    with page.expect_download() as download:
        page.get_by_role("button", name="This table (CSV)").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert lines[0].startswith("method,sigma_d,mean,") and len(lines) == 11
