"""What is wrong with the workers: what `diagnosis` says of them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotq.ids import short
from aiotq.inspection import words
from aiotq.inspection.faults import finding
from aiotq.inspection.pasting import command
from aiotq.inspection.signs import LATELY_MIN
from aiotq.inspection.values import Severity
from aiotq.inspection.vitals import BLOCKED_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiotq.inspection.signs import Signs
    from aiotq.inspection.values import Finding, WorkerInfo

MOST_NAMED = 5  # queues


def nobody_works(signs: Signs) -> Iterator[Finding]:
    """No worker is alive."""
    if signs.live:
        return
    todo = [f"{signs.waiting:,} wait{'s' * (signs.waiting == 1)}"] if signs.waiting else []
    if signs.scheduled:
        todo.append(f"{signs.scheduled:,} {'is' if signs.scheduled == 1 else 'are'} scheduled")
    what = "no worker is alive" + (f", and {' and '.join(todo)}" if todo else "; nothing waits")
    queues = [queue for queue in signs.queues if queue.waiting and not queue.leftovers]
    paused = [queue.name for queue in queues if queue.paused]
    named = ",".join(queue.name for queue in queues)
    steps = ["python -m aiotq MODULE:APP" + (f" -q {named}" if len(queues) in range(1, MOST_NAMED + 1) else "")]
    if paused:
        said = words.and_more(paused[:MOST_NAMED], len(paused))
        what += f"; queue {said} is paused besides" if len(paused) == 1 else f"; queues {said} are paused besides"
        steps += ["then: " * (at == 0) + command("resume", of=[name]) for at, name in enumerate(paused[:MOST_NAMED])]
    yield finding(Severity.CRITICAL if todo else Severity.NOTE, "no_worker", what, "; ".join(steps))


def workers_are_late(signs: Signs) -> Iterator[Finding]:
    """Their lease has ended."""
    for worker in signs.workers:
        if worker.state in {"late", "gone"}:
            since = "" if worker.last_seen_s is None else f" for {words.time(worker.last_seen_s)}"
            fate = "others have begun to take its jobs back" if worker.state == "gone" else "its lease has ended"
            held = f"; it holds {words.jobs(worker.used)}" if worker.used else ""
            hint = f"on {_host(worker)}: ps -p {worker.pid}; if it hangs, {_kill(worker, 'KILL')}"
            if not signs.live:
                hint += "; then start another one, which takes its jobs back: python -m aiotq MODULE:APP"
            what = f"worker {worker.label} has not been heard of{since}: {fate}{held}"
            yield finding(Severity.WARNING, "worker_late", what, hint, subject=worker.label, kind="worker")


def workers_are_blocked(signs: Signs) -> Iterator[Finding]:
    """Their event loop stands still. Killed alone, such a worker hands the job that blocks to the next one."""
    for worker in signs.live:
        if worker.blocked_s < BLOCKED_S:
            continue
        stands = f"has stood still for {words.time(worker.blocked_s)}: none of its jobs moves"
        what = f"the event loop of worker {worker.label} {stands}"
        steps = ["its log names the line"]
        if len(worker.jobs) == 1:
            [job] = worker.jobs
            what += f"; it runs {job.task} ({short(job.id)})"
            steps = [f"so that it is not run again, first: {command('cancel', of=[short(job.id)])}"]
        elif worker.jobs:  # which of them it is, only its log says: they may have begun in the same moment
            what += f"; one of its {words.jobs(len(worker.jobs))} blocks it"
            steps = [
                "its log names the task that blocks",
                "the ids of its jobs: aiotq workers",
                "so that it is not run again, first: aiotq cancel ID",
            ]
        steps += [
            f"then, {_kill(worker, 'KILL')}",
            "then start it again",
            "write that task as a plain def, which runs in a thread",
        ]
        what += _behind(signs, worker)
        yield finding(Severity.CRITICAL, "worker_blocked", what, "; ".join(steps), subject=worker.label, kind="worker")


def slots_are_stuck(signs: Signs) -> Iterator[Finding]:
    """Jobs that can't be ended hold slots."""
    for worker in signs.live:
        if not worker.stuck:
            continue
        every = worker.slots is not None and worker.stuck >= worker.slots
        of = f" of its {worker.slots} slots" if worker.slots else " of its slots"
        what = f"worker {worker.label}: {worker.stuck:,}{of} hold{'s' * (worker.stuck == 1)} a job that can't be ended"
        what += f", so it takes no more{_behind(signs, worker)}" if every else ""
        # What is stuck has its outcome already: it has failed, or was cancelled, and is not run again.
        others = ", and what else it runs goes back to its queue" if worker.used > worker.stuck else ""
        hint = f"start it anew{others}: {_kill(worker, 'TERM')}"
        severity = Severity.CRITICAL if every else Severity.WARNING
        yield finding(severity, "worker_stuck", what, hint, subject=worker.label, kind="worker")


def _behind(signs: Signs, worker: WorkerInfo) -> str:
    """What waits for it: jobs in queues that only workers like it serve."""
    queues = [queue for queue in signs.held_up if queue.name in worker.queues]
    if not queues:
        return ""
    waiting = sum(queue.waiting for queue in queues)
    named = words.and_more([queue.name for queue in queues[:MOST_NAMED]], len(queues))
    where, they = (f"queue {named}", "it") if len(queues) == 1 else (f"queues {named}", "them")
    return f"; {words.jobs(waiting)} wait{'s' * (waiting == 1)} in {where}, and nobody else serves {they}"


def _host(worker: WorkerInfo) -> str:
    return f"host {worker.host}" if worker.host else "its host"


def _kill(worker: WorkerInfo, signal: str) -> str:
    """Where to end it, and by which command. In a container, whose first process it is, nothing outside has its pid."""
    if worker.pid == 1:
        return f"restart its container ({worker.host or 'its host'})"
    return f"on {_host(worker)}: kill -{signal} {worker.pid}"


def workers_vanish(signs: Signs) -> Iterator[Finding]:
    """Jobs lost their workers lately."""
    minutes = signs.minutes[-LATELY_MIN:]
    lost = sum(minute.lost for minute in minutes)
    if lost and not signs.poison:  # else it is told of which jobs they died
        whose = "its" if lost == 1 else "their"
        what = f"{words.jobs(lost)} lost {whose} worker in the last {LATELY_MIN} minutes (killed, or out of memory)"
        since = next(index for index, minute in enumerate(reversed(minutes)) if minute.lost)
        last = "within the last minute" if since == 0 else f"{since} min ago"
        what += f", {'the last one ' if lost > 1 else ''}{last}; where no more are lost this goes by itself"
        hint = "aiotq workers; on their hosts: journalctl -k | grep -i 'killed process'"
        yield finding(Severity.WARNING, "workers_vanish", what, hint)
