"""The house: dependencies in one place, imports in one direction, notebooks as they should be."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from nvlib import InputError, papers

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# each module imports only from those before it
ORDER = [
    "errors", "fields", "bars", "cards", "clock", "code", "precision", "records", "declarations", "catalogue",
    "image_sets", "local_imports", "plugins", "statistics", "summary", "anova", "sequential", "devices", "writes",
    "modules", "copies", "functional", "operands", "native", "philox", "effects", "ranges", "array", "conditions",
    "cells", "crossbar", "circuits", "noise", "models", "data", "in_turn", "population", "steps", "noise_coverage",
    "probe", "rounding", "samples", "evaluate", "calibration", "curvature", "sweeps", "methods", "deploy", "hardware",
    "taylor", "by_stage", "provenance", "locks", "store", "studies", "launch", "figures", "explore", "papers", "doctor",
    "commands", "__main__",
]  # fmt: skip
HEAVY = {"plotly", "streamlit", "torchvision", "jupyterlab", "IPython", "ipywidgets", "papermill"}


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_environment_for_conda_agrees_with_pyproject():
    text = (ROOT / "environment.yml").read_text()
    lines = [line.strip().removeprefix("- ") for line in text.splitlines() if line.strip().startswith("- ")]
    assert lines == ["conda-forge", "python=3.11", "pip", "pip:", "-c constraints.txt", "-e .[all,dev]"]
    assert project()["requires-python"] == ">=3.11"
    assert {"all", "dev"} <= set(project()["optional-dependencies"])


def test_constraints_pin_every_dependency_within_its_range():
    from packaging.requirements import Requirement

    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
    wanted = project()["dependencies"] + [r for extra in project()["optional-dependencies"].values() for r in extra]
    for text in wanted:
        requirement = Requirement(text)
        if requirement.name != "nvlib":
            assert requirement.specifier.contains(pins[requirement.name]), text


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_of(path):
    parts = path.relative_to(ROOT / "nvlib").with_suffix("").parts
    return parts[0]


@pytest.mark.parametrize("path", sorted((ROOT / "nvlib").rglob("*.py")), ids=lambda p: p.stem)
def test_modules_import_only_from_those_above_them(path):
    me = module_of(path)
    if me == "__init__":
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "nvlib" and len(parts) > 1 and parts[1] in ORDER and parts[1] != me:
            assert ORDER.index(parts[1]) < ORDER.index(me), f"{me} imports {parts[1]}"


def circles(graph):
    """Return the sets of more than one file that import each other, of a graph file -> files (Tarjan)."""
    number, low, stack, found = {}, {}, [], []

    def visit(at):
        number[at] = low[at] = len(number)
        stack.append(at)
        for to in graph[at]:
            if to not in number:
                visit(to)
            if to in stack:
                low[at] = min(low[at], low[to])
        if low[at] == number[at]:
            held = [stack.pop()]
            while held[-1] != at:
                held.append(stack.pop())
            found.extend([sorted(held)] if len(held) > 1 else [])

    for at in graph:
        if at not in number:
            visit(at)
    return found


def test_no_two_files_import_each_other():
    """Nor any more in a circle, whenever the import is made: at once, when called, or for types alone."""
    paths = {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in (ROOT / "nvlib").rglob("*.py")}
    graph = {}
    for name, path in paths.items():
        if path.name != "__init__.py":
            taken = {part for full in imports(path) for part in (full, full.rpartition(".")[0])}
            graph[name] = {part for part in taken if part in paths and part != name}
    graph = {name: taken & set(graph) for name, taken in graph.items()}
    assert len(graph) > 150 and circles(graph) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]  # it can find one


def test_importing_the_library_needs_none_of_the_front_ends():
    code = (
        "import sys, nvlib\n"
        "from nvlib import crossbar, data, devices, evaluate, methods, models, noise, population, store, studies\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


# -- notebooks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_is_slim_and_parameterised(path):
    assert path.stat().st_size < 300_000
    book = json.loads(path.read_text())
    cells = [c for c in book["cells"] if c["cell_type"] == "code"]
    parameters = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
    assert len(parameters) == 1 and 'preset = "smoke"' in "".join(parameters[0]["source"])
    assert "widgets" not in book["metadata"]
    lengths = sorted(len([line for line in c["source"] if line.strip()]) for c in cells)
    assert lengths[len(lengths) // 2] <= 4
    for cell in cells:
        tree = ast.parse("".join(cell["source"]))
        assert not [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef | ast.Lambda)]
    assert not re.search(r'"[^"]*(/home/|/root/|/tmp/|/Users/|[A-Z]:\\\\)', path.read_text())


def test_every_notebook_is_known_to_the_papers():
    assert {p.stem for p in NOTEBOOKS} == set(papers.NOTEBOOKS)


def whole(page, words):
    """Whether a page needs nothing from elsewhere, and has every equation of a notebook's text as MathML."""
    equations = re.findall(r"\$\$.+?\$\$|\$.+?\$", re.sub(r"`[^`]*`", "", words), re.DOTALL)
    assert "</html>" in page and "data:image/png;base64" in page and "docs/images" not in page
    assert not re.search(r'<(?:script|link|img|iframe)[^>]*(?:src|href)=["\']?(?:https?:)?//', page)
    assert page.count("<math") == len(equations) and not any(e in page for e in equations)


def words(book):
    return "".join("".join(c["source"]) for c in book["cells"] if c["cell_type"] == "markdown")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_is_a_page_that_needs_no_network(path):
    import nbformat  # a second, of each process that collects this file

    from nvlib.papers import notebook_html

    book = nbformat.read(path, as_version=4)
    whole(notebook_html.page(book, path.stem, ROOT), words(book))


# nbval runs all as they are committed; through papermill one that computes beforehand and one that computes nothing
MOST = [p if p.stem == "01_devices" else pytest.param(p, marks=pytest.mark.slow) for p in NOTEBOOKS]


@pytest.mark.parametrize("path", MOST, ids=lambda p: p.stem)
def test_notebook_runs_with_injected_parameters(path, tmp_path, monkeypatch):
    """Through papermill, from the command's own function."""
    monkeypatch.setenv("NVLIB_RUNS", str(tmp_path / "runs"))
    (made,) = papers.execute(papers.choose([path.stem], "smoke"), tmp_path / "out")
    book = json.loads(made.read_text())
    injected = [c for c in book["cells"] if "injected-parameters" in c["metadata"].get("tags", [])]
    assert 'preset = "smoke"' in "".join(injected[0]["source"])
    page = made.with_suffix(".html").read_text()
    assert "Plotly.newPlot" in page
    whole(page, words(book))
    linked = re.findall(r"\]\(([^)#:]+\.png)\)", "".join("".join(c["source"]) for c in book["cells"]))
    assert linked and all((made.parent / name).is_file() for name in linked)


def test_choosing_what_to_reproduce():
    assert [n.name for n, _ in papers.choose(preset="tour")] == ["01_devices", "00_tour"]
    every = {n.name: preset for n, preset in papers.choose()}
    assert set(every) == set(papers.NOTEBOOKS) and set(every.values()) == {"quick", "smoke"}
    assert {every[paper.notebook.name] for paper in papers.PAPERS} == {"quick"}
    with pytest.raises(InputError, match="tour"):
        papers.choose(["trice-fig3"], "tour")
    ((one, preset),) = papers.choose(["trice-fig3", "trice-fig7"], "full")
    assert (one.name, preset) == ("01_devices", "full")
    for preset in papers.PRESETS:
        assert papers.study("00_tour", preset).methods == ("none", "gaussian")
    with pytest.raises(InputError, match="smoke"):
        papers.study("00_tour", "huge")
    assert papers.clock(45) == "45 s" and papers.clock(600) == "10 min" and papers.clock(9e6) == "2500 h"


def test_what_ships_is_not_computed_again(tmp_path):
    """Of the papers' own studies at quick, so that the main job takes minutes; the pages and the claims are listed."""
    from nvlib.papers.computation import missing
    from nvlib.store import Store

    where = Store(tmp_path)
    for paper in papers.PAPERS:
        assert missing(papers.NOTEBOOKS[paper.notebook.name].studied, "quick", where) == 0, paper.name
    assert missing(["00_tour"], "quick", where) == 1
    said = papers.summary([tmp_path / "01_devices-quick.ipynb"])
    assert "01_devices-quick.html" in said and "35 artefacts" in said and "claims in" in said


def test_the_site_prints_what_the_shipped_results_say(evidence):
    text = (ROOT / "docs" / "claims.md").read_text()
    table = text.partition("<!-- claims: begin -->\n")[2].partition("\n<!-- claims: end -->")[0]
    assert table == papers.claims(evidence)


def test_published_numbers_have_their_source():
    table = papers.published("trice-table1")
    assert len(table) == 45 and table.source.notna().all()
    assert table[(table.method == "trice") & (table.sigma_d == 0.2)].value.item() == 77.82
    with pytest.raises(InputError, match="trice-table1"):
        papers.published("trice-table9")
