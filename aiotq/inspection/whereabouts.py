"""Where a job lies whose record can't be read: it does not say its queue, so that its ticket is looked for in all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiotq.inspection.lines import House
from aiotq.inspection.places import Entry, Scheduled, ticket_of
from aiotq.job import FRONT, SUSPECT, JobStatus
from aiotq.job import ticket as ticket_text
from aiotq.record import HEADER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotq.inspection.desk import Desk
    from aiotq.job import Ticket
    from aiotq.store.contract import Place
    from aiotq.store.inspection import Line

MOST_QUEUES = 200  # that are asked for
AT_ONCE = 32
HEADS = 500  # tickets that are looked at in the schedule, and of a line's front, beside its last 10,000
PLACES = (*map(str, range(10)), *FRONT, SUSPECT)


async def anywhere(desk: Desk, job_id: str) -> Entry | None:
    """By a ticket of any generation, near the front of a line or of the schedule: of bytes that are no record."""
    entry = await _soon(desk, job_id, None)
    if entry is not None:
        return entry
    house = await House.of(desk)
    return await _queued(desk, house.names[:MOST_QUEUES], job_id, None)


async def whereabouts(desk: Desk, job_id: str, generation: str) -> Entry | None:
    """By the ticket of that generation. None: there is none where it was looked for, or it moved meanwhile.

    While the generation stays, so does the queue that its ticket names, and its place or that of the suspects.
    """
    entry = await _soon(desk, job_id, generation)
    if entry is not None:
        return entry
    house = await House.of(desk)
    names = house.names[:MOST_QUEUES]
    for first in range(0, len(names), AT_ONCE):
        some = names[first : first + AT_ONCE]
        found = await asyncio.gather(*(_place(desk, name, job_id, generation) for name in some))
        for name, place in zip(some, found, strict=True):
            if place.status is JobStatus.RUNNING or place.status is JobStatus.SCHEDULED:
                held = await _held(desk, place, job_id, generation)
                lies = place.line.rpartition(":")[2] if place.line is not None else held and held.place
                return _entry(job_id, generation, place.status, queue=name, where=lies, place=place)
    return await _queued(desk, names, job_id, generation)


async def _soon(desk: Desk, job_id: str, generation: str | None) -> Entry | None:
    """Among those that are due next, of whichever queue: one that had a job in the schedule alone is not known."""
    for entry in await Scheduled(desk.operator).window(None, HEADS):
        if entry.job_id == job_id and generation in (None, entry.generation):
            return entry
    return None


async def _queued(desk: Desk, names: Sequence[str], job_id: str, generation: str | None) -> Entry | None:
    lines = await desk.operator.lines(names)
    for first in range(0, len(lines), AT_ONCE):
        some = lines[first : first + AT_ONCE]
        tickets = await asyncio.gather(*(_in_line(desk, line, job_id, generation) for line in some))
        for found in filter(None, tickets):
            return _entry(job_id, found.generation, JobStatus.QUEUED, queue=found.queue, where=found.place)
    return None


async def moved(desk: Desk, job_id: str, data: bytes) -> bool:
    """Whether the record is another one now, and the job may just have been put back."""
    return (await desk.store.read(job_id, at_most=desk.most + 1) or b"")[:HEADER] != data[:HEADER]


def _entry(
    job_id: str, generation: str, status: JobStatus, *, queue: str, where: str | None, place: Place | None = None
) -> Entry:
    return Entry(
        at=(),
        job_id=job_id,
        status=status,
        queue=queue,
        place=where,
        generation=generation,
        due_ms=place and place.due_ms,
        worker=place and place.worker,
        worker_id=place and place.worker_id,
    )


async def _place(desk: Desk, queue: str, job_id: str, generation: str) -> Place:
    return await desk.store.locate(job_id, generation=generation, lines=[f"{queue}:{place}" for place in PLACES])


async def _held(desk: Desk, place: Place, job_id: str, generation: str) -> Ticket | None:
    """The ticket in a worker's hands, if it is among those that are looked at."""
    texts = await desk.operator.held(place.worker_id) if place.worker_id is not None else ()
    return _ours(texts, job_id, generation)


async def _in_line(desk: Desk, line: Line, job_id: str, generation: str | None) -> Ticket | None:
    """Near its front or its end, as the ticket of its place or of the front of it."""
    texts = list(await desk.operator.line(line.queue, line.place, 0, HEADS - 1))
    if generation is not None and line.length > len(texts):
        places = (line.place,) if line.place == SUSPECT else (line.place, FRONT[int(line.place)])
        wanted = [ticket_text(f"{line.queue}:{place}", generation, job_id) for place in places]
        indexes = [await desk.operator.line_index(line.queue, line.place, text) for text in wanted]
        texts += [text for text, index in zip(wanted, indexes, strict=True) if index is not None]
    return _ours(texts, job_id, generation)


def _ours(texts: Sequence[str], job_id: str, generation: str | None) -> Ticket | None:
    parsed = (ticket_of(text) for text in texts if text.endswith(job_id))
    ours = (one for one in parsed if one is not None and one.job_id == job_id)
    return next((one for one in ours if generation in (None, one.generation)), None)
