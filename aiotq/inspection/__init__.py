"""What an operator sees and does: the values of `app.inspect`, and the decisions behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiotq.inspection.acts import Act
    from aiotq.inspection.arrivals import Moment
    from aiotq.inspection.notes import LogLine, Progress
    from aiotq.inspection.values import (
        AuditEntry,
        Bulk,
        Came,
        Check,
        Counts,
        FailureGroup,
        Finding,
        Fit,
        Histogram,
        JobDetail,
        JobFilter,
        JobSummary,
        Misfit,
        Overview,
        Page,
        Period,
        Purged,
        QueueInfo,
        RunningJob,
        ServerInfo,
        Severity,
        TaskInfo,
        TimelineEntry,
        Totals,
        WorkerInfo,
    )
    from aiotq.store.tallies import BOUNDS_MS
else:

    def __getattr__(name: str) -> object:
        """Each when it is first named: an app and its handles do without most of them, and to make them takes 40 ms."""
        if name in __all__:
            from aiotq.inspection import acts, arrivals, notes, values  # noqa: PLC0415
            from aiotq.store import tallies  # noqa: PLC0415

            for module in (values, notes, acts, arrivals, tallies):
                if hasattr(module, name):
                    return getattr(module, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "BOUNDS_MS",
    "Act",
    "AuditEntry",
    "Bulk",
    "Came",
    "Check",
    "Counts",
    "FailureGroup",
    "Finding",
    "Fit",
    "Histogram",
    "JobDetail",
    "JobFilter",
    "JobSummary",
    "LogLine",
    "Misfit",
    "Moment",
    "Overview",
    "Page",
    "Period",
    "Progress",
    "Purged",
    "QueueInfo",
    "RunningJob",
    "ServerInfo",
    "Severity",
    "TaskInfo",
    "TimelineEntry",
    "Totals",
    "WorkerInfo",
]
