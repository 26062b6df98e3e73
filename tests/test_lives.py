"""docs/effects.md is what happens: every effect in every use."""

import lives
import pytest

from nvlib import effects


def table():
    """What the page says: (effect, use) -> outcome."""
    text = lives.PAGE.read_text().partition("## Which use knows which")[2]
    rows = [[part.strip() for part in line.strip("| \n").split("|")] for line in text.splitlines()
            if line.startswith("| ")]  # fmt: skip
    return {(row[0], use): said for row in rows[1:] for use, said in zip(rows[0][1:], row[1:], strict=True)}


def test_the_page_names_every_effect_and_use():
    assert {effect.name for effect in lives.EFFECTS} == set(effects.KINDS)
    assert set(table()) == {(name, use) for name in effects.KINDS for use in lives.USES}
    text = lives.PAGE.read_text()
    assert all(f"| `{name}` |" in text for name in effects.KINDS)
    assert all(f"`stuck:{preset}`" in text for preset in effects.PRESETS)
    assert text.endswith(lives.NOTES) and text.startswith(lives.INTRODUCTION)


@pytest.mark.parametrize("use", lives.USES)
@pytest.mark.parametrize("effect", lives.EFFECTS, ids=lambda e: e.name)
def test_what_the_page_says_happens(effect, use):
    assert lives.outcome(effect, use) == table()[effect.name, use]
