"""Jobs whose callers go on only once a crash of the server can't lose them: `options(durable=True)`.

Two steps over one connection: the job is enqueued as any other, then the server is asked until it is safe there. If
that connection breaks in between, another server may answer at the same address: so the job is enqueued again, which
is idempotent, and asked about there. What waits at the same time shares both steps.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiotq.errors import DurabilityUnknown, StoreError, StoreUnavailable
from aiotq.sender import Sender

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aiotq.store.contract import Enqueued, NewJob, Store

AGAIN_S = 0.05  # before a job is enqueued anew; with less than that left it is not


class _Durably:
    """A store's `enqueue_durably`, as a sender takes it: with each answer the number of the connection."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.url = store.url

    async def open(self) -> object:
        return await self._store.open()

    async def enqueue(
        self, jobs: Sequence[NewJob], *, timeout_s: float | None = None
    ) -> Sequence[tuple[Enqueued, int]]:
        answers, link = await self._store.enqueue_durably(jobs, timeout_s=timeout_s)
        return [(answer, link) for answer in answers]


class DurableSender:
    """The way of durable jobs to the store. Used from one event loop."""

    def __init__(self, store: Store, *, timeout_s: float) -> None:
        """timeout_s: how long a job may take until it is known to be safe."""
        self._store, self._timeout_s = store, timeout_s
        self._loop = asyncio.get_running_loop()
        self._sender = Sender(_Durably(store), timeout_s=timeout_s)
        self._asking: set[asyncio.Future[None]] = set()  # one for each caller whose job is queued

    async def send(self, job: NewJob) -> Enqueued:
        """Enqueue a job, and return once it is safe.

        Raises StoreError as any enqueuing; NotDurable, with nothing queued; DurabilityUnknown if it is queued, and not
        known within the time to be safe.
        """
        until = self._loop.time() + self._timeout_s
        answer, link = await self._sender.send(job)
        asking = self._begin()
        try:
            async with asyncio.timeout_at(until):
                while not await self._settled(link, until):
                    _, link = await self._sender.send(job)
        except (StoreError, TimeoutError) as error:
            raise self._unknown(error, job_id=job.job_id) from error
        finally:
            self._end(asking)
        return answer

    async def send_many(self, jobs: Iterable[NewJob]) -> list[Enqueued]:
        """Enqueue many in bounded batches, and return once all are safe: their answers, in their order.

        Raises StoreError for the first batch that fails, with a note that says how many jobs were queued before;
        NotDurable and DurabilityUnknown as `send`.
        """
        new = list(jobs)
        answers = await self._sender.send_many(new)
        asking = self._begin()
        until = self._loop.time() + self._timeout_s
        links = {link for _, link in answers}
        try:
            async with asyncio.timeout_at(until):
                while links and (len(links) > 1 or not await self._settled(links.pop(), until)):
                    links = {link for _, link in await self._sender.send_many(new)}
        except (StoreError, TimeoutError) as error:
            raise self._unknown(error, job_id=None) from error
        finally:
            self._end(asking)
        return [answer for answer, _ in answers]

    async def drain(self) -> None:
        """Wait until all callers have their answers; nothing more may be handed over then."""
        await self._sender.drain()
        while self._asking:
            await asyncio.wait(self._asking)
            await self._sender.drain()  # what was enqueued anew meanwhile

    async def _settled(self, link: int, until: float) -> bool:
        """True once it is safe; False if the connection broke, so that it has to be enqueued again."""
        try:
            await self._store.settled(link, timeout_s=until - self._loop.time())
        except StoreUnavailable:
            if self._loop.time() + AGAIN_S >= until:
                raise
            await asyncio.sleep(AGAIN_S)
            return False
        return True

    def _begin(self) -> asyncio.Future[None]:
        asking: asyncio.Future[None] = self._loop.create_future()
        self._asking.add(asking)
        return asking

    def _end(self, asking: asyncio.Future[None]) -> None:
        self._asking.discard(asking)
        if not asking.done():
            asking.set_result(None)

    def _unknown(self, error: BaseException, *, job_id: str | None) -> DurabilityUnknown:
        what = "all of these jobs are" if job_id is None else f"job {job_id} is"
        why = str(error) or f"no word of it within {self._timeout_s:g} s"
        return DurabilityUnknown(
            f"enqueue: {what} queued at {self._store.url}, but whether a crash of it loses that is not known ({why}); "
            f"it was expected on disk or on a replica within connect_timeout ({self._timeout_s:g} s); "
            "repeating it with the same job_id is safe, and waits for that again",
            url=self._store.url,
            job_id=job_id,
        )
