"""Short words for the contract tests: a store, its raw keys, a virtual clock, and workers in it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from aiotq.errors import StoreUnavailable
from aiotq.job import parse_ticket, ticket
from aiotq.store.contract import MAX_RECLAIMED, Ended, NewJob, Postponed, PutBack, Replacement, WorkerCard
from tests.model import census

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from aiotq.errors import QueueFull
    from aiotq.store.contract import (
        Claimed,
        Enqueued,
        Exchanged,
        Finished,
        Promoted,
        Reclaimed,
        Renewed,
        Replaced,
        Store,
    )
    from tests.clock import VirtualClock

WIPE = "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', key) end"
LEASE_MS = 15_000
HOUR_MS = 3_600_000
MONTH_MS = 30 * 24 * HOUR_MS
BODY = b'{"t":"shop:send"}'
ENTRY = b'"by":"ada","action":"x","subject":"y","came_to":"done"}'  # of the audit, as older versions made it


def job(
    job_id: str,
    line: str = "mail:5",
    *,
    generation: str = "AAAA",
    body: bytes = BODY,
    delay_ms: int | None = None,
    due_ms: int | None = None,
    max_len: int | None = None,
) -> NewJob:
    """A job on its way in."""
    return NewJob(
        job_id=job_id,
        line=line,
        generation=generation,
        head=b"1w" + generation.encode(),
        body=body,
        delay_ms=delay_ms,
        due_ms=due_ms,
        max_len=max_len,
    )


def record(state: str = "w", generation: str = "AAAA", *, at_ms: int = 0, body: bytes = BODY) -> bytes:
    """A record as its owner writes it."""
    return f"1{state}{generation}{at_ms:013d}".encode() + body


def succeeded(held: Claimed | str, *, ttl_ms: int = HOUR_MS, body: bytes = b'{"r":1}') -> Ended:
    """It ended well."""
    text = held if isinstance(held, str) else held.ticket
    return Ended(ticket=text, record=record("s", parse_ticket(text).generation, body=body), ttl_ms=ttl_ms)


def died(held: Claimed | str, *, ttl_ms: int = MONTH_MS) -> Ended:
    """It became a dead letter."""
    text = held if isinstance(held, str) else held.ticket
    return Ended(ticket=text, record=record("f", parse_ticket(text).generation), ttl_ms=ttl_ms, dead=True)


def retried(held: Claimed | str, *, generation: str = "BBBB", delay_ms: int = 1_000) -> Postponed:
    """It shall run again later."""
    text = held if isinstance(held, str) else held.ticket
    parsed = parse_ticket(text)
    return Postponed(
        ticket=text,
        record=record("w", generation),
        new_ticket=ticket(parsed.line, generation, parsed.job_id),
        delay_ms=delay_ms,
    )


def returned(held: Claimed | str, *, generation: str = "BBBB") -> PutBack:
    """Its worker stops; it goes back."""
    text = held if isinstance(held, str) else held.ticket
    parsed = parse_ticket(text)
    return PutBack(ticket=text, new_ticket=ticket(parsed.line, generation, parsed.job_id))


def ids(claimed: Sequence[Claimed]) -> list[str]:
    """Which jobs, in which order."""
    return [parse_ticket(one.ticket).job_id for one in claimed]


async def fails(verb: Awaitable[object]) -> StoreUnavailable:
    """The verb is told within its time that nothing is known."""
    async with asyncio.timeout(3):
        with pytest.raises(StoreUnavailable) as caught:
            await verb
    return caught.value


LINES = ("mail:5", "mail:f", "mail:s")  # what a ticket of `job("...")` may name


def replacement(
    job_id: str,
    *,
    state: str = "c",
    generation: str = "AAAA",
    new_generation: str = "RRRR",
    line: str | None = None,
    delay_ms: int | None = None,
    was: str = "w",
) -> Replacement:
    """Without a line it ends the job. was: the state that was read."""
    return Replacement(
        job_id=job_id,
        state=was,
        generation=generation,
        lines=LINES,
        record=record("w" if line else state, new_generation),
        new_generation=new_generation,
        ttl_ms=None if line else HOUR_MS,
        line=line,
        delay_ms=delay_ms,
    )


class Bench:
    """One store under test. Its time is the virtual clock's."""

    def __init__(self, store: Store, raw: Any, prefix: str, clock: VirtualClock) -> None:
        self.store, self.raw, self.prefix, self.clock = store, raw, prefix, clock

    # --- verbs, with what most tests don't care about filled in

    async def enqueue(self, *jobs: NewJob) -> list[Enqueued | QueueFull]:
        return list(await self.store.enqueue(jobs, now_ms=self.clock.now_ms()))

    async def worker(
        self, worker_id: str = "w1", *, lease_ms: int = LEASE_MS, queues: Sequence[str] = ("mail",)
    ) -> bool:
        card = WorkerCard(
            worker_id=worker_id, label=f"at {worker_id}", host="h", pid=7, queues=queues, lease_ms=lease_ms
        )
        return await self.store.register(card, now_ms=self.clock.now_ms())

    async def exchange(
        self,
        *finished: Finished,
        by: str = "w1",
        queues: Sequence[str] = ("mail",),
        limit: int = 0,
        suspects: bool = True,
        held: Sequence[str] | None = None,
        failure_ttl_ms: int = MONTH_MS,
    ) -> Exchanged:
        return await self.store.exchange(
            by,
            finished,
            queues=queues,
            limit=limit,
            suspects=suspects,
            held=held,
            failure_ttl_ms=failure_ttl_ms,
            now_ms=self.clock.now_ms(),
        )

    async def claim(
        self, limit: int = 10, *, by: str = "w1", queues: Sequence[str] = ("mail",), suspects: bool = True
    ) -> list[Claimed]:
        return list((await self.exchange(by=by, queues=queues, limit=limit, suspects=suspects)).claimed)

    async def one(self, *, by: str = "w1", queues: Sequence[str] = ("mail",)) -> Claimed:
        [claimed] = await self.claim(1, by=by, queues=queues)
        return claimed

    async def renew(self, worker_id: str = "w1", *, lease_ms: int = LEASE_MS) -> Renewed:
        return await self.store.renew(worker_id, lease_ms=lease_ms, now_ms=self.clock.now_ms())

    async def reclaim(self, worker_id: str = "w1", *, seen_ms: int, limit: int = MAX_RECLAIMED) -> Reclaimed:
        return await self.store.reclaim(worker_id, seen_ms=seen_ms, limit=limit, now_ms=self.clock.now_ms())

    async def vanish(self, worker_id: str = "w1") -> Reclaimed:
        """The worker's lease runs out, and another one takes its jobs back."""
        end_ms = (await self.census()).workers[worker_id]
        self.clock.advance(ms=max(0, end_ms - self.clock.now_ms()))
        return await self.reclaim(worker_id, seen_ms=end_ms)

    async def promote(self, worker_id: str = "w1", *, limit: int = 1_000, lease_ms: int = 5_000) -> Promoted:
        return await self.store.promote(worker_id, limit=limit, lease_ms=lease_ms, now_ms=self.clock.now_ms())

    async def replace(self, wanted: Replacement) -> Replaced:
        return await self.store.replace(wanted, now_ms=self.clock.now_ms())

    async def retire(self, worker_id: str = "w1") -> int:
        return await self.store.retire(worker_id, now_ms=self.clock.now_ms())

    # --- what lies in the server

    def key(self, name: str) -> str:
        return self.prefix + name

    async def census(self) -> census.Census:
        """All keys."""
        return census.build(await self.raw.eval(census.DUMP, 0, census.pattern(self.prefix)), self.prefix)

    async def waiting(self, line: str = "mail:5") -> list[str]:
        """The ids in a line, in their order."""
        return [parse_ticket(one).job_id for one in (await self.census()).lines.get(line, [])]

    async def take_tokens(self) -> set[str]:
        """Remove all tokens, as idle workers would, and tell on which queues they were."""
        names = set((await self.census()).wake)
        for name in names:
            await self.raw.delete(self.key(f"wake:{name}"))
        return names

    async def wipe(self) -> None:
        """Remove every key: the look for leaks after the test takes its time for each."""
        await self.raw.eval(WIPE, 0, census.pattern(self.prefix))


async def audit(bench: Bench) -> list[dict[str, object]]:
    """The entries, the latest first."""
    return [json.loads(entry) for entry in await bench.raw.lrange(bench.key("audit"), 0, -1)]
