"""Values of the inspector, with what each test does not say filled in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from aiotq.cli.look import Look, plain
from aiotq.cli.operate.table import Sheet
from aiotq.inspection.values import (
    Counts,
    FailureGroup,
    Finding,
    Histogram,
    JobDetail,
    JobSummary,
    Overview,
    QueueInfo,
    RunningJob,
    ServerInfo,
    Severity,
    WorkerInfo,
)
from aiotq.job import JobStatus

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
TERMINAL = Sheet(look=Look(terminal=True, colour=True, symbols=True), width=80)
NARROW = Sheet(look=Look(terminal=True), width=50)
PIPE = Sheet(look=Look())
VERBOSE = Sheet(look=Look(verbose=True))


def text(lines: Any) -> str:
    """Lines as they are read."""
    return "\n".join(plain(line) for line in lines)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def a_finding(**given: Any) -> Finding:
    facts: dict[str, Any] = {
        "severity": Severity.CRITICAL,
        "code": "queue_paused",
        "what": "the queue mail is paused",
        "hint": "aiotq resume mail",
    }
    return Finding(**facts | given)


def a_queue(**given: Any) -> QueueInfo:
    facts: dict[str, Any] = {
        "name": "mail",
        "waiting": 0,
        "by_priority": {},
        "suspects": 0,
        "running": 0,
        "oldest_age_s": None,
    }
    more = {"paused": False, "workers": 1, "enqueued_a_minute": None, "ended_a_minute": None}
    return QueueInfo(**facts | more | given)


def a_running(**given: Any) -> RunningJob:
    facts: dict[str, Any] = {"id": "0" * 26 + "a1f9c2", "task": "shop.tasks:send_mail", "queue": "mail", "attempt": 1}
    return RunningJob(**facts | {"started_at": ago(90), "running_s": 90.0} | given)


def a_worker(**given: Any) -> WorkerInfo:
    facts: dict[str, Any] = {
        "id": "w1",
        "label": "host-3f2a",
        "host": "host",
        "pid": 7,
        "queues": ("mail",),
        "state": "working",
    }
    more = {"started_at": ago(3600), "last_seen_s": 2.0, "slots": 100, "used": 0, "stuck": 0, "memory": 80_000_000}
    return WorkerInfo(**facts | more | {"version": "0.1.0", "blocked_s": 0.0, "jobs": ()} | given)


def a_server(**given: Any) -> ServerInfo:
    facts: dict[str, Any] = {
        "kind": "Valkey",
        "version": "9.1.2",
        "url": "redis://h",
        "uptime_s": 3600.0,
        "memory": 12_300_000,
    }
    more = {
        "memory_limit": 64_000_000,
        "policy": "noeviction",
        "clients": 12,
        "commands_a_second": 100.0,
        "role": "master",
    }
    return ServerInfo(**facts | more | {"persistence": "append-only file", "ping_s": 0.001, "writable": True} | given)


def a_failure(**given: Any) -> FailureGroup:
    facts: dict[str, Any] = {
        "task": "shop.tasks:send_mail",
        "error": "ValueError",
        "message": "no Bobs",
        "count": 41,
        "last_at": ago(180),
    }
    return FailureGroup(**facts | {"job_id": "0" * 26 + "c4d210", "dead": True} | given)


def a_summary(**given: Any) -> JobSummary:
    facts: dict[str, Any] = {
        "id": "0" * 26 + "a1f9c2",
        "task": "shop.tasks:send_mail",
        "queue": "mail",
        "priority": 5,
        "reason": None,
    }
    more = {"status": JobStatus.SUCCEEDED, "attempt": 1, "enqueued_at": ago(20), "due_at": None, "started_at": ago(10)}
    return JobSummary(**facts | more | {"finished_at": ago(8), "worker": "host-3f2a", "error": None} | given)


def a_detail(**given: Any) -> JobDetail:
    facts: dict[str, Any] = {
        "summary": a_summary(),
        "info": None,
        "raw": None,
        "arguments": "",
        "arguments_cut": False,
        "result": None,
    }
    more = {"result_cut": False, "timeline": (), "logs": (), "progress": None, "frames": (), "expires_s": None}
    return JobDetail(**facts | more | given)


def some_minutes(number: int = 60) -> tuple[Counts, ...]:
    waited = Histogram(counts=(8, 2, *(0,) * 15), total_s=0.01)
    return tuple(
        Counts(start=NOW - timedelta(minutes=number - place), enqueued=10, started=10, succeeded=10, waited=waited)
        for place in range(number)
    )


def an_overview(**given: Any) -> Overview:
    facts: dict[str, Any] = {
        "at": NOW,
        "findings": (),
        "server": a_server(),
        "queues": (a_queue(),),
        "workers": (a_worker(),),
    }
    more = {"scheduled": 3, "dead": 2, "minutes": some_minutes(), "failures": (a_failure(),)}
    facts |= more | given
    worst = max((finding.severity for finding in facts["findings"]), key=list(Severity).index, default=Severity.OK)
    return Overview(**facts | {"severity": facts.get("severity", worst)})
