"""Jobs whose callers go on only once a crash of the server can't lose them: `options(durable=True)`.

Two steps over one connection: the job is enqueued as any other, then the server is asked until it is safe there. If
that connection breaks in between, another server may answer at the same address: so the job is enqueued again, which
is idempotent, and asked about there. What waits at the same time shares both steps.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiotq.errors import DurabilityUnknown, QueueFull, StoreError, StoreRefused, StoreUnavailable
from aiotq.sender import Sender
from aiotq.store.contract import REPEATS_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from aiotq.store.contract import Enqueued, NewJob, Store

AGAIN_S = 0.05  # before a job is enqueued anew


class _Durably:
    """A store's `enqueue_durably`, as a sender takes it: with each answer the number of the connection."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.url = store.url

    async def open(self, *, timeout_s: float | None = None) -> object:
        return await self._store.open(timeout_s=timeout_s)

    async def enqueue(
        self, jobs: Sequence[NewJob], *, timeout_s: float | None = None
    ) -> Sequence[tuple[Enqueued, int] | QueueFull]:
        answers, link = await self._store.enqueue_durably(jobs, timeout_s=timeout_s)
        return [answer if isinstance(answer, QueueFull) else (answer, link) for answer in answers]


class DurableSender:
    """The way of durable jobs to the store. Used from one event loop."""

    def __init__(self, store: Store, *, timeout_s: float) -> None:
        """timeout_s: how long a job may take until it is known to be safe; REPEATS_S / 2 at most."""
        # Half of it: as it is about to be over, a job may be handed to the sender anew, which takes as long again.
        self._store, self._timeout_s = store, min(timeout_s, REPEATS_S / 2)
        self._loop = asyncio.get_running_loop()
        self._sender = Sender(_Durably(store), timeout_s=self._timeout_s)
        self._asking: set[asyncio.Future[None]] = set()  # one for each caller whose job is queued

    async def send(self, job: NewJob) -> Enqueued:
        """Enqueue a job, and return once it is safe.

        Raises StoreError as any enqueuing; NotDurable or QueueFull, with nothing queued; DurabilityUnknown if it is
        queued, and not known within the time to be safe.
        """
        until = self._loop.time() + self._timeout_s
        answer, link = await self._sender.send(job)

        async def again() -> int:
            return (await self._sender.send(job))[1]

        await self._safe(link, again, until=until, job_id=job.job_id)
        return answer

    async def send_many(self, jobs: Iterable[NewJob]) -> list[Enqueued | QueueFull]:
        """Enqueue many in bounded batches, and return once all that fit are safe: their answers, in their order.

        Raises StoreError for the first batch that fails, with a note that says how many jobs were queued before;
        NotDurable and DurabilityUnknown as `send`.
        """
        new = list(jobs)
        answers = await self._sender.send_many(new)

        queued = [job for job, answer in zip(new, answers, strict=True) if not isinstance(answer, QueueFull)]

        async def again() -> int | None:
            return _one_link(await self._sender.send_many(queued))

        if queued:
            link = _one_link([answer for answer in answers if not isinstance(answer, QueueFull)])
            await self._safe(link, again, until=self._loop.time() + self._timeout_s, job_id=None)
        return [answer if isinstance(answer, QueueFull) else answer[0] for answer in answers]

    async def drain(self) -> None:
        """Wait until all callers have their answers; nothing more may be handed over then."""
        await self._sender.drain()
        while self._asking:
            await asyncio.wait(self._asking)
            await self._sender.drain()  # what was enqueued anew meanwhile

    async def _safe(
        self, link: int | None, again: Callable[[], Awaitable[int | None]], *, until: float, job_id: str | None
    ) -> None:
        """Return once what went over that connection is safe; as often as one breaks, enqueue `again` over the next.

        link: None if it went over several. Raises DurabilityUnknown.
        """
        asking: asyncio.Future[None] = self._loop.create_future()
        self._asking.add(asking)
        last: Exception | None = None
        try:
            async with asyncio.timeout_at(until):
                while True:
                    try:
                        if link is not None:
                            return await self._store.settled(link, timeout_s=until - self._loop.time())
                    except (StoreUnavailable, StoreRefused) as error:
                        last = error  # refused: it is a replica now, or full
                    await asyncio.sleep(AGAIN_S)
                    link = await again()
        except TimeoutError as error:
            raise self._unknown(last or error, job_id=job_id) from last
        except StoreError as error:
            raise self._unknown(error, job_id=job_id) from error
        finally:
            self._asking.discard(asking)
            asking.cancel()

    def _unknown(self, error: Exception, *, job_id: str | None) -> DurabilityUnknown:
        what = "all of these jobs are" if job_id is None else f"job {job_id} is"
        why = str(error) or f"no word of it within {self._timeout_s:g} s"
        return DurabilityUnknown(
            f"enqueue: {what} queued at {self._store.url}, but whether a crash of it loses that is not known ({why}); "
            f"it was expected on disk or on a replica within connect_timeout ({self._timeout_s:g} s); "
            "repeating it with the same job_id is safe, and waits for that again",
            url=self._store.url,
            job_id=job_id,
        )


def _one_link(answers: Sequence[tuple[Enqueued, int] | QueueFull]) -> int | None:
    """The one connection that all went over, if it was one. Raises QueueFull for one that fits no more."""
    links: set[int] = set()
    for answer in answers:
        if isinstance(answer, QueueFull):
            raise answer
        links.add(answer[1])
    return links.pop() if len(links) == 1 else None
