"""One thread: small networks gain nothing from more, and lose much where cores are shared."""

import os
import sys

import pytest
import torch

import nvlib
from nvlib import data
from nvlib.store import Store

torch.set_num_threads(1)
os.environ.setdefault("NVLIB_WARM", "0")  # what a test asks for is answered; no process waits for more


@pytest.fixture(autouse=True)
def main_module(monkeypatch):
    """Leave `__main__` as it was: Streamlit's AppTest puts its page there, and spawned processes import what it is."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture(autouse=True)
def names():
    """Leave what is known by name as it was: tests bring methods, networks and deployments of their own."""
    from nvlib import catalogue

    known = [nvlib.METHODS, nvlib.MODELS, nvlib.DEPLOYMENTS,
             catalogue.METHODS, catalogue.NETWORKS, catalogue.DEPLOYMENTS]  # fmt: skip
    before = [dict(each) for each in known]
    yield
    for each, held in zip(known, before, strict=True):
        if dict(each) != held:
            each.clear()
            each.update(held)


@pytest.fixture(scope="session")
def mnist():
    """A thousand real digits of each split."""
    return data.load("mnist", limit=1000)


@pytest.fixture(scope="session")
def trained(mnist):
    """A LeNet that has seen enough digits for its accuracy to mean something (one seed, six short epochs)."""
    recipe = nvlib.Recipe(lr=3e-3, batch_size=32)
    *_, last = nvlib.train("gaussian", "lenet", mnist, "rram", 0.1, epochs=6, recipe=recipe, validation_chips=1)
    return last.model()


@pytest.fixture(scope="session")
def evidence():
    """The results that ship as the claims read them: measured once for all tests, which leave them as they are."""
    from nvlib import papers
    from nvlib.papers.tables import shipped

    return papers.Evidence(shipped())


@pytest.fixture
def store(tmp_path):
    """An empty store that knows no shipped results."""
    return Store(tmp_path / "runs", None)


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """No image sets of this machine: NVLIB_DATA is a folder that is not there."""
    monkeypatch.setenv("NVLIB_DATA", str(tmp_path / "home"))
    return tmp_path / "home"
