"""The stills of docs/images: made of what ships, with all methods they are to show."""

import re
from pathlib import Path

import pytest

from nvlib.papers import still_images

ROOT = Path(__file__).parents[1]
SHOWN = {
    "trice": {"TRICE", "RC", "CorrectNet"}, "nft": {"OVF", "IRS", "Gauss"}, "ovf": {"OVF", "Gauss"},
    "tsb_distance": {"TSB", "last layer", "last layers"},
}  # fmt: skip


@pytest.mark.parametrize("name", still_images.PICTURES)
def test_a_picture_shows_its_methods(name, evidence):
    found = {trace.name for trace in still_images.made(name, evidence).data if trace.name}
    assert SHOWN[name] <= found


def test_readmes_picture_is_of_three_trainings_of_no_noise_and_gauss(evidence):
    picture = still_images.made(still_images.CURVES, evidence)
    assert {"w/o noise", "Gauss"} == {trace.name for trace in picture.data if trace.name}
    assert "400 chips × 3 trainings of 10 epochs" in picture.layout.title.subtitle.text


def test_every_notebook_begins_with_a_picture_that_is_there():
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        (picture,) = set(re.findall(r"\.\./(docs/images/\w+\.png)", path.read_text()))
        assert (ROOT / picture).is_file() and (ROOT / picture).stat().st_size < 200_000
