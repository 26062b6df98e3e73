"""What values show of themselves in a notebook."""

from html.parser import HTMLParser

import pytest

import nvlib
from nvlib import cards, devices
from nvlib.devices import Device


class Read(HTMLParser):
    """Collects texts and tags; every tag that is opened is closed."""

    def __init__(self, text):
        super().__init__()
        self.texts, self.tags, self.open = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.mark.parametrize("name", devices.names())
def test_a_device_shows_its_levels(name):
    device = devices.get(name)
    read = Read(device._repr_html_())
    assert f"Device {name}" in read.texts and read.tags.count("rect") == 2**device.bits


def test_samples_show_their_numbers_and_a_histogram():
    model, data = nvlib.build("lenet3", seed=0), nvlib.load("mnist", limit=32)
    samples = nvlib.monte_carlo(model, data, "rram", 0.2, chips=5)
    read = Read(samples._repr_html_())
    assert "5 of seed 0" in read.texts and any("too few" in text for text in read.texts)
    assert f"{samples.mean().value:.2f}" in " ".join(read.texts) and read.tags.count("rect") == 24


def test_a_crossbar_and_a_study_show_what_is_not_the_default():
    texts = Read(nvlib.Crossbar("pcm", 1.0, range="deviations:2", effects="drift:time=60")._repr_html_()).texts
    assert {"deviations:2", "drift:time=60", "pcm"} <= set(texts) and "periphery" not in texts
    texts = Read(nvlib.Study(ranges=("max", "deviations:2"), deployments=(None, "swim"))._repr_html_()).texts
    assert {"max, deviations:2", "none, swim", "none, gaussian"} <= set(texts) and "mapping" not in texts


def test_nothing_of_a_name_is_taken_for_html():
    text = cards.card("<b>", {"<script>": "a & b"}, cards.bars([1, 2], "it's"))
    assert "<script>" not in text and "&lt;script&gt;" in text and "a &amp; b" in text
    device = devices.get("rram").to_dict() | {"name": "<i>x", "source": "</table>"}
    shown = Device.from_dict(device)._repr_html_()
    assert "<i>" not in shown and shown.count("</table>") == 1
