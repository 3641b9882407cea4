"""What those ask of the store who enqueue, wait for results and look: safe to repeat, and repeated."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from aiotq.errors import QueueFull, StoreRefused
from aiotq.job import JobStatus
from aiotq.store import scripts, shapes
from aiotq.store.ask import Asker
from aiotq.store.connection.listen import Listener, Subscription
from aiotq.store.connection.wire import Wire
from aiotq.store.contract import WAITS_MS, Enqueued, Place, Replaced, Survey
from aiotq.store.durable import Durable
from aiotq.store.keys import Keys
from aiotq.store.notes import MOST_LINES, MOST_PROGRESS, News, Notes
from aiotq.store.survey import survey
from aiotq.store.url import redact

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from redis.asyncio.connection import AbstractConnection

    from aiotq.store.contract import NewJob, Replacement

_ENQUEUED = (Enqueued.NEW, Enqueued.SAME, Enqueued.EXISTED)
_FULL = ord("3")


class CallerVerbs(Asker):
    """A caller's side of a `contract.Store`."""

    def __init__(
        self, dial: Callable[[], Awaitable[AbstractConnection]], *, url: str, namespace: str, limit_s: float
    ) -> None:
        """url: with its password. limit_s: how long a verb may take, connecting included."""
        self._keys, shown = Keys(namespace), redact(url)
        self._listener = Listener(dial, url=shown, limit_s=limit_s)
        super().__init__(dial, url=shown, prefix=self._keys.prefix, limit_s=limit_s, left=self._listener.move)
        self._durable = Durable(Wire(dial, limit_s=self._answer_s), url=url, mark=self._keys.durable)

    async def enqueue(
        self, jobs: Sequence[NewJob], *, timeout_s: float | None = None, now_ms: int = 0
    ) -> Sequence[Enqueued | QueueFull]:
        argv = shapes.jobs(jobs)
        answer: bytes = await self._repeat(
            lambda: self._run(scripts.ENQUEUE, now_ms, *argv), verb="enqueue", timeout_s=timeout_s
        )
        return self._answers(jobs, answer)

    async def enqueue_durably(
        self, jobs: Sequence[NewJob], *, timeout_s: float | None = None, now_ms: int = 0
    ) -> tuple[Sequence[Enqueued | QueueFull], int]:
        argv, durable, sent = shapes.jobs(jobs), self._durable, False

        async def attempt() -> tuple[bytes, int]:
            nonlocal sent
            await self._asked("connect", durable.means())
            sent = True
            return await self._run(scripts.ENQUEUE, now_ms, *argv, wire=durable.wire), durable.wire.epoch

        answer, link = await self._repeat(attempt, verb="enqueue", timeout_s=timeout_s, sent=lambda: sent)
        return self._answers(jobs, answer), link

    def _answers(self, jobs: Sequence[NewJob], answer: bytes) -> Sequence[Enqueued | QueueFull]:
        """A byte a job, as enqueue.lua gives them."""
        if _FULL not in answer:
            return [_ENQUEUED[byte - 48] for byte in answer]
        return [
            self._queue_full(job) if byte == _FULL else _ENQUEUED[byte - 48]
            for job, byte in zip(jobs, answer, strict=True)
        ]

    def _queue_full(self, job: NewJob) -> QueueFull:
        queue, most = job.line.partition(":")[0], job.max_len or 0
        return QueueFull(queue=queue, max_len=most, job_id=job.job_id, verb="enqueue", url=self.url)

    async def settled(self, link: int, *, timeout_s: float) -> None:
        await self._asked("enqueue", self._durable.settled(link, timeout_s=timeout_s))

    async def read(self, job_id: str, *, at_most: int | None = None) -> bytes | None:
        key = self._keys.job(job_id)
        if at_most is None:
            return await self._repeat(lambda: self._send("read", "GET", key))
        return await self._repeat(lambda: self._send("read", "GETRANGE", key, 0, at_most - 1)) or None

    async def read_many(self, job_ids: Sequence[str]) -> Sequence[bytes | None]:
        keys = [self._keys.job(job_id) for job_id in job_ids]
        return await self._repeat(lambda: self._send("read", "MGET", *keys)) if keys else []

    async def locate(self, job_id: str, *, generation: str, lines: Sequence[str]) -> Place:
        now_ms, lost, place, *rest = await self._repeat(lambda: self._run(scripts.LOCATE, job_id, generation, *lines))
        return Place(
            status=JobStatus(place.decode()) if place else None,
            worker_id=shapes.word(rest[0]) if place == b"running" else None,
            worker=shapes.word(rest[1]) if place == b"running" else None,
            due_ms=rest[0] if place == b"scheduled" else None,
            line=shapes.word(rest[1]) if place == b"scheduled" else None,
            lost=lost,
            now_ms=now_ms,
        )

    async def replace(self, replacement: Replacement, *, audit: bytes = b"", now_ms: int = 0) -> Replaced:
        r = replacement
        argv = (
            r.job_id,
            now_ms,
            r.state + r.generation,
            r.record,
            r.new_generation,
            "" if r.ttl_ms is None else r.ttl_ms,
            r.line or "",
            "" if r.delay_ms is None else r.delay_ms,
            int(r.forgets),
            audit,
            *r.lines,
        )
        return Replaced(await self._repeat(lambda: self._run(scripts.REPLACE, *argv)))

    async def cancel(self, job_id: str, *, generation: str, lines: Sequence[str], audit: bytes = b"") -> bool:
        return bool(await self._repeat(lambda: self._run(scripts.CANCEL, job_id, generation, audit, *lines)))

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

    async def notes(self, job_id: str) -> Notes:
        keys = self._keys

        async def look() -> tuple[bytes | None, list[bytes] | None, bytes | None]:
            return await asyncio.gather(
                self._send("read", "GETRANGE", keys.job(job_id), 0, 18),
                self._send("read", "LRANGE", keys.note(job_id), -MOST_LINES, -1),
                self._send("read", "GETRANGE", keys.progress(job_id), 0, MOST_PROGRESS - 1),
            )

        header, lines, progress = await self._repeat(look)
        return shapes.notes(header, lines, progress)

    async def noted(self, job_id: str) -> AsyncIterator[News]:
        listener, far = self._listener, self._keys.progress(job_id)
        look = partial(self._send, "read", "GETRANGE", far, 0, MOST_PROGRESS - 1)
        subscriptions = [listener.subscribe(channel) for channel in (far, self._keys.done(job_id))]
        try:
            while True:
                place, news = await Subscription.next_of(*subscriptions)
                if news is not None and place == 0:
                    yield News(progress=news)
                    continue
                # Subscribed (anew), or it has ended. Progress is published from now on, so it is looked at after this.
                record = news or await self._watch(job_id) or b""
                yield News(progress=await self._repeat(look) or None if place == 0 else None, record=record)
        finally:
            for subscription in subscriptions:
                listener.unsubscribe(subscription)

    async def live_workers(self) -> Mapping[str, Sequence[str]]:
        ids = await self._repeat(
            lambda: self._send("read", "ZRANGEBYSCORE", self._keys.workers, "(0", "+inf", "LIMIT", 0, 1000)
        )
        names = [self._keys.worker(worker_id) for worker_id in shapes.words(ids or ())]
        cards = [self._send("read", "HMGET", name, "label", "queues") for name in names]
        workers: dict[str, list[str]] = {}  # several may go by one label
        for card in await asyncio.gather(*cards):
            label, queues = card or (None, None)
            if label is not None:
                workers.setdefault(shapes.word(label), []).extend(shapes.word(queues or b"").split(","))
        return workers

    async def survey(self) -> Survey:
        return await survey(partial(self._send, "read"), self._keys, info=not self.url.startswith("memory://"))
