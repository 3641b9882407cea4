"""Purge: end all that waits in a queue, in batches, while others enqueue and claim."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from aiotq import record as records
from aiotq.document import LEAST_TTL_MS
from aiotq.errors import AiotqError, InvalidRecord, StoreError
from aiotq.inspection import acts, words
from aiotq.inspection.acts import Act, Wish
from aiotq.inspection.hand import Kept
from aiotq.inspection.places import ticket_of
from aiotq.inspection.values import Purged
from aiotq.job import DEFAULT_PRIORITY, FRONT
from aiotq.record import HEADER
from aiotq.signing import looks_signed, unsigned
from aiotq.store.inspection import MAX_LEFT, MAX_TAKEN, Ending

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotq.inspection.desk import Desk
    from aiotq.store.inspection import Line, Waiting

TTL_MS = 600_000  # who asks for a job that was purged hears of it for so long
MANY = 10_000  # of so many; of those beyond, for no longer than late repeats need: the memory may be full
PASSES = 5  # over a line out of whose front others claim, or to which they return


async def purge(desk: Desk, queue: str, *, as_of_ms: int | None = None) -> Purged:
    """End what waits in the lines of a queue, and had been enqueued before this moment; None: before this began."""
    purging, kept = _Purging(desk, queue, as_of_ms), Kept(desk, "purge", queue)
    try:
        await kept.begin()
        await purging.run()
    except AiotqError as error:
        with suppress(StoreError):
            await kept.keep(f"failed after {words.jobs(purging.ended)}: {error}")
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

    def __init__(self, desk: Desk, queue: str, as_of_ms: int | None) -> None:
        self._desk, self._queue, self._as_of_ms = desk, queue, as_of_ms
        self._generation = records.generation(os.urandom(4))
        self._began_ms = 0
        self.ended = self.cleared = 0

    async def run(self) -> None:
        now_ms = await self._desk.operator.now_ms()
        self._began_ms = now_ms if self._as_of_ms is None else min(now_ms, self._as_of_ms)
        for line in await self._desk.operator.lines([self._queue]):
            length = line.length
            for _ in range(PASSES):
                before = self.ended
                length = await self._pass(line, length)
                if not length or before == self.ended:
                    break

    async def _pass(self, line: Line, length: int) -> int:
        """Once over a line as long as it was when this began. Returns how many tickets are left that may go."""
        name, left, operator = f"{line.queue}:{line.place}", 0, self._desk.operator
        while length > 0:
            front = await operator.front(name, leave=left, limit=MAX_TAKEN)
            if not front.waiting:
                return 0
            endings, stay = self._endings(front.waiting, front.now_ms)
            if stay < len(front.waiting):
                ended, cleared = await operator.take(
                    name, endings, leave=left, limit=len(front.waiting), generation=self._generation
                )
                self.ended, self.cleared = self.ended + ended, self.cleared + cleared
            length -= len(front.waiting) - stay
            left += stay  # they came since, and to the front: what is behind them goes all the same
            if left > MAX_LEFT:
                return 0
        return (await operator.front(name, leave=left, limit=1)).length

    def _endings(self, waiting: Sequence[Waiting], now_ms: int) -> tuple[list[Ending], int]:
        """What shall stand for each job that goes, and how many stay. Raises UsageError: signed, and no keys."""
        ttl_ms = TTL_MS if self.ended < MANY else LEAST_TTL_MS
        signer = self._desk.core.signer
        wish = Wish(act=Act.CANCEL, generation=self._generation, now_ms=now_ms, signer=signer, ttl_ms=ttl_ms)
        endings: list[Ending] = []
        stay = 0
        for one in waiting:
            ticket = ticket_of(one.ticket)
            if ticket is None or _is_stale(one.beginning, ticket.generation):
                continue  # it goes by itself
            if self._began_ms < _enqueued_ms(one.beginning) <= now_ms:  # later: the clock stepped back since
                stay += 1
                continue
            if wish.signer is None and looks_signed(one.end):
                raise unsigned(ticket.job_id)
            record = acts.purged(
                ticket.job_id, one.beginning, queue=self._queue, priority=_priority(ticket.place), wish=wish
            )
            ending = Ending(ticket=one.ticket, header=one.beginning[:HEADER], record=record, ttl_ms=ttl_ms)
            endings.append(ending)
        return endings, stay


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
