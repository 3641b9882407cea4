"""One run through the middlewares of its app, and what every run of a task's function shares."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from aiotq.errors import JobFailed, SerializationError, UsageError
from aiotq.hooks import Incoming
from aiotq.job import Succeeded
from aiotq.retry import Reject, Retry
from aiotq.worker.held import Held, Why

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from aiotq.current import CurrentJob
    from aiotq.hooks import Middleware, RunNext
    from aiotq.job import Outcome
    from aiotq.record import Record
    from aiotq.registry import RegisteredTask
    from aiotq.worker.call import Answer


class Ways(Protocol):
    """How a runner runs a function, and what comes of it."""

    def in_thread(self, call: Callable[[], Any]) -> Awaitable[Any]:
        """In a thread. Raises Escaped."""
        ...

    def in_process(
        self, held: Held, task: RegisteredTask, record: Record, args: bytes, kwargs: bytes
    ) -> Awaitable[Answer]:
        """In a process of the pool."""
        ...

    def answered(self, held: Held, answer: Answer) -> Outcome:
        """What that comes to."""
        ...

    def returned(self, held: Held, task: RegisteredTask, value: Any) -> Outcome:
        """What a value comes to."""
        ...


class Around:
    """One job, its function within the middlewares."""

    def __init__(self, ways: Ways, held: Held, task: RegisteredTask, record: Record) -> None:
        self._ways, self._held, self._task, self._record = ways, held, task, record
        self._first: Incoming | None = None
        self._answer: Answer | None = None  # of a process
        self._gave: object = None  # what became of that answer: a value, or what was raised

    async def run(
        self, middlewares: Sequence[Middleware], job: CurrentJob, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Outcome:
        """The outermost middleware first, the function in the midst. Raises what comes out of them."""
        self._first = Incoming(job=job, args=args, kwargs=kwargs)
        self._held.outside = True
        call: RunNext = self._call
        for middleware in reversed(middlewares):
            call = partial(_step, middleware, call)
        try:
            value = await call(self._first)
        except BaseException as error:
            if self._answer is not None and error is self._gave and self._held.why is None:
                return self._ways.answered(self._held, self._answer)  # with the process's own words
            raise
        if self._answer is not None and value is self._gave:
            refuse_late(self._held)
            return Succeeded(result=self._answer.result)
        return self._ways.returned(self._held, self._task, value)

    async def _call(self, job: Incoming) -> Any:
        """The innermost step: the function."""
        held, fn = self._held, self._task.fn
        if not isinstance(job, Incoming):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError("a middleware's call() takes the job that run() was given, or one of its replace()")
        if held.why is not None:  # cancelled while a middleware waited: it is not started
            raise asyncio.CancelledError
        held.outside = False
        value: Any = None
        raised: BaseException | None = None
        try:
            if held.pooled:
                value = await self._in_process(job)
            elif self._task.is_async:
                value = await fn(*job.args, **job.kwargs)
            else:
                value = await self._ways.in_thread(partial(fn, *job.args, **job.kwargs))
        except Escaped as escaped:
            if isinstance(escaped.error, StopIteration):  # no coroutine lets one through
                raise
            raised = escaped.error
        finally:
            held.outside = True
        if raised is not None:
            try:
                raise raised  # out here, where it keeps the cause that it had
            finally:
                del raised  # else it would hold itself, by this frame
        refuse_late(held)  # so that the middlewares see what it comes to
        return value

    async def _in_process(self, job: Incoming) -> Any:
        first, doc, codec = self._first, self._record.doc, self._task.codec
        args, kwargs = bytes(doc.args), bytes(doc.kwargs)
        if first is None or job.args is not first.args or job.kwargs is not first.kwargs:
            args, kwargs = codec.encode_arguments(*codec.bind(job.args, dict(job.kwargs)))
        answer = await self._ways.in_process(self._held, self._task, self._record, args, kwargs)
        self._answer, error = answer, self._raised(answer)
        if error is not None:
            self._gave = error
            raise error
        self._gave = None if answer.result is None else self._decoded(answer.result)
        return self._gave

    def _decoded(self, result: bytes) -> Any:
        try:
            return self._task.codec.decode_result(result)
        except SerializationError:  # that is its caller's business
            return msgspec.json.decode(result)

    def _raised(self, answer: Answer) -> Exception | None:
        """What the middlewares see of what was raised in another process."""
        failure = answer.failed or answer.retried
        error = answer.missing if failure is None else failure.error
        if error is None:
            return None
        if answer.failed is not None and answer.failed.reason == "rejected":
            return Reject(error.message)
        if error.type == Retry.__name__:
            return Retry(None if answer.retried is None else answer.retried.delay_ms / 1000, error.message)
        return JobFailed(
            job_id=self._held.job_id,
            task=self._task.name,
            error_type=error.type,
            error_message=error.message,
            frames=error.frames,
            attempt=self._held.attempt,
        )


async def _step(middleware: Middleware, call: RunNext, job: Incoming) -> Any:
    return await middleware.run(job, call)


def refuse_late(held: Held) -> None:
    """Raise CancelledError if it swallowed its cancellation: what it returned comes too late."""
    if held.why is not None and held.why is not Why.STOPPING:
        raise asyncio.CancelledError


class Escaped(Exception):
    """Carries out of a thread what a thread must not raise (SystemExit ends it; StopIteration can't pass a future)."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        super().__init__()


def contained(call: Callable[[], Any]) -> Any:
    """Call it in a thread. Raises Escaped for whatever it raises."""
    try:
        return call()
    except BaseException as error:  # noqa: BLE001  carried to the wall on the loop
        raise Escaped(error) from None
