"""Where jobs lie, as lists that are read in windows: in workers' hands, in lines, in the schedule, ended, dead.

Jobs move while somebody looks. A place in a list is therefore told by what lies there and by a number: if the one has
gone, the other says where to go on.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, cast

from msgspec import Struct

from aiotq import checks
from aiotq.inspection.cursor import At, refused
from aiotq.inspection.vitals import vitals
from aiotq.job import LARGE, SUSPECT, JobStatus, parse_ticket
from aiotq.record import STATES
from aiotq.store.inspection import RING, WINDOW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotq.job import Ticket
    from aiotq.store.inspection import Card, Line, Operator, Scored

GENERATION = 4  # characters
LONGEST_TICKET = 200  # as in lib.lua
LOOK_UP = 20  # dead letters of one window of the ring that are looked for among all


class Entry(Struct, frozen=True, kw_only=True):
    """A job in a list, before its record has been looked at."""

    at: At
    job_id: str | None  # None: it is nothing of ours
    status: JobStatus
    queue: str | None = None  # by its ticket, as the next three
    place: str | None = None
    generation: str | None = None
    due_ms: int | None = None
    worker: str | None = None  # the label of who holds it
    worker_id: str | None = None
    started_ms: int | None = None

    @property
    def marked_large(self) -> bool | None:
        """Whether its ticket says that its record is large; None: it has no ticket."""
        return None if self.generation is None else self.generation[:1] == LARGE


def ticket_of(text: str) -> Ticket | None:
    """A ticket, taken apart, if it is one."""
    if len(text) > LONGEST_TICKET or text.count(":") < 3:
        return None
    parsed = parse_ticket(text)
    right = len(parsed.generation) == GENERATION and len(parsed.place) == 1 and checks.QUEUE.fullmatch(parsed.queue)
    return parsed if right and checks.JOB_ID.fullmatch(parsed.job_id) else None


class Section(ABC):
    """One of the places."""

    name: str

    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    @abstractmethod
    async def window(self, at: At | None, most: int) -> Sequence[Entry]:
        """What follows `at`, `most` (1 to WINDOW) entries at most; none: it is the end.

        Raises UsageError for an `at` that can't be right.
        """


def waiting(text: str, at: At, status: JobStatus, *, due_ms: int | None = None) -> Entry:
    """Of a ticket in a line or in the schedule."""
    parsed = ticket_of(text)
    if parsed is None:
        return Entry(at=at, job_id=None, status=status)
    return Entry(
        at=at,
        job_id=parsed.job_id,
        status=status,
        queue=parsed.queue,
        place=parsed.place,
        generation=parsed.generation,
        due_ms=due_ms,
    )


def _anchor(text: str) -> str:
    """What a cursor may carry of a list's element: nothing of what is none of ours."""
    return text if text.isascii() and len(text) <= LONGEST_TICKET else ""


class Running(Section):
    """In workers' hands: worker by worker, what was begun last first."""

    name = "running"

    def __init__(self, operator: Operator, *, queue: str | None) -> None:
        super().__init__(operator)
        self._queue = queue
        self._cards: Sequence[Card] | None = None
        self._held: tuple[str, Sequence[Entry]] = ("", ())  # of the worker that was read last

    async def window(self, at: At | None, most: int) -> Sequence[Entry]:
        """As it says above."""
        match at:
            case None:
                after = ("", 0, "")
            case (str(worker_id), int(started_ms), str(ticket)):
                after = (worker_id, -started_ms, ticket)
            case _:
                raise refused(at)
        if self._cards is None:
            cards = [card for card in await self._operator.workers() if card.held and self._serves(card)]
            self._cards = sorted(cards, key=lambda card: card.worker_id)
        for card in self._cards:
            if card.worker_id >= after[0]:
                entries = [entry for entry in await self._of(card) if _order(entry) > after]
                if entries:
                    return entries[:most]
        return ()

    def _serves(self, card: Card) -> bool:
        return self._queue is None or self._queue in card.fields.get("queues", "").split(",")

    async def _of(self, card: Card) -> Sequence[Entry]:
        if self._held[0] != card.worker_id:
            started = {job.id: job.started_ms for job in vitals(card).jobs}
            entries = [
                _held(text, card, started) for text in await self._operator.held(card.worker_id) if ticket_of(text)
            ]
            self._held = (card.worker_id, sorted(entries, key=_order))
        return self._held[1]


def _held(text: str, card: Card, started: dict[str, int]) -> Entry:
    parsed = cast("Ticket", ticket_of(text))
    started_ms = started.get(parsed.job_id)
    return Entry(
        at=(card.worker_id, started_ms or 0, text),
        job_id=parsed.job_id,
        status=JobStatus.RUNNING,
        queue=parsed.queue,
        place=parsed.place,
        generation=parsed.generation,
        worker=card.fields.get("label", card.worker_id),
        worker_id=card.worker_id,
        started_ms=started_ms,
    )


def _order(entry: Entry) -> tuple[str, int, str]:
    worker_id, started_ms, ticket = cast("tuple[str, int, str]", entry.at)
    return worker_id, -started_ms, ticket


class Queued(Section):
    """In lines: queue by queue, the suspects first, then by priority; in each what came last first."""

    name = "queued"

    def __init__(self, operator: Operator, *, queue: str | None) -> None:
        super().__init__(operator)
        self._queue = queue
        self._lines: Sequence[Line] | None = None

    async def window(self, at: At | None, most: int) -> Sequence[Entry]:
        """As it says above."""
        match at:
            case None:
                queue, place, offset, ticket = "", "", -1, ""
            case (str(queue), str(place), int(offset), str(ticket)) if len(place) == 1:
                pass
            case _:
                raise refused(at)
        if self._lines is None:
            names = await self._operator.queue_names() if self._queue is None else [self._queue]
            self._lines = await self._operator.lines(names)
        for line in self._lines:
            where = (line.queue, _rank(line.place))
            if where < (queue, _rank(place)):
                continue
            same = where == (queue, _rank(place))
            entries = await self._of(line, offset, ticket, most) if same else await self._of(line, -1, "", most)
            if entries:
                return entries
        return ()

    async def _of(self, line: Line, offset: int, ticket: str, most: int) -> Sequence[Entry]:
        """offset: of the ticket that was shown last, from the end, which is where new ones come in."""
        newest = await self._operator.line(line.queue, line.place, -(offset + 1 + most), -max(1, offset + 1))
        found = list(reversed(newest))
        if offset >= 0 and found[:1] != [ticket] and ticket:
            index = await self._operator.line_index(line.queue, line.place, ticket)
            if index is not None:  # others came in behind it
                found = list(reversed(await self._operator.line(line.queue, line.place, max(0, index - most), index)))
                offset = max(0, line.length - 1 - index)
        if offset >= 0:
            found = found[1:]
        return [
            waiting(text, (line.queue, line.place, offset + 1 + index, _anchor(text)), JobStatus.QUEUED)
            for index, text in enumerate(found[:most])
        ]


def _rank(place: str) -> int:
    return -1 if place in (SUSPECT, "") else ord(place[0]) - ord("0")


class _Sorted(Section):
    """In a sorted set."""

    key: Scored
    latest_first: bool

    async def window(self, at: At | None, most: int) -> Sequence[Entry]:
        """As it says above."""
        first = await self._first(at)
        rows = await self._operator.scored(self.key, first, first + most - 1, latest_first=self.latest_first)
        return [self._entry(member, score, first + index) for index, (member, score) in enumerate(rows)]

    async def _first(self, at: At | None) -> int:
        """The rank of what follows `at`."""
        match at:
            case None:
                return 0
            case (str(said), str(member), int(rank)) if _is_number(said):
                score = float(said)
            case _:
                raise refused(at)
        if not member:  # nothing of ours: where it would lie is not to be told by it
            return rank + 1
        known = await self._operator.rank(self.key, member, latest_first=self.latest_first)
        if known is not None and known[1] == score:
            return known[0] + 1
        return await self._between(score, member)

    async def _between(self, score: float, member: str) -> int:
        """Where it would lie: those of one score are in the order of their bytes."""
        if self.latest_first:
            low = await self._operator.number(self.key, f"({score!r}", "+inf")
        else:
            low = await self._operator.number(self.key, "-inf", f"({score!r}")
        high = low + await self._operator.number(self.key, repr(score), repr(score))
        while low < high:
            middle = (low + high) // 2
            row = await self._operator.scored(self.key, middle, middle, latest_first=self.latest_first)
            if row and (row[0][0] > member) is not self.latest_first:
                high = middle
            else:
                low = middle + 1
        return low

    def _entry(self, member: str, score: float, rank: int) -> Entry:
        raise NotImplementedError


def _is_number(text: str) -> bool:
    try:
        return len(text) <= 32 and not math.isnan(float(text))
    except ValueError:
        return False


def due_of(score: float) -> int:
    """When a job of that score in the schedule is due."""
    return int(max(0.0, min(score, 1 << 53)))


class Scheduled(_Sorted):
    """In the schedule: what is due next first."""

    name, key = "scheduled", "schedule"
    latest_first = False

    def _entry(self, member: str, score: float, rank: int) -> Entry:
        at = (repr(score), member if ticket_of(member) else "", rank)
        return waiting(member, at, JobStatus.SCHEDULED, due_ms=due_of(score))


class Dead(_Sorted):
    """Dead letters, the latest first."""

    name, key = "dead", "dead"
    latest_first = True

    def __init__(self, operator: Operator, *, before_ring: bool = False) -> None:
        """before_ring: only those that have left the ring of ended jobs, or never were in it."""
        super().__init__(operator)
        self._before_ring = before_ring

    async def _first(self, at: At | None) -> int:
        if at is not None or not self._before_ring:
            return await super()._first(at)
        oldest = await self._ring_reaches()
        return 0 if oldest is None else await self._operator.number(self.key, repr(oldest), "+inf")

    async def _ring_reaches(self) -> float | None:
        """When the oldest dead letter that the ring still has has died."""
        for last in range(-1, -RING - 1, -WINDOW):
            some = await self._operator.ring(last - WINDOW + 1, last)
            failed = [entry[1:] for entry in some if entry[:1] == "f" and checks.JOB_ID.fullmatch(entry[1:])]
            for job_id in failed[: -LOOK_UP - 1 : -1]:
                known = await self._operator.rank(self.key, job_id, latest_first=True)
                if known is not None:
                    return known[1]
            if not some:
                break
        return None

    def _entry(self, member: str, score: float, rank: int) -> Entry:
        ours = bool(checks.JOB_ID.fullmatch(member))
        at = (repr(score), member if ours else "", rank)
        return Entry(at=at, job_id=member if ours else None, status=JobStatus.FAILED)


class Ended(Section):
    """In the ring of those that ended last."""

    name = "ended"

    async def window(self, at: At | None, most: int) -> Sequence[Entry]:
        """As it says above."""
        match at:
            case None:
                offset, last = -1, ""
            case (int(offset), str(last)):
                pass
            case _:
                raise refused(at)
        found = await self._operator.ring(max(0, offset), offset + most)
        if offset >= 0:
            if found[:1] != [last] and last:
                index = await self._operator.ring_index(last)
                if index is not None:  # others came in before it
                    offset, found = index, await self._operator.ring(index, index + most)
            found = found[1:]
        return [self._entry(offset + 1 + index, text) for index, text in enumerate(found)]

    @staticmethod
    def _entry(offset: int, text: str) -> Entry:
        status, job_id = STATES.get(text[:1]), text[1:]
        if status is None or checks.JOB_ID.fullmatch(job_id) is None:
            return Entry(at=(offset, _anchor(text)), job_id=None, status=JobStatus.SUCCEEDED)
        return Entry(at=(offset, text), job_id=job_id, status=status)


def sections(operator: Operator, *, status: JobStatus | None, queue: str | None) -> Sequence[Section]:
    """The places in which jobs of a status lie, in their order; of all, with None."""
    match status:
        case JobStatus.RUNNING:
            return (Running(operator, queue=queue),)
        case JobStatus.QUEUED:
            return (Queued(operator, queue=queue),)
        case JobStatus.SCHEDULED:
            return (Scheduled(operator),)
        case JobStatus.FAILED:  # they stay there for longer than in the ring
            return (Dead(operator),)
        case JobStatus.SUCCEEDED | JobStatus.CANCELLED:
            return (Ended(operator),)
        case None:
            return (
                Running(operator, queue=queue),
                Queued(operator, queue=queue),
                Scheduled(operator),
                Ended(operator),
                Dead(operator, before_ring=True),
            )
