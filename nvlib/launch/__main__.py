"""What a launch's own processes run: ``python -m nvlib.launch work|lead|serve FOLDER ...``."""

from __future__ import annotations

import os
import sys


def main(arguments: list[str]) -> int:
    """Work on a launch, or lead one."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch
    what, *rest = arguments
    if what == "work":
        from nvlib.launch.worker import main as work

        return work(*rest)
    if what == "serve":
        from nvlib.launch.warm import serve

        return serve(*rest)
    from nvlib.launch.run import main as detached

    return detached(*rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
