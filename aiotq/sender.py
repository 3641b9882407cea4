"""What is enqueued at the same time goes out together.

While batches are on their way the next one gathers, so they grow with load by themselves and a lone job is sent at
once. Each job gets its own answer. What flies is owned by a task of its own: a caller awaits a future, and one that
goes away takes its unsent job back.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar, cast

from aiotq.errors import AiotqError, QueueFull, StoreError, StoreRefused, StoreUnavailable
from aiotq.store.contract import MAX_BATCH_BYTES, MAX_ENQUEUE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from aiotq.store.contract import NewJob

A = TypeVar("A")  # what is answered to each job
A_co = TypeVar("A_co", covariant=True)
E = TypeVar("E", bound=Exception)
Entry: TypeAlias = "tuple[NewJob, asyncio.Future[A], float]"  # with when it was handed over, loop time

# A job that has waited unsent for longer than this share of the time-out is not sent any more, so that each batch has
# at least the rest for its round trip, and nobody waits longer than the time-out in all.
UNSENT_SHARE = 0.8
OPEN_AGAIN_S = 0.1
FLYERS = 2  # batches on their way at once
HALF_LEAST = 16  # jobs that are worth a second batch beside one on its way


class Way(Protocol[A_co]):
    """What a sender needs of a store."""

    @property
    def url(self) -> str:
        """Where it is, without its password."""
        ...

    async def open(self, *, timeout_s: float | None = None) -> object:
        """Look at the server, in no more than that time. Raises StoreError."""
        ...

    async def enqueue(self, jobs: Sequence[NewJob], *, timeout_s: float | None = None) -> Sequence[A_co | QueueFull]:
        """Put jobs in their lines or the schedule. An answer each: QueueFull for one that did not fit."""
        ...


class Sender(Generic[A]):
    """The one way from an app to its store's `enqueue`. Used from one event loop."""

    def __init__(self, store: Way[A], *, timeout_s: float) -> None:
        """timeout_s: how long a job may take from `send` to its answer, waiting included."""
        self._store = store
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Entry[A]] = deque()
        self._flyers: set[asyncio.Task[None]] = set()  # each has one batch on its way; this owns them
        self._flying: list[list[Entry[A]]] = []  # these batches
        self._opened = False

    def send(self, job: NewJob) -> asyncio.Future[A]:
        """Hand over a job. The future has its answer or a StoreError; to cancel it takes an unsent job back."""
        loop = self._loop
        future: asyncio.Future[A] = loop.create_future()
        self._waiting.append((job, future, loop.time()))
        flyers = len(self._flyers)
        if not flyers or (flyers < FLYERS and len(self._waiting) >= HALF_LEAST and self._opened):
            self._launch()
        return future

    async def send_many(self, jobs: Iterable[NewJob]) -> list[A | QueueFull]:
        """Send jobs in bounded batches; one is made while another is on its way. Returns the answers in their order.

        QueueFull is the answer to a job that did not fit; those after it are tried all the same.
        Raises StoreError for the first batch that fails; a note on it says how many jobs were queued before.
        """
        answers: list[A | QueueFull] = []
        flight: asyncio.Task[Sequence[A | QueueFull]] | None = None
        try:
            for batch in batches(jobs):
                if flight is not None:
                    answers += await flight
                # Owned by this call, which waits for it below.
                flight = self._loop.create_task(self._send_now(batch))
                await asyncio.sleep(0)  # it goes out now
            if flight is not None:
                answers += await flight
        except StoreError as error:
            queued = len(answers) - len(refusals(answers))
            error.add_note(f"{queued:,} jobs of this enqueue_many() were queued before that")
            raise
        finally:
            if flight is not None and not flight.done():
                flight.cancel()
                await asyncio.wait([flight])
        return answers

    async def _send_now(self, batch: list[NewJob]) -> Sequence[A | QueueFull]:
        until = self._loop.time() + self._timeout_s
        await self.open(until)
        return await self._store.enqueue(batch, timeout_s=until - self._loop.time())

    async def open(self, until: float, *, refused_s: float = math.inf) -> None:
        """Look at the server, once. Raises StoreError if it can't serve, or has not answered by `until` (loop time).

        refused_s: for how long it is tried again where nobody listens.
        """
        refused_until = self._loop.time() + refused_s
        failed: StoreError | None = None
        while not self._opened:
            try:
                await self._store.open(timeout_s=max(0.0, until - self._loop.time()))
                self._opened = True
            except (StoreUnavailable, StoreRefused) as error:
                last, failed = failed, error
                if isinstance(error, StoreUnavailable):
                    if error.refused:
                        until = min(until, refused_until)
                    elif last is not None and not error.sent and self._loop.time() >= until:
                        failed = last  # this try was cut off before it learned anything: what is known was said before
                    error.sent = False  # no job was: it has only been looked at
                if self._loop.time() + OPEN_AGAIN_S >= until:
                    raise failed from None
                await asyncio.sleep(OPEN_AGAIN_S)

    async def drain(self) -> None:
        """Wait until all that was handed over has its answer; nothing more may be handed over then."""
        flying = [entry for batch in self._flying for entry in batch]
        asked = [future for _, future, _ in (*flying, *self._waiting) if not future.done()]
        if asked:
            await asyncio.wait(asked)
        flyers = list(self._flyers)
        for flyer in flyers:  # what is left is for callers that went away
            flyer.cancel()
        if flyers:
            await asyncio.wait(flyers)

    def _launch(self) -> None:
        # Owned by `_flyers` until it ends; `asyncio.run` cancels it with its loop.
        flyer = self._loop.create_task(self._fly())
        self._flyers.add(flyer)
        flyer.add_done_callback(self._landed)

    async def _fly(self) -> None:
        """Take one batch after the other on its way, for as long as there are any."""
        while self._waiting:
            batch = self._next_batch(self._most())
            if batch:
                self._flying.append(batch)
                try:
                    await self._send_batch(batch)
                finally:
                    self._flying.remove(batch)
            # Callers that were just answered may have their next job at hand: it goes with the next batch.
            await asyncio.sleep(0)

    def _most(self) -> int:
        """How many jobs go with the next batch. Of two flyers each gets half: one is made while the other is stored."""
        if len(self._flyers) < FLYERS:
            return MAX_ENQUEUE
        jobs = len(self._waiting) + sum(map(len, self._flying))
        return min(MAX_ENQUEUE, max(HALF_LEAST, (jobs + 1) // 2))

    def _landed(self, flyer: asyncio.Task[None]) -> None:
        """A flyer has ended, or was cancelled, perhaps before its first step: the loop ends."""
        self._flyers.discard(flyer)
        if flyer.cancelled():
            while self._waiting:
                job, future, _ = self._waiting.popleft()
                _fail(future, self._cut_off(job, sent=False))
        elif self._waiting and not self._flyers:  # handed over just after its last look
            self._launch()

    def _next_batch(self, most: int) -> list[Entry[A]]:
        """Up to `most` of the oldest jobs that fit, without those taken back; those that have waited too long fail."""
        waiting, now = self._waiting, self._loop.time()
        too_old = now - self._timeout_s * UNSENT_SHARE
        batch: list[Entry[A]] = []
        size = 0
        while waiting and len(batch) < most:
            entry = job, future, since = waiting[0]
            if future.done():
                waiting.popleft()
            elif since < too_old:
                waiting.popleft()
                _fail(
                    future, self._cut_off(job, sent=False, cause=f"no answer to earlier jobs for {now - since:.1f} s")
                )
            else:
                size += job.size
                if batch and size > MAX_BATCH_BYTES:
                    break
                batch.append(entry)
                waiting.popleft()
        return batch

    async def _send_batch(self, batch: list[Entry[A]]) -> None:
        """One round trip. Whatever comes of it is each job's own answer."""
        until = batch[0][2] + self._timeout_s
        try:
            await self.open(until)
            jobs = [job for job, _, _ in batch]
            answers = await self._store.enqueue(jobs, timeout_s=until - self._loop.time())
            for (_, future, _), answer in zip(batch, answers, strict=True):
                if type(answer) is QueueFull:
                    _fail(future, answer)
                elif not future.done():
                    future.set_result(cast("A", answer))
        except asyncio.CancelledError:
            for job, future, _ in batch:
                _fail(future, self._cut_off(job, sent=True))
            raise
        except Exception as error:  # noqa: BLE001  it belongs to the callers: one each
            for job, future, _ in batch:
                _fail(future, told(error, job_id=job.job_id))

    def _cut_off(self, job: NewJob, *, sent: bool, cause: str = "the event loop has ended") -> StoreUnavailable:
        url = self._store.url
        error = StoreUnavailable(f"enqueue: {cause} ({url})", verb="enqueue", url=url, sent=sent)
        return told(error, job_id=job.job_id)


def batches(jobs: Iterable[NewJob]) -> Iterator[list[NewJob]]:
    """The jobs in their order, as many at a time as fit one call of the store; a job of any size fits alone."""
    batch: list[NewJob] = []
    size = 0
    for job in jobs:
        size += job.size
        if batch and (len(batch) == MAX_ENQUEUE or size > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], job.size
        batch.append(job)
    if batch:
        yield batch


def refusals(answers: Iterable[object]) -> dict[int, QueueFull]:
    """Those of the answers that are none, by their place."""
    return {place: answer for place, answer in enumerate(answers) if isinstance(answer, QueueFull)}


def told(error: E, *, job_id: str) -> E:
    """A batch's error as one job's own instance, which says what is known of that job. What is no AiotqError stays."""
    if not isinstance(error, AiotqError):
        return error
    own = type(error).__new__(type(error))
    own.__dict__.update(error.__dict__)
    own.args, own.__cause__ = error.args, error.__cause__
    if isinstance(error, StoreUnavailable):
        known = (
            f"job {job_id} may have been queued; repeating it with the same job_id is safe"
            if error.sent
            else "the job was not queued"
        )
        own.args = (f"{error}; {known}",)
    return own


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
