"""The store on Redis, Valkey or fakeredis: a method a verb, each one script or one read.

A worker's verbs are sent once: what an unanswered one did is for the worker to find out. A sender's verbs are safe to
repeat, and repeated until their time is over.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, TypeVar

from msgspec import structs

from aiotq.store import scripts, shapes
from aiotq.store.callers import CallerVerbs
from aiotq.store.connection.dial import dialler
from aiotq.store.connection.sentinel import SCHEMES as SENTINEL_SCHEMES
from aiotq.store.connection.wire import Wire, WireBroken
from aiotq.store.contract import (
    BLOCK_S,
    MAX_PROMOTED,
    MAX_RECLAIMED,
    POLLER_LEASE_MS,
    Backlog,
    Exchanged,
    Peer,
    Promoted,
    Reclaimed,
    Renewed,
    ServerFacts,
)
from aiotq.store.facts import look
from aiotq.store.notes import NotesTaken
from aiotq.store.tallies import Tallied
from aiotq.store.vet import vet

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from redis.asyncio.connection import AbstractConnection

    from aiotq.store.contract import Finished, WorkerCard
    from aiotq.store.notes import Noted
    from aiotq.store.tallies import Tally

T = TypeVar("T")
BLOCK_MARGIN_S = 2.0  # a BLPOP's timeout comes up to 0.1 s late; the rest is for the network
_SCHEDULE_PAGE = 5_000


class RedisStore(CallerVerbs):
    """A `contract.Store`."""

    def __init__(self, url: str, *, namespace: str, connect_timeout_s: float) -> None:
        self._full_url, self._namespace = url, namespace
        to_server = dialler(url, connect_timeout_s=connect_timeout_s)

        async def dial() -> AbstractConnection:
            self._keep_broom()
            return await to_server()

        self._dial = dial
        super().__init__(dial, url=url, namespace=namespace, limit_s=connect_timeout_s)
        self._blocking = Wire(dial, limit_s=BLOCK_S + BLOCK_MARGIN_S)
        self._broom: AsyncGenerator[None] | None = None

    def sibling(self, *, limit_s: float | None = None) -> RedisStore:
        limit_s = self._limit_s if limit_s is None else min(limit_s, self._limit_s)
        return RedisStore(self._full_url, namespace=self._namespace, connect_timeout_s=limit_s)

    async def open(self, *, timeout_s: float | None = None) -> ServerFacts:
        if timeout_s is not None:
            return await self._by(asyncio.get_running_loop().time() + timeout_s, self.open, verb="connect")
        if self.url.startswith("memory://"):  # fakeredis has no INFO
            await self._send("connect", "PING")
            return ServerFacts(kind="fakeredis", version=version("fakeredis"), url=self.url)
        return look(await self._send("connect", "INFO", denied=b""), url=self.url)

    async def vet(self) -> ServerFacts:
        facts = await self.open()
        if facts.kind == "fakeredis":  # without users, disk and clock of its own
            return facts
        wire = Wire(self._dial, limit_s=self._answer_s)  # its last words there make it a listener
        try:
            by_sentinels = self.url.startswith(SENTINEL_SCHEMES)
            found = await vet(wire, prefix=self._keys.prefix, url=self.url, role_counts=by_sentinels)
        except WireBroken as error:
            raise self._unavailable("connect", error) from None
        finally:
            await wire.close()
        return structs.replace(facts, warnings=(*facts.warnings, *found))

    def _keep_broom(self) -> None:
        """The end of a loop (asyncio.run) finishes its async generators: a script that never closes ends silently."""
        if self._broom is None:
            self._broom = self._sweep()
            with suppress(StopIteration):
                self._broom.__anext__().send(None)  # to its first yield, at once

    async def _sweep(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await self._drop()

    async def close(self) -> None:
        broom, self._broom = self._broom, None
        if broom is None:
            await self._drop()
        else:
            await broom.aclose()

    async def _drop(self) -> None:
        async with AsyncExitStack() as stack:  # each of them, though one should fail or this be cancelled
            for one in (self._blocking, self._wire, self._durable, self._listener):
                stack.push_async_callback(one.close)

    # --- a worker's side --------------------------------------------------------------------------------------

    async def register(self, card: WorkerCard, *, now_ms: int = 0) -> bool:
        fields = ("label", card.label, "host", card.host, "pid", card.pid, "queues", ",".join(card.queues))
        return bool(
            await self._run(scripts.REGISTER, card.worker_id, now_ms, card.lease_ms, ",".join(card.former), *fields)
        )

    async def retire(self, worker_id: str, *, now_ms: int = 0) -> int:
        total, more = 0, 1
        while more:
            count, more = await self._run(scripts.RETIRE, worker_id, now_ms, MAX_RECLAIMED)
            total += count
        return total

    async def exchange(
        self,
        worker_id: str,
        finished: Sequence[Finished],
        *,
        queues: Sequence[str],
        limit: int,
        suspects: bool = True,
        held: Sequence[str] | None = None,
        failure_ttl_ms: int = 0,
        now_ms: int = 0,
    ) -> Exchanged:
        n_ended, outcomes, order = shapes.outcomes(finished)
        reply = await self._run(
            scripts.EXCHANGE,
            *(worker_id, now_ms, limit, int(suspects), failure_ttl_ms),
            *(len(queues), n_ended, len(finished) - n_ended, int(held is not None)),
            *queues,
            *outcomes,
            *(held or ()),
        )
        return shapes.exchanged(reply, order=order, epoch=self._wire.epoch)

    async def renew(self, worker_id: str, *, lease_ms: int, now_ms: int = 0) -> Renewed:
        alive, now, *more = await self._run(scripts.RENEW, worker_id, now_ms, lease_ms)
        odd, garbage = more or ((), ())
        return Renewed(
            alive=bool(alive),
            now_ms=now,
            suspicious=[
                Peer(worker_id=odd[i].decode(), lease_end_ms=odd[i + 1], lease_ms=odd[i + 2])
                for i in range(0, len(odd), 3)
            ],
            garbage=shapes.words(garbage),
            epoch=self._wire.epoch,
        )

    async def tally(self, worker_id: str, tally: Tally, *, now_ms: int = 0) -> Tallied:
        known, garbage = await self._run(scripts.TALLY, worker_id, now_ms, *shapes.tally(tally))
        return Tallied(known=bool(known), garbage=shapes.words(garbage))

    async def reclaim(self, worker_id: str, *, seen_ms: int, limit: int = MAX_RECLAIMED, now_ms: int = 0) -> Reclaimed:
        return Reclaimed(await self._run(scripts.RECLAIM, worker_id, now_ms, seen_ms, limit))

    async def lease_end(self, worker_id: str) -> int | None:
        end_ms = await self._send("read", "ZSCORE", self._keys.workers, worker_id)
        return None if end_ms is None else shapes.whole(end_ms)

    async def promote(
        self, worker_id: str, *, limit: int = MAX_PROMOTED, lease_ms: int = POLLER_LEASE_MS, now_ms: int = 0
    ) -> Promoted:
        leader, moved, wait_us, *garbage = await self._run(scripts.PROMOTE, worker_id, now_ms, limit, lease_ms)
        return Promoted(leader=bool(leader), moved=moved, wait_us=wait_us, garbage=shapes.words(garbage))

    async def note(self, worker_id: str, notes: Sequence[Noted]) -> NotesTaken:
        noted, garbage = await self._run(scripts.NOTE, worker_id, *shapes.noted(notes))
        return NotesTaken(noted=[byte == 49 for byte in noted], garbage=shapes.words(garbage))

    async def wait_token(self, queues: Sequence[str], *, block_s: float = BLOCK_S) -> str | None:
        keys = [self._keys.wake(queue) for queue in queues]
        reply = await self._send("wait", "BLPOP", *keys, f"{block_s:.3f}", wire=self._blocking)
        return queues[keys.index(reply[0].decode())] if reply else None

    async def wait_poller_token(self, *, block_s: float = BLOCK_S) -> bool:
        reply = await self._send("wait", "BLPOP", self._keys.poller_wake, f"{block_s:.3f}", wire=self._blocking)
        return reply is not None

    async def leave_token(self, queue: str) -> None:
        await self._leave(self._keys.wake(queue))

    async def leave_poller_token(self) -> None:
        await self._leave(self._keys.poller_wake)

    async def _leave(self, key: str) -> None:
        await self._run(scripts.TOKEN, key[len(self._keys.prefix) + len("wake:") :])

    async def cancellations(self, worker_id: str) -> AsyncIterator[str | None]:
        subscription = self._listener.subscribe(self._keys.control(worker_id))
        try:
            while True:
                news = await subscription.next()
                yield news.decode(errors="backslashreplace") if news else None
        finally:
            self._listener.unsubscribe(subscription)

    async def backlog(self, queues: Sequence[str]) -> Backlog:
        first = 0
        while True:
            page = partial(self._run, scripts.BACKLOG, first, _SCHEDULE_PAGE, *queues)
            queued, running, found, last = await self._repeat(page)
            if queued or running or found or last:
                return Backlog(queued=queued, running=running, scheduled=bool(found))
            first += _SCHEDULE_PAGE

    # --- an operator's side -----------------------------------------------------------------------------------

    async def pause(self, queue: str, *, audit: bytes = b"") -> bool:
        return bool(await self._repeat(lambda: self._run(scripts.PAUSE, queue, audit)))

    async def resume(self, queue: str, *, audit: bytes = b"") -> bool:
        return bool(await self._repeat(lambda: self._run(scripts.RESUME, queue, audit)))
