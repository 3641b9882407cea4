"""The jobs that are measured. Worker processes import this module."""

from __future__ import annotations

from aiotq import App
from benchmarks.notes import from_environment

app = App()
notes = from_environment()


@app.task(name="benchmarks.tasks:noop")  # a name of 21 characters
async def noop() -> None:
    """Nothing but a note that it ran."""
    notes.ran()


@app.task
async def mark(slot: int) -> None:
    """Note when it started."""
    notes.ran(slot)


@app.task
async def small(number: int) -> None:  # noqa: ARG001  it is there to be carried
    """A job with a small argument."""
    notes.ran()
