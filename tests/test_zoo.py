"""Other people's modules: each chip is the chip by hand, nothing of the user's changes, the page is true."""

import pytest
import zoo


def test_the_page_names_every_module_and_use():
    assert set(zoo.written()) == {(name, use) for name in zoo.ZOO for use in zoo.USES}
    assert set(zoo.written().values()) <= {"yes", "by the loop", "refused"}


@pytest.mark.parametrize(("name", "use"), zoo.COVER)
@pytest.mark.filterwarnings("ignore")
def test_chips_are_those_by_hand(name, use):
    assert zoo.outcome(name, use) == zoo.written()[name, use]


@pytest.mark.zoo
@pytest.mark.parametrize("use", zoo.USES)
@pytest.mark.parametrize("name", zoo.ZOO)
@pytest.mark.filterwarnings("ignore")
def test_the_whole_zoo(name, use):
    assert zoo.outcome(name, use) == zoo.written()[name, use]
