"""jobs: launches of studies, running and past: list, follow, cancel, resume, forget."""

from __future__ import annotations

import argparse

from nvlib.commands.parser import Parser

FAILED = ("failed", "lost", "cancelled")


def add(command: object) -> None:
    """Add the command and its actions."""
    from nvlib.commands import adder

    sub: Parser = command(
        "jobs", None, "list, follow, cancel and resume launches of studies",
        "  python -m nvlib study grid.toml --detach\n  python -m nvlib jobs list\n"
        "  python -m nvlib jobs follow last\n  python -m nvlib jobs cancel 2f71",
    )  # fmt: skip
    action = adder(sub.add_subparsers(required=True, metavar="ACTION"))
    action("list", _list, "list launches, newest first", "  python -m nvlib jobs list")
    for name, run, text in (
        ("follow", _follow, "show how far a launch is, until it ends; 1 if it failed"),
        ("cancel", _cancel, "ask a launch to stop; what is finished stays"),
        ("resume", _resume, "launch again what is missing of a launch"),
        ("forget", _forget, "remove a launch that ended from the list; results stay"),
    ):
        one = action(name, run, text, f"  python -m nvlib jobs {name} last")
        one.add_argument("job", nargs="?", default="last", help="the first letters of its id (default: last)")


def _list(_: argparse.Namespace) -> int:
    from nvlib import launch

    held = launch.jobs()
    for job in held:
        print(job.line())
    if not held:
        print("no jobs; start one with: python -m nvlib study FILE --detach")
    return 0


def _follow(options: argparse.Namespace) -> int:
    from nvlib import launch

    status = launch.follow(options.job)
    print(status.line())
    return 1 if status.state in FAILED else 0


def _cancel(options: argparse.Namespace) -> int:
    from nvlib import launch

    print(launch.cancel(options.job).line())
    return 0


def _resume(options: argparse.Namespace) -> int:
    from nvlib import launch

    job = launch.resume(options.job)
    print(f"job {job}; python -m nvlib jobs follow {job}")
    return 0


def _forget(options: argparse.Namespace) -> int:
    from nvlib import launch

    status = launch.status(options.job)
    launch.forget(status.id)
    print(f"forgot job {status.id}")
    return 0
