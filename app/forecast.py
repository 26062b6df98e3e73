"""How long a study will take, in a process of its own: a study's record on stdin, its forecast as JSON on stdout.

    echo '{"methods": ["gaussian"], "sigma_d": [0.1]}' | python app/forecast.py
    -> {"text": ..., "seconds": ..., "missing": ..., "record": ...}  or  {"error": one line}

The pages do not import torch, and measuring a speed keeps a core busy: neither belongs into the server.
"""

from __future__ import annotations

import contextlib
import json
import sys


def main() -> None:
    """Answer one question."""
    from nvlib.errors import InputError
    from nvlib.studies import Study, estimate

    try:
        with contextlib.redirect_stdout(sys.stderr):  # whatever a reader's code prints
            study = Study.of(json.load(sys.stdin))
            found = estimate(study)
    except InputError as error:
        print(json.dumps({"error": " ".join(str(error).split())}))
        return
    missing = found.trainings - found.trainings_done + found.evaluations - found.evaluations_done
    print(json.dumps({"text": found.text(), "seconds": found.seconds, "missing": missing, "record": study.record()}))


if __name__ == "__main__":
    main()
