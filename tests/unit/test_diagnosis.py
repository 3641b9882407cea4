"""From what was seen to findings: a cause a case, and what each finding says to do."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aiotq import JobStatus
from aiotq.inspection import (
    Check,
    Counts,
    FailureGroup,
    Finding,
    JobSummary,
    QueueInfo,
    RunningJob,
    ServerInfo,
    Severity,
    TaskInfo,
    WorkerInfo,
)
from aiotq.inspection.diagnosis import diagnose, worst
from aiotq.inspection.signs import Signs, Stranger

NOW = datetime(2027, 1, 15, 8, tzinfo=UTC)
MIB = 1 << 20
ID = "01a21d9bd71072d89ac7bfd5a2a1f9c2"


def server(**changes: Any) -> ServerInfo:
    well = ServerInfo(
        kind="Valkey", version="9.0.0", url="redis://host:6379", uptime_s=1e6, memory=40 * MIB, memory_limit=None,
        policy="noeviction", clients=9, commands_a_second=100, role="master", persistence="append-only file",
        ping_s=0.001, writable=True,
    )  # fmt: skip
    return replace(well, **changes)


def queue(name: str = "mail", **changes: Any) -> QueueInfo:
    empty = QueueInfo(
        name=name, waiting=0, by_priority={}, suspects=0, running=0, oldest_age_s=None, paused=False, workers=1,
        enqueued_a_minute=0.0, ended_a_minute=0.0,
    )  # fmt: skip
    return replace(empty, **changes)


def running(task: str = "shop:send", *, for_s: float = 1.0) -> RunningJob:
    started_at = NOW - timedelta(seconds=for_s)
    return RunningJob(id=ID, task=task, queue="mail", attempt=1, started_at=started_at, running_s=for_s)


def worker(label: str = "w-1", **changes: Any) -> WorkerInfo:
    idle = WorkerInfo(
        id=f"id-{label}", label=label, host="box", pid=77, queues=("mail",), state="working", started_at=NOW,
        last_seen_s=1.0, slots=10, used=0, stuck=0, memory=80 * MIB, version="0.1.0", blocked_s=0.0, jobs=(),
    )  # fmt: skip
    return replace(idle, **changes)


def summary(**changes: Any) -> JobSummary:
    plain = JobSummary(
        id=ID, task="shop:render", queue="mail", priority=5, status=JobStatus.QUEUED, reason=None, attempt=0,
        enqueued_at=NOW, due_at=None, started_at=None, finished_at=None, worker=None, error=None,
    )  # fmt: skip
    return replace(plain, **changes)


def task(name: str = "shop:send", **changes: int) -> TaskInfo:
    numbers = {"succeeded": 0, "failed": 0, "retried": 0, "cancelled": 0, **changes}
    return TaskInfo(name=name, mean_s=0.1, known=None, **numbers)


def signs(**changes: Any) -> Signs:
    """All is well, but for `changes`."""
    return replace(Signs(server=server(), queues=(queue(),), workers=(worker(),)), **changes)


def of(code: str, **changes: Any) -> Finding:
    """The one finding of that code."""
    [found] = [finding for finding in diagnose(signs(**changes)) if finding.code == code]
    return found


def test_where_all_is_well_nothing_is_found() -> None:
    assert diagnose(signs()) == ()
    assert worst(()) is Severity.OK


FULL = server(memory=100 * MIB, memory_limit=100 * MIB, writable=False)
BUSY = worker(used=10, jobs=(running("shop:report", for_s=720),))
WAITING = queue(waiting=500, oldest_age_s=245.0, enqueued_a_minute=60.0, ended_a_minute=12.0)

LOSES = Check(
    severity=Severity.CRITICAL, name="persistence", what="it keeps nothing on its disk: a restart loses every job",
    fix="redis-cli -h host -p 6379 CONFIG SET appendonly yes",
)  # fmt: skip

CASES: dict[str, tuple[dict[str, Any], Severity, str, str, str]] = {
    "redis is full": (
        {"server": FULL, "refusal": "OOM"}, Severity.CRITICAL, "server_oom",
        "Valkey is full: it uses 100 MiB of 100 MiB (maxmemory), and refuses every new job (OOM)",
        "give it more: redis-cli CONFIG SET maxmemory 200mb; or make room (aiotq queues): aiotq purge QUEUE",
    ),
    "redis is over its limit, which was lowered": (
        {"server": server(memory=250 * MIB + 1, memory_limit=100 * MIB, writable=False), "refusal": "OOM"},
        Severity.CRITICAL, "server_oom", "it uses 250 MiB of 100 MiB", "redis-cli CONFIG SET maxmemory 501mb",
    ),
    "redis is nearly full": (
        {"server": server(memory=95 * MIB, memory_limit=100 * MIB)}, Severity.WARNING, "server_nearly_full",
        "95 MiB of 100 MiB (maxmemory, 95%)", "redis-cli CONFIG SET maxmemory 200mb",
    ),
    "a replica": (
        {"refusal": "READONLY"}, Severity.CRITICAL, "server_readonly",
        "redis://host:6379 is a read-only replica", "point AIOTQ_URL at the primary",
    ),
    "loading": ({"refusal": "LOADING"}, Severity.CRITICAL, "server_loading", "is loading its data", "wait"),
    "it can't save": ({"refusal": "MISCONF"}, Severity.CRITICAL, "server_misconf", "MISCONF", "df -h"),
    "it keeps nothing": (
        {"ails": (LOSES,), "cli": "redis-cli -h host -p 6379"}, Severity.WARNING, "server_disk",
        "Valkey: it keeps nothing on its disk: a restart loses every job",
        "redis-cli -h host -p 6379 CONFIG SET appendonly yes; what else ails it: aiotq doctor",
    ),
    "it evicts": (
        {"server": server(policy="allkeys-lru")}, Severity.WARNING, "server_evicts",
        "(maxmemory-policy allkeys-lru), and jobs with them", "redis-cli CONFIG SET maxmemory-policy noeviction",
    ),
    "it evicts now": (
        {"server": server(policy="allkeys-lru", memory=95 * MIB, memory_limit=100 * MIB)}, Severity.CRITICAL,
        "server_evicts", "may evict keys", "CONFIG SET maxmemory-policy noeviction",
    ),
    "it is slow": (
        {"server": server(ping_s=0.5)}, Severity.WARNING, "server_slow", "a PING took 0.50 s", "aiotq doctor",
    ),
    "no worker, and jobs": (
        {"workers": (), "queues": (queue(waiting=3), queue("sms")), "scheduled": 2}, Severity.CRITICAL, "no_worker",
        "no worker is alive, and 3 wait and 2 are scheduled", "python -m aiotq MODULE:APP -q mail",
    ),
    "no worker, and nothing to do": (
        {"workers": ()}, Severity.NOTE, "no_worker", "no worker is alive; nothing waits", "python -m aiotq MODULE:APP",
    ),
    "a late worker": (
        {"workers": (worker(), worker("w-2", state="late", last_seen_s=42.0, used=3))}, Severity.WARNING,
        "worker_late", "worker w-2 has not been heard of for 42 s: its lease has ended; it holds 3 jobs", "ps -p 77",
    ),
    "only a late worker": (
        {"workers": (worker(state="late"),), "queues": (queue(waiting=1),)}, Severity.WARNING, "worker_late",
        "has not been heard of", "python -m aiotq MODULE:APP",
    ),
    "a blocked loop": (
        {"workers": (worker(state="blocked", blocked_s=41.0, used=1, jobs=(running("shop:hash", for_s=41),)),)},
        Severity.CRITICAL, "worker_blocked",
        "the event loop of worker w-1 has stood still for 41 s: none of its jobs moves; it runs shop:hash (a1f9c2)",
        ("so that it is not run again, first: aiotq cancel a1f9c2; then, on host box: kill -KILL 77; then start "
        "it again; write that task as a plain def, which runs in a thread"),
    ),
    "a blocked loop, with several jobs": (
        {"workers": (worker(state="blocked", blocked_s=41.0, used=2, jobs=(running(), running("shop:hash"))),)},
        Severity.CRITICAL, "worker_blocked", "none of its jobs moves; one of its 2 jobs blocks it",
        ("its log names the task that blocks; the ids of its jobs: aiotq workers; so that it is not run again, first: "
         "aiotq cancel ID; then, on host box: kill -KILL 77"),
    ),
    "a blocked loop, with others behind it": (
        {"workers": (worker(state="blocked", blocked_s=41.0, used=1, jobs=(running(),)), worker(queues=("sms",))),
         "queues": (queue(waiting=12, standing=1), queue("sms", waiting=3))},
        Severity.CRITICAL, "worker_blocked",
        "it runs shop:send (a1f9c2); 12 jobs wait in queue mail, and nobody else serves it", "aiotq cancel a1f9c2",
    ),
    "a blocked loop, and another worker": (
        {"workers": (worker(state="blocked", blocked_s=41.0, used=1, jobs=(running(),)), worker("w-2")),
         "queues": (queue(waiting=12, workers=2, standing=1),)},
        Severity.CRITICAL, "worker_blocked", "it runs shop:send (a1f9c2)", "aiotq cancel a1f9c2",
    ),
    "a container's first process": (
        {"workers": (worker(slots=4, used=4, stuck=1, pid=1),)}, Severity.WARNING, "worker_stuck", "1 of its 4 slots",
        "restart its container (box)",
    ),
    "all slots are stuck": (
        {"workers": (worker(slots=4, used=4, stuck=4),)}, Severity.CRITICAL, "worker_stuck",
        "worker w-1: 4 of its 4 slots hold a job that can't be ended, so it takes no more",
        "start it anew: on host box: kill -TERM 77",
    ),
    "all slots are stuck, and jobs wait": (
        {"workers": (worker(slots=4, used=4, stuck=4, queues=("a", "b")),),
         "queues": (queue("a", waiting=1, standing=1), queue("b", waiting=2, standing=1))},
        Severity.CRITICAL, "worker_stuck",
        "so it takes no more; 3 jobs wait in queues a and b, and nobody else serves them", "kill -TERM 77",
    ),
    "a slot is stuck": (
        {"workers": (worker(slots=4, used=4, stuck=1),)}, Severity.WARNING, "worker_stuck",
        "1 of its 4 slots holds a job",
        "start it anew, and what else it runs goes back to its queue: on host box: kill -TERM 77",
    ),
    "workers vanish": (
        {"minutes": (Counts(start=NOW, lost=9), *[Counts(start=NOW, lost=1)] * 10)}, Severity.WARNING,
        "workers_vanish", "10 jobs lost their worker in the last 10 minutes", "journalctl -k",
    ),
    "workers vanished, and no more": (
        {"minutes": (*[Counts(start=NOW, lost=4)] * 2, *[Counts(start=NOW)] * 3)}, Severity.WARNING, "workers_vanish",
        ("8 jobs lost their worker in the last 10 minutes (killed, or out of memory), the last one 3 min ago; where no "
        "more are lost this goes by itself"), "journalctl -k",
    ),
    "a paused queue": (
        {"queues": (queue(waiting=120, paused=True, oldest_age_s=190.0),)}, Severity.WARNING, "queue_paused",
        "queue mail is paused, and 120 jobs wait in it, the oldest for 3 m 10 s", "aiotq resume mail",
    ),
    "a paused queue, empty": (
        {"queues": (queue(paused=True),)}, Severity.NOTE, "queue_paused", "nothing waits in it", "aiotq resume mail",
    ),
    "a queue that nobody serves": (
        {"queues": (queue("sms", waiting=12, workers=0),)}, Severity.CRITICAL, "queue_unserved",
        "no live worker serves queue sms (1 serves others), and 12 jobs wait in it",
        "python -m aiotq MODULE:APP -q sms",
    ),
    "a queue that nobody serves, paused besides": (
        {"queues": (queue("sms", waiting=12, workers=0, paused=True),)}, Severity.CRITICAL, "queue_unserved",
        "no live worker serves queue sms, which is paused besides (1 serves others), and 12 jobs wait in it",
        "python -m aiotq MODULE:APP -q sms; then: aiotq resume sms",
    ),
    "queues that nobody serves": (
        {"queues": tuple(queue(f"q{i}", waiting=i, workers=0, paused=i == 2) for i in range(1, 8))}, Severity.CRITICAL,
        "queue_unserved",
        ("no live worker serves 7 queues (1 serves others), and jobs wait in them: q1 (1), q2 (2, paused), q3 (3), "
        "q4 (4), q5 (5) and 2 more"),
        "python -m aiotq MODULE:APP -q q1,q2,q3,q4,q5; then: aiotq resume q2",
    ),
    "a backlog that grows": (
        {"queues": (WAITING,), "workers": (BUSY,)}, Severity.WARNING, "queue_full",
        "500 jobs wait in it, the oldest for 4 m 5 s; all 10 slots of its 1 worker are taken; 60 come a minute, 12 end",
        "python -m aiotq MODULE:APP -q mail",
    ),
    "slots that hang": (
        {"queues": (replace(WAITING, ended_a_minute=0.0),), "workers": (BUSY,)}, Severity.CRITICAL, "queue_hangs",
        "shop:report (a1f9c2) has run for 12 m", "aiotq cancel a1f9c2; then give the task a timeout",
    ),
    "a queue that stands": (
        {"queues": (queue(waiting=5, oldest_age_s=60.0),)}, Severity.WARNING, "queue_stands",
        "does not move though 1 of its workers have free slots", "aiotq workers",
    ),
    "nobody promotes": (
        {"scheduled": 7, "overdue_s": 95.0}, Severity.CRITICAL, "schedule_overdue",
        "the first of 7 scheduled jobs has been due for 1 m 35 s", "aiotq workers",
    ),
    "poison that waits": (
        {"poison": (summary(lost=2),)}, Severity.WARNING, "poison",
        "job a1f9c2 (shop:render) has taken its worker down 2 times (killed, crashed, or out of memory), and waits",
        "aiotq job a1f9c2; to keep it from running: aiotq cancel a1f9c2",
    ),
    "poison that is dead": (
        {"poison": (summary(lost=4, status=JobStatus.FAILED, reason="lost"),)}, Severity.WARNING, "poison",
        "4 times (killed, crashed, or out of memory), and is dead", "else: aiotq discard a1f9c2",
    ),
    "a mistyped task": (
        {"strangers": (Stranger(task="shop:sned", count=3, job_id=ID, nearest="shop:send"),)}, Severity.CRITICAL,
        "task_unknown", "3 jobs name the task 'shop:sned', which no worker knows; 'shop:send' looks like it",
        "aiotq cancel --all --task shop:sned",
    ),
    "an unknown task": (
        {"strangers": (Stranger(task="crm:sync", count=1, job_id=ID),)}, Severity.CRITICAL, "task_unknown",
        "1 job names the task 'crm:sync'", "start a worker on the module that has it",
    ),
    "a record that no worker can read": (
        {"newer": (summary(readable=False),)}, Severity.WARNING, "record_newer",
        "1 job is put back again and again: its record is of a newer version of aiotq than the workers that take it",
        "start workers of that version, which run it; or throw it away: aiotq discard a1f9c2",
    ),
    "a task that fails": (
        {"tasks": (task(failed=30, retried=8, succeeded=2),), "failures": (
            FailureGroup(
                task="shop:send", error="SMTPError", message="no", count=38, last_at=NOW, job_id=ID, dead=True
            ),
        )}, Severity.WARNING, "task_failing",
        "38 of 40 attempts at shop:send failed in the last 10 minutes, mostly with SMTPError: no", "aiotq job a1f9c2",
    ),
    "a task of which nothing succeeds": (
        {"tasks": (task(failed=5),)}, Severity.CRITICAL, "task_failing", "5 of 5 attempts",
        "aiotq jobs --task shop:send --state failed",
    ),
    "dead letters grow": (
        {"dead": 1_204, "dead_lately": 41}, Severity.WARNING, "dead_growing",
        "41 jobs died in the last 10 minutes; 1,204 dead letters are kept", "aiotq jobs --state failed",
    ),
    "keys that are not ours": (
        {"aside": ("aside:schedule",)}, Severity.WARNING, "keys_aside",
        "1 key of a wrong type was put aside (aside:schedule)", "--namespace NAME",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_cause_is_told_with_its_numbers_and_what_to_do(case: str) -> None:
    changes, severity, code, what, hint = CASES[case]
    found = of(code, **changes)
    assert found.severity is severity
    assert what in found.what
    assert hint in found.hint


@pytest.mark.parametrize(
    "changes",
    [
        {"server": server(memory=80 * MIB, memory_limit=100 * MIB)},
        {"queues": (queue(waiting=5, oldest_age_s=2.0),)},
        {"queues": (replace(WAITING, suspects=500),)},
        {"queues": (WAITING,), "workers": (replace(BUSY, used=9),), "overdue_s": 5.0},
        {"queues": (replace(WAITING, enqueued_a_minute=5.0, oldest_age_s=3.0),), "workers": (BUSY,)},
        {"tasks": (task(failed=4), task(failed=40, succeeded=41))},
        {"dead": 5_000, "dead_lately": 9},
        {"workers": (worker(blocked_s=1.0),)},
        {"tasks": (task("(other)", succeeded=1),)},
    ],
)
def test_what_is_usual_is_no_finding(changes: dict[str, Any]) -> None:
    assert diagnose(signs(**changes)) == ()


PROGRAMS = re.compile(r"(.{0,2})\b(aiotq [a-z]+\b(?! a )|redis-cli |kill -|ps -p|python -m)[^;]*")


@pytest.mark.parametrize("case", CASES)
def test_a_command_of_a_hint_stands_alone_to_be_pasted(case: str) -> None:
    changes, _, code, _, _ = CASES[case]
    for step in of(code, **changes).hint.replace(" (aiotq queues)", "").split("; "):
        for found in PROGRAMS.finditer(step):
            assert found[1] in ("", ": "), f"words before it: {step}"
            assert " on " not in found[0], f"words behind it: {step}"


def test_the_worst_comes_first() -> None:
    paused = queue(waiting=1, paused=True)
    found = diagnose(signs(queues=(paused,), refusal="OOM", server=FULL))
    assert [finding.code for finding in found] == ["server_oom", "queue_paused"]
    assert worst(found) is Severity.CRITICAL


def test_a_mistyped_task_is_not_told_twice() -> None:
    stranger = Stranger(task="shop:sned", count=3, job_id=ID)
    found = diagnose(signs(strangers=(stranger,), tasks=(task("shop:sned", failed=50),)))
    assert [finding.code for finding in found] == ["task_unknown"]


@pytest.mark.parametrize("evil", ["x; rm -rf /", "$(reboot)", "a'b", "--yes", "<script>"])
def test_a_name_that_a_stranger_wrote_is_one_word_of_a_hint(evil: str) -> None:
    for finding in diagnose(
        signs(strangers=(Stranger(task=evil, count=1, job_id=evil),), poison=(summary(id=evil, lost=2),))
    ):
        assert evil in shlex.split(finding.hint.replace(";", " ; ") if ";" not in evil else finding.hint)


def test_what_one_finding_explains_is_no_finding_of_its_own() -> None:
    failing = signs(tasks=(task(failed=30),), dead=30, dead_lately=30)
    assert [finding.code for finding in diagnose(failing)] == ["task_failing"]
    vanished = signs(poison=(summary(lost=2),), minutes=(Counts(start=NOW, lost=2),))
    assert [finding.code for finding in diagnose(vanished)] == ["poison"]


def test_a_queue_that_is_paused_and_served_by_nobody_is_told_once() -> None:
    for many in (1, 2):
        both = tuple(queue(f"q{i}", waiting=3, workers=0, paused=True) for i in range(many))
        assert [finding.code for finding in diagnose(signs(queues=both))] == ["queue_unserved"]
    nobody = diagnose(signs(workers=(), queues=(queue(waiting=3, workers=0, paused=True), queue("sms", workers=0))))
    assert [(finding.code, finding.what, finding.hint) for finding in nobody] == [(
        "no_worker", "no worker is alive, and 3 wait; queue mail is paused besides",
        "python -m aiotq MODULE:APP -q mail; then: aiotq resume mail",
    )]  # fmt: skip


def test_many_poison_jobs_are_summed_up() -> None:
    found = diagnose(signs(poison=tuple(summary(id=f"j{i}", lost=2) for i in range(10))))
    assert [finding.code for finding in found] == ["poison"] * 4
    assert "7 jobs more" in found[-1].what
