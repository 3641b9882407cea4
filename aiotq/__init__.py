"""Background jobs for asyncio on Redis or Valkey."""

from __future__ import annotations

from aiotq import errors
from aiotq.app import App, task
from aiotq.current import CurrentJob, current_job
from aiotq.handle import Job
from aiotq.job import JobInfo, JobStatus
from aiotq.retry import Reject, Retry, RetryPolicy
from aiotq.task import Signature, Task
from aiotq.version import __version__ as __version__
from aiotq.worker.worker import Worker

__all__ = [
    "App",
    "CurrentJob",
    "Job",
    "JobInfo",
    "JobStatus",
    "Reject",
    "Retry",
    "RetryPolicy",
    "Signature",
    "Task",
    "Worker",
    "current_job",
    "errors",
    "task",
]
