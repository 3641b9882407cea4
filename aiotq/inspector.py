"""`app.inspect`: the read and admin side, under the command line, the dashboard and the metrics."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aiotq import checks
from aiotq.inspection.acting import Acts
from aiotq.inspection.desk import Desk

if TYPE_CHECKING:
    from aiotq.inspection.desk import Core, Redaction


class Inspector(Acts):
    """Sees all that an app's namespace holds, and changes it. `app.inspect` gives one.

    Every read is bounded, however many jobs there are: lists come in pages. Every act leaves an entry in the audit.
    All of it may raise StoreError; jobs and names that can't be right raise UsageError.
    """

    __slots__ = ()

    def __init__(self, core: Core) -> None:
        self._desk = Desk(core=core)

    def __repr__(self) -> str:
        return f"<Inspector of {self._desk.core.settings.namespace}>"

    def acting(self, by: str) -> Inspector:
        """One that signs its acts so in the audit: "ada@host (cli)". Else it is the user who runs this program."""
        return self._with(replace(self._desk, by=checks.signature("by", by)))

    def redacting(self, hook: Redaction) -> Inspector:
        """One that shows of a job's arguments what `hook(task, {"args": [...], "kwargs": {...}})` returns.

        Parameters that a task has declared `sensitive` are masked in any case, before the hook sees them.
        """
        return self._with(replace(self._desk, hook=hook))

    def _with(self, desk: Desk) -> Inspector:
        other = Inspector(desk.core)
        other._desk = desk
        return other
