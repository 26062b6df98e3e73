"""What the site and the README say is run: blocks of Python and commands of the guides, in order, a page at a time."""

import re
import shlex
from pathlib import Path

import pytest

import nvlib
import nvlib.commands.results
from nvlib import papers, summary
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
    monkeypatch.setattr(nvlib, "load", lambda name: load(name, limit=80), raising=False)
    blocks, space = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S), {"__name__": "readme"}
    assert blocks
    for block in blocks:
        shorter = block.replace("epochs=3", "epochs=1").replace("0.2, chips=400", "0.2, chips=40")
        exec(compile(shorter, "README.md", "exec"), space)


def commands(text):
    """Return the words of the commands of the library that a text shows."""
    lines = re.findall(r"^ *python -m nvlib (.*)$", text, re.M)
    return [shlex.split(re.split(r" {3,}", line)[0], comments=True) for line in lines]


def test_commands_of_the_readme_and_examples_of_results_run(alone):
    """Those that read what ships; the others need a training of the reader's own, or minutes."""
    shown = [*commands((ROOT / "README.md").read_text()), *commands(nvlib.commands.results.compare.__doc__)]
    read = [words for words in shown if words[:2] == ["results", "compare"] or "--dry-run" in words]
    assert len(read) == 4
    for words in read:
        path = [str(ROOT / word) if word.startswith("studies/") else word for word in words]
        assert main(path) == 0, words


def test_links_of_pages_lead_somewhere():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"), *PAGES[1:]]
    for page in pages:
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name}: {link}"


def found():
    return (ROOT / "README.md").read_text().partition("## What it found")[2].partition("## ")[0]


def ranged():
    """Return what it found of the weight range, a table of our own: no paper claims it."""
    return next(line for line in found().splitlines() if "weight range" in line)


def test_what_the_readme_found_is_what_the_claims_say():
    """Every number with its interval, and how many claims hold: as docs/claims.md has them from results."""
    claims = (ROOT / "docs" / "claims.md").read_text()  # test_project holds it to the results
    numbers = re.findall(r"[\d.]+ \[[^]]+\](?!\()", found().replace(ranged(), ""))
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


def test_what_the_readme_says_of_the_weight_range():
    """Percentiles with their intervals over chips, what it costs, and TRICE beside Gauss over trainings."""
    said, shipped = ranged(), Store(ROOT / "no runs", ROOT / "results")
    rows = papers.range_rows(0.2, epochs=100, store=shipped)
    rows = rows[~rows["range"].str.contains("/")]
    table = summary.by_range(rows).set_index(["method", "range"])
    for method, words in (("none", "without noise"), ("gaussian", "with Gauss")):
        at = [table.loc[(method, span)] for span in ("max", "deviations:2")]
        was, now = (f"{r.kpp:.1f} [{r.kpp_low:.1f}, {r.kpp_high:.1f}]" for r in at)
        assert f"from {was} to {now} % {words}" in said
    assert set(table.n) == {1200} and set(rows.train_seed) == {0, 1, 2}
    clean = nvlib.results(shipped, network="lenet", epochs=100, sigma_d=[0.0], deployment="", effects="", periphery="")
    clean = clean[clean.training.isin(rows.training)].groupby(["method", "range"], observed=True).accuracy.mean()
    cost = [clean[method, "max"] - clean[method, "deviations:2"] for method in ("none", "gaussian")]
    assert "for {:.1f} and {:.1f} points of clean accuracy".format(*cost) in said
    clipped = papers.clipped_rows(0.2, epochs=100, store=shipped)
    at = summary.by_range(clipped).set_index(["method", "range"]).loc[("gaussian", "deviations:2")]
    assert set(clipped.train_seed) == {0, 1, 2} and set(clipped.clipping) == {"deviations:2.5"}
    assert f"in training as well, Gauss has {at.kpp:.1f} [{at.kpp_low:.1f}, {at.kpp_high:.1f}] %" in said
    gap = summary.differences(rows[rows["range"] == "deviations:2"]).set_index("method").loc["trice"]
    assert f"{-gap.difference:.1f} [{-gap.high:.1f}, {-gap.low:.1f}] points below Gauss" in said
