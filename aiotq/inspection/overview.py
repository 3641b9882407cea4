"""One screen: all that is wrong, out of bounded reads, whatever there is."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from aiotq import checks
from aiotq.errors import InvalidRecord
from aiotq.inspection import checkup, machine, tallies
from aiotq.inspection.diagnosis import diagnose, worst
from aiotq.inspection.faults import server_refuses
from aiotq.inspection.lines import House
from aiotq.inspection.listing import AT_ONCE, look
from aiotq.inspection.places import Dead, Entry, Scheduled
from aiotq.inspection.seen import see
from aiotq.inspection.signs import LATELY_MIN, Signs, Stranger
from aiotq.inspection.values import Overview, Period
from aiotq.inspection.vitals import vitals
from aiotq.job import SUSPECT_FROM, JobStatus
from aiotq.record import VERSION, WAITING, header
from aiotq.registry import nearest
from aiotq.shown import instant

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime

    from aiotq.inspection.desk import Desk
    from aiotq.inspection.seen import Seen
    from aiotq.inspection.values import FailureGroup, Finding, JobSummary, QueueInfo, TaskInfo
    from aiotq.store.inspection import Peek, Told

MINUTES = 60
MOST_ASIDE = 100  # queues whose keys are looked for
SUSPECTS = 20  # that are looked at
LOST, UNKNOWN = "lost", "unknown task"  # reasons
UNKNOWN_ERROR, NEWER_ERROR = "UnknownTask", "NewerRecord"
PUT_BACK_MS = 90_000  # a job of an unknown task is put back for a minute at most
HOUR_MS = 3_600_000
_GUESS = re.compile(r"; did you mean (.+?)(?: or |\?)")


async def overview(desk: Desk) -> Overview:
    """All of it."""
    operator = desk.operator
    told = await operator.told(config=machine.ASKED)
    if machine.refusal(told) == "LOADING":
        return _loading(told, at=instant(await operator.now_ms()), url=operator.url)
    house = await House.of(desk)
    queues, workers = await house.queues(), house.workers()
    minutes = await tallies.counts(desk, Period.MINUTE, last=MINUTES)
    groups = await tallies.groups(desk, hours=1)
    failures = await tallies.failed(desk, groups)
    scheduled, dead = await operator.number("schedule"), await operator.number("dead")
    next_up, dead_seen = await _first(desk, Scheduled(operator), house), await _first(desk, Dead(operator), house)
    since_ms = house.now_ms - LATELY_MIN * tallies.MINUTE_MS
    strangers = _strangers(
        desk,
        [*house.heads, *next_up, *_recent(dead_seen, house.now_ms)],
        groups,
        put_back=await _put_back(desk, groups, house.now_ms),
    )
    tasks = await tallies.lately(desk, now_ms=house.now_ms, minutes=LATELY_MIN)
    signs = Signs(
        server=machine.described(told, operator.url),
        refusal=machine.refusal(told),
        cli=told.cli,
        ails=checkup.critical(told, operator.url),
        queues=queues,
        workers=workers,
        minutes=minutes,
        failures=failures,
        tasks=tasks,
        scheduled=scheduled,
        overdue_s=_overdue_s(next_up, house.now_ms),
        dead=dead,
        dead_lately=await operator.number("dead", str(since_ms), "+inf"),
        poison=await _poison(desk, house, dead_seen),
        strangers=strangers,
        newer=_newer([*house.heads, *next_up], groups, house.now_ms),
        misspelt=await _misspelt(desk, house, _untaken(queues), tasks, known={one.task for one in strangers}),
        aside=tuple(await operator.aside(house.names[:MOST_ASIDE])),
    )
    return _told(signs, diagnose(signs), at=instant(house.now_ms))


def _told(signs: Signs, findings: tuple[Finding, ...], *, at: datetime) -> Overview:
    """What was seen, and what it means."""
    return Overview(
        at=at,
        severity=worst(findings),
        findings=findings,
        server=signs.server,
        queues=signs.queues,
        workers=signs.workers,
        scheduled=signs.scheduled,
        dead=signs.dead,
        minutes=signs.minutes,
        failures=signs.failures,
    )


def _loading(told: Told, *, at: datetime, url: str) -> Overview:
    """Of a server that answers nothing else yet."""
    signs = Signs(server=machine.described(told, url), refusal="LOADING", cli=told.cli)
    return _told(signs, tuple(server_refuses(signs)), at=at)


async def _first(desk: Desk, section: Scheduled | Dead, house: House) -> Sequence[Seen]:
    """What is first in a place."""
    entries = await section.window(None, AT_ONCE)
    return list((await look(desk, entries, now_ms=house.now_ms)).values())


def _recent(dead: Iterable[Seen], now_ms: int) -> list[Seen]:
    """Dead letters that died within the hour."""
    since = instant(now_ms - HOUR_MS)
    return [one for one in dead if one.summary.finished_at is not None and one.summary.finished_at >= since]


def _overdue_s(first: Sequence[Seen], now_ms: int) -> float | None:
    due_ms = min((one.entry.due_ms for one in first if one.entry.due_ms is not None), default=None)
    return None if due_ms is None or due_ms > now_ms else (now_ms - due_ms) / 1000


# --- poison -----------------------------------------------------------------------------------------------------


async def _poison(desk: Desk, house: House, dead: Iterable[Seen]) -> tuple[JobSummary, ...]:
    """Jobs whose workers vanished twice or more: those that wait or run, and those dead within the hour."""
    operator = desk.operator
    lost = {job_id: times for job_id, times in (await operator.lost()).items() if times >= SUSPECT_FROM}
    ids = [job_id for job_id in lost if checks.JOB_ID.fullmatch(job_id)][:SUSPECTS]
    running = {job.id for card in house.cards for job in vitals(card).jobs}
    found: list[JobSummary] = []
    for job_id, peek in zip(ids, await operator.peek(ids), strict=True):
        status = JobStatus.RUNNING if job_id in running else JobStatus.QUEUED
        entry = Entry(at=(), job_id=job_id, status=status, generation=_generation(peek))
        seen = see(desk, entry, peek, now_ms=house.now_ms)
        if seen is not None:
            found.append(replace(seen.summary, lost=lost[job_id]))
    return (*found, *(one.summary for one in _recent(dead, house.now_ms) if one.summary.reason == LOST))


def _generation(peek: Peek | None) -> str | None:
    try:
        return None if peek is None else header(peek.data)[2]
    except InvalidRecord:
        return None


# --- unknown tasks ----------------------------------------------------------------------------------------------


async def _put_back(desk: Desk, failures: Iterable[FailureGroup], now_ms: int) -> set[str]:
    """Tasks of which a worker has put a job back lately that still waits: it may be too far back in the schedule."""
    since = instant(now_ms - PUT_BACK_MS)
    said = [one for one in failures if one.error == UNKNOWN_ERROR and one.last_at >= since][:SUSPECTS]
    tasks = {one.job_id: one.task for one in said if one.job_id and checks.JOB_ID.fullmatch(one.job_id)}
    peeks = await desk.operator.peek(list(tasks))
    return {task for task, peek in zip(tasks.values(), peeks, strict=True) if _waits(peek)}


def _newer(seen: Iterable[Seen], failures: Iterable[FailureGroup], now_ms: int) -> tuple[JobSummary, ...]:
    """Jobs whose records are of a newer version, if a worker has put one of these back lately."""
    since = instant(now_ms - PUT_BACK_MS)
    if not any(one.error == NEWER_ERROR and one.last_at >= since for one in failures):
        return ()
    return tuple(one.summary for one in seen if one.header is not None and one.header[0] > VERSION)


def _waits(peek: Peek | None) -> bool:
    try:
        return peek is not None and header(peek.data)[1] == WAITING
    except InvalidRecord:
        return False


def _strangers(
    desk: Desk, seen: Iterable[Seen], failures: Iterable[FailureGroup], *, put_back: Iterable[str]
) -> tuple[Stranger, ...]:
    """Tasks that jobs name and no worker knew: it has put them back, they died of it, or the name looks like a slip."""
    registry = desk.core.registry
    said = {group.task: group for group in failures if group.error == UNKNOWN_ERROR}
    named: dict[str, list[str]] = {}  # by task, all its jobs that were seen
    unknown: dict[str, list[str]] = {}  # ... of which a worker has said so
    for one in seen:
        doc = None if one.record is None else one.record.doc
        if doc is None or doc.task in registry:  # the latter: somebody knows it by now
            continue
        named.setdefault(doc.task, []).append(one.summary.id)
        if doc.unknown is not None or doc.reason == UNKNOWN:
            unknown.setdefault(doc.task, []).append(one.summary.id)
    for task in put_back:
        if task not in registry and task not in unknown:
            unknown[task] = named.setdefault(task, [said[task].job_id or ""])
    # As below, few are compared: the many that nobody has met yet are met when they are due.
    few = sorted(named, key=lambda task: (task not in unknown, -len(named[task]), task))[:SUSPECTS]
    near = {task: known[0] for task in few if (known := registry.nearest(task))}
    strangers: list[Stranger] = []
    for task in {**unknown, **near}:
        ids = named[task] if task in near else unknown[task]
        meant = near.get(task) or _guess(said.get(task))
        strangers.append(Stranger(task=task, count=len(ids), job_id=ids[0], nearest=meant))
    return tuple(sorted(strangers, key=lambda one: (-one.count, one.task)))


def _guess(said: FailureGroup | None) -> str | None:
    """What looks like it to the worker that has said so."""
    guess = None if said is None else _GUESS.search(said.message)
    return None if guess is None else guess[1]


def _untaken(queues: Iterable[QueueInfo]) -> set[str]:
    """Queues where jobs wait that nobody takes: nobody serves them, or all who do stand still."""
    return {queue.name for queue in queues if queue.held_up or (queue.waiting and not queue.workers)}


async def _misspelt(
    desk: Desk, house: House, untaken: Collection[str], tasks: Iterable[TaskInfo], *, known: Collection[str]
) -> tuple[Stranger, ...]:
    """Tasks of jobs at the front of these queues, from which nobody takes any, which look like others that have run.

    known: they are told of already.
    """
    told = {*known, *desk.core.registry.names}
    found: dict[str, list[str]] = {}
    for one in house.heads:
        doc = None if one.record is None else one.record.doc
        if one.summary.queue in untaken and doc is not None and doc.task not in told:
            found.setdefault(doc.task, []).append(one.summary.id)
    if not found:
        return ()
    ran = await tallies.succeeded(desk.operator, now_ms=house.now_ms)
    ran |= {task.name for task in tasks if task.succeeded}
    # Who can enqueue can make names up: each costs CPU, and whoever else shares this loop waits.
    rows = sorted((-len(ids), task) for task, ids in found.items() if task not in ran)[:SUSPECTS]
    names = sorted(ran)
    return tuple(
        Stranger(task=task, count=-less, job_id=found[task][0], nearest=near[0])
        for less, task in rows
        if (near := nearest(task, names))
    )
