"""Walks through all jobs that a filter takes, for who acts on each: while others act, claim and enqueue.

What lay in a place when the walk began is met, unless it has moved on; what came since is not, as far as that can be
told (`arrivals.py`), or not for long: a walk ends even if as much comes as goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiotq.inspection import arrivals, filters
from aiotq.inspection.acts import Act
from aiotq.inspection.arrivals import Back
from aiotq.inspection.listing import look
from aiotq.inspection.places import Dead, Ended, Running, Scheduled, Section, waiting
from aiotq.inspection.seen import Seen, see
from aiotq.job import JobStatus
from aiotq.record import sized
from aiotq.store.inspection import MOST_HELD, RING, Peek

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiotq.inspection.arrivals import Moment
    from aiotq.inspection.cursor import At
    from aiotq.inspection.desk import Desk
    from aiotq.inspection.places import Entry
    from aiotq.inspection.values import JobFilter
    from aiotq.store.inspection import Line, Operator

CHUNK = 100  # jobs
MOST_BYTES = 8 << 20  # ... and of their records together, unless one alone is larger
LOOK_BACK = 400  # tickets before the place in a line that was read last, among which it is looked for
SPARE = 20  # windows more than it takes, for what moves meanwhile


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Jobs that a filter takes."""

    jobs: Sequence[Seen]
    looked: int  # entries that were looked at for them; those of several chunks are told with the last of these
    now_ms: int  # Redis's clock, just after they were


async def walk(
    desk: Desk,
    act: Act,
    wanted: JobFilter,
    *,
    as_of: Moment | None = None,
    generation: str = "",
) -> AsyncIterator[Chunk]:
    """The jobs that an act may be for, in chunks of at most CHUNK. What has come since is left out.

    as_of: since when; None: since this begins. generation: of the records that the act leaves; it was done to these.
    """
    wanted = filters.checked(wanted)
    now_ms = await desk.operator.now_ms()
    began_ms = now_ms if as_of is None else min(now_ms, as_of.at_ms)
    places = await _places(desk.operator, act, wanted, as_of)
    among = frozenset[JobStatus]().union(*(place.holds for place in places))
    for place in places:
        at = None
        for _ in range(2 * (place.length // CHUNK) + SPARE):
            entries = await place.section.window(at, CHUNK)
            if not entries:
                break
            at = entries[-1].at
            worth = [entry for entry in entries if filters.may_match(wanted, entry) and entry.status in place.holds]
            found = (await look(desk, worth, now_ms=now_ms)).values()
            now_ms = await desk.operator.now_ms()
            since = arrivals.after(began_ms, now_ms)
            jobs: list[Seen] = []
            size = 0
            for shown in found:
                if arrivals.came(shown, since, among=among) or _is_done(shown, generation):
                    continue
                if jobs and size + shown.summary.size > MOST_BYTES:
                    yield Chunk(jobs=jobs, looked=0, now_ms=now_ms)
                    jobs, size = [], 0
                one = await _whole(desk, shown, now_ms=now_ms)
                behind = isinstance(place.section, FromTheFront) and place.section.behind
                if one is None or arrivals.came(one, since, among=among, behind=behind):
                    continue
                if one.matches(wanted):
                    jobs.append(one)
                    size += one.summary.size
            yield Chunk(jobs=jobs, looked=len(entries), now_ms=now_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    section: Section
    holds: frozenset[JobStatus]
    length: int  # as it began


_ENDED = frozenset({JobStatus.SUCCEEDED, JobStatus.CANCELLED})  # what has failed is among the dead letters, and longer
# In the order in which jobs go: one that moves on is met later, and none that was just put there.
_ORDER = {
    Act.RETRY: (JobStatus.FAILED,),
    Act.CANCEL: (JobStatus.SCHEDULED, JobStatus.QUEUED, JobStatus.RUNNING),
    Act.DISCARD: (JobStatus.SUCCEEDED, JobStatus.FAILED),
    Act.PROMOTE: (JobStatus.SCHEDULED,),
    Act.REQUEUE: (JobStatus.QUEUED, JobStatus.SCHEDULED),
}


async def _places(operator: Operator, act: Act, wanted: JobFilter, as_of: Moment | None) -> Sequence[_Place]:
    """Where jobs may lie that an act is for, and that a filter takes."""
    found: list[_Place] = []
    for status in _ORDER[act]:
        holds = _ENDED if status is JobStatus.SUCCEEDED else frozenset({status})
        if wanted.status is not None and wanted.status not in holds:
            continue
        if status is JobStatus.QUEUED:
            names = await operator.queue_names() if wanted.queue is None else [wanted.queue]
            lines = await operator.lines(names)
            for line in lines:
                end = None if as_of is None else as_of.end_of(line)
                # Where what is scheduled is meant too, and has come due since, it lies behind that end.
                whole = wanted.status is None
                section = await FromTheFront.of(operator, line, end=end, whole=whole)
                found.append(_Place(section=section, holds=holds, length=line.length))
            continue
        section: Section
        match status:
            case JobStatus.SCHEDULED:
                section, length = Scheduled(operator), await operator.number("schedule")
            case JobStatus.FAILED:
                section, length = Dead(operator), await operator.number("dead")
            case JobStatus.RUNNING:
                section, length = Running(operator, queue=None), 10 * MOST_HELD
            case _:
                section, length = Ended(operator), RING
        found.append(_Place(section=section, holds=holds, length=length))
    return found


def _is_done(seen: Seen, generation: str) -> bool:
    """Whether its record is one that this act has left, which goes by the same walk where it is requeued."""
    return seen.header is not None and seen.header[2] == sized(generation, seen.summary.size)


async def _whole(desk: Desk, seen: Seen, *, now_ms: int) -> Seen | None:
    """Of one whose record was too large for a list, all that a filter may ask for."""
    if seen.record is not None:
        return seen
    data = await desk.store.read(seen.summary.id, at_most=desk.most + 1)
    return see(desk, seen.entry, Peek(data, len(data)), now_ms=now_ms) if data else None


# --- a line -----------------------------------------------------------------------------------------------------------


class FromTheFront(Section):
    """A line, from where jobs are claimed on, to the ticket that was its last one as the walk began.

    So what is put to its back meanwhile is not met. Its front moves as workers claim: so a place in it is told by the
    ticket that was read last, and by how far that was from the front, and looked for anew. Where that has gone, its
    end may have gone too, and nothing that was there is left.
    """

    name = "line"

    def __init__(self, operator: Operator, line: Line, back: Back, counted: Back | None = None) -> None:
        """back: its end. counted: what had been its end before; what lies behind that is met, but is told of."""
        super().__init__(operator)
        self._line, self._back, self._counted = line, back, counted
        self.behind = self._passed = False  # whether what was read last lies there; whether what comes next does
        self._next, self._last = 0, ""  # how many were before what comes next; the ticket before it

    @classmethod
    async def of(cls, operator: Operator, line: Line, *, end: str | None = None, whole: bool = True) -> FromTheFront:
        """Of the line as it is now. end: what had been its last ticket, if that is known; whole: also behind that."""
        counted = None if end is None else Back(operator, line, end)
        if counted is not None and not whole:
            return cls(operator, line, counted)
        return cls(operator, line, await Back.of(operator, line), counted)

    async def window(self, at: At | None, most: int) -> Sequence[Entry]:
        """What follows; at: anything but None: it remembers itself where it is."""
        end = self._back.ticket
        if self._last and self._last == end:
            return ()
        first, tickets = await (self._anew(most) if at is None else self._after(most))
        self.behind = self._passed
        if tickets:
            ends = [end] if self._counted is None or self._passed else [end, self._counted.ticket]
            cut = min((tickets.index(one) for one in ends if one in tickets), default=len(tickets))
            tickets = tickets[: cut + 1]
            self._passed = self._passed or tickets[-1] in ends[1:]
            self._next, self._last = first + len(tickets), tickets[-1]
        return [waiting(text, (text,), JobStatus.QUEUED) for text in tickets]

    async def _after(self, most: int) -> tuple[int, Sequence[str]]:
        """What comes after the last one, and how many are before that."""
        first = max(0, self._next - LOOK_BACK)
        tickets = await self._read(first, self._next - first + CHUNK)
        while True:
            for index in range(len(tickets) - 1, -1, -1):
                if tickets[index] == self._last:
                    return await self._from(first + index + 1, tickets[index + 1 :], most)
            if first == 0:
                return await self._anew(most)  # it was claimed, and all before it
            first = max(0, first - LOOK_BACK)
            tickets = await self._read(first, LOOK_BACK + 1)

    async def _anew(self, most: int) -> tuple[int, Sequence[str]]:
        """From its front on."""
        self._passed = self._counted is not None and await self._counted.is_there() is False
        return 0, () if await self._back.is_there() is False else await self._read(0, most)

    async def _from(self, first: int, tickets: Sequence[str], most: int) -> tuple[int, Sequence[str]]:
        if len(tickets) >= most:
            return first, tickets[:most]
        return first, await self._read(first, most)

    async def _read(self, first: int, count: int) -> Sequence[str]:
        return await self._operator.line(self._line.queue, self._line.place, first, first + count - 1)
