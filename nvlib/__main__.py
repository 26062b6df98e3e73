"""The command line, ``python -m nvlib``; its commands are in `nvlib.commands`.

Exit codes: 0 done; 1 a check failed, or something could not be finished; 2 bad input; 130 interrupted. What went wrong
is one line on standard error.
"""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from typing import TextIO

from nvlib import commands
from nvlib.errors import Damaged, InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0: done, 1: failed or incomplete, 2: bad input (one line on standard error), 130: interrupted."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: spinning threads crawl on shared cores
    words = list(sys.argv[1:] if arguments is None else arguments)
    with warnings.catch_warnings():
        warnings.showwarning = partial(_warn, set())
        warnings.simplefilter("always", Damaged)  # each names a file
        try:
            code = commands.run(words)
            sys.stdout.flush()
            return code
        except InputError as error:
            return _say(f"error: {error}", 2)
        except KeyboardInterrupt:
            return _say("interrupted; what was finished is kept, the same command goes on from there", 130)
        except BrokenPipeError:  # e.g. `| head`: who reads has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except OSError as error:
            if error.errno not in MACHINE:
                raise
            where = f": {error.filename}" if error.filename else ""
            where += "; expected a folder that can be written to" if error.errno in PLACE else ""
            return _say(f"error: {error.strerror}{where}", 1)
        except RuntimeError as error:
            launch = sys.modules.get("nvlib.launch")
            if launch is None or not isinstance(error, launch.Failed):
                raise
            return _say(f"error: {error}", 1)


PLACE = (errno.ENOTDIR, errno.EEXIST, errno.EROFS, errno.EACCES)
MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EPERM, errno.EIO, *PLACE)  # not the program's doing


def _say(line: str, code: int) -> int:
    print(line, file=sys.stderr)
    return code


def _warn(
    said: set[str], message: Warning | str, category: type[Warning], filename: str, lineno: int,
    file: TextIO | None = None, line: str | None = None,
) -> None:  # fmt: skip
    """Say a warning in one line, once a command; those of other packages with the place they come from."""
    generated = filename.startswith("<")  # e.g. what dataclasses write: a place that nobody can look up
    ours = generated or os.path.dirname(__file__) in filename or category.__module__.startswith("nvlib")
    text = f"warning: {message}" + ("" if ours else f" ({filename}:{lineno})")
    if text not in said:
        said.add(text)
        print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
