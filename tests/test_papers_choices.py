"""What the papers leave open, varied where a claim does not hold: the table, what is made of it, and how it is made."""

import numpy as np
import pandas as pd
import pytest
from synthetic import analysed

from nvlib import InputError, papers, statistics
from nvlib.papers import open_choices
from nvlib.store import Store


def ship(folder, choice="as decided", shift=0.0):
    """A table of one choice of trice-fig8: RC, and four rivals of which the best lies ``shift`` below it."""
    rng, parts = np.random.default_rng(0), []
    base = 60 + 5 * rng.standard_normal(600)
    for i, method in enumerate(("rc", "gaussian", "lc", "rt", "lt")):
        accuracy = base - (shift + 10 * (i - 1) if i else 0)
        parts.append(pd.DataFrame({"artefact": "trice-fig8", "choice": choice, "method": method, "sigma_d": 0.25,
                                   "train_seed": 0, "chip": range(600), "accuracy": accuracy}))  # fmt: skip
    table = pd.concat(parts).sample(frac=1, random_state=1)
    analysed(folder, "trice-open", "open-choice", {"open": table}, {"artefact": "trice-fig8", "choice": choice})
    return Store(folder / "no runs", folder)


@pytest.mark.parametrize(("shift", "verdict"), [(20.0, "holds"), (5.0, "holds in direction"), (-3.0, "does not hold")])
def test_a_choice_is_judged_by_the_claims_own_rule(tmp_path, shift, verdict):
    store = ship(tmp_path, shift=shift)
    (row,) = papers.openings("trice-fig8", store).itertuples()
    assert row.choice == "as decided" and row.over == "gaussian" and row.chips == 600 and row.verdict == verdict
    assert row.difference == pytest.approx(shift) and row.low <= shift <= row.high
    held = store.analysed("open-choice", "open")
    assert row.ours == statistics.kpp(held[held.method == "rc"].accuracy.to_numpy()).value


def test_the_claims_note_says_under_how_many_it_would_hold(tmp_path):
    nothing = Store(tmp_path / "no runs", tmp_path)
    assert open_choices.outcome("trice-fig8", nothing) == "" == open_choices.outcome("trice-fig2", nothing)
    as_decided = ship(tmp_path / "a", shift=20.0)  # it says nothing of what was changed
    assert open_choices.outcome("trice-fig8", as_decided) == ""
    none = open_choices.outcome("trice-fig8", ship(tmp_path / "b", "exact activations", -20.0))
    assert "of 1 changes" in none and "none would let it hold" in none
    one = open_choices.outcome("trice-fig8", ship(tmp_path / "c", "exact activations", 20.0))
    assert "with exact activations it would" in one


def test_what_does_not_ship_is_empty_and_what_has_no_choices_is_said(tmp_path):
    assert papers.openings("trice-fig8", Store(tmp_path / "no runs", tmp_path)).empty
    with pytest.raises(InputError, match="trice-fig9"):
        papers.openings("trice-fig9", tmp_path)


@pytest.mark.parametrize("name", open_choices.CHOICES)
def test_every_choice_changes_one_thing(name):
    usual = open_choices._study(name, "as decided")
    for choice, change in open_choices.CHOICES[name].items():
        study = open_choices._study(name, choice)
        other = {key for key in usual.__dataclass_fields__ if getattr(study, key) != getattr(usual, key)}
        assert other == set(change) and len(change) == (choice != "as decided")


def test_what_ships_is_whole_and_the_decided_protocol_is_the_claims(evidence):
    claims = papers.claims_table(evidence, list(open_choices.CHOICES))
    same = 0
    for name, of in open_choices.CHOICES.items():
        table = papers.openings(name)
        assert list(table.choice) == list(of) and (table.chips == 400).all()
        claim = claims[(claims.artefact == name) & claims.main].iloc[0]
        if " of 5 epochs on 10,000 images" in claim.protocol:  # else a longer training is what the claim rests on
            assert table[table.choice == "as decided"].difference.item() == pytest.approx(claim.ours, abs=0.01)
            same += 1
    assert same
