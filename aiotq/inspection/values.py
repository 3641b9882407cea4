"""What the inspector gives: frozen values, the same for the command line, the dashboard and the metrics.

Times are aware, in UTC, by Redis's clock; `_s` are seconds. None: unknown, or there is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

from aiotq.errors import Frame
from aiotq.inspection.notes import LogLine, Progress
from aiotq.job import JobInfo, JobStatus
from aiotq.store.tallies import BOUNDS_MS

T = TypeVar("T")


class Severity(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    NOTE = "note"  # good to know
    WARNING = "warning"  # it will hurt, or hurts a little
    CRITICAL = "critical"  # jobs fail or stand still now


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong, and what to do about it."""

    severity: Severity
    code: str  # a stable word, as "queue_paused"
    what: str  # one sentence: what is wrong
    hint: str  # what to do: mostly a command
    subject: str | None = None  # the queue, worker, task or job that it is about
    kind: str | None = None  # what the subject is: "queue", "worker", "task", "job", "server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """How long things took."""

    counts: tuple[int, ...] = (0,) * (len(BOUNDS_MS) + 1)  # a bucket for each of BOUNDS_MS, and one for what is longer
    total_s: float = 0.0

    @property
    def number(self) -> int:
        """How many were measured."""
        return sum(self.counts)

    def quantile_s(self, share: float) -> float | None:
        """The upper bound of the bucket in which that share (0 to 1) of them lies; None if there are none."""
        rank, number = 0, self.number
        for bound_ms, count in zip((*BOUNDS_MS, BOUNDS_MS[-1]), self.counts, strict=True):
            rank += count
            if count and rank >= share * number:
                return bound_ms / 1000
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What happened in a minute, an hour or a day."""

    start: datetime
    enqueued: int = 0
    started: int = 0
    succeeded: int = 0
    failed: int = 0
    retried: int = 0
    cancelled: int = 0
    returned: int = 0
    lost: int = 0  # their worker vanished
    waited: Histogram = field(default_factory=Histogram)  # from due to started
    ran: Histogram = field(default_factory=Histogram)  # an attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What was counted since the month began, and how much waits beside the queues: for a page of metrics."""

    since: datetime  # the first of the month
    enqueued: Mapping[str, int]  # by queue
    ended: Mapping[str, int]  # by queue
    attempts: Mapping[str, int]  # by what became of them: "started", "succeeded", ..., "lost"
    tasks: Mapping[tuple[str, str], int]  # by task and what became of the attempt; "(other)": those without room
    took_s: Mapping[str, float]  # by task, of all its attempts
    waited: Histogram  # from due to started
    ran: Histogram  # an attempt
    scheduled: int
    due: int  # of these, those that are due and still there
    dead: int


class Period(StrEnum):
    """What counters are kept by."""

    MINUTE = "minute"  # for 3 hours
    HOUR = "hour"  # for 8 days
    DAY = "day"  # for 400 days


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueInfo:
    """A queue, as it is now."""

    name: str
    waiting: int  # tickets in its lines
    by_priority: Mapping[int, int]  # of these, those of each priority that is not empty
    suspects: int  # of these, jobs whose worker vanished twice or more
    running: int
    oldest_age_s: float | None  # how long the job that waits longest has been ready
    paused: bool
    workers: int  # live ones that serve it
    enqueued_a_minute: float | None  # over the last 5 whole minutes
    ended_a_minute: float | None
    # Of `waiting`, how many were looked at if all of these were tickets of jobs that are gone (cancelled, or requeued
    # elsewhere): those at the front of each line, at most 100. 0: there are jobs, or nothing at all.
    leftovers: int = 0
    standing: int = 0  # of `workers`, those that take nothing: their loop stands still, or all their slots are stuck

    @property
    def held_up(self) -> bool:
        """Whether jobs wait, and all that serve it stand still."""
        return bool(self.waiting and not self.leftovers and self.workers and self.standing >= self.workers)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningJob:
    """A job in a worker's hands, as the worker said last."""

    id: str
    task: str
    queue: str
    attempt: int
    started_at: datetime
    running_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """A worker, as it said last."""

    id: str
    label: str
    host: str
    pid: int
    queues: tuple[str, ...]
    state: str  # "working", "stopping", "late": its lease has ended, "blocked": its loop stands, "gone": reclaimed
    started_at: datetime | None
    last_seen_s: float | None  # how long ago it renewed its lease
    slots: int | None
    used: int  # jobs in its hands
    stuck: int  # of its slots, those whose job can't be ended
    memory: int | None  # bytes
    version: str | None  # aiotq's
    blocked_s: float  # for how long its loop has stood still
    jobs: tuple[RunningJob, ...]  # at most 100, those that run longest first


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSummary:
    """A job in a list."""

    id: str
    task: str
    queue: str
    priority: int
    status: JobStatus
    reason: str | None
    attempt: int
    enqueued_at: datetime | None
    due_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    worker: str | None  # the label
    error: str | None  # "ValueError: no Bobs", cut at 200 characters
    lost: int = 0
    size: int = 0  # bytes of the record
    readable: bool = True  # False: of a newer version, or broken: only what its header and ticket say
    # Whether it lies where `status` and `queue` say. False: all places were looked through, and it is in none: nobody
    # will run it. None: it was not found, and not all could be looked through: `JobDetail.searched`.
    placed: bool | None = True


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs. None: any."""

    status: JobStatus | None = None
    queue: str | None = None
    task: str | None = None  # its name, or the end of it after ":" or "."
    error: str | None = None  # an error's type, or a part of its text
    since: datetime | None = None  # enqueued, or if it has ended, ended no earlier
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """A part of a list, newest first."""

    items: tuple[T, ...]
    cursor: str | None  # for the next page; None: there is none
    looked: int  # how many entries were looked at for it: a page may be short, or empty, before the end


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEntry:
    """One thing that happened to a job."""

    at: datetime | None
    what: str  # "enqueued", "due", "attempt 1 started", "attempt 1 failed", "running", ...
    worker: str | None = None
    took_s: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDetail:
    """All that is known of one job."""

    summary: JobSummary
    info: JobInfo | None  # None if the record can't be read
    raw: bytes | None  # then: its bytes, at most 64 KiB
    arguments: str  # pretty-printed, redacted, cut
    arguments_cut: bool
    result: str | None
    result_cut: bool
    timeline: tuple[TimelineEntry, ...]
    logs: tuple[LogLine, ...]
    progress: Progress | None
    frames: tuple[Frame, ...]
    expires_s: float | None  # how long its record is kept; None: it has not ended
    searched: str | None = None  # where a job was looked for in vain whose place is unknown: "the schedule, ..."


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """Failures of one task with one error."""

    task: str
    error: str  # the type
    message: str  # of the last one, cut at 200 characters
    count: int  # in the hours that were asked for
    last_at: datetime
    job_id: str | None  # of the last one; None: it is gone
    dead: bool  # whether the last one was a job's last attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskInfo:
    """What became of a task's attempts in the hours that were asked for."""

    name: str
    succeeded: int
    failed: int
    retried: int
    cancelled: int
    mean_s: float | None  # of an attempt
    known: bool | None  # whether this app registers it; None: no app was named


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """What a person did."""

    at: datetime
    by: str  # who: "ada@host (cli)", "token (dashboard)"
    action: str  # "retry", "purge", ...
    subject: str  # a job's id, a queue, or the filter
    came_to: str  # "done", "held", "41 jobs", "failed: ..."


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that `doctor` looked at."""

    severity: Severity
    name: str  # "maxmemory-policy"
    what: str  # what was found
    fix: str | None  # the line that mends it


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """The server, as it says of itself. None: it may not be asked, or does not say."""

    kind: str
    version: str
    url: str
    uptime_s: float | None
    memory: int | None  # bytes in use
    memory_limit: int | None
    policy: str | None
    clients: int | None
    commands_a_second: float | None
    role: str | None
    persistence: str | None  # "append-only file", "snapshots", "none"
    ping_s: float | None
    writable: bool  # False: it refuses writes now: full, or a replica


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """One screen: is all well, and if not, why."""

    at: datetime
    severity: Severity  # the worst of the findings
    findings: tuple[Finding, ...]  # the worst first
    server: ServerInfo
    queues: tuple[QueueInfo, ...]
    workers: tuple[WorkerInfo, ...]
    scheduled: int
    dead: int
    minutes: tuple[Counts, ...]  # the last 60, oldest first
    failures: tuple[FailureGroup, ...]  # of the last hour, most frequent first


@dataclass(frozen=True, slots=True, kw_only=True)
class Bulk:
    """What came of acting on many jobs."""

    done: int
    skipped: int  # they had moved on, or are held
    looked: int
    told: int = 0  # of those done, jobs that run: their workers were told to stop them


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """What an act on one job came to."""

    done: bool  # it is as it shall be, also if it was so before; of a job that runs, its worker was told
    what: str  # "done", "its worker was told", "cancelled already", "it has not failed", ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """What came of emptying a queue."""

    ended: int  # jobs
    cleared: int  # tickets of jobs that were gone already


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """A job that waits and would fail with the code that was loaded."""

    id: str
    task: str
    queue: str
    status: JobStatus
    why: str  # "unknown task", "missing a required argument: 'name'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Whether what waits would run with the code that was loaded."""

    looked: int
    misfits: Sequence[Misfit]  # at most 1,000
    more: int  # misfits beyond these
