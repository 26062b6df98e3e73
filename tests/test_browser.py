"""The dashboard in a real headless browser: pages, addresses, uploads, downloads, jobs, ten readers; all on loopback.

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
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from appkit import write

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[1]
CHART = ".stPlotlyChart .main-svg"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server on a free port, with made-up results; it must answer on the loopback only."""
    root = write(tmp_path_factory.mktemp("results"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "NVLIB_RESULTS": str(root), "NVLIB_RUNS": str(root / "runs"), "OMP_NUM_THREADS": "1",
                   "NVLIB_WARM": "20"}
    (root.parent / "mine.py").write_text("""from torch import nn
def small(classes=10, in_channels=1):
    return nn.Sequential(nn.Conv2d(in_channels, 2, 5, stride=4), nn.Flatten(), nn.Linear(2 * 36, classes))
""")
    command = [sys.executable, "-m", "streamlit", "run", "app/main.py", "--server.port", str(port), "--",
               "--network", str(root.parent / "mine.py:small")]  # fmt: skip
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


@contextmanager
def watched(chromium, **options):
    """A page that fails its test if anything is asked of another machine, or a script breaks in it."""
    context = chromium.new_context(viewport={"width": 1400, "height": 1000}, **options)
    page = context.new_page()
    page.set_default_timeout(90_000)
    asked, broken = [], []
    page.on("request", lambda r: asked.append(r.url))
    page.on("websocket", lambda w: asked.append(w.url))
    page.on("pageerror", lambda e: broken.append(str(e)))
    yield page
    context.close()
    away = {url for url in asked if urlsplit(url).hostname not in ("127.0.0.1", None)}
    assert not away, f"requests left the loopback: {sorted(away)}"
    assert not broken, broken


@pytest.fixture
def page(chromium):
    with watched(chromium) as page:
        yield page


def slider(page, label):
    return page.get_by_test_id("stSlider").filter(has_text=label).get_by_role("slider")


def subtitle(page):
    """Return the line under the first figure's title."""
    return page.get_by_test_id("stCaptionContainer").filter(has_text="trainings of").first.inner_text()


def idle(page):
    """Wait until the page's script has run, and what it says has been drawn."""
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
    page.wait_for_timeout(300)


ALL = ("/", "/explore", "/explore?view=Distribution", "/explore?view=Cumulative", "/compare", "/why",
       "/why?why=Layers+and+slices", "/device_lab", "/deploy", "/reproduce", "/explore?view=EKL")  # fmt: skip


@pytest.mark.parametrize(("scheme", "paths"), [("light", ALL), ("dark", ALL[::3])])
def test_every_page_draws(chromium, server, scheme, paths):
    with watched(chromium, color_scheme=scheme) as page:
        for path in paths:
            page.goto(server + path)
            page.wait_for_selector(CHART)
            idle(page)
            assert not page.get_by_test_id("stException").count(), path
            assert not page.get_by_test_id("stAlert").count(), path
            assert page.locator(CHART).first.bounding_box()["width"] > 500


def test_a_narrow_screen_holds_a_page(chromium, server):
    with watched(chromium) as page:
        page.set_viewport_size({"width": 420, "height": 900})
        page.goto(f"{server}/compare")
        page.wait_for_selector(CHART)
        idle(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 420
        assert 250 < page.locator(CHART).first.bounding_box()["width"] <= 420


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


def test_the_address_is_written_as_the_app_is_tested_with(page, server):
    """A choice, several, none of several, a number: as `written` of test_app_address.py has it."""
    page.goto(f"{server}/compare?compare=Table")
    page.get_by_test_id("stButtonGroup").get_by_role("button", name="0.2", exact=True).click()
    page.wait_for_url(re.compile(r"[?&]only=0\.2(&|$)"))
    idle(page)
    page.get_by_test_id("stButtonGroup").get_by_role("button", name="0.4", exact=True).click()
    page.wait_for_url(re.compile(r"only=0\.2&only=0\.4"))
    idle(page)
    page.get_by_test_id("stButtonGroup").get_by_text("EKL", exact=True).click()
    page.wait_for_url(re.compile(r"[?&]by=EKL(&|$)"))
    idle(page)
    number(page, "Percentile k").fill("5")
    number(page, "Percentile k").press("Enter")
    page.wait_for_url(re.compile(r"[?&]k=5(&|$)"))
    idle(page)
    page.get_by_test_id("stMultiSelect").get_by_role("button", name="Clear all").click()
    page.wait_for_url(re.compile(r"[?&]method=(&|$)"))
    page.reload()
    page.get_by_text("Choose at least one training method").wait_for()
    idle(page)
    assert "method=" in page.url and not page.get_by_text("cannot be used").count()


def test_device_without_result_and_back(page, server):
    page.goto(f"{server}/?device=sonos")
    page.get_by_text("No result yet").wait_for()
    page.get_by_text("The command that computes it").click()
    page.locator("code").filter(has_text=re.compile(r"nvlib study .*--device\s+sonos")).wait_for()
    assert slider(page, "sigma_d").get_attribute("aria-valuetext") in ("1.0", "1")
    page.get_by_role("button", name="Show the nearest result").click()
    page.get_by_text("Mean over chips").first.wait_for()
    idle(page)
    assert slider(page, "sigma_d").get_attribute("aria-valuetext") == "0.2" and "sonos" not in page.url


def test_what_is_not_stored_is_computed_while_one_watches(page, server):
    """Chips of a stored model on another device: started, watched, stopped, found again after a reload."""
    page.goto(f"{server}/?device=sonos&method=none")
    page.get_by_role("button", name="Compute it now").click()
    page.get_by_text(re.compile(r"\d+ chips, mean \d")).first.wait_for(timeout=180_000)
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("Mean over chips").first.wait_for(timeout=60_000)  # what was finished is a result
    page.reload()
    page.wait_for_selector(CHART)
    counted = page.get_by_text(re.compile(r"n = [\d,]+ chips · results: yours")).first.inner_text()
    assert 0 < int(re.search(r"n = ([\d,]+)", counted)[1].replace(",", "")) <= 400


@pytest.mark.parametrize("device", ["rram", "fefet2", "nft_rram4", "rram_milo2021"])
def test_a_device_of_each_kind_is_answered(page, server, device):
    """Without a profile, with one, of levels of its own, measured: the offer is pressed, and answered with chips."""
    sigma_d = 1 if device == "rram_milo2021" else 0.15
    page.goto(f"{server}/?device={device}&method=none&sigma_d={sigma_d}")
    page.get_by_role("button", name="Compute it now").click()
    page.get_by_text(re.compile(r"\d+ chips, mean \d")).first.wait_for(timeout=180_000)
    page.get_by_text("Mean over chips").first.wait_for(timeout=180_000)
    idle(page)
    assert not page.get_by_test_id("stException").count()
    assert page.get_by_text(re.compile(r"n = 400 chips · results: yours")).count()


@pytest.mark.parametrize("view", ["explore", "compare"])
def test_the_offer_of_every_page_is_answered_where_it_is_pressed(page, server, view):
    """The page asks for what it shows itself: two methods to compare; then it shows that."""
    sigma_d = {"explore": 0.22, "compare": 0.27}[view]  # stored by nobody
    methods = ["none", "gaussian"] if view == "compare" else ["none"]
    page.goto(f"{server}/{view}?device=fefet1&sigma_d={sigma_d}&{'&'.join(f'method={name}' for name in methods)}")
    page.get_by_role("button", name="Compute it now").click()
    page.get_by_text(re.compile(r"\d+ chips, mean \d")).first.wait_for(timeout=180_000)
    page.get_by_role("button", name="Stop").wait_for(state="detached", timeout=300_000)
    page.wait_for_selector(CHART)
    idle(page)
    assert not page.get_by_test_id("stException").count() and not page.get_by_text("No result yet").count()
    assert not page.get_by_role("button", name="Compute it now").count()
    assert page.get_by_text(re.compile("results: yours")).count()


def test_deployed_chips_are_computed_where_they_are_asked_for(page, server):
    """Ten chips before and after write-verify, on another device than the one that ships: a picture, what it costs."""
    page.goto(f"{server}/deploy?device=fefet2&sigma_d=0.15&method=none&remedies=write-verify")
    page.get_by_text("No deployed chips yet").wait_for()
    page.get_by_role("button", name="Compute it now").click()
    page.get_by_role("heading", name="What it costs").wait_for(timeout=240_000)
    page.wait_for_selector(CHART)
    idle(page)
    assert not page.get_by_test_id("stException").count() and not page.get_by_text("No deployed chips yet").count()
    assert page.get_by_text(re.compile("n = 10 deployed chips.* results: yours")).count()


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


def test_a_click_on_the_map_drives_the_rest(page, server):
    page.goto(f"{server}/why?why=Layers+and+slices")
    page.wait_for_selector(CHART)
    page.get_by_role("heading", name="While training: conv1").wait_for()
    idle(page)
    layer = page.get_by_test_id("stSelectbox").filter(has_text="Layer").last.get_by_role("combobox")
    assert layer.input_value() == "conv1.weight"
    squares = page.locator(".stPlotlyChart").first.locator(".scatterlayer .trace").first.locator(".point")
    square = squares.nth(3).bounding_box()  # two layers of two slices
    page.mouse.click(square["x"] + square["width"] / 2, square["y"] + square["height"] / 2)
    page.wait_for_url(re.compile("layer=conv2.weight"))
    page.get_by_role("heading", name="While training: conv1").wait_for(state="detached")
    assert layer.input_value() == "conv2.weight"


def test_a_picture_is_drawn_when_asked_for(page, server):
    pytest.importorskip("kaleido")
    page.goto(f"{server}/explore?method=gaussian")
    page.wait_for_selector(CHART)
    page.get_by_text("Table and downloads").click()
    button = page.get_by_role("button", name="Picture (SVG)")
    button.wait_for()
    idle(page)  # what is offered while a script runs belongs to that run
    with page.expect_download() as download:
        button.click()
    text = Path(download.value.path()).read_text()
    assert text.startswith("<svg") and "Accuracy that all but 1 % of chips exceed" in text


FOCUS = """() => {
    const at = document.activeElement, look = [];
    for (let e = at, up = 0; e && up < 4; e = e.parentElement, up++) {
        const s = getComputedStyle(e);
        look.push(s.outlineStyle + s.outlineWidth + s.boxShadow + s.borderColor + s.backgroundColor);
    }
    return [at.getAttribute("aria-label") || at.innerText || at.tagName, look.join("|")];
}"""


SETTLED = """() => Promise.all(document.getAnimations().filter((a) => a instanceof CSSTransition)
    .map((a) => a.finished.catch(() => {}))).then(() => true)"""


def test_the_keyboard_reaches_every_control_and_shows_where_it_is(page, server):
    """Tab goes through pages and sidebar in their order; what has the focus looks otherwise than without it."""
    page.goto(f"{server}/explore")
    page.wait_for_selector(CHART)
    idle(page)
    page.locator("body").press("Tab")
    seen = []
    for _ in range(50):
        page.evaluate(SETTLED)  # a look in between two is neither
        name, look = page.evaluate(FOCUS)
        handle = page.evaluate_handle("document.activeElement")
        page.keyboard.press("Tab")
        page.evaluate(SETTLED)
        without = page.evaluate(f"(e) => {{ const document = {{activeElement: e}}; return ({FOCUS})(); }}", handle)[1]
        seen.append((" ".join(name.split()), look != without))
        if seen[-1][0].endswith("Conditions") and not any("Conditions" in name for name, _ in seen[:-1]):
            handle.press("Enter")  # folded at first; the focus is here again
            idle(page)
        if seen[-1][0] == "Mapping":
            break
    names = [name for name, _ in seen]
    wanted = ["Explore", "Device", "sigma_d", "Conditions", "Network", "Data set", "Mapping"]
    places = [next((i for i, name in enumerate(names) if want in name), None) for want in wanted]
    assert None not in places and places == sorted(places), names
    still_lit = {"Training methods"}  # the next stop is in the same box
    unseen = [name for name, shown in seen if not shown and name not in still_lit]
    assert not unseen, f"nothing shows the focus on: {unseen}"


def test_uploads_a_good_and_a_bad_device(page, server, tmp_path):
    good, bad = tmp_path / "cell.csv", tmp_path / "bad.csv"
    head = "level,conductance,deviation\n"
    good.write_text(f"# name: my cell\n{head}0,1,0.1\n1,5,0.2\n2,9,0.3\n3,20,0.4\n")
    bad.write_text(f"{head}0,1,0.1\n1,5,oops\n")
    page.goto(f"{server}/device_lab?from=Upload+a+file")
    field = page.locator("input[type=file]")
    field.wait_for(state="attached")
    field.set_input_files(good)
    page.get_by_role("heading", name="Where the levels of my cell end up").wait_for()
    page.wait_for_selector(CHART)
    field.set_input_files(bad)
    page.get_by_test_id("stAlert").get_by_text("'oops'").wait_for()
    message = page.get_by_test_id("stAlert").inner_text()
    assert "bad.csv" in message and str(tmp_path) not in message and "/tmp" not in message


def number(page, label):
    return page.get_by_test_id("stNumberInput").filter(has_text=label).get_by_role("spinbutton")


def test_a_job_is_started_watched_reloaded_and_cancelled(page, server):
    page.goto(f"{server}/run?method=none")
    number(page, "Epochs").fill("500")
    number(page, "Chips a training").fill("20")
    page.get_by_test_id("stSelectbox").filter(has_text="Images of each split").get_by_role("combobox").click()
    page.get_by_role("option", name="500", exact=True).click()
    page.get_by_role("button", name="Estimate time and memory").click()
    page.get_by_text("500 epochs to go").wait_for()
    page.get_by_role("button", name="Start").click()
    page.get_by_text(re.compile(r"epoch \d+ of 500")).first.wait_for()  # it trains, and says so by itself
    seen = epoch(page)
    page.wait_for_function(f"Number((document.body.innerText.match(/epoch (\\d+) of 500/) || [])[1]) > {seen}")
    page.reload()
    page.wait_for_function(f"Number((document.body.innerText.match(/epoch (\\d+) of 500/) || [])[1]) > {seen}")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("cancelled", exact=True).wait_for()
    page.get_by_role("button", name="Resume").wait_for()
    page.get_by_role("button", name="Cancel").wait_for(state="detached")


def epoch(page):
    return int(re.search(r"epoch (\d+) of 500", page.locator("body").inner_text())[1])


def option(page, label, name):
    idle(page)  # a script that still runs would draw the list anew, closed
    box = page.get_by_test_id("stSelectbox").filter(has_text=label).get_by_role("combobox")
    box.scroll_into_view_if_needed()
    box.focus()  # what had the focus lets go of it, and the page stands still: a move would close the list
    box.press("ArrowDown")
    page.get_by_role("option", name=name).click()
    page.get_by_role("listbox").wait_for(state="detached")


def test_an_own_network_is_offered_and_run(page, server):
    page.goto(f"{server}/run?method=none")
    option(page, "Network", re.compile(r"^mine.small \(own, "))
    number(page, "Epochs").fill("1")
    number(page, "Chips a training").fill("5")
    option(page, "Images of each split", re.compile("^500$"))
    page.get_by_role("button", name="Estimate time and memory").click()
    page.get_by_text("1 epochs to go").wait_for()
    page.get_by_role("button", name="Start").click()
    job = page.get_by_test_id("stMarkdown").filter(has_text="none on mine.small (own").last
    job.get_by_text("done", exact=True).wait_for()
    page.get_by_test_id("stSidebarNavLink").filter(has_text="Explore").click()
    page.get_by_role("heading", name="Explore").wait_for()
    page.get_by_text("Conditions", exact=True).click()
    option(page, "Network", re.compile(r"^mine.small \(own, "))
    page.get_by_test_id("stMain").get_by_text("mine.small (own").first.wait_for()
    page.wait_for_selector(CHART)
    idle(page)
    assert not page.get_by_test_id("stException").count()


def test_ten_readers_at_once_see_their_own_choice(chromium, server):
    sigmas = [0.1, 0.2, 0.3, 0.4] * 3
    paths = ["/", "/explore?view=Distribution", "/explore?view=Cumulative"]
    with ExitStack() as stack:
        pages = [stack.enter_context(watched(chromium)) for _ in range(10)]
        for i, page in enumerate(pages):
            at = paths[i % 3]
            page.goto(f"{server}{at}{'&' if '?' in at else '?'}sigma_d={sigmas[i]}", wait_until="commit")
        for i, page in enumerate(pages):
            page.wait_for_selector(CHART, timeout=240_000)  # ten browsers start at once
            idle(page)
            assert f"= {sigmas[i]} of full scale" in " ".join(subtitle(page).split())
        for page in pages:  # all move at once
            handle = slider(page, "sigma_d")
            handle.focus()
            handle.press("ArrowLeft")
        for i, page in enumerate(pages):
            moved = sigmas[i] - 0.05
            page.wait_for_url(re.compile(rf"sigma_d={moved:g}".replace(".", "\\.")))
            idle(page)
            assert slider(page, "sigma_d").get_attribute("aria-valuetext") == f"{moved:g}"
            assert not page.get_by_test_id("stException").count()
