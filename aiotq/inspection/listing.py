"""Jobs in lists: a page of them, all of them in chunks, how many there are, and those whose id ends so."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aiotq import checks
from aiotq.errors import UsageError
from aiotq.inspection import cursor as cursors
from aiotq.inspection import filters
from aiotq.inspection.places import Dead, Ended, Queued, Running, Scheduled, sections, ticket_of
from aiotq.inspection.seen import see
from aiotq.inspection.values import JobFilter, JobSummary, Page
from aiotq.job import JobStatus
from aiotq.store.inspection import RING, WINDOW

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from aiotq.inspection.cursor import At
    from aiotq.inspection.desk import Desk
    from aiotq.inspection.places import Entry, Section
    from aiotq.inspection.seen import Seen
    from aiotq.store.inspection import Operator

MOST_ITEMS = 500  # of a page
MOST_READ = 1_000  # records that are read for it
MOST_LOOKED = 5_000  # entries that are looked at for it
AT_ONCE = 128  # records
MOST_FOUND = 20  # ids
SPARE = 16  # stale entries that a window may hold without another one being read
LOOK = 1_000  # entries of each place that are looked at for an id


async def page(desk: Desk, wanted: JobFilter, *, cursor: str | None, limit: int) -> Page[JobSummary]:
    """A page of jobs."""
    wanted = filters.checked(wanted)
    return await _page(desk, wanted, sections(desk.operator, status=wanted.status, queue=wanted.queue), cursor, limit)


async def dead(desk: Desk, wanted: JobFilter, *, cursor: str | None, limit: int) -> Page[JobSummary]:
    """A page of dead letters."""
    wanted = filters.checked(wanted)
    if wanted.status not in (None, JobStatus.FAILED):
        raise UsageError(f"status={wanted.status.value!r}: a dead letter has failed; leave it out")
    return await _page(desk, replace(wanted, status=JobStatus.FAILED), (Dead(desk.operator),), cursor, limit)


async def ended(desk: Desk, *, limit: int) -> tuple[JobSummary, ...]:
    """The first of the ring of jobs that have ended, whose records are still there."""
    return (await _page(desk, JobFilter(), (Ended(desk.operator),), None, limit)).items


async def _page(
    desk: Desk, wanted: JobFilter, places: Sequence[Section], cursor: str | None, limit: int
) -> Page[JobSummary]:
    checks.whole("limit", limit, least=1, most=MOST_ITEMS)
    waiting, at = _from(places, cursor)
    operator, now_ms = desk.operator, await desk.operator.now_ms()
    found: dict[str, Seen] = {}
    looked = read = 0
    for section in waiting:
        while True:
            if looked >= MOST_LOOKED or read >= MOST_READ:
                return await _made(operator, found, looked, _told(section, at))
            entries = await section.window(at, _size(wanted, limit - len(found)))
            if not entries:
                at = None
                break
            for first in range(0, len(entries), AT_ONCE):
                some = entries[first : first + AT_ONCE]
                worth = [entry for entry in some if filters.may_match(wanted, entry)]
                seen = await look(desk, worth, now_ms=now_ms, wanted=wanted)
                read += len(worth)
                for entry in some:
                    looked, at = looked + 1, entry.at
                    one = seen.get(entry.at)
                    if one is not None and one.summary.id not in found and one.matches(wanted):
                        found[one.summary.id] = one
                        if len(found) == limit:
                            return await _made(operator, found, looked, _told(section, at))
    return await _made(operator, found, looked, None)


def _from(places: Sequence[Section], cursor: str | None) -> tuple[Sequence[Section], At | None]:
    """The sections that are left, and where in the first of them."""
    if cursor is None:
        return places, None
    name, at = cursors.decoded(cursor)
    for index, section in enumerate(places):
        if section.name == name:
            return places[index:], at or None
    raise cursors.refused(cursor)


def _told(section: Section, at: At | None) -> str:
    return cursors.encoded(section.name, at or ())


def _size(wanted: JobFilter, lacking: int) -> int:
    return min(WINDOW, lacking + SPARE if filters.by_place_alone(wanted) else WINDOW)


async def _made(operator: Operator, found: dict[str, Seen], looked: int, cursor: str | None) -> Page[JobSummary]:
    """A page. How often the worker of a job that has not ended has vanished, its record does not say."""
    waiting = [one.summary.id for one in found.values() if not one.summary.status.ended]
    lost = dict(zip(waiting, await operator.losses(waiting), strict=True))
    items = (one.summary for one in found.values())
    return Page(
        items=tuple(replace(item, lost=lost[item.id]) if lost.get(item.id) else item for item in items),
        cursor=cursor,
        looked=looked,
    )


async def look(desk: Desk, entries: Sequence[Entry], *, now_ms: int, wanted: JobFilter | None = None) -> dict[At, Seen]:
    """Read the records of up to AT_ONCE entries: what is there, by its place. wanted: only what it may take."""
    operator, found = desk.operator, dict["At", "Seen"]()
    for small in (True, False):
        some = [entry for entry in entries if entry.job_id is not None and (entry.marked_large is False) is small]
        if some:
            peeks = await operator.peek([entry.job_id or "" for entry in some], small=small)
            for entry, peek in zip(some, peeks, strict=True):
                seen = see(desk, entry, peek, now_ms=now_ms, wanted=wanted)
                if seen is not None:
                    found[entry.at] = seen
    return found


# --- all of them ------------------------------------------------------------------------------------------------


async def walk(desk: Desk, wanted: JobFilter) -> AsyncIterator[tuple[Sequence[Seen], int]]:
    """All jobs that a filter takes, in chunks, each with how many entries were looked at for it.

    A job that moves meanwhile may come twice, or not at all.
    """
    wanted = filters.checked(wanted)
    now_ms = await desk.operator.now_ms()
    for section in sections(desk.operator, status=wanted.status, queue=wanted.queue):
        at = None
        while entries := await section.window(at, WINDOW):
            at = entries[-1].at
            worth = [entry for entry in entries if filters.may_match(wanted, entry)]
            for first in range(0, len(worth), AT_ONCE):
                seen = await look(desk, worth[first : first + AT_ONCE], now_ms=now_ms, wanted=wanted)
                yield [one for one in seen.values() if one.matches(wanted)], 0
            yield (), len(entries)


async def count(desk: Desk, wanted: JobFilter) -> int:
    """How many jobs a filter takes. Of a whole queue, or all that is scheduled: the tickets, stale ones too."""
    wanted, operator = filters.checked(wanted), desk.operator
    if wanted == JobFilter(status=JobStatus.SCHEDULED):
        return await operator.number("schedule")
    if wanted == JobFilter(status=JobStatus.QUEUED, queue=wanted.queue):
        names = await operator.queue_names() if wanted.queue is None else [wanted.queue]
        return sum(line.length for line in await operator.lines(names))
    total = 0
    async for seen, _ in walk(desk, wanted):
        total += len(seen)
    return total


# --- by an end of its id ----------------------------------------------------------------------------------------


async def find(desk: Desk, text: str) -> tuple[str, ...]:
    """Ids that end or begin with a text."""
    text = checks.job_id("text", text)
    operator = desk.operator
    found = {text: None} if (await operator.exist([text]))[0] else dict[str, None]()
    async for ids in _shown(operator):
        fits = [one for one in ids if one not in found and (one.endswith(text) or one.startswith(text))]
        there = await operator.exist(fits[:MOST_FOUND])
        found.update(dict.fromkeys(one for one, is_there in zip(fits, there, strict=False) if is_there))
        if len(found) >= MOST_FOUND:
            break
    return tuple(found)[:MOST_FOUND]


async def _shown(operator: Operator) -> AsyncIterator[Iterable[str]]:
    """The ids of what lists show: whole if that is short, else what is first and last in them."""
    for section in (Running(operator, queue=None), Queued(operator, queue=None), Scheduled(operator), Dead(operator)):
        at, looked = None, 0
        while looked < LOOK and (entries := await section.window(at, WINDOW)):
            at, looked = entries[-1].at, looked + len(entries)
            yield [entry.job_id for entry in entries if entry.job_id is not None]
    for line in await operator.lines(await operator.queue_names()):
        tickets = map(ticket_of, await operator.line(line.queue, line.place, 0, WINDOW - 1))
        yield [ticket.job_id for ticket in tickets if ticket is not None]
    for first in range(0, RING, WINDOW):
        entries = await operator.ring(first, first + WINDOW - 1)
        yield [entry[1:] for entry in entries if checks.JOB_ID.fullmatch(entry[1:])]
        if len(entries) < WINDOW:
            break
