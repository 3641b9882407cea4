"""The store on Redis, Valkey or fakeredis: a method a verb, each one script or one read.

A worker's verbs are sent once: what an unanswered one did is for the worker to find out. A sender's verbs are safe to
repeat, and repeated until their time is over.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar

from redis.exceptions import NoScriptError, RedisError

from aiotq.errors import StoreError, StoreRefused, StoreUnavailable
from aiotq.job import JobStatus
from aiotq.store import scripts, shapes
from aiotq.store.answers import RECONNECT, told
from aiotq.store.contract import (
    BLOCK_S,
    MAX_PROMOTED,
    MAX_RECLAIMED,
    POLLER_LEASE_MS,
    WAITS_MS,
    Backlog,
    Enqueued,
    Exchanged,
    Peer,
    Place,
    Promoted,
    Reclaimed,
    Renewed,
    Replaced,
    ServerFacts,
)
from aiotq.store.dial import dialler
from aiotq.store.facts import look
from aiotq.store.keys import Keys
from aiotq.store.listen import Listener
from aiotq.store.url import redact
from aiotq.store.wire import Wire, WireBroken

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from redis.asyncio.connection import AbstractConnection

    from aiotq.store.contract import Finished, NewJob, Replacement, WorkerCard
    from aiotq.store.scripts import Script

T = TypeVar("T")
LOAD_TRIES = 10  # of a script that somebody flushes again and again
ANSWER_WITHIN_S = 5.0  # a connection that is silent for longer is replaced, however long a caller would wait
BLOCK_MARGIN_S = 2.0  # a BLPOP's timeout comes up to 0.1 s late; the rest is for the network
_ENQUEUED = (Enqueued.NEW, Enqueued.SAME, Enqueued.EXISTED)
_SCHEDULE_PAGE = 5_000


class RedisStore:
    """A `contract.Store`."""

    def __init__(self, url: str, *, namespace: str, connect_timeout_s: float) -> None:
        self._full_url, self._namespace, self._limit_s = url, namespace, connect_timeout_s
        self.url = redact(url)
        self._expected = (
            "the built-in server was expected there; look at the log in its directory"
            if url.startswith("embedded://")
            else "a Redis or Valkey server was expected there; start Redis, or use --url embedded:// "
            "(in a program: App('embedded://'), or AIOTQ_URL)"
        )
        self._keys = Keys(namespace)
        to_server = dialler(url, connect_timeout_s=connect_timeout_s)

        async def dial() -> AbstractConnection:
            self._keep_broom()
            return await to_server()

        self._wire = Wire(dial, limit_s=min(connect_timeout_s, ANSWER_WITHIN_S))
        self._blocking = Wire(dial, limit_s=BLOCK_S + BLOCK_MARGIN_S)
        self._listener = Listener(dial, url=self.url, limit_s=connect_timeout_s)
        self._broom: AsyncGenerator[None] | None = None

    def sibling(self, *, limit_s: float | None = None) -> RedisStore:
        limit_s = self._limit_s if limit_s is None else min(limit_s, self._limit_s)
        return RedisStore(self._full_url, namespace=self._namespace, connect_timeout_s=limit_s)

    async def open(self) -> ServerFacts:
        if self.url.startswith("memory://"):  # fakeredis has no INFO
            await self._send("connect", "PING")
            return ServerFacts(kind="fakeredis", version=version("fakeredis"), url=self.url)
        return look(await self._send("connect", "INFO"), url=self.url)

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
        await self._listener.close()
        await self._wire.close()
        await self._blocking.close()

    # --- how a command is sent --------------------------------------------------------------------------------

    async def _send(self, verb: str, *command: str | bytes | int, wire: Wire | None = None) -> Any:
        try:
            return await (wire or self._wire).call(*command)
        except WireBroken as error:
            raise self._unavailable(verb, error) from None
        except RedisError as error:
            raise told(error, verb=verb, url=self.url) from None

    async def _run(self, script: Script, *argv: str | bytes | int) -> Any:
        command = ("EVALSHA", script.sha, 1, self._keys.prefix, *argv)
        try:
            try:
                return await self._wire.call(*command)
            except NoScriptError:
                return await self._teach(script, command)
        except WireBroken as error:
            raise self._unavailable(script.name, error) from None
        except RedisError as error:
            raise told(error, verb=script.name, url=self.url) from None

    async def _teach(self, script: Script, command: tuple[str | bytes | int, ...]) -> Any:
        """Load a script and run it. Both go out in one write; somebody's SCRIPT FLUSH may still come between."""
        answer: Any = None
        for _ in range(LOAD_TRIES):
            both = self._wire.calls(("SCRIPT", "LOAD", script.text), command)
            loaded, answer = await asyncio.gather(*both, return_exceptions=True)
            if isinstance(loaded, BaseException):
                raise loaded
            if not isinstance(answer, NoScriptError):
                break
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _unavailable(self, verb: str, error: WireBroken) -> StoreUnavailable:
        return StoreUnavailable(
            f"{verb}: no answer from {self.url} ({error}); {self._expected}",
            verb=verb,
            url=self.url,
            sent=error.sent,
        )

    def _still_open(self, refused: StoreRefused) -> StoreUnavailable:
        """This request was refused; what became of an earlier one, whose answer got lost, is as unknown as before."""
        return StoreUnavailable(
            f"{refused.verb}: an answer from {self.url} got lost, and the next one was {refused.code}; try again later",
            verb=refused.verb,
            url=self.url,
            sent=True,
        )

    async def _repeat(self, attempt: Callable[[], Awaitable[T]], *, timeout_s: float | None = None) -> T:
        """Repeat what is safe to repeat until it is answered or its time is over."""
        loop = asyncio.get_running_loop()
        end = loop.time() + (self._limit_s if timeout_s is None else timeout_s)
        backoff_s, sent = 0.02, False
        while True:
            try:
                return await attempt()
            except StoreUnavailable as error:
                sent = error.sent = error.sent or sent
                failed: StoreError = error
            except StoreRefused as error:
                failed = self._still_open(error) if sent else error
                if error.code not in RECONNECT and error.code != "BUSY":
                    raise failed from None
            if loop.time() + backoff_s >= end:
                raise failed
            await asyncio.sleep(random.uniform(backoff_s / 2, backoff_s))  # noqa: S311  spread, no secret
            backoff_s = min(backoff_s * 2, 0.5)

    # --- a sender's side --------------------------------------------------------------------------------------

    async def enqueue(
        self, jobs: Sequence[NewJob], *, timeout_s: float | None = None, now_ms: int = 0
    ) -> Sequence[Enqueued]:
        argv = shapes.jobs(jobs)
        answer: bytes = await self._repeat(lambda: self._run(scripts.ENQUEUE, now_ms, *argv), timeout_s=timeout_s)
        return [_ENQUEUED[byte - 48] for byte in answer]

    async def read(self, job_id: str) -> bytes | None:
        return await self._repeat(lambda: self._send("read", "GET", self._keys.job(job_id)))

    async def read_many(self, job_ids: Sequence[str]) -> Sequence[bytes | None]:
        keys = [self._keys.job(job_id) for job_id in job_ids]
        return await self._repeat(lambda: self._send("read", "MGET", *keys)) if keys else []

    async def locate(self, job_id: str, *, generation: str, lines: Sequence[str]) -> Place:
        now_ms, lost, place, *rest = await self._repeat(lambda: self._run(scripts.LOCATE, job_id, generation, *lines))
        return Place(
            status=JobStatus(place.decode()) if place else None,
            worker_id=rest[0].decode() if place == b"running" else None,
            worker=rest[1].decode() if place == b"running" else None,
            due_ms=rest[0] if place == b"scheduled" else None,
            lost=lost,
            now_ms=now_ms,
        )

    async def replace(self, replacement: Replacement, *, now_ms: int = 0) -> Replaced:
        r = replacement
        argv = (
            r.job_id,
            now_ms,
            r.generation,
            r.record,
            r.new_generation,
            "" if r.ttl_ms is None else r.ttl_ms,
            r.line or "",
            "" if r.delay_ms is None else r.delay_ms,
            *r.lines,
        )
        return Replaced(await self._repeat(lambda: self._run(scripts.REPLACE, *argv)))

    async def cancel(self, job_id: str, *, generation: str, lines: Sequence[str]) -> bool:
        return bool(await self._repeat(lambda: self._run(scripts.CANCEL, job_id, generation, *lines)))

    async def ended(self, job_id: str) -> AsyncIterator[bytes | None]:
        subscription = self._listener.subscribe(self._keys.done(job_id))
        try:
            while True:
                news = await subscription.next()
                # Subscribed (anew): from now on its end is published, and what it is by now is seen here.
                yield news or await self._watch(job_id)
        finally:
            self._listener.unsubscribe(subscription)

    async def _watch(self, job_id: str) -> bytes | None:
        try:
            return await self._repeat(lambda: self._run(scripts.WATCH, job_id, WAITS_MS))
        except StoreRefused:  # a server that writes nothing now may still be read: look, and look again later
            return None

    async def live_workers(self) -> Mapping[str, Sequence[str]]:
        ids = await self._repeat(
            lambda: self._send("read", "ZRANGEBYSCORE", self._keys.workers, "(0", "+inf", "LIMIT", 0, 1000)
        )
        names = [self._keys.worker(worker_id.decode(errors="backslashreplace")) for worker_id in ids]
        cards = [self._send("read", "HMGET", name, "label", "queues") for name in names]
        workers: dict[str, Sequence[str]] = {}
        for label, queues in await asyncio.gather(*cards):
            if label is not None:
                workers[label.decode(errors="replace")] = (queues or b"").decode(errors="replace").split(",")
        return workers

    # --- a worker's side --------------------------------------------------------------------------------------

    async def register(self, card: WorkerCard, *, now_ms: int = 0) -> bool:
        fields = ("label", card.label, "host", card.host, "pid", card.pid, "queues", ",".join(card.queues))
        return bool(await self._run(scripts.REGISTER, card.worker_id, now_ms, card.lease_ms, *fields))

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
        return shapes.exchanged(reply, order=order)

    async def renew(self, worker_id: str, *, lease_ms: int, now_ms: int = 0) -> Renewed:
        alive, now, *odd = await self._run(scripts.RENEW, worker_id, now_ms, lease_ms)
        peers = [
            Peer(worker_id=odd[i].decode(errors="backslashreplace"), lease_end_ms=int(float(odd[i + 1])))
            for i in range(0, len(odd), 2)
        ]
        return Renewed(alive=bool(alive), now_ms=now, suspicious=peers, epoch=self._wire.epoch)

    async def reclaim(self, worker_id: str, *, seen_ms: int, limit: int = MAX_RECLAIMED, now_ms: int = 0) -> Reclaimed:
        return Reclaimed(await self._run(scripts.RECLAIM, worker_id, now_ms, seen_ms, limit))

    async def lease_end(self, worker_id: str) -> int | None:
        end_ms = await self._send("read", "ZSCORE", self._keys.workers, worker_id)
        return None if end_ms is None else int(float(end_ms))

    async def promote(
        self, worker_id: str, *, limit: int = MAX_PROMOTED, lease_ms: int = POLLER_LEASE_MS, now_ms: int = 0
    ) -> Promoted:
        leader, moved, wait_us, *garbage = await self._run(scripts.PROMOTE, worker_id, now_ms, limit, lease_ms)
        return Promoted(leader=bool(leader), moved=moved, wait_us=wait_us, garbage=[key.decode() for key in garbage])

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

    async def cancellations(self, worker_id: str) -> AsyncIterator[str]:
        subscription = self._listener.subscribe(self._keys.control(worker_id))
        try:
            while True:
                news = await subscription.next()
                if news:
                    yield news.decode(errors="backslashreplace")
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

    async def pause(self, queue: str) -> None:
        await self._repeat(lambda: self._run(scripts.PAUSE, queue))

    async def resume(self, queue: str) -> None:
        await self._repeat(lambda: self._run(scripts.RESUME, queue))
