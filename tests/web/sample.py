"""An inspector made by hand: every value that a page can show, and what was asked of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from aiotq import checks
from aiotq.errors import Frame, JobNotFound, StoreUnavailable
from aiotq.inspection.acts import Act
from aiotq.inspection.arrivals import Moment
from aiotq.inspection.hand import DONE
from aiotq.inspection.values import (
    AuditEntry,
    Bulk,
    Came,
    Check,
    Counts,
    FailureGroup,
    Finding,
    Histogram,
    JobDetail,
    JobFilter,
    JobSummary,
    LogLine,
    Overview,
    Page,
    Progress,
    Purged,
    QueueInfo,
    RunningJob,
    ServerInfo,
    Severity,
    TaskInfo,
    TimelineEntry,
    WorkerInfo,
)
from aiotq.job import AttemptInfo, ErrorInfo, JobInfo, JobStatus

NOW = datetime(2026, 11, 27, 15, 4, 5, 678_000, tzinfo=UTC)
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}"
JOB = "0199ab12cd347ef089abcdef01a1f9c2"
NUMBERS = {  # of jobs
    JobStatus.SCHEDULED: 30,
    JobStatus.QUEUED: 11,
    JobStatus.RUNNING: 2,
    JobStatus.SUCCEEDED: 500,
    JobStatus.FAILED: 7,
    JobStatus.CANCELLED: 60,
}


def summary(*, text: str = "shop.tasks:send_mail", status: JobStatus = JobStatus.FAILED, **more: Any) -> JobSummary:
    known = {
        "id": JOB,
        "task": text,
        "queue": "mail",
        "priority": 3,
        "status": status,
        "reason": text if "<" in text else "error",
        "attempt": 4,
        "enqueued_at": NOW - timedelta(minutes=5),
        "due_at": NOW - timedelta(minutes=1),
        "started_at": NOW - timedelta(seconds=3),
        "finished_at": NOW - timedelta(seconds=1),
        "worker": text,
        "error": f"ValueError: {text}",
        "lost": 1,
        "size": 2048,
    }
    return JobSummary(**{**known, **more})


def detail(*, text: str = "no Bobs", status: JobStatus = JobStatus.FAILED, **more: Any) -> JobDetail:
    error = ErrorInfo(type=text, message=text, frames=(Frame(text, 9, text, text),))
    info = JobInfo(
        id=JOB,
        task=text,
        queue="mail",
        priority=3,
        status=status,
        reason="error",
        arguments={"args": [text], "kwargs": {text: text}},
        result=text,
        error=error,
        attempt=1,
        attempts=(AttemptInfo(number=1, started_at=NOW, finished_at=NOW, worker=text, error=error),),
        lost=0,
        enqueued_at=NOW,
        due_at=None,
        started_at=NOW,
        finished_at=NOW,
        worker=text,
    )
    known = {
        "summary": summary(text=text, status=status),
        "info": info,
        "raw": None,
        "arguments": f'{{\n  "name": "{text}"\n}}',
        "arguments_cut": True,
        "result": f'"{text}"',
        "result_cut": True,
        "timeline": (TimelineEntry(at=NOW, what=text, worker=text, took_s=1.4, error=text),),
        "logs": (LogLine(at=NOW, level=text, text=text, attempt=1),),
        "progress": Progress(done=3, of=10, note=text, at=NOW),
        "frames": error.frames,
        "expires_s": 600.0,
    }
    return JobDetail(**{**known, **more})


def overview(*, text: str = "mail") -> Overview:
    job = RunningJob(id=JOB, task=text, queue=text, attempt=1, started_at=NOW, running_s=62.0)
    worker = WorkerInfo(
        id="w1",
        label=text,
        host=text,
        pid=17,
        queues=(text, "default"),
        state="blocked",
        started_at=NOW,
        last_seen_s=3.2,
        slots=100,
        used=41,
        stuck=1,
        memory=50 << 20,
        version=text,
        blocked_s=12.0,
        jobs=(job,),
    )
    queue = QueueInfo(
        name=text,
        waiting=1204,
        by_priority={0: 4, 5: 1200},
        suspects=2,
        running=7,
        oldest_age_s=192.0,
        paused=True,
        workers=0,
        enqueued_a_minute=41.5,
        ended_a_minute=None,
    )
    counts = tuple(
        Counts(
            start=NOW.replace(second=0, microsecond=0) - timedelta(minutes=60 - minute),
            enqueued=minute,
            succeeded=minute,
            failed=minute % 3,
            waited=Histogram(counts=(0, 3, 5, *[0] * 14), total_s=0.1),
        )
        for minute in range(60)
    )
    kinds = ("queue", "worker", "task", "job", "server")
    findings = tuple(
        Finding(severity=Severity.CRITICAL, code="queue_paused", what=text, hint=text, subject=text, kind=kind)
        for kind in kinds
    )
    return Overview(
        at=NOW,
        severity=Severity.CRITICAL,
        findings=findings,
        server=server(text=text),
        queues=(queue, replace(queue, name="default", paused=False, workers=1)),
        workers=(worker,),
        scheduled=12,
        dead=3,
        minutes=counts,
        failures=(failure(text=text),),
    )


def failure(*, text: str) -> FailureGroup:
    return FailureGroup(task=text, error=text, message=text, count=7, last_at=NOW, job_id=JOB, dead=True)


def server(*, text: str = "redis://localhost:6379") -> ServerInfo:
    return ServerInfo(
        kind=text,
        version=text,
        url=text,
        uptime_s=3600.0,
        memory=1 << 20,
        memory_limit=None,
        policy=text,
        clients=4,
        commands_a_second=20.5,
        role=text,
        persistence=text,
        ping_s=0.0004,
        writable=False,
    )


@dataclass(kw_only=True)
class Inspector:
    """Answers as `aiotq.inspector.Inspector` does, from what it was given."""

    text: str = "mail"
    status: JobStatus = JobStatus.FAILED
    job_detail: JobDetail | None = None
    away: bool = False
    cursor: str | None = "next-1"
    asked: list[tuple[Any, ...]] = field(default_factory=list[tuple[Any, ...]])
    by: str = ""
    came: Came = DONE
    bulk: Bulk = field(default_factory=lambda: Bulk(done=40, skipped=1, looked=41))

    def acting(self, by: str) -> Inspector:
        self.by = checks.signature("by", by)
        return self

    def redacting(self, hook: Any) -> Inspector:
        self.asked.append(("redacting", hook))
        return self

    def _note(self, *what: Any) -> None:
        if self.away:
            raise StoreUnavailable(
                "overview: no answer from redis://localhost:6379 (refused); a server was expected there; "
                "start Redis, or use --url embedded://",
                verb="overview",
                url="redis://localhost:6379",
                sent=False,
            )
        self.asked.append(what)

    async def overview(self) -> Overview:
        self._note("overview")
        return overview(text=self.text)

    async def queues(self) -> Any:
        self._note("queues")
        return overview(text=self.text).queues

    async def jobs(self, which: JobFilter | None = None, *, cursor: str | None = None, limit: int = 50) -> Any:
        self._note("jobs", which, cursor, limit)
        items = (summary(text=self.text, status=self.status), summary(id="raw1", readable=False, enqueued_at=None))
        return Page(items=items, cursor=self.cursor, looked=200)

    async def dead(self, which: JobFilter | None = None, *, cursor: str | None = None, limit: int = 50) -> Any:
        self._note("dead", which, cursor, limit)
        return Page(items=(summary(text=self.text),), cursor=self.cursor, looked=1)

    async def job(self, job_id: str, *, values: bool = True, texts: bool = True) -> JobDetail:
        self._note("job", job_id, values, texts)
        if job_id in {"none", "a1f9c2", "two"}:
            raise JobNotFound(job_id=job_id)
        return self.job_detail or detail(text=self.text, status=self.status)

    async def find(self, text: str) -> tuple[str, ...]:
        self._note("find", text)
        return {"a1f9c2": (JOB,), "two": (JOB, "other")}.get(text, ())

    async def failures(self, *, hours: int = 1) -> Any:
        self._note("failures", hours)
        return (failure(text=self.text),)

    async def tasks(self, *, hours: int = 1) -> Any:
        self._note("tasks", hours)
        known = {"succeeded": 5, "failed": 1, "retried": 0, "cancelled": 0, "mean_s": 0.02}
        return (TaskInfo(name=self.text, known=False, **known), TaskInfo(name="b", known=None, **known))

    async def audit(self, *, cursor: str | None = None, limit: int = 50) -> Any:
        self._note("audit", cursor, limit)
        entry = AuditEntry(at=NOW, by=self.text, action=self.text, subject=self.text, came_to=self.text)
        return Page(items=(entry,), cursor=self.cursor, looked=1)

    async def server(self) -> ServerInfo:
        self._note("server")
        return server(text=self.text)

    async def checkup(self) -> Any:
        self._note("checkup")
        return (Check(severity=Severity.WARNING, name=self.text, what=self.text, fix=self.text),)

    async def count(self, which: JobFilter) -> int:
        self._note("count", which)
        return sum(number for status, number in NUMBERS.items() if which.status in (None, status))

    async def moment(self, queue: str | None = None) -> Moment:
        return Moment(at=NOW, queue=queue, ends=("mail:5:AAAA:a", "mail:s:AAAA:b"))

    async def act(self, act: Act, job_id: str, *, queue: str | None = None) -> Came:
        self._note(act.value, job_id, *[queue] * (act is Act.REQUEUE))
        return self.came

    def __getattr__(self, name: str) -> Any:
        """The acts on many, and on queues."""
        if name.startswith("_"):
            raise AttributeError(name)

        async def act(*args: Any, **more: Any) -> Any:
            self._note(name, *args, *more.values())
            if name == "purge":
                return Purged(ended=1204, cleared=0)
            return self.bulk if name.endswith("_all") else True

        return act


def app(inspector: Inspector, namespace: str = "shop") -> Any:
    """As much of an App as a dashboard needs."""
    return SimpleNamespace(inspect=inspector, namespace=namespace, tasks={"shop.tasks:send_mail": None})
