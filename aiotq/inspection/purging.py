"""Purge: end all that waits in a queue, in batches, while others enqueue and claim."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from aiotq import record as records
from aiotq.document import LEAST_TTL_MS
from aiotq.errors import AiotqError, InvalidRecord, StoreError
from aiotq.inspection import acts, arrivals, words
from aiotq.inspection.acts import Act, Wish
from aiotq.inspection.arrivals import Back
from aiotq.inspection.hand import Kept
from aiotq.inspection.listing import look
from aiotq.inspection.places import ticket_of, waiting
from aiotq.inspection.values import Purged
from aiotq.job import DEFAULT_PRIORITY, FRONT, JobStatus
from aiotq.record import HEADER
from aiotq.signing import looks_signed, unsigned
from aiotq.store.inspection import MAX_LEFT, MAX_TAKEN, Ending

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotq.inspection.arrivals import Moment
    from aiotq.inspection.desk import Desk
    from aiotq.store.inspection import Line, Waiting

TTL_MS = 600_000  # who asks for a job that was purged hears of it for so long
MANY = 10_000  # of so many; of those beyond, for no longer than late repeats need: the memory may be full
SPARE = 20  # calls more than a line of that length takes, for what moves meanwhile
PASSES = 5  # over a line out of whose front others claim, or to which they return


async def purge(desk: Desk, queue: str, *, as_of: Moment | None = None) -> Purged:
    """End what waits in the lines of a queue, but for what came since this moment (`arrivals.py`); None: this began."""
    purging, kept = _Purging(desk, queue, as_of), Kept(desk, "purge", queue)
    try:
        await kept.begin()
        await purging.run()
    except AiotqError as error:
        await kept.failed(error, f"failed after {words.jobs(purging.ended)}: {error}")
        error.add_note(f"{words.jobs(purging.ended)} had been purged before")
        raise
    except asyncio.CancelledError:  # what has been sent is done
        with suppress(StoreError):
            await kept.keep(f"stopped after {words.jobs(purging.ended)}, or up to {MAX_TAKEN} more")
        raise
    cleared = f", {purging.cleared:,} leftover ticket{'s' * (purging.cleared != 1)}" if purging.cleared else ""
    await kept.keep(words.jobs(purging.ended) + cleared)
    return Purged(ended=purging.ended, cleared=purging.cleared)


class _Purging:
    """One purge. All its records have one generation: so after a lost reply the store knows which it has ended."""

    def __init__(self, desk: Desk, queue: str, as_of: Moment | None) -> None:
        self._desk, self._queue, self._as_of = desk, queue, as_of
        self._generation = records.generation(os.urandom(4))
        self._began_ms = 0
        self.ended = self.cleared = 0

    async def run(self) -> None:
        operator = self._desk.operator
        now_ms = await operator.now_ms()
        self._began_ms = now_ms if self._as_of is None else min(now_ms, self._as_of.at_ms)
        lines = await operator.lines([self._queue])
        for line, back in [(line, await self._back(line)) for line in lines]:
            left = await self._pass(line, back)
            for _ in range(PASSES - 1):
                before = self.ended
                if left:
                    left = await self._again(line, left)
                if before == self.ended:
                    break

    async def _back(self, line: Line) -> Back:
        end = None if self._as_of is None else self._as_of.end_of(line)
        operator = self._desk.operator
        return await Back.of(operator, line) if end is None else Back(operator, line, end)

    async def _pass(self, line: Line, back: Back) -> int:
        """From the front of a line to its end as this began. Returns how many before that have been left, and may go.

        They came since and to the front, or moved there as workers claimed what was before them.
        """
        left, length = 0, line.length
        for _ in range(2 * (length // MAX_TAKEN) + SPARE):
            there = await back.is_there()
            if left > MAX_LEFT or there is False or (there is None and length <= 0):
                break
            front = await self._desk.operator.front(f"{line.queue}:{line.place}", leave=left, limit=MAX_TAKEN)
            tickets = [one.ticket for one in front.waiting]
            is_end = back.ticket in tickets
            some = front.waiting[: tickets.index(back.ticket) + 1] if is_end else front.waiting
            stay = await self._take(line, some, leave=left, now_ms=front.now_ms)
            left, length = left + stay, length - len(some) + stay
            if is_end or not some:
                break
        return left

    async def _again(self, line: Line, length: int) -> int:
        """Once over so many at its front. Returns how many of them have been left."""
        left, gone = 0, 0
        while left + gone < length and left <= MAX_LEFT:
            limit = min(MAX_TAKEN, length - left - gone)
            front = await self._desk.operator.front(f"{line.queue}:{line.place}", leave=left, limit=limit)
            if not front.waiting:
                break
            stay = await self._take(line, front.waiting, leave=left, now_ms=front.now_ms)
            left, gone = left + stay, gone + len(front.waiting) - stay
        return left

    async def _take(self, line: Line, some: Sequence[Waiting], *, leave: int, now_ms: int) -> int:
        """End them. Returns how many stay, as they came since."""
        endings, stay = await self._endings(some, now_ms)
        if stay < len(some):
            ended, cleared = await self._desk.operator.take(
                f"{line.queue}:{line.place}", endings, leave=leave, limit=len(some), generation=self._generation
            )
            self.ended, self.cleared = self.ended + ended, self.cleared + cleared
        return stay

    async def _endings(self, some: Sequence[Waiting], now_ms: int) -> tuple[list[Ending], int]:
        """What shall stand for each job that goes, and how many stay. Raises UsageError: signed, and no keys."""
        ttl_ms = TTL_MS if self.ended < MANY else LEAST_TTL_MS
        signer = self._desk.core.signer
        wish = Wish(act=Act.CANCEL, generation=self._generation, now_ms=now_ms, signer=signer, ttl_ms=ttl_ms)
        endings: list[Ending] = []
        new = await self._new(some, now_ms)
        for one in some:
            ticket = ticket_of(one.ticket)
            if ticket is None or one.ticket in new or _is_stale(one.beginning, ticket.generation):
                continue  # it stays, or goes by itself
            if wish.signer is None and looks_signed(one.end):
                raise unsigned(ticket.job_id)
            record = acts.purged(
                ticket.job_id, one.beginning, queue=self._queue, priority=_priority(ticket.place), wish=wish
            )
            ending = Ending(ticket=one.ticket, header=one.beginning[:HEADER], record=record, ttl_ms=ttl_ms)
            endings.append(ending)
        return endings, len(new)

    async def _new(self, some: Sequence[Waiting], now_ms: int) -> set[str]:
        """The tickets of those that came since, as far as their records say."""
        times, new = arrivals.after(self._began_ms, now_ms), set[str]()
        unclear: list[str] = []
        for one in some:
            ticket = ticket_of(one.ticket)
            if ticket is None or _is_stale(one.beginning, ticket.generation):
                continue
            if _enqueued_ms(one.beginning) in times:
                new.add(one.ticket)
            elif one.end != one.beginning:  # of more than its first bytes: when it was due stands behind its arguments
                unclear.append(one.ticket)
            else:
                with suppress(InvalidRecord):
                    if arrivals.to_line(self._desk.decoded(ticket.job_id, one.beginning), times):
                        new.add(one.ticket)
        seen = await look(self._desk, [waiting(text, (text,), JobStatus.QUEUED) for text in unclear], now_ms=now_ms)
        return new | {str(at[0]) for at, one in seen.items() if one.ready_ms in times}


def _is_stale(beginning: bytes, generation: str) -> bool:
    try:
        _, state, stamp, _ = records.header(beginning)
    except InvalidRecord:
        return False
    return state != records.WAITING or stamp != generation


def _enqueued_ms(beginning: bytes) -> int:
    try:
        return records.header(beginning)[3]
    except InvalidRecord:
        return 0


def _priority(place: str) -> int:
    if place in FRONT:
        return FRONT.index(place)
    return int(place) if place.isdigit() else DEFAULT_PRIORITY
