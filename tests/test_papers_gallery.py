"""The figures of the papers' artefacts: all there are can be drawn of what ships, and the code shown draws the same."""

from pathlib import Path

import pandas as pd
import pytest

from nvlib import InputError, figures, papers
from nvlib.commands import parse
from nvlib.store import Store

DRAWN = [(name, title) for name in papers.ARTEFACTS for title in papers.drawings(name)]
WITHOUT = {"tsb-share"}  # three numbers: its claims, printed and ours, are all there is to draw


def test_every_artefact_has_a_figure_of_its_own():
    assert {name for name in papers.ARTEFACTS if not papers.drawings(name)} == WITHOUT
    with pytest.raises(InputError, match="no-such"):
        papers.drawings("no-such")


@pytest.mark.parametrize(("name", "title"), DRAWN)
def test_what_ships_is_drawn_by_the_code_that_is_shown(name, title, evidence, monkeypatch):
    drawing = papers.drawings(name)[title]
    assert drawing.code.count("\nfigures.") == 1
    called = drawing.code.rpartition("\nfigures.")[2].partition("(")[0]
    draw, calls = getattr(figures, called), []
    monkeypatch.setattr(figures, called, lambda *args, **more: calls.append((args, more)) or "drawn", raising=False)
    monkeypatch.setattr(papers, "Evidence", lambda: evidence)
    found = drawing.picture(evidence)
    assert found is not None and found.fig == "drawn" and len(found.table) and (len(found.chips) or found.note)
    exec(drawing.code, {})
    (args, more), (again, too) = calls
    for one, other in zip([*args, *more.values()], [*again, *too.values()], strict=True):
        if isinstance(one, pd.DataFrame):
            plain = [c for c in one if c not in ("parameters", "changed")]  # dictionaries: slow to compare
            assert list(one) == list(other) and one[plain].equals(other[plain])
        else:
            assert one == other
    if called != "difference_curves" or name == "ovf-fig3":  # the others take seconds, and are drawn for the stills
        assert draw(*args, **more).data
    if len(found.chips):
        assert set(found.chips["run"]) <= set(evidence.table["run"]) | set(evidence.deployed["run"])
        assert not {"parameters", "start"} & set(found.chips)


def test_without_a_result_there_is_nothing_and_a_command(tmp_path, monkeypatch):
    """Of an empty store; what is exact is there all the same."""
    monkeypatch.setenv("NVLIB_RESULTS", str(tmp_path))
    empty = papers.Evidence(Store(runs=tmp_path / "runs", shipped=tmp_path))
    exact = {"trice-fig3", "trice-fig7", "trice-eq6", "tsb-table1"}
    for name, title in DRAWN:
        drawing = papers.drawings(name)[title]
        if name in exact:
            assert papers.artefact(name).command == ""
            continue
        assert drawing.picture(empty) is None, name
        words = papers.artefact(name).command.split()
        assert words[:2] == ["python", "-m"]
        if words[2] == "nvlib":
            assert parse(words[3:])[1].args == (name if name != "nft-n" else "nft-fig3",)
        else:
            module = Path(__file__).parents[1].joinpath(*words[2].split(".")).with_suffix(".py")
            assert module.is_file() and '__name__ == "__main__"' in module.read_text()


def test_results_of_a_table_that_was_read_are_those_of_the_store(evidence):
    read = pd.concat([evidence.table, evidence.deployed]).drop(columns=["parameters"])
    table = papers.Evidence(evidence.store, held=read).table
    assert len(table) == len(evidence.table) and list(table["parameters"]) == list(evidence.table["parameters"])
