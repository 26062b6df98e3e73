"""Methods and networks of one's own, given when the app is started; their names are among those that pages offer.

    streamlit run app/main.py -- --plugin mine.py --network mine.py:small         (python -m nvlib app passes both on)
    NVLIB_PLUGINS="mine.py other.py:small"                                        the same, words of a shell

A file is run here, and again in each job, with the rights of who started the app; a page can name none. Installed
packages with entry points of the group ``nvlib.plugins`` need nothing said.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence

import streamlit as st

from nvlib import plugins
from nvlib.models import own


def asked(arguments: Sequence[str] | None = None) -> list[str]:
    """Return the files and networks that the app was started with; what else stands in its arguments is left alone."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for option in ("--plugin", "--network"):
        parser.add_argument(option, dest="files", action="append", default=[])
    found, _ = parser.parse_known_args(sys.argv[1:] if arguments is None else arguments)
    return [*found.files, *shlex.split(os.environ.get("NVLIB_PLUGINS", ""))]


def load() -> None:
    """Run them, unless they were run as they are now.

    Raises:
        InputError: for a file that is not there, or fails.
    """
    _installed()
    for file in asked():
        if own.is_file(file) and not file.endswith(".py"):
            own.given(file)
        else:
            plugins.load(file)


def versions() -> tuple[str, ...]:
    """Return what tells one state of the files from another."""
    return tuple(plugins.load(path).sha256 for path in plugins.loaded())


@st.cache_resource(show_spinner=False)
def _installed() -> None:
    plugins.installed()
