"""What was counted: by minute, hour and day, by queue, by task, and failures by task and error."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from aiotq import checks
from aiotq.document import Count
from aiotq.errors import InvalidRecord, UsageError
from aiotq.inspection.values import Counts, FailureGroup, Histogram, Period, TaskInfo
from aiotq.inspection.vitals import number as whole
from aiotq.record import hidden_from_ms
from aiotq.shown import instant
from aiotq.store.tallies import BOUNDS_MS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiotq.inspection.desk import Desk
    from aiotq.store.inspection import Operator

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
_KEYS = {Period.MINUTE: ("stats:m:", MINUTE_MS), Period.HOUR: ("stats:h:", HOUR_MS), Period.DAY: ("stats:d:", DAY_MS)}
_MOST = {Period.MINUTE: 180, Period.HOUR: 192, Period.DAY: 400}
_WHOLE_MINUTES = 5  # over which a rate is told
_BUCKETS = range(len(BOUNDS_MS) + 1)
_ENDS = ("started", "succeeded", "failed", "retried", "cancelled", "returned", "lost")
_TIMES = (*(f"w{i}" for i in _BUCKETS), *(f"r{i}" for i in _BUCKETS), "wt", "rt")
FOLDED = "folded"  # a minute's mark: it is counted in its hour and its day
OTHER = "(other)"  # the fields that there was no room for
MOST_HOURS = 192
MOST_MESSAGE = 200
MOST_LOOKED = 30  # groups of failures whose last job is looked for


class _Failure(msgspec.Struct, frozen=True, gc=False):
    """As a field of `failures` has it."""

    n: Count
    at: Count
    id: str
    message: str = ""
    dead: bool = False
    hours: dict[str, Count] = {}  # by the hour's number


_failure = msgspec.json.Decoder(_Failure, strict=False)


async def counts(desk: Desk, period: Period, *, last: int) -> tuple[Counts, ...]:
    """The last so many minutes, hours or days, the running one included, oldest first."""
    if not isinstance(period, Period):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"period={checks.shown(period)} is none; pass one of Period's: {', '.join(Period)}")
    checks.whole("last", last, least=1, most=_MOST[period])
    operator = desk.operator
    key, length_ms = _KEYS[period]
    now = await operator.now_ms() // length_ms
    numbers = range(now - last + 1, now + 1)
    names = [*_ENDS, *_TIMES, *(f"e:{name}" for name in (*await operator.queue_names(), OTHER))]
    rows = [Counter(row) for row in await operator.fields([f"{key}{number}" for number in numbers], names)]
    if period is not Period.MINUTE:
        for minute, row in (await unfolded(operator, await operator.now_ms() // MINUTE_MS)).items():
            index = minute * MINUTE_MS // length_ms - numbers[0]
            if 0 <= index < last:
                rows[index].update({name: row[name] for name in names if name in row})
    return tuple(_counts(number * length_ms, row) for number, row in zip(numbers, rows, strict=True))


async def unfolded(operator: Operator, minute: int) -> Mapping[int, Mapping[str, int]]:
    """By number, the minutes that have not been counted in their hours and days yet; the running one is one of them."""
    numbers = range(minute - _MOST[Period.MINUTE] + 1, minute + 1)
    marks = await operator.fields([f"stats:m:{number}" for number in numbers], [FOLDED])
    left = [number for number, mark in zip(numbers, marks, strict=True) if FOLDED not in mark]
    rows = await operator.hashes([f"stats:m:{number}" for number in left])
    return {number: row for number, row in zip(left, rows, strict=True) if row}


def _counts(start_ms: int, row: Mapping[str, int]) -> Counts:
    return Counts(
        start=instant(start_ms),
        enqueued=sum(number for name, number in row.items() if name.startswith("e:")),
        waited=histogram(row, "w"),
        ran=histogram(row, "r"),
        **{name: row.get(name, 0) for name in _ENDS},
    )


def histogram(row: Mapping[str, int], kind: str) -> Histogram:
    """By the fields `w0`, `w1`, ... and `wt` (how long jobs waited), or `r0`, ... (how long they ran)."""
    buckets = tuple(row.get(f"{kind}{index}", 0) for index in _BUCKETS)
    return Histogram(counts=buckets, total_s=row.get(f"{kind}t", 0) / 1000)


async def rates(operator: Operator, queues: Sequence[str], *, now_ms: int) -> Mapping[str, tuple[float, float]]:
    """By queue, how many jobs were enqueued there and ended there a minute, over the last whole minutes."""
    number = now_ms // MINUTE_MS
    keys = [f"stats:m:{number - back}" for back in range(1, _WHOLE_MINUTES + 1)]
    rows = await operator.fields(keys, [f"{kind}:{name}" for name in queues for kind in "eq"]) if queues else ()
    total = Counter[str]()
    for row in rows:
        total.update(row)
    return {name: (total[f"e:{name}"] / _WHOLE_MINUTES, total[f"q:{name}"] / _WHOLE_MINUTES) for name in queues}


async def tasks(desk: Desk, *, hours: int) -> tuple[TaskInfo, ...]:
    """What became of each task's attempts, the busiest first."""
    checks.whole("hours", hours, least=1, most=MOST_HOURS)
    operator = desk.operator
    now_ms = await operator.now_ms()
    if hours == 1:
        return of_tasks(desk, await _last(operator, "stats:m:", now_ms // MINUTE_MS, 60))
    # Hours first: what is folded in between is missing once, and not counted twice.
    rows = await _last(operator, "stats:h:", now_ms // HOUR_MS, hours)
    minutes = await unfolded(operator, now_ms // MINUTE_MS)
    return of_tasks(desk, [*rows, *minutes.values()])


async def succeeded(operator: Operator, *, now_ms: int) -> frozenset[str]:
    """The tasks that some worker knows, by what was counted: those that have succeeded today, or yesterday (UTC)."""
    rows = await _last(operator, "stats:d:", now_ms // DAY_MS, 2)
    return frozenset(name[4:] for row in rows for name, number in row.items() if name.startswith("t:s:") and number)


async def lately(desk: Desk, *, now_ms: int, minutes: int) -> tuple[TaskInfo, ...]:
    """The same, of the last minutes."""
    return of_tasks(desk, await _last(desk.operator, "stats:m:", now_ms // MINUTE_MS, minutes))


async def _last(operator: Operator, key: str, number: int, many: int) -> Sequence[Mapping[str, int]]:
    return await operator.hashes([f"{key}{number - back}" for back in range(many)])


def of_tasks(desk: Desk, rows: Sequence[Mapping[str, int]]) -> tuple[TaskInfo, ...]:
    """By the fields `t:<how it ended>:<task>` and `tm:<task>`, its total milliseconds."""
    total = Counter[str]()
    for row in rows:
        total.update({name: number for name, number in row.items() if name.startswith(("t:", "tm:"))})
    registry = desk.core.registry
    names = {name[4:] for name in total if name.startswith("t:")} | (set(registry.names))
    found: list[TaskInfo] = []
    for name in names:
        succeeded, failed, retried, cancelled = (total[f"t:{how}:{name}"] for how in "sfrc")
        number = succeeded + failed + retried + cancelled
        found.append(
            TaskInfo(
                name=name,
                succeeded=succeeded,
                failed=failed,
                retried=retried,
                cancelled=cancelled,
                mean_s=total[f"tm:{name}"] / number / 1000 if number else None,
                known=(name in registry or name == OTHER) if len(registry) else None,
            )
        )
    return tuple(sorted(found, key=lambda one: (-one.succeeded - one.failed - one.retried - one.cancelled, one.name)))


async def failures(desk: Desk, *, hours: int) -> tuple[FailureGroup, ...]:
    """By task and error, the most frequent first; without jobs that were put back and have not failed."""
    return await failed(desk, await groups(desk, hours=hours))


async def failed(desk: Desk, found: Sequence[FailureGroup]) -> tuple[FailureGroup, ...]:
    """Of `groups`, those of which an attempt has failed: each with its last job, if that is still there."""
    counted = [group for group in found if group.count]
    ids = [group.job_id or "" for group in counted]
    there = await _there(desk, [job_id for job_id in ids[:MOST_LOOKED] if checks.JOB_ID.fullmatch(job_id)])
    return tuple(
        group if at >= MOST_LOOKED or group.job_id in there else replace(group, job_id=None)
        for at, group in enumerate(counted)
    )


async def _there(desk: Desk, ids: Sequence[str]) -> set[str]:
    """Those that can be shown: of one that was discarded a short record is left for a while."""
    operator, found = desk.operator, set[str]()
    now_ms = await operator.now_ms()
    for job_id, peek in zip(ids, await operator.peek(ids), strict=True):
        if peek is None:
            continue
        found.add(job_id)
        if peek.whole:
            with suppress(InvalidRecord):
                until_ms = hidden_from_ms(desk.decoded(job_id, peek.data))
                if until_ms is not None and until_ms <= now_ms:
                    found.discard(job_id)
    return found


async def groups(desk: Desk, *, hours: int) -> tuple[FailureGroup, ...]:
    """The same with those of which no attempt has failed: workers have put their jobs back."""
    checks.whole("hours", hours, least=1, most=MOST_HOURS)
    operator = desk.operator
    now_ms = await operator.now_ms()
    rows = await operator.failures()
    found = [group for name, data in rows.items() if (group := _group(name, data, now_ms, hours)) is not None]
    return tuple(sorted(found, key=lambda one: (-one.count, -one.last_at.timestamp(), one.task, one.error)))


def _group(name: str, data: bytes, now_ms: int, hours: int) -> FailureGroup | None:
    """None: none of them is of these hours, or it is nothing of ours."""
    try:
        failure = _failure.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if failure.at > now_ms + DAY_MS or failure.at < now_ms - hours * HOUR_MS:
        return None
    since = now_ms // HOUR_MS - hours
    task, _, error = name.partition("\0")
    return FailureGroup(
        task=task,
        error=error,
        message=failure.message[:MOST_MESSAGE],
        count=sum(n for hour, n in failure.hours.items() if whole(hour) >= since) if failure.hours else failure.n,
        last_at=instant(failure.at),
        job_id=failure.id,
        dead=failure.dead,
    )
