"""What the site and the README say is run: blocks of Python and commands of the guides, in order, a page at a time."""

import re
import shlex
from pathlib import Path

import pytest

import nvlib
from nvlib import papers, studies
from nvlib.__main__ import main
from nvlib.store import Store

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "docs" / "quickstart.md", *sorted((ROOT / "docs" / "guides").glob("*.md"))]
BLOCK = re.compile(r"^```(python|toml|sh)\n(.*?)^```$", re.M | re.S)
FILE = re.compile(r"# ([\w.]+\.(?:py|toml))\n")  # a block that begins so is that file


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A folder, a store, and registries of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NVLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(nvlib.methods, "METHODS", dict(nvlib.METHODS))
    return tmp_path


@pytest.mark.parametrize("page", [p for p in PAGES if p.stem != "cluster"], ids=lambda p: p.stem)
def test_guide(page, alone):
    """The cluster's guide is run on a cluster, by test_slurm."""
    space = {"__name__": "guide"}
    for kind, text in BLOCK.findall(page.read_text()):
        named = FILE.match(text)
        if named:
            Path(named[1]).write_text(text)
        elif kind == "python":
            exec(compile(text, page.name, "exec"), space)
        elif kind == "sh":
            for line in text.replace("\\\n", " ").splitlines():
                python, m, package, *words = shlex.split(line, comments=True)
                assert (python, m, package) == ("python", "-m", "nvlib") and main(words) == 0, line


def test_readme_is_short_and_its_blocks_run(alone, monkeypatch):
    """On fewer images and epochs than it says: what is tested is that it runs."""
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 120
    load = nvlib.load
    monkeypatch.setattr(nvlib, "load", lambda name: load(name, limit=200), raising=False)
    blocks, space = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S), {"__name__": "readme"}
    assert blocks
    for block in blocks:
        exec(compile(block.replace("epochs=3", "epochs=1"), "README.md", "exec"), space)


def test_links_of_pages_lead_somewhere():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"), *PAGES[1:]]
    for page in pages:
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name}: {link}"


def found():
    return (ROOT / "README.md").read_text().partition("## What it found")[2].partition("## ")[0]


def test_what_the_readme_found_is_what_the_claims_say():
    """Every number with its interval, and how many claims hold: as docs/claims.md has them from results."""
    claims = (ROOT / "docs" / "claims.md").read_text()  # test_project holds it to the results
    numbers = re.findall(r"[\d.]+ \[[^]]+\](?!\()", found())
    assert len(numbers) >= 4
    for number in numbers:
        assert number in claims, number
    assert re.search(r"its main claim \((.*?)\)", claims).group(1) in found()


def test_what_the_readme_says_of_long_trainings():
    words = r"from ([\d.]+) to ([\d.]+) % between ten and a hundred epochs.*?between ([\d.]+) and ([\d.]+) %"
    said = re.search(words, found())
    ours = papers.length_table(store=Store(ROOT / "no runs", ROOT / "results"))
    gauss = ours[ours.method == "gaussian"].set_index("epochs").kpp
    clipped = ours[ours.method.str.contains("clipped")].kpp
    assert [f"{v:.1f}" for v in (gauss[10], gauss[100], clipped.min(), clipped.max())] == list(said.groups())
    assert set(ours.n) == {400} and set(ours.seeds) == {1}


@pytest.mark.slow
def test_what_the_readme_says_of_the_weight_range():
    said = re.search(r"from ([\d.]+) to ([\d.]+) % without noise and from ([\d.]+) to ([\d.]+) % with Gauss", found())
    shipped = nvlib.results(network="lenet", device="rram", sigma_d=0.2, protocol="matched", train_seed=0, epochs=10,
                            origin="shipped")
    mnist, ours = nvlib.load("mnist"), []
    for method in ("none", "gaussian"):
        model = studies.model_of(shipped[shipped.method == method].training.iloc[0])
        for range in ("max", "deviations:2"):
            crossbar = nvlib.Crossbar("rram", 0.2, range=range)
            ours.append(nvlib.monte_carlo(model, mnist, crossbar, chips=400).kpp(1).value)
    assert [f"{value:.1f}" for value in ours] == list(said.groups())
