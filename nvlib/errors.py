"""Bad input is answered in one line: the value, what was expected, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Input from a user that cannot be used; the message is one line that says what to do."""


def unknown(kind: str, name: object, known: Iterable[str]) -> InputError:
    """Return the error for a name that is not in a registry.

    Args:
        kind: what the name should denote, e.g. ``"device"``.
        name: what was given.
        known: the names that exist; all are listed, a near match is proposed.
    """
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return InputError(f"unknown {kind} {name!r}{hint}; expected one of: {', '.join(known)}")
