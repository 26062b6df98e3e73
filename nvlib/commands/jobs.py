"""jobs: launches of studies, running and past: list, follow, cancel, resume, forget."""

from __future__ import annotations

from cyclopts import App

from nvlib.commands.options import Job

app = App(name="jobs")
FAILED = ("failed", "lost", "cancelled")


@app.default
@app.command(name="list")
def list_() -> int:
    """List launches, newest first.

    Examples:
        python -m nvlib jobs list
        python -m nvlib study grid.toml --detach
        python -m nvlib jobs follow last
        python -m nvlib jobs cancel 2f71
    """
    from nvlib import launch

    held = launch.jobs()
    for job in held:
        print(job.line())
    if not held:
        print("no jobs; start one with: python -m nvlib study FILE --detach")
    return 0


@app.command
def follow(job: Job = "last", /) -> int:
    """Show how far a launch is, until it ends; 1 if it failed."""
    from nvlib import launch

    status = launch.follow(job)
    print(status.line())
    return 1 if status.state in FAILED else 0


@app.command
def cancel(job: Job = "last", /) -> int:
    """Ask a launch to stop; what is finished stays."""
    from nvlib import launch

    print(launch.cancel(job).line())
    return 0


@app.command
def resume(job: Job = "last", /) -> int:
    """Launch again what is missing of a launch."""
    from nvlib import launch

    again = launch.resume(job)
    print(f"job {again}; python -m nvlib jobs follow {again}")
    return 0


@app.command
def forget(job: Job = "last", /) -> int:
    """Remove a launch that ended from the list; results stay."""
    from nvlib import launch

    status = launch.status(job)
    launch.forget(status.id)
    print(f"forgot job {status.id}")
    return 0
