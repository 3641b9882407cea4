"""Background jobs for asyncio on Redis or Valkey."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotq import errors, hooks
from aiotq.app import App, task
from aiotq.current import CurrentJob, current_job
from aiotq.handle import Job
from aiotq.health import Health
from aiotq.hooks import Middleware, Observer
from aiotq.job import JobInfo, JobStatus
from aiotq.logs import JobLogHandler
from aiotq.retry import Reject, Retry, RetryPolicy
from aiotq.task import Signature, Task
from aiotq.version import __version__ as __version__

if TYPE_CHECKING:
    from aiotq.inspector import Inspector
    from aiotq.worker.worker import Worker
else:

    def __getattr__(name: str) -> object:
        """`Worker` and `Inspector`, when first named: a service that only enqueues does without what they load."""
        if name == "Inspector":
            from aiotq.inspector import Inspector  # noqa: PLC0415

            return Inspector
        if name == "Worker":
            from aiotq.worker.worker import Worker  # noqa: PLC0415

            return Worker
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "App",
    "CurrentJob",
    "Health",
    "Inspector",
    "Job",
    "JobInfo",
    "JobLogHandler",
    "JobStatus",
    "Middleware",
    "Observer",
    "Reject",
    "Retry",
    "RetryPolicy",
    "Signature",
    "Task",
    "Worker",
    "current_job",
    "errors",
    "hooks",
    "task",
]
