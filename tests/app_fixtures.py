"""Fixtures of the dashboard's tests: made-up results on disk, and an app on them."""

import gc

import pytest
from appkit import APP, launched, write

st = pytest.importorskip("streamlit")


@pytest.fixture(scope="module")
def quick():
    """Streamlit collects garbage after every run of a page: keep what was imported out of that, it is most of it."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """Results as the project ships them."""
    return write(tmp_path_factory.mktemp("results"))


@pytest.fixture
def app(shipped, tmp_path, monkeypatch):
    """The app on those results, with no run of its own yet."""
    monkeypatch.setenv("NVLIB_RESULTS", str(shipped))
    monkeypatch.setenv("NVLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("NVLIB_PLUGINS", raising=False)
    st.cache_resource.clear()
    st.cache_data.clear()
    yield launched()
    st.cache_resource.clear()
    st.cache_data.clear()


@pytest.fixture
def common(monkeypatch):
    """The package that the pages share."""
    monkeypatch.syspath_prepend(str(APP))
    import common

    return common
