"""Every public name has an example of at most six lines that runs, and gives what it says."""

import doctest
import importlib
import inspect

import pytest

import nvlib


def told(name):
    """The docstring of a name; a registry's example stands in its home module."""
    thing = getattr(nvlib, name)
    if isinstance(thing, dict):
        return importlib.import_module(nvlib._HOME[name]).__doc__
    return inspect.unwrap(thing).__doc__ if callable(thing) else thing.__doc__


@pytest.mark.parametrize("name", nvlib.__all__)
def test_example(name, tmp_path, monkeypatch):
    monkeypatch.setenv("NVLIB_RUNS", str(tmp_path / "runs"))
    examples = doctest.DocTestParser().get_doctest(told(name), {}, name, name, 0)
    lines = [line for example in examples.examples for line in example.source.splitlines()]
    _, *others = examples.examples
    assert len(lines) <= 6 and any(name in f"{e.source}{e.want}{e.exc_msg}" for e in others)
    said = []
    failed, tried = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(examples, out=said.append)
    assert tried and not failed, "".join(said)
