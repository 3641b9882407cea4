"""What is wrong, and what to do: from what was seen to findings. Pure: one function a cause, each with its numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from aiotq.ids import short
from aiotq.inspection import crew, faults, words
from aiotq.inspection.faults import finding
from aiotq.inspection.pasting import command
from aiotq.inspection.signs import LATELY_MIN
from aiotq.inspection.values import Finding, Severity
from aiotq.inspection.vitals import stands

if TYPE_CHECKING:
    from aiotq.inspection.signs import Signs
    from aiotq.inspection.values import JobSummary, QueueInfo, TaskInfo

OVERDUE_S = 30.0
LONG_S = 60.0  # for which a job has run in a queue that is backed up, to be named
HANGS_S = 300.0  # ... to be taken for one that hangs, where nothing ends
STANDS_S = 30.0  # for which a job has waited beside free slots
LEAST_FAILED = 5  # attempts, for a task to be told of
MOSTLY = 0.5  # of its attempts
MANY_DEAD = 10  # lately
EACH = 3  # of a kind that are told one by one
MOST_NAMED = 5  # ... by their names alone

_ORDER = {Severity.CRITICAL: 0, Severity.WARNING: 1, Severity.NOTE: 2, Severity.OK: 3}


def diagnose(signs: Signs) -> tuple[Finding, ...]:
    """What is wrong, the worst first."""
    found = [one for rule in RULES for one in rule(signs)]
    return tuple(sorted(found, key=lambda one: _ORDER[one.severity]))


def worst(findings: Iterable[Finding]) -> Severity:
    """How bad it is in all."""
    return min((one.severity for one in findings), key=lambda one: _ORDER[one], default=Severity.OK)


# --- queues -----------------------------------------------------------------------------------------------------


def queues_are_paused(signs: Signs) -> Iterator[Finding]:
    """Somebody has paused them. Of one that nobody serves either, what says that nobody does tells both."""
    for queue in signs.queues:
        waits = queue.waiting and not queue.leftovers
        if queue.paused and not (waits and not queue.workers):
            what = f"queue {queue.name} is paused" + (f", and {_wait(queue)}" if waits else "; nothing waits in it")
            severity = Severity.WARNING if waits else Severity.NOTE
            hint = command("resume", of=[queue.name])
            yield finding(severity, "queue_paused", what, hint, subject=queue.name, kind="queue")


def queues_are_unserved(signs: Signs) -> Iterator[Finding]:
    """No worker serves them: one is told with all that is known, several by their names."""
    live = len(signs.live)
    found = [queue for queue in signs.queues if queue.waiting and not queue.leftovers and not queue.workers]
    if not live or not found:
        return
    others = f"({live} serve{'s' * (live == 1)} others)"
    if len(found) == 1:
        [queue] = found
        paused = ", which is paused besides" if queue.paused else ""
        what = f"no live worker serves queue {queue.name}{paused} {others}, and {_wait(queue)}"
        subject, kind = queue.name, "queue"
    else:
        what = f"no live worker serves {len(found):,} queues {others}, and jobs wait in them: {_each(found)}"
        subject = kind = None
    named = found[:MOST_NAMED]
    steps = [f"python -m aiotq MODULE:APP -q {','.join(queue.name for queue in named)}"]
    steps += [command("resume", of=[queue.name]) for queue in named if queue.paused]
    steps[1:2] = [f"then: {step}" for step in steps[1:2]]
    yield finding(Severity.CRITICAL, "queue_unserved", what, "; ".join(steps), subject=subject, kind=kind)


def _each(queues: Sequence[QueueInfo]) -> str:
    """As "mail (3, paused), sms (12) and 2 more"."""
    named = [f"{queue.name} ({queue.waiting:,}{', paused' if queue.paused else ''})" for queue in queues[:MOST_NAMED]]
    return words.and_more(named, len(queues))


def tickets_are_left(signs: Signs) -> Iterator[Finding]:
    """Of jobs that are gone, where nobody claims: a claim would drop them."""
    for queue in signs.queues:
        if not queue.leftovers or (queue.workers and not queue.paused):
            continue
        purge = command("purge", of=[queue.name])
        gone = "of jobs that are gone (cancelled, or requeued elsewhere); a worker that served it would drop them"
        if queue.leftovers >= queue.waiting:
            left = f"{queue.waiting:,} ticket{'s' * (queue.waiting != 1)}"
            what, hint = f"no job waits in queue {queue.name}: its {left} are left {gone}", purge
            if queue.waiting == 1:
                what = what.replace(" are left ", " is left ")
            severity = Severity.NOTE
        else:
            what = f"in queue {queue.name} the first {queue.leftovers:,} of its {queue.waiting:,} tickets are {gone}"
            look = command("jobs", "--queue", queue.name, "--state", "queued")
            hint, severity = f"{look}; if it lists none: {purge}", Severity.WARNING
        yield finding(severity, "queue_leftovers", what, hint, subject=queue.name, kind="queue")


def queues_back_up(signs: Signs) -> Iterator[Finding]:
    """All their workers are full, and more comes than ends."""
    for queue in signs.queues:
        serving = [worker for worker in signs.live if queue.name in worker.queues]
        full = serving and all(worker.slots is not None and worker.used >= worker.slots for worker in serving)
        if not full or queue.paused or queue.leftovers or not queue.waiting - queue.suspects:
            continue
        longest = max((job for worker in serving for job in worker.jobs), key=lambda job: job.running_s, default=None)
        hangs = longest is not None and longest.running_s >= HANGS_S and not queue.ended_a_minute
        grows = (queue.enqueued_a_minute or 0) > (queue.ended_a_minute or 0) or (queue.oldest_age_s or 0) >= LONG_S
        if not (hangs or grows):
            continue
        slots = sum(worker.slots or 0 for worker in serving)
        what = (
            f"queue {queue.name} backs up: {_wait(queue)}; all {slots:,} slots of its {len(serving)} "
            f"worker{'s' * (len(serving) > 1)} are taken"
        )
        if queue.enqueued_a_minute is not None and queue.ended_a_minute is not None:
            what += f"; {queue.enqueued_a_minute:g} come a minute, {queue.ended_a_minute:g} end"
        hint = f"start more: python -m aiotq MODULE:APP -q {queue.name}"
        if longest is not None and longest.running_s >= LONG_S:
            what += f"; {longest.task} ({short(longest.id)}) has run for {words.time(longest.running_s)}"
            hint += f"; or look at what runs long: {command('job', of=[short(longest.id)])}"
        if hangs and longest is not None:
            free = f"free a slot: {command('cancel', of=[short(longest.id)])}"
            hint = f"{free}; then give the task a timeout: @app.task(timeout=...)"
        severity = Severity.CRITICAL if hangs else Severity.WARNING
        yield finding(severity, "queue_hangs" if hangs else "queue_full", what, hint, subject=queue.name, kind="queue")


def queues_stand(signs: Signs) -> Iterator[Finding]:
    """Jobs wait beside free slots."""
    for queue in signs.queues:
        serving = [worker for worker in signs.live if queue.name in worker.queues]
        well = [worker for worker in serving if worker.state == "working" and not stands(worker)]
        free = [worker for worker in well if worker.slots is None or worker.used < worker.slots]
        stays = queue.waiting > queue.suspects and (queue.oldest_age_s or 0) >= STANDS_S
        if free and stays and not queue.paused and not queue.ended_a_minute:
            what = f"queue {queue.name} does not move though {len(free)} of its workers have free slots: {_wait(queue)}"
            hint = f"look at the log of {free[0].label}; then: aiotq workers; and: aiotq doctor"
            yield finding(Severity.WARNING, "queue_stands", what, hint, subject=queue.name, kind="queue")


def nobody_promotes(signs: Signs) -> Iterator[Finding]:
    """Scheduled jobs are overdue."""
    if signs.live and (signs.overdue_s or 0) >= OVERDUE_S:
        since = words.time(signs.overdue_s or 0)
        what = (
            f"the first of {signs.scheduled:,} scheduled jobs has been due for {since}; no worker moves it to its queue"
        )
        yield finding(
            Severity.CRITICAL,
            "schedule_overdue",
            what,
            "start the workers anew, one after the other; which these are: aiotq workers",
        )


# --- jobs -------------------------------------------------------------------------------------------------------


def poison(signs: Signs) -> Iterator[Finding]:
    """Jobs that take their workers with them."""
    for job in signs.poison[:EACH]:
        yield _poison(job)
    more = signs.poison[EACH:]
    if more:
        what = (
            f"{words.jobs(len(more))} more took {'its' if len(more) == 1 else 'their'} workers down, twice or more each"
        )
        yield finding(Severity.WARNING, "poison", what, "aiotq jobs --error WorkerVanished")


def _poison(job: JobSummary) -> Finding:
    times = f"{job.lost} time{'s' * (job.lost != 1)}" if job.lost else "again and again"
    died = f"job {short(job.id)} ({job.task}) has taken its worker down {times} (killed, crashed, or out of memory)"
    look, retry, discard, cancel = (command(verb, of=[short(job.id)]) for verb in ("job", "retry", "discard", "cancel"))
    if job.status.ended:
        what, hint = (
            f"{died}, and is dead",
            f"{look}; once mended: {retry}; else: {discard}",
        )
    elif job.status.value == "running":
        what, hint = f"{died}, and runs again", f"{look}; to stop it: {cancel}"
    else:
        what, hint = (
            f"{died}, and waits to run again, alone",
            f"{look}; to keep it from running: {cancel}",
        )
    return finding(Severity.WARNING, "poison", what, hint, subject=job.id, kind="job")


def tasks_are_unknown(signs: Signs) -> Iterator[Finding]:
    """Jobs name tasks that no worker knows."""
    for stranger in signs.strangers[:EACH]:
        names = f"{stranger.count:,} job{'s name' if stranger.count > 1 else ' names'}"
        what = f"{names} the task {stranger.task[:200]!r}, which no worker knows"
        cancel = command("cancel", "--all", "--task", stranger.task[:200])
        if stranger.nearest is None:
            hint = f"start a worker on the module that has it; or: {cancel}"
        else:
            what += f"; {stranger.nearest!r} looks like it"
            hint = f"correct the name where it is enqueued; then: {cancel}"
        yield finding(Severity.CRITICAL, "task_unknown", what, hint, subject=stranger.task, kind="task")


def tasks_are_misspelt(signs: Signs) -> Iterator[Finding]:
    """Where nobody serves the queue, or who does stands still, no worker could say that it does not know the task."""
    for stranger in signs.misspelt[:EACH]:
        names = f"{stranger.count:,} job{'s' * (stranger.count > 1)}"
        front = f"{names} at the front of a queue from which nobody takes any"
        what = f"{front} name{'s' * (stranger.count == 1)} the task {stranger.task[:200]!r}, which has not run of late"
        what += f"; {stranger.nearest!r}, which has, looks like it"
        cancel = command("cancel", "--all", "--task", stranger.task[:200])
        hint = f"if it is a slip, correct the name where it is enqueued; then: {cancel}"
        yield finding(Severity.WARNING, "task_misspelt", what, hint, subject=stranger.task, kind="task")


def records_are_newer(signs: Signs) -> Iterator[Finding]:
    """Workers put jobs back that they can't read."""
    if signs.newer:
        many = len(signs.newer)
        whose, it = ("its record is", "it") if many == 1 else ("their records are", "them")
        back = f"{words.jobs(many)} {'is' if many == 1 else 'are'} put back again and again"
        what = f"{back}: {whose} of a newer version of aiotq than the workers that take {it}"
        discard = command("discard", of=[short(signs.newer[0].id)])
        hint = f"start workers of that version, which run {it}; or throw {'it' if many == 1 else 'one'} away: "
        subject, kind = (signs.newer[0].id, "job") if many == 1 else (None, None)
        yield finding(Severity.WARNING, "record_newer", what, f"{hint}{discard}", subject=subject, kind=kind)


def tasks_fail(signs: Signs) -> Iterator[Finding]:
    """Most attempts at a task failed lately."""
    strangers = {stranger.task for stranger in signs.strangers}
    for task in signs.tasks:
        if not _mostly_fails(task) or task.name in strangers:
            continue
        bad = task.failed + task.retried
        attempts = bad + task.succeeded + task.cancelled
        what = f"{bad:,} of {attempts:,} attempts at {task.name} failed in the last {LATELY_MIN} minutes"
        hint = command("jobs", "--task", task.name, "--state", "failed")
        mostly = next((group for group in signs.failures if group.task == task.name), None)
        if mostly is not None:
            said = f": {mostly.message}" if mostly.message else ""
            what += f", mostly with {mostly.error}{said}"
            hint = command("job", of=[short(mostly.job_id)]) if mostly.job_id else hint
        severity = Severity.WARNING if task.succeeded else Severity.CRITICAL
        yield finding(severity, "task_failing", what, hint, subject=task.name, kind="task")


def _mostly_fails(task: TaskInfo) -> bool:
    bad = task.failed + task.retried
    return bad >= LEAST_FAILED and bad >= MOSTLY * (bad + task.succeeded + task.cancelled)


def dead_letters_grow(signs: Signs) -> Iterator[Finding]:
    """Many jobs died lately."""
    told = sum(task.failed for task in signs.tasks if _mostly_fails(task))  # by `tasks_fail`
    if signs.dead_lately >= MANY_DEAD and signs.dead_lately > 2 * told:
        lately = f"{words.jobs(signs.dead_lately)} died in the last {LATELY_MIN} minutes"
        what = f"{lately}; {signs.dead:,} dead letters are kept"
        hint = "aiotq jobs --state failed; once mended: aiotq retry --all --since 10m"
        yield finding(Severity.WARNING, "dead_growing", what, hint)


def keys_were_put_aside(signs: Signs) -> Iterator[Finding]:
    """Somebody else writes where aiotq does."""
    if signs.aside:
        many = len(signs.aside)
        what = (
            f"{many} key{'s' * (many > 1)} of a wrong type {'were' if many > 1 else 'was'} put aside "
            f"({', '.join(signs.aside[:EACH])}): somebody else writes in this namespace"
        )
        yield finding(
            Severity.WARNING, "keys_aside", what, "it shall have a namespace, or a server, of its own: --namespace NAME"
        )


Rule = Callable[["Signs"], Iterator[Finding]]
RULES: tuple[Rule, ...] = (
    faults.server_refuses,
    crew.nobody_works,
    tasks_are_unknown,
    crew.workers_are_blocked,
    crew.slots_are_stuck,
    queues_are_unserved,
    nobody_promotes,
    queues_are_paused,
    tickets_are_left,
    tasks_are_misspelt,
    poison,
    queues_back_up,
    records_are_newer,
    tasks_fail,
    crew.workers_are_late,
    queues_stand,
    dead_letters_grow,
    crew.workers_vanish,
    faults.server_fills,
    faults.server_ails,
    faults.server_evicts,
    faults.server_is_slow,
    keys_were_put_aside,
)


# --- how they are told ------------------------------------------------------------------------------------------


def _wait(queue: QueueInfo) -> str:
    oldest = "" if queue.oldest_age_s is None else f", the oldest for {words.time(queue.oldest_age_s)}"
    return f"{words.jobs(queue.waiting)} wait{'s' * (queue.waiting == 1)} in it{oldest}"
