"""The page of the papers' artefacts: figure, table, downloads, notebook, commands and citation of each."""

import io
import json
import re
import shlex
from itertools import accumulate
from pathlib import Path

import pandas as pd
import pytest
from appkit import charts, opened, sound

from nvlib import papers
from nvlib.commands import parse

pytest_plugins = ["app_fixtures"]
pytestmark = pytest.mark.usefixtures("quick")
ROOT = Path(__file__).parents[1]


@pytest.fixture
def real(app, monkeypatch):
    """The app on the results that ship."""
    monkeypatch.setenv("NVLIB_RESULTS", str(ROOT / "results"))
    return app


def test_an_artefact_has_its_figure_with_what_it_rests_on(real):
    at = opened(real, "reproduce")
    for name, title in (("trice-table1", "Percentile"), ("nft-table1", None), ("tsb-fig4", "In passes"),
                        ("trice-fig7", "FeFET2"), ("tsb-share", None)):  # fmt: skip
        at = sound(at.selectbox(key="artefact").set_value(name).run())
        offered = [g for g in at.button_group if g.key == "figure"]
        assert bool(offered) == (len(papers.drawings(name)) > 1)
        if offered:
            at = sound(offered[0].set_value(title).run())
        shown = title or next(iter(papers.drawings(name)), None)
        assert [chart.key for chart in charts(at)].count(f"{name}-{shown}".lower().replace(" ", "-")) == bool(shown)
        said = " ".join(c.value for c in at.caption)
        for words in {
            "trice-table1": ("n = ", "results: shipped", "run `", "3 trainings of 10 epochs", "400 chips each"),
            "nft-table1": ("shipped results", "8-bit", "epochs"), "trice-fig7": ("exact",),
            "tsb-fig4": ("n = 20 chips, one training of 20 epochs", "nvlib.papers.analyses tsb-fig4`, commit "),
        }.get(name, ()):  # fmt: skip
            assert words in said, words


def test_a_figure_without_a_result_says_what_computes_it(app):
    at = opened(app, "reproduce")
    at = sound(at.selectbox(key="artefact").set_value("trice-fig6a").run())
    assert "No result yet for this figure" in at.info[0].value
    assert at.code[0].value == "python -m nvlib reproduce trice-fig6a --preset quick"


def test_a_store_that_is_not_whole_is_one_line_and_the_rest_is_there(app, shipped, tmp_path, monkeypatch):
    """Chips without the record of their training: the figure cannot be chosen, claims and commands can."""
    (tmp_path / "r" / "a").mkdir(parents=True)
    (tmp_path / "r" / "claims.csv").write_text((shipped / "claims.csv").read_text())
    (tmp_path / "r" / "a" / "samples.parquet").write_bytes((shipped / "synthetic" / "samples.parquet").read_bytes())
    monkeypatch.setenv("NVLIB_RESULTS", str(tmp_path / "r"))
    at = app.run().switch_page("views/reproduce.py").run()
    assert not at.exception and "no training" in at.error[0].value and len(charts(at)) == 1
    assert any("papermill" in c.value for c in at.code)


def test_downloads_hold_what_is_shown(real, monkeypatch):
    import streamlit as st

    offered = {}
    monkeypatch.setattr(
        st, "download_button", lambda label, data, name, *rest, key, **more: offered.update({key: (data, name)})
    )
    at = opened(real, "reproduce")
    claims, figure = (frame.value for frame in at.dataframe[:2])
    read = {"csv": pd.read_csv, "parquet": pd.read_parquet}
    for stem, shown in (("claims-claims", claims), ("trice-table1-percentile-table", figure)):
        for suffix, of in read.items():
            data, name = offered[f"{stem}-{suffix}"]
            held = of(io.BytesIO(data()))
            assert name.endswith(f".{suffix}") and list(held) == list(shown) and len(held) == len(shown)
    chips = pd.read_parquet(io.BytesIO(offered["trice-table1-percentile-chips-parquet"][0]()))
    assert set(chips["run"]) and chips["accuracy"].between(0, 100).all()
    kinds = {key.rpartition("-")[2] for key in offered if key.startswith("trice-table1-percentile")}
    assert {"png", "svg"} <= kinds or any("still picture" in c.value for c in at.caption)


@pytest.mark.parametrize("name", sorted(papers.NOTEBOOKS))
def test_the_notebook_is_one_and_says_what_papermill_would(name, common):
    nbformat = pytest.importorskip("nbformat")
    papermill = pytest.importorskip("papermill")
    from common import notebook

    made = nbformat.reads(notebook.parameterised(name, "quick").decode(), 4)
    nbformat.validate(made)
    source = papermill.iorw.load_notebook_node(str(ROOT / "notebooks" / f"{name}.ipynb"))
    asked = papermill.parameterize.parameterize_notebook(source, {"preset": "quick"})
    set_here, set_there = {}, {}
    for book, names in ((made, set_here), (asked, set_there)):
        (cell,) = [c for c in book.cells if "injected-parameters" in c["metadata"].get("tags", ())]
        exec(cell.source, names)
        names["place"] = [c.source for c in book.cells].index(cell.source)
        names.pop("__builtins__")
    assert set_here == set_there and set_here["preset"] == "quick"
    rest = [[c.source for c in book.cells if "injected-parameters" not in c["metadata"].get("tags", ())]
            for book in (made, asked)]  # fmt: skip
    assert rest[0] == rest[1]


@pytest.mark.parametrize("name", papers.ARTEFACTS)
def test_commands_are_those_of_the_command_line_and_of_papermill(name, common):
    from common import notebook

    artefact = papers.artefact(name)
    nvlib, papermill = map(shlex.split, notebook.commands(name, artefact.notebook, "full").splitlines())
    assert (nvlib[:3], papermill[0], papermill[2]) == (
        ["python", "-m", "nvlib"], "papermill", f"{artefact.notebook}-full.ipynb",
    )  # fmt: skip
    asked = parse(nvlib[3:])[1]
    assert (asked.args, asked.kwargs) == ((name,), {"preset": "full"})
    ((book, at),) = papers.choose(asked.args, asked.kwargs["preset"])
    assert (book.name, at) == (artefact.notebook, "full") and (ROOT / papermill[1]).is_file()
    source = json.loads((ROOT / papermill[1]).read_text())
    (parameters,) = [c for c in source["cells"] if "parameters" in c["metadata"].get("tags", ())]
    assert papermill[3:] == ["-p", "preset", "full"] and "preset = " in "".join(parameters["source"])


FIELD = re.compile(r"\s*(\w+)\s*=\s*")


def entry(text):
    """Read one BibTeX entry: kind, key and fields in balanced braces; nothing may be left over."""
    kind, key, rest = re.fullmatch(r"@(\w+)\{(\w+),\n(.*)\}", text, re.DOTALL).groups()
    fields = {}
    while rest.strip():
        found = FIELD.match(rest)
        rest = rest[found.end():]
        depth = list(accumulate({"{": 1, "}": -1}.get(letter, 0) for letter in rest))
        end = depth.index(0) if 0 in depth else 0
        assert rest[0] == "{" and rest[end:end + 2] == "}," and found[1] not in fields
        fields[found[1]], rest = " ".join(rest[1:end].split()), rest[end + 2:]
    return kind, key, fields


def test_papers_are_cited_in_bibtex():
    bibtex = {paper.name: paper.bibtex for paper in papers.PAPERS}
    assert set(bibtex) == {artefact.paper for artefact in papers.ARTEFACTS.values()}
    needs = {"inproceedings": {"booktitle", "year"}, "article": {"journal", "year"}, "misc": set()}  # as BibTeX has it
    keys = set()
    for paper, text in bibtex.items():
        kind, key, fields = entry(text)
        assert {"title", "author"} | needs[kind] <= set(fields) and all(fields.values()), paper
        assert all(", " in author for author in fields["author"].split(" and "))
        keys.add(key)
    assert len(keys) == 4
    with pytest.raises((AssertionError, AttributeError)):
        entry(bibtex["TSB"].replace("{{TSB}:", "{{TSB:"))  # the check can fail
