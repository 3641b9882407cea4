"""`Job[R]`: what a caller holds of a job."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import msgspec

from aiotq import record, shown
from aiotq.errors import AiotqError, InvalidRecord, JobCancelled, JobExpired, JobFailed, JobNotFound, ResultTimeout
from aiotq.ids import short
from aiotq.inspection import notes
from aiotq.inspection.acts import Act, Wish, cancellation
from aiotq.inspection.desk import kept_ms
from aiotq.job import SUSPECT_FROM, ErrorInfo, JobStatus
from aiotq.job import lines as job_lines
from aiotq.limits import MAX_BESIDE, refuse_hostile
from aiotq.retry import seconds
from aiotq.store.contract import Place, Replaced, Replacement

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence

    from aiotq.client import Core
    from aiotq.inspection.notes import LogLine, Progress
    from aiotq.job import JobInfo
    from aiotq.record import Record
    from aiotq.retry import Duration
    from aiotq.store.contract import Store
    from aiotq.store.notes import News, Notes

R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")

# What is published may be lost: so a waiter looks for itself now and then, well within WAITS_MS, which that renews.
LOOK_AGAIN_S = 30.0
LOOK_S = 1.0  # how long the first look, and the one that explains a time-out, may take
TRIES = 20  # how often a job is read again that changed between two reads


class Job(Generic[R_co]):
    """The handle of a job, whether or not there is one. Usable from any event loop.

    id: its id. existed: whether there was a job of this id already when it was enqueued, so that this is the handle of
    that one.
    """

    __slots__ = ("_core", "existed", "id")

    def __init__(self, core: Core, job_id: str, *, existed: bool = False) -> None:
        self._core, self.id, self.existed = core, job_id, existed

    def __repr__(self) -> str:
        return f"<Job {self.id}>"

    async def result(self, timeout: Duration | None = None) -> R_co:
        """Wait for the job's end, and return what it returned; None if its result is not stored.

        timeout: how long to wait; None: for ever. Raises JobFailed, JobCancelled, JobExpired, ResultTimeout (the job
        goes on), JobNotFound (there is none, or its record has gone), SerializationError (the result does not fit the
        task's annotation) or StoreError.
        """
        timeout_s = None if timeout is None else seconds(timeout, name="timeout")
        return self._outcome(await self._ended(self._core.client().store, timeout_s))

    async def status(self) -> JobStatus:
        """Where it is in its life. Raises JobNotFound, StoreError."""
        found, place = await self._find(self._core.client().store)
        return found.status or place.status or JobStatus.QUEUED

    async def info(self) -> JobInfo:
        """All that is known of it now. Raises JobNotFound, StoreError."""
        found, place = await self._find(self._core.client().store)
        return shown.info(found, place.status, lost=place.lost, worker_label=place.worker, due_ms=place.due_ms)

    async def cancel(self) -> bool:
        """Have it never run, or stop at its next await if it is running, wherever its worker is.

        Returns True if it was cancelled, or its worker told to stop it; False if it had ended already.
        Raises JobNotFound, StoreError, and UsageError if its record is signed and this app has no keys.
        """
        store = self._core.client().store
        for tries in range(TRIES):
            found, place = await self._find(store)
            if found.status is not None:  # by this very call, if its worker heard of it and the answer got lost
                return tries > 0 and found.doc.reason == "cancelled"
            tickets = lines(found)
            if await store.replace(_cancellation(self._core, found, place)) is Replaced.DONE:
                return True
            if await store.cancel(self.id, generation=found.generation, lines=tickets):
                return True
        return False  # each time it had moved on between two looks: it runs, and fast, again and again

    async def logs(self) -> tuple[LogLine, ...]:
        """What the job has written with `current_job().log()`: the last 200 lines, of all its attempts.

        Where lines were left out, one says how many. They are kept as long as the job's record. One round trip.
        Raises JobNotFound, StoreError.
        """
        found, since_ms = await self._notes()
        return notes.log_lines(found.lines, since_ms=since_ms)

    async def progress(self) -> Progress | None:
        """How far it said that it was, with `current_job().progress()`; None if it has not said. One round trip.

        Raises JobNotFound, StoreError.
        """
        found, since_ms = await self._notes()
        return notes.progress(found.progress, since_ms=since_ms)

    async def watch(self, timeout: Duration | None = None) -> AsyncGenerator[Progress]:
        """How far the job is: `async for far in job.watch()`. First how far it is now; ends with the job.

        A job that says nothing yields nothing; what it came to is for `result()`. It may be watched any number of times
        at once, and a lost connection is made again. timeout: for how long; None: until the end. Raises ResultTimeout
        (the job goes on), JobNotFound, StoreError.
        """
        timeout_s = None if timeout is None else seconds(timeout, name="timeout")
        store, last = self._core.client().store, None
        async with aclosing(self._heard(store, timeout_s)) as heard:
            async for far in heard:
                if far is not None and far != last:
                    last = far
                    yield far

    async def _heard(self, store: Store, timeout_s: float | None) -> AsyncGenerator[Progress | None]:
        """What is to be seen of its progress until its end, whether or not it is new. Raises ResultTimeout."""
        loop = asyncio.get_running_loop()
        deadline = None if timeout_s is None else loop.time() + timeout_s
        found = await _within(None if timeout_s is None else max(timeout_s, LOOK_S), self._read(store))
        while found is None or found.status is None:
            look_at = loop.time() + LOOK_AGAIN_S
            async with aclosing(cast("AsyncGenerator[News]", store.noted(self.id))) as heard:
                while found is None or found.status is None:
                    rest_s = (look_at if deadline is None else min(look_at, deadline)) - loop.time()
                    news = await _within(rest_s, anext(heard)) if rest_s > 0 else None
                    if news is None:
                        break
                    if news.record is not None:
                        found = await self._news(store, news.record)
                    yield notes.progress(news.progress, since_ms=0 if found is None else found.enqueued_ms)
            if deadline is not None and loop.time() >= deadline and (found is None or found.status is None):
                raise await self._timeout(store, cast("float", timeout_s))
        yield await self.progress()  # the last word, whatever has got lost

    async def _notes(self) -> tuple[Notes, int]:
        found = await self._core.client().store.notes(self.id)
        if found.enqueued_ms is None:
            raise JobNotFound(job_id=self.id)
        return found, found.enqueued_ms

    # --- reading ------------------------------------------------------------------------------------------------

    async def _read(self, store: Store) -> Record:
        return await self._shown(store, self._decoded(await store.read(self.id, at_most=self._most + 1)))

    async def _shown(self, store: Store, found: Record) -> Record:
        """The record, if it may still be shown."""
        until_ms = record.hidden_from_ms(found)
        if until_ms is not None:
            place = await store.locate(self.id, generation=found.generation, lines=lines(found))
            if place.now_ms >= until_ms:
                raise JobNotFound(job_id=self.id)
        return found

    def _decoded(self, data: bytes | None) -> Record:
        if not data:
            raise JobNotFound(job_id=self.id)
        refuse_hostile(self.id, data, at_most=self._most)
        signer = self._core.signer
        return record.decode(self.id, data if signer is None else signer.opened(self.id, data))

    @property
    def _most(self) -> int:
        """How many bytes a record may take."""
        settings = self._core.settings
        return settings.max_payload + settings.max_result + MAX_BESIDE

    async def _find(self, store: Store) -> tuple[Record, Place]:
        """The record, and where it is if it has not ended; read again if it moves on in between."""
        tries = 0
        while True:
            tries += 1
            found = await self._read(store)
            if found.status is not None:
                return found, Place(status=None)
            place = await store.locate(self.id, generation=found.generation, lines=lines(found))
            if place.status is not None or tries == TRIES:
                return found, place

    # --- waiting ------------------------------------------------------------------------------------------------

    async def _ended(self, store: Store, timeout_s: float | None) -> Record:
        """The record once the job has ended. Raises ResultTimeout."""
        loop = asyncio.get_running_loop()
        deadline = None if timeout_s is None else loop.time() + timeout_s
        # Often the job has ended by the time it is asked for: then there is no need to subscribe.
        found = await _within(None if timeout_s is None else max(timeout_s, LOOK_S), self._read(store))
        while found is None or found.status is None:
            rest_s = LOOK_AGAIN_S if deadline is None else min(LOOK_AGAIN_S, deadline - loop.time())
            if rest_s <= 0:
                raise await self._timeout(store, cast("float", timeout_s))
            found = await _within(rest_s, self._listen(store)) or found
        return found

    async def _listen(self, store: Store) -> Record:
        """Wait to be told of the job's end. Sees the record once subscribed, and after each reconnect."""
        news = cast("AsyncGenerator[bytes | None]", store.ended(self.id))
        async with aclosing(news):
            async for told in news:
                found = await self._news(store, told)
                if found.status is not None:
                    return found
        return await self._read(store)

    async def _news(self, store: Store, told: bytes | None) -> Record:
        """The record that was published. What is none (anybody may publish) only says that there is one to read."""
        try:
            found = self._decoded(told) if told else None
        except InvalidRecord:
            found = None
        return await self._read(store) if found is None else await self._shown(store, found)

    async def _timeout(self, store: Store, timeout_s: float) -> ResultTimeout:
        """The error that says where the job is, if that can be found out in a moment."""
        try:
            where = await _within(LOOK_S, self._where(store, timeout_s))
        except AiotqError:
            where = None
        told = where or f"has not ended within {timeout_s:g} s"
        return ResultTimeout(f"job {short(self.id)} {told}", job_id=self.id)

    async def _where(self, store: Store, timeout_s: float) -> str:
        found, place = await self._find(store)
        queue = found.doc.queue
        match place.status:
            case JobStatus.RUNNING:
                return (
                    f"has not ended within {timeout_s:g} s: attempt {found.attempt} of {found.doc.task} is running on "
                    f"worker {place.worker}; wait longer, or give the task a timeout"
                )
            case JobStatus.SCHEDULED:
                due_s = max(0, (place.due_ms or 0) - place.now_ms) / 1000
                return f"has not ended within {timeout_s:g} s: its next attempt is due in {due_s:.1f} s; wait longer"
            case JobStatus.QUEUED:
                workers = await store.live_workers()
                who = _who_serves(queue, workers, suspect=place.lost >= SUSPECT_FROM)
                return f"has waited {timeout_s:g} s in queue {queue!r}; {who}"
            case _:
                return f"had not ended within {timeout_s:g} s; look again"

    # --- its end ------------------------------------------------------------------------------------------------

    def _outcome(self, found: Record) -> Any:
        """What the job returned. Raises what it came to."""
        doc = found.doc
        match found.status:
            case JobStatus.SUCCEEDED:
                if doc.result is record.NO_RESULT:
                    return None
                task = self._core.registry.get(doc.task)
                return msgspec.json.decode(doc.result) if task is None else task.codec.decode_result(doc.result)
            case JobStatus.FAILED:
                error = shown.info(found, None).error or ErrorInfo(type="unknown", message=doc.reason or "")
                raise JobFailed(
                    job_id=self.id,
                    task=doc.task,
                    error_type=error.type,
                    error_message=error.message,
                    frames=error.frames,
                    attempt=doc.attempt,
                )
            case _:
                if doc.reason == "expired":
                    raise JobExpired(job_id=self.id)
                raise JobCancelled(job_id=self.id, reason=doc.reason or "cancelled")


def lines(found: Record) -> tuple[str, str, str]:
    """The lines that the ticket of a job may name: its priority's back and front, and the suspects'."""
    return job_lines(found.doc.queue, found.doc.priority)


def _cancellation(core: Core, found: Record, place: Place) -> Replacement:
    """The record of the job as cancelled, in the place of one that no worker holds."""
    wish = Wish(
        act=Act.CANCEL,
        generation=record.generation(os.urandom(4)),
        now_ms=place.now_ms,
        signer=core.signer,
        ttl_ms=kept_ms(core, found),
    )
    return cancellation(wish, found, lost=place.lost)


def _who_serves(queue: str, workers: Mapping[str, Sequence[str]], *, suspect: bool) -> str:
    serving = sum(queue in queues for queues in workers.values())
    if serving:
        who = f"{serving} live workers serve" if serving > 1 else "1 live worker serves"
        if suspect:
            return f"{who} {queue!r}, and runs jobs whose workers vanished twice one at a time; wait longer"
        return (
            f"{who} {queue!r} and had no free slot for it, or the queue is paused, or somebody has deleted its place "
            "there; start more, or wait longer"
        )
    others = ", ".join(sorted({name for queues in workers.values() for name in queues}))
    alive = f"{len(workers)} serve{'s' if len(workers) == 1 else ''}: {others}" if workers else "none is alive"
    return f"no live worker serves {queue!r} ({alive}); start one: python -m aiotq MODULE:APP -q {queue}"


async def _within(limit_s: float | None, waiting: Coroutine[Any, Any, T]) -> T | None:
    """What it comes to; None if that takes longer."""
    scope = asyncio.timeout(limit_s)
    try:
        async with scope:
            return await waiting
    except TimeoutError:
        if scope.expired():
            return None
        raise
