"""What a user holds of a task: call it here, or enqueue it."""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import time
import warnings
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from msgspec import Raw

from aiotq import options, record
from aiotq.client import Core
from aiotq.errors import PayloadTooLarge, UsageError
from aiotq.handle import Job
from aiotq.job import job_id, line
from aiotq.options import NO_OPTIONS, CallOptions
from aiotq.portal import portal
from aiotq.registry import RegisteredTask
from aiotq.store.contract import Enqueued, NewJob

if TYPE_CHECKING:
    from collections.abc import Generator
    from datetime import datetime
    from types import CodeType, TracebackType

    from aiotq.retry import Duration

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature(Generic[R]):
    """A call that is bound and encoded, but not enqueued yet. `app.enqueue_many` takes many of them."""

    task: str  # the registered name
    args: bytes  # a JSON array
    kwargs: bytes  # a JSON object
    options: CallOptions
    core: Core = field(repr=False, compare=False)
    registered: RegisteredTask = field(repr=False, compare=False)

    def new_job(self) -> NewJob:
        """A job of this call, with an id of its own unless the call gave one."""
        return _new_job(self.registered, self.args, self.kwargs, self.options)


class Enqueuer(Generic[P, R]):
    """The ways to enqueue a task, with the options of one call."""

    _core: Core
    _registered: RegisteredTask
    _options: CallOptions

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, Job[R]]:
        """Enqueue a job that calls the task with these arguments: `job = await task.delay(...)`.

        The arguments are bound and encoded at once: raises TypeError as the call would, SerializationError,
        PayloadTooLarge. When awaited, raises StoreError within the app's `connect_timeout`, saying what is known.
        """
        # Whoever forgets the await is told the line.
        frame = sys._getframe(1)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        args_json, kwargs_json = self._encoded(args, kwargs)
        new = _new_job(self._registered, args_json, kwargs_json, self._options)
        return Enqueuing(self._core, new, self._registered, frame.f_code, frame.f_lasti)

    def delay_sync(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Enqueue a job from a thread or a program without asyncio; blocks until it is queued. Raises as `delay` does.

        Raises UsageError where an event loop runs: it would stand still meanwhile.
        """
        name = self._registered.fn.__name__
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise UsageError(
                f"{name}.delay_sync() was called in a thread that runs an event loop, and would block it; "
                f"write: await {name}.delay(...)"
            )
        args_json, kwargs_json = self._encoded(args, kwargs)
        new = _new_job(self._registered, args_json, kwargs_json, self._options)
        thread = portal()
        thread.at_end(self._core.close)
        return thread.call(_enqueue(self._core, new))

    def s(self, *args: P.args, **kwargs: P.kwargs) -> Signature[R]:
        """The call as a value, bound and encoded now, for `app.enqueue_many`. Raises as `delay` does at the call."""
        args_json, kwargs_json = self._encoded(args, kwargs)
        return Signature(
            task=self._registered.name,
            args=args_json,
            kwargs=kwargs_json,
            options=self._options,
            core=self._core,
            registered=self._registered,
        )

    def _encoded(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes, bytes]:
        codec = self._registered.codec
        codec.bind(args, kwargs)
        args_json, kwargs_json = codec.encode_arguments(args, kwargs)
        size, limit = len(args_json) + len(kwargs_json), self._core.settings.max_payload
        if size > limit:
            raise PayloadTooLarge(task=self._registered.name, size=size, limit=limit)
        return args_json, kwargs_json


class Call(Enqueuer[P, R]):
    """A task with the options of one call: what `task.options(...)` returns."""

    def __init__(self, core: Core, registered: RegisteredTask, options: CallOptions) -> None:
        self._core, self._registered, self._options = core, registered, options


class Task(Enqueuer[P, R]):
    """A registered function. Calling it runs it here, as it stands; `delay` enqueues it for a worker.

    P: its parameters. R: what it returns; for an async def, what awaiting it gives.
    """

    def __init__(self, core: Core, registered: RegisteredTask) -> None:
        functools.update_wrapper(self, registered.fn)
        self._core, self._registered, self._options = core, registered, NO_OPTIONS

    @property
    def name(self) -> str:
        """The name that jobs know it by."""
        return self._registered.name

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Run the function here and now, unchanged."""
        return self._registered.fn(*args, **kwargs)

    def options(
        self,
        *,
        countdown: Duration | None = None,
        eta: datetime | None = None,
        expires: Duration | datetime | None = None,
        priority: int | None = None,
        queue: str | None = None,
        lifo: bool = False,
        retries: int | None = None,
        timeout: Duration | None = None,
        job_id: str | None = None,
        result_ttl: Duration | None = None,
    ) -> Call[P, R]:
        """Say more of one call: `await task.options(countdown=60).delay(...)`. What is left out, the task decides.

        countdown: due this long from now. eta: due at this instant (an aware datetime). expires: cancelled if it has
        not started by then (a duration or an aware datetime). priority: 0 (first) to 9. lifo: to the front of its
        priority. retries: attempts after the first. timeout: of each attempt. job_id: if there is a job of this id
        already, nothing is enqueued and the handle is of that one (`.existed`). result_ttl: how long the record is kept
        once it has ended.

        Durations are seconds (int or float) or a timedelta. Raises UsageError.
        """
        checked = options.checked(
            countdown=countdown,
            eta=eta,
            expires=expires,
            priority=priority,
            queue=queue,
            lifo=lifo,
            retries=retries,
            timeout=timeout,
            job_id=job_id,
            result_ttl=result_ttl,
        )
        return Call(self._core, self._registered, checked)


class AsyncTask(Task[P, R]):
    """A task made of an async def."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Run the function here, unchanged: `await task(...)`."""
        return self._registered.fn(*args, **kwargs)


class SyncTask(Task[P, R]):
    """A task made of a plain def, which workers run in a thread."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now, unchanged."""
        return self._registered.fn(*args, **kwargs)


class Enqueuing(Coroutine[Any, Any, Job[Any]]):
    """What `delay()` returns: a coroutine that sends the job once it is awaited, and warns if it never is."""

    __slots__ = ("_at", "_code", "_core", "_new", "_registered", "_running")

    def __init__(self, core: Core, new: NewJob, registered: RegisteredTask, code: CodeType, at: int) -> None:
        """code, at: of the caller; the line is looked up only if it is needed."""
        self._core, self._registered, self._code, self._at = core, registered, code, at
        self._new: NewJob | None = new
        self._running: Coroutine[Any, Any, Job[Any]] | None = None

    def __await__(self) -> Generator[Any, Any, Job[Any]]:
        return self._start().__await__()

    def send(self, value: Any) -> Any:
        """As a coroutine's."""
        if self._running is None:
            self._running = self._start()
        return self._running.send(value)

    def throw(self, typ: Any, val: Any = None, tb: TracebackType | None = None) -> Any:
        """As a coroutine's."""
        if self._running is None:
            self._running = self._start()
        error = typ if val is None else val
        return self._running.throw(error if tb is None else error.with_traceback(tb))

    def close(self) -> None:
        """As a coroutine's: it counts as awaited, as nobody has forgotten it."""
        self._new = None
        if self._running is not None:
            self._running.close()

    def _start(self) -> Coroutine[Any, Any, Job[Any]]:
        new, self._new = self._new, None
        if new is None:
            raise RuntimeError(f"{self._registered.fn.__name__}.delay(...) was awaited already; call delay() again")
        return _enqueue(self._core, new)

    def __del__(self) -> None:
        if self._new is None:
            return
        warnings.warn_explicit(
            f"{self._registered.fn.__name__}.delay(...) was never awaited: nothing was queued",
            RuntimeWarning,
            self._code.co_filename,
            _line_at(self._code, self._at),
            source=self,
        )


async def _enqueue(core: Core, new: NewJob) -> Job[Any]:
    answer = await core.client().sender.send(new)
    return Job(core, new.job_id, existed=answer is Enqueued.EXISTED)


def _line_at(code: CodeType, at: int) -> int:
    """The source line of an instruction."""
    for start, end, number in code.co_lines():
        if start <= at < end and number is not None:
            return number
    return code.co_firstlineno


def _new_job(task: RegisteredTask, args_json: bytes, kwargs_json: bytes, options: CallOptions) -> NewJob:
    random = os.urandom(14)
    queue = options.queue or task.queue
    priority = task.priority if options.priority is None else options.priority
    now_ms = time.time_ns() // 1_000_000  # for an id that sorts, and for an absolute `expires`; never for a due time
    expires_ms = options.expires_ms
    if options.expires_at_ms is not None:
        expires_ms = max(0, options.expires_at_ms - now_ms)
    head, body, generation = record.new(
        record.Document(
            task=task.name,
            args=record.NO_ARGS if args_json == b"[]" else Raw(args_json),
            kwargs=record.NO_KWARGS if kwargs_json == b"{}" else Raw(kwargs_json),
            queue=queue,
            priority=priority,
            retries=options.retries,
            timeout_ms=options.timeout_ms,
            result_ttl_ms=options.result_ttl_ms,
            delay_ms=options.delay_ms,
            due_ms=options.due_ms,
            expires_ms=expires_ms,
        ),
        generation=record.generation(random[:4]),
    )
    return NewJob(
        job_id=options.job_id or job_id(now_ms, random[4:]),
        line=line(queue, priority, lifo=options.lifo),
        generation=generation,
        head=head,
        body=body,
        delay_ms=options.delay_ms,
        due_ms=options.due_ms,
    )
