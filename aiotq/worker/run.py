"""Runs claimed jobs: each in an asyncio task and contextvars context of its own. Whatever happens becomes an Outcome.

A task a job, and no standing consumers: cancellation then reaches this job and no other, whatever the user's code keeps
of it (docs/decisions has the measurement). Nothing here touches the store.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
from contextvars import copy_context
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from aiotq.current import CURRENT, CurrentJob
from aiotq.errors import JobTimeout, ResultTooLarge, SerializationError
from aiotq.frames import describe, full_traceback, ours, standing
from aiotq.job import Cancelled, Failed, Outcome, Retried, Returned, Succeeded
from aiotq.retry import Reject, Retry, decide
from aiotq.worker.around import Around, Escaped, contained, refuse_late
from aiotq.worker.call import Answer, Call
from aiotq.worker.deadlines import Deadlines
from aiotq.worker.discreet import kept
from aiotq.worker.held import Held, Why
from aiotq.worker.log import LOG, about, say
from aiotq.worker.pool import Pool
from aiotq.worker.settings import READ_AHEAD_MOST, READ_AHEAD_S, STUCK_AFTER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiotq.job import ErrorInfo
    from aiotq.record import Record
    from aiotq.registry import RegisteredTask
    from aiotq.worker.scribe import Scribe
    from aiotq.worker.settings import WorkerSettings


class Runner:
    """Runs jobs in slots.

    `started` is called as an attempt begins, `decided` with jobs that have their outcome, once each, `freed` when slots
    are free. What ends in one turn of the loop is taken together in the next, by one look at the clock.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        scribe: Scribe,
        started: Callable[[Held], None],
        decided: Callable[[Sequence[Held]], None],
        freed: Callable[[], None],
    ) -> None:
        self._settings, self.scribe = settings, scribe
        self._loop = asyncio.get_running_loop()
        self._started, self._decided, self._freed = started, decided, freed
        self._limiter: anyio.CapacityLimiter | None = None
        self._deadlines = Deadlines()
        self.state: Any = None  # what the lifespan yielded
        self.context = copy_context()  # each job runs in a copy of it
        self.running: set[Held] = set()  # a slot each, until its coroutine or thread has ended
        self.threads = 0  # of these, in threads
        self.processes = 0  # of these, in processes
        self.pool = Pool()
        self.stuck: set[Held] = set()  # of these, those whose outcome is stored already
        self._ends: list[tuple[Held, Outcome]] = []  # attempts that have ended in this turn of the loop
        self.average_s = 1.0  # how long a job has its slot, of late
        self._middleware = settings.hooks.running

    @property
    def free(self) -> int:
        """Free slots."""
        return self._settings.concurrency - len(self.running)

    @property
    def ahead(self) -> int:
        """How many jobs more will find a slot within some 10 ms, by how long they have one of late."""
        if self.average_s >= READ_AHEAD_S:
            return 0
        soon = self._settings.concurrency * READ_AHEAD_S / max(self.average_s, 1e-6)
        return int(min(soon, READ_AHEAD_MOST * self._settings.concurrency))

    @property
    def free_threads(self) -> int:
        """Free slots for jobs that run in a thread."""
        return self._settings.threads - self.threads

    @property
    def free_processes(self) -> int:
        """Free slots for jobs that run in a process."""
        return self._settings.pool_processes - self.processes

    def start(self, held: Held, now_s: float, now_ms: int) -> None:
        """Begin an attempt. The job has a record and a task. now_s: monotonic; now_ms: Redis's clock.

        Cost: 3 µs, two of them asyncio's.
        """
        task, record = held.task, held.record
        assert task is not None
        assert record is not None
        self.running.add(held)
        if held.threaded:
            self.threads += 1
        elif held.pooled:
            self.processes += 1
        held.started_s, held.started_ms = now_s, now_ms
        self._started(held)
        # Its owner is this runner: `running` holds it until it has ended, and the worker's life waits for that. It gets
        # a context of its own, since this may be called as another job ends, in that one's context; and its first step
        # later, whatever task factory a service has set: an eager one would run each job inside the one before it.
        held.handle = asyncio.Task(self._attempt(held, task, record), loop=self._loop, context=self.context.copy())
        if (task.timeout_s is not None or record.doc.timeout_ms is not None) and not held.pooled:
            self._begin_time(held, self._overdue)  # a process's begins when that is ready
        elif held.pooled and self._middleware:  # ... that of a middleware in front of it now
            self._begin_time(held, self._overdue_outside)

    def _begin_time(self, held: Held, overdue: Callable[[Held], None]) -> None:
        if (timeout_s := _timeout_s(held)) is not None:
            self._deadlines.add(self._loop.time() + timeout_s, held, overdue)

    def cancel(self, held: Held, why: Why) -> None:
        """Ask a running job to stop, at its next await. The first reason counts."""
        if held.why is not None or held.outcome is not None or held.handle is None:
            return
        held.why = why
        self._deadlines.add(self._loop.time() + STUCK_AFTER_S, held, self._give_up)
        if held.begun and not held.in_thread:  # else it sees `why` as it begins; a thread can't be stopped
            held.handle.cancel()

    def leave(self, held: Held) -> None:
        """Decide a job now, whatever its code goes on to do: nobody waits for it any longer."""
        if held.outcome is None:
            self.cancel(held, Why.STOPPING)
            held.outcome = self._stopped(held)
            self._decided([held])

    def close(self) -> None:
        """No timer fires any more, and what still runs is cancelled: nobody waits for it."""
        self._deadlines.close()
        self.pool.kill()
        for held in self.running:
            if held.handle is not None and not held.in_thread:
                held.handle.cancel()

    # --- one attempt --------------------------------------------------------------------------------------------

    async def _attempt(self, held: Held, task: RegisteredTask, record: Record) -> None:
        """Run the user's function, and make an outcome of whatever it does. Cost: 3 µs beside the function's own."""
        held.begun = True
        outcome: Outcome
        try:
            if held.why is not None:
                raise asyncio.CancelledError
            if held.pooled and not self._middleware:
                answer = await self.in_process(held, task, record, bytes(record.doc.args), bytes(record.doc.kwargs))
                outcome = self.answered(held, answer)
            else:
                doc = record.doc
                args, kwargs = task.codec.decode_arguments(doc.args, doc.kwargs)
                job = _current(held, task, record, self.state, self.scribe.number)
                CURRENT.set(job)
                if self._middleware:
                    outcome = await Around(self, held, task, record).run(self._middleware, job, args, kwargs)
                elif task.is_async:
                    outcome = self.returned(held, task, await task.fn(*args, **kwargs))
                else:
                    outcome = self.returned(held, task, await self.in_thread(partial(task.fn, *args, **kwargs)))
        except BaseException as error:  # noqa: BLE001  the wall between a user's code and the worker: nothing gets past
            outcome = self._raised(held, error)
        ends = self._ends
        ends.append((held, outcome))
        if len(ends) == 1:
            self._loop.call_soon(self._sweep)

    def returned(self, held: Held, task: RegisteredTask, value: Any) -> Outcome:
        """What a job comes to that returned."""
        refuse_late(held)
        return Succeeded(result=task.encoded(value, max_result=self._settings.max_result))

    async def in_process(self, held: Held, task: RegisteredTask, record: Record, args: bytes, kwargs: bytes) -> Answer:
        """Run the user's function in a process of the pool, which decides what its failure comes to."""
        call = _call(self._settings, held, task, record, args, kwargs)
        heard = partial(self.scribe.heard, held.ticket, held.attempt)
        answer = await self.pool.run(call, partial(self._begin_time, held, self._overdue), heard)
        refuse_late(held)  # it ended as it was about to be killed
        held.traceback = answer.traceback
        return answer

    def answered(self, held: Held, answer: Answer) -> Outcome:
        """What a process's answer comes to."""
        if answer.missing is not None:
            return self._failed(held, ImportError(), error=answer.missing)
        failure = answer.failed or answer.retried
        return Succeeded(result=answer.result) if failure is None else kept(held, failure)

    async def in_thread(self, call: Callable[[], Any]) -> Any:
        """Run the user's function in a thread. Raises Escaped."""
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(self._settings.threads)
        return await anyio.to_thread.run_sync(contained, call, limiter=self._limiter)

    def _raised(self, held: Held, error: BaseException) -> Outcome:
        if isinstance(error, Escaped):  # from a thread
            error = error.error
        if held.why is not None and (held.why is Why.ASKED or not isinstance(error, Retry | Reject)):
            return self._stopped(held, error)
        final = isinstance(error, SerializationError | ResultTooLarge) and ours(error)
        return self._failed(held, error, final=final)

    def _stopped(self, held: Held, error: BaseException | None = None) -> Outcome:
        """What a job comes to that ended after its cancellation, or is left. error: what it raised as it ended.

        A failure then says nothing of the job (code that is cancelled may well fail); a Retry or Reject was meant.
        """
        match held.why:
            case Why.TIMEOUT:
                timeout = JobTimeout(timeout_s=_timeout_s(held) or 0.0)
                if error is not None:
                    timeout.__traceback__ = error.__traceback__  # where it was
                if not isinstance(error, asyncio.CancelledError):
                    timeout.__cause__ = error
                return self._failed(held, timeout)
            case Why.ASKED:
                return Cancelled()
            case _:
                return Returned()

    def _failed(
        self, held: Held, raised: BaseException, *, final: bool = False, error: ErrorInfo | None = None
    ) -> Failed | Retried:
        """error: what a person is shown, if `raised` only stands for it."""
        assert held.task is not None
        if error is None and LOG.isEnabledFor(logging.DEBUG):
            held.traceback = full_traceback(raised)
        outcome = decide(
            raised,
            attempt=held.attempt,
            retries=_retries(held),
            policy=held.task.policy,
            spread=random.random(),  # noqa: S311  jitter, no secret
            error=error or describe(raised),
            final=final,
        )
        return kept(held, outcome)

    def _sweep(self) -> None:
        """Take the attempts that have ended: their slots are free, their outcomes count. Cost: 1 µs each."""
        ends, self._ends = self._ends, []
        now_s, running, decided = monotonic(), self.running, list[Held]()
        for held, outcome in ends:
            running.discard(held)
            if held.threaded:
                self.threads -= 1
            elif held.pooled:
                self.processes -= 1
            self.average_s += 0.05 * (now_s - held.started_s - self.average_s)
            if held in self.stuck:
                self.stuck.discard(held)
            elif held.outcome is None:
                held.outcome = outcome
                decided.append(held)
        try:
            self._decided(decided)
        finally:
            self._freed()

    # --- what goes wrong ----------------------------------------------------------------------------------------

    def _overdue(self, held: Held) -> None:
        self.cancel(held, Why.TIMEOUT)

    def _overdue_outside(self, held: Held) -> None:
        if held.outside:
            self.cancel(held, Why.TIMEOUT)

    def _give_up(self, held: Held) -> None:
        """It has not ended after its cancellation: its outcome is stored now, its slot kept until it ends."""
        self.stuck.add(held)
        why = held.why.value if held.why else ""
        said = "%s %s has not ended %g s after its cancellation (%s) and keeps its slot until it does; it is at:\n%s"
        say(logging.ERROR, "stuck", said, held.name, held.job_id, STUCK_AFTER_S, why, stack_of(held), **about(held))
        self.leave(held)


def _call(
    settings: WorkerSettings, held: Held, task: RegisteredTask, record: Record, args: bytes, kwargs: bytes
) -> Call:
    return Call(
        module=task.module,
        path=task.path,
        args=args,
        kwargs=kwargs,
        job=_current(held, task, record, None, None),
        max_result=settings.max_result,
        spread=random.random(),  # noqa: S311  jitter, no secret
        traceback=LOG.isEnabledFor(logging.DEBUG),
        url=settings.url,
        namespace=settings.namespace,
    )


def _current(held: Held, task: RegisteredTask, record: Record, state: object, scribe: int | None) -> CurrentJob:
    return CurrentJob(
        id=held.job_id,
        attempt=held.attempt,
        retries=task.retries if record.doc.retries is None else record.doc.retries,
        task=task.name,
        queue=held.queue,
        priority=record.doc.priority,
        enqueued_ms=record.enqueued_ms,
        fence=held.fence,
        state=state,
        headers=record.doc.headers or {},
        ticket=held.ticket,
        scribe=scribe,
    )


def _timeout_s(held: Held) -> float | None:
    assert held.record is not None
    assert held.task is not None
    timeout_ms = held.record.doc.timeout_ms
    return held.task.timeout_s if timeout_ms is None else timeout_ms / 1000


def _retries(held: Held) -> int:
    assert held.record is not None
    assert held.task is not None
    retries = held.record.doc.retries
    return held.task.retries if retries is None else retries


def stack_of(held: Held) -> str:
    """Where a job is now, the user's frames: of its coroutine; a thread's can't be told apart."""
    if held.in_thread or held.handle is None:
        return "    (in a thread)"
    lines: list[str] = []
    coroutine: Any = held.handle.get_coro()
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None and not str(frame.f_globals.get("__name__", "")).startswith("aiotq."):
            code = frame.f_code
            lines.append(f"    {code.co_filename}:{frame.f_lineno} in {code.co_name}")
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return "\n".join(lines[-5:]) or "    (not in Python code)"


def blocking_stack(thread_id: int) -> str:
    """What a thread is doing now: the user's innermost frames."""
    frame = sys._current_frames().get(thread_id)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  documented, the only way
    found = [f"    {at.file}:{at.line} in {at.function}\n      {at.code}" for at in standing(frame)[-3:]]
    return "\n".join(found) or "    (not in a task)"
