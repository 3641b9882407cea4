"""Where a job lies whose record can't be read: it does not say its queue, so that its ticket is looked for in all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec import Struct

from aiotq.inspection.lines import House
from aiotq.inspection.places import Entry, Scheduled, due_of, ticket_of
from aiotq.inspection.words import and_more
from aiotq.job import FRONT, SUSPECT, JobStatus
from aiotq.job import ticket as ticket_text
from aiotq.record import HEADER
from aiotq.store.inspection import LOOK, MOST_WORKERS, Line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aiotq.inspection.desk import Desk
    from aiotq.job import Ticket

# A server does what comes together without a pause: some 0.1 ms for each thousand tickets.
AT_ONCE = 8  # lines, or workers' hands
ENOUGH = 2 * LOOK  # tickets in these lines
HEADS = 500  # jobs that are due next; and tickets at either end of a line, if their generation is not known
# Each round is in the order in which jobs move, so that none passes by unseen, but for one whose worker goes meanwhile.
ROUNDS = 2
PLACES = (*map(str, range(10)), *FRONT, SUSPECT)


class Search(Struct, frozen=True, kw_only=True):
    """What came of looking for a job."""

    entry: Entry | None = None  # None: it was not found, or it moved meanwhile
    within: str | None = None  # then, where it was looked for; None: in all places


async def whereabouts(desk: Desk, job_id: str, generation: str | None) -> Search:
    """By the ticket of that generation, or of any: then of bytes that are no record, and have none.

    While the generation stays, so does the queue that its ticket names, and its place or that of the suspects.
    """
    for _ in range(ROUNDS):
        hunt = _Hunt(desk, job_id, generation)
        entry = await hunt.scheduled() or await hunt.queued() or await hunt.running()
        if entry is not None:
            return Search(entry=entry)
        if not hunt.whole:
            return Search(within=and_more(hunt.looked, len(hunt.looked)))
    return Search()


async def moved(desk: Desk, job_id: str, data: bytes) -> bool:
    """Whether the record is another one now, and the job may just have been put back."""
    return (await desk.store.read(job_id, at_most=desk.most + 1) or b"")[:HEADER] != data[:HEADER]


async def _soon(desk: Desk) -> Sequence[Entry]:
    """Those that are due next, of whichever queue: one that had a job in the schedule alone is not known."""
    return await Scheduled(desk.operator).window(None, HEADS)


class _Hunt:
    """One job that is looked for, and where that was done."""

    def __init__(self, desk: Desk, job_id: str, generation: str | None) -> None:
        self._desk, self._operator = desk, desk.operator
        self._job_id, self._generation = job_id, generation
        self.whole, self.looked = True, list[str]()

    def _say(self, where: str, *but: str) -> None:
        """It was looked for there. but: what limits that."""
        self.looked.append(f"{where} ({', '.join(but)})" if but else where)
        self.whole = self.whole and not but

    # --- the schedule

    async def scheduled(self) -> Entry | None:
        """All of it, if it is not too long; else what is due next, and all of the queues that are known."""
        soon = await _soon(self._desk)
        for entry in soon:
            if entry.job_id == self._job_id and self._generation in (None, entry.generation):
                return entry
        rows = () if len(soon) < HEADS else await self._operator.scheduled_ending(self._end)
        but: list[str] = []
        if rows is None:
            but = [f"its first {HEADS} jobs"]
            if self._generation is not None:
                names = (await House.of(self._desk)).names
                but.append(f"and all of {_count(len(names), 'queue')}")
                rows = await self._operator.scheduled_at([self._tickets(name, PLACES) for name in names])
        self._say("the schedule", *but)
        found = self._ours([text for text, _ in rows or ()])
        if found is None:
            return None
        score = next(score for text, score in rows or () if ticket_of(text) == found)
        return self._entry(found, JobStatus.SCHEDULED, due=due_of(score))

    # --- lines

    async def queued(self) -> Entry | None:
        """Near both ends of each line."""
        house = await House.of(self._desk)
        lines = await self._operator.lines(house.names)
        for some in _batches(lines):
            for found in await asyncio.gather(*map(self._in_line, some)):
                if found is not None:
                    return self._entry(found, JobStatus.QUEUED)
        most = HEADS if self._generation is None else LOOK
        but = [] if all(line.length <= most for line in lines) else [f"the first and last {most:,} tickets of each"]
        but += ["there may be more queues"] if house.more else []
        self._say(f"the lines of {_count(len(house.names), 'queue')}", *but)
        return None

    async def _in_line(self, line: Line) -> Ticket | None:
        """Near its ends, as the ticket of its place or of the front of it."""
        if self._generation is None:
            last = await self._operator.line(line.queue, line.place, -HEADS, -1)
            return self._ours([*last, *await self._operator.line(line.queue, line.place, 0, HEADS - 1)])
        places = (line.place,) if line.place == SUSPECT else (line.place, FRONT[int(line.place)])
        for from_front in (False, True) if line.length > LOOK // 2 else (False,):  # it may have grown since
            for text in self._tickets(line.queue, places):
                if await self._operator.line_index(line.queue, line.place, text, from_front=from_front) is not None:
                    return ticket_of(text)
        return None

    # --- hands

    async def running(self) -> Entry | None:
        """In all workers' hands."""
        cards, whole = await self._operator.workers(), True
        for first in range(0, len(cards), AT_ONCE):
            some = [card for card in cards[first : first + AT_ONCE] if card.held]
            hands = await asyncio.gather(*(self._operator.held_ending(card.worker_id, self._end) for card in some))
            for card, texts in zip(some, hands, strict=True):
                whole = whole and texts is not None
                found = self._ours(texts or ())
                if found is not None:
                    label = card.fields.get("label", card.worker_id)
                    return self._entry(found, JobStatus.RUNNING, worker=label, worker_id=card.worker_id)
        but = [] if whole else ["not all that they hold"]
        but += ["there may be more workers"] if len(cards) >= MOST_WORKERS else []
        self._say(f"the hands of {_count(len(cards), 'worker')}", *but)
        return None

    # --- tickets

    @property
    def _end(self) -> str:
        """How its ticket ends."""
        return f":{self._job_id}" if self._generation is None else f":{self._generation}:{self._job_id}"

    def _tickets(self, queue: str, places: Sequence[str]) -> list[str]:
        return [ticket_text(f"{queue}:{place}", self._generation or "", self._job_id) for place in places]

    def _ours(self, texts: Sequence[str]) -> Ticket | None:
        parsed = (ticket_of(text) for text in texts if text.endswith(self._job_id))
        ours = (one for one in parsed if one is not None and one.job_id == self._job_id)
        return next((one for one in ours if self._generation in (None, one.generation)), None)

    def _entry(
        self, found: Ticket, status: JobStatus, *, due: int | None = None,
        worker: str | None = None, worker_id: str | None = None,
    ) -> Entry:  # fmt: skip
        return Entry(
            at=(),
            job_id=self._job_id,
            status=status,
            queue=found.queue,
            place=found.place,
            generation=found.generation,
            due_ms=due,
            worker=worker,
            worker_id=worker_id,
        )


def _batches(lines: Sequence[Line]) -> Iterator[Sequence[Line]]:
    """Those to look into at once."""
    batch, length = list[Line](), 0
    for line in lines:
        batch.append(line)
        length += min(line.length, LOOK)
        if len(batch) == AT_ONCE or length >= ENOUGH:
            yield batch
            batch, length = [], 0
    yield batch


def _count(many: int, what: str) -> str:
    return f"{many:,} {what}{'s' * (many != 1)}"
