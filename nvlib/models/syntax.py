"""A Python file as text: what of it could make a network, by its syntax alone; nothing of it is run.

What a person reads before agreeing to it must be what Python reads: text in UTF-8, without signs that are shown as
something else than they are.
"""

from __future__ import annotations

import ast
import re
import unicodedata
import warnings

from nvlib.errors import InputError

MOST = 64 * 1024  # bytes of a file
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def text_of(content: bytes, shown: str = "the file") -> str:
    """Return a file's text, exactly as it is run; InputError for one whose text could look like another.

    Args:
        content: its bytes, in UTF-8 whatever a coding line says.
        shown: what to call it in errors.
    """
    if len(content) > MOST:
        raise InputError(f"{shown} has {len(content):,} bytes; expected a Python file of at most {MOST:,}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{shown} is not text in UTF-8 (byte {error.start}); save it as UTF-8") from None
    for i, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        # what a page or terminal shows as something else than Python reads: lone returns, signs that turn the direction
        if bad := [c for c in line if c != "\t" and unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")]:
            raise InputError(f"{shown} holds the control character U+{ord(bad[0]):04X} in line {i}; remove it")
    return text


def factories(content: bytes, shown: str = "the file") -> tuple[str, ...]:
    """Return what of a file could make a network, by its syntax alone: functions first, then classes.

    Raises:
        InputError: for what is no Python file, or has neither at its top level.
    """
    text = text_of(content, shown)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on its style
            tree = ast.parse(text)
    except SyntaxError as error:
        raise InputError(f"{shown} is not Python: {error.msg} in line {error.lineno}") from None
    except (ValueError, RecursionError, MemoryError):
        raise InputError(f"{shown} is not Python that can be read; expected a module with a factory") from None
    found = [node.name for kind in (ast.FunctionDef, ast.ClassDef) for node in tree.body if isinstance(node, kind)]
    known = tuple(dict.fromkeys(name for name in found if IDENTIFIER.fullmatch(name)))
    if not known:
        raise InputError(f"{shown} has no function at its top level; expected a factory: def make(classes=10): ...")
    return known
