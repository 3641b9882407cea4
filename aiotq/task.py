"""What a user holds of a task: call it here, or enqueue it."""

from __future__ import annotations

import asyncio
import functools
import sys
import time
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

import msgspec

from aiotq import checks, options, record
from aiotq.document import Document
from aiotq.enqueuing import Enqueuing, EnqueuingDurably, EnqueuingHooked, Pending, raise_refusals, through
from aiotq.errors import PayloadTooLarge, SerializationError, UsageError
from aiotq.handle import Job
from aiotq.hooks import Outgoing, encoded_headers
from aiotq.ids import draw
from aiotq.job import job_id, line
from aiotq.options import NO_OPTIONS, CallOptions
from aiotq.plain import outgrown
from aiotq.portal import portal
from aiotq.splice import First
from aiotq.store.contract import Enqueued, NewJob

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping
    from datetime import datetime
    from types import FrameType

    from aiotq.client import Core
    from aiotq.registry import RegisteredTask
    from aiotq.retry import Duration

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Signature(msgspec.Struct, Generic[R_co], frozen=True, kw_only=True, gc=False):
    """A call that is bound and encoded, but not enqueued yet. `app.enqueue_many` takes many of them."""

    task: str  # the registered name
    args: bytes  # a JSON array
    kwargs: bytes  # a JSON object
    options: CallOptions
    of: Enqueuer[..., R_co]

    def __repr__(self) -> str:
        veil = self.of.registered.veil
        shown = (
            f"{self.args.decode()} {self.kwargs.decode()}" if veil is None else veil.arguments(self.args, self.kwargs)
        )
        return f"<Signature {self.task} {shown}>"


class Enqueuer(Generic[P, R_co]):
    """The ways to enqueue a task, with the options of one call."""

    def __init__(self, core: Core, registered: RegisteredTask, options: CallOptions) -> None:
        self._core, self._registered, self._options = core, registered, options
        self._queue = options.queue or registered.queue
        self._priority = registered.priority if options.priority is None else options.priority
        self._line = line(self._queue, self._priority, lifo=options.lifo)
        scheduled = options.delay_ms is not None or options.due_ms is not None
        self._max_len = None if scheduled else core.settings.longest(self._queue)
        self._first: First | None = None  # made for the first job
        self._headers = encoded_headers(options.headers) if options.headers else b""
        self._sending = EnqueuingDurably if options.durable else Enqueuing

    @property
    def core(self) -> Core:
        """What it shares with its app."""
        return self._core

    @property
    def registered(self) -> RegisteredTask:
        """The function, with all that was said of it."""
        return self._registered

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, Job[R_co]]:
        """Enqueue a job that calls the task with these arguments: `job = await task.delay(...)`.

        The arguments are bound and encoded at once: raises TypeError as the call would, SerializationError,
        PayloadTooLarge. When awaited, raises StoreError within the app's `connect_timeout`, saying what is known;
        QueueFull if as many jobs wait in its queue as the app's `max_len` allows.
        """
        # Whoever forgets the await is told the line.
        frame = sys._getframe(1)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        return self._enqueuing(args, kwargs, frame)

    def delay_sync(self, *args: P.args, **kwargs: P.kwargs) -> Job[R_co]:
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
        frame = sys._getframe(1)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        call = self._enqueuing(args, kwargs, frame)
        thread = portal()
        thread.at_end(self._core.close)
        return thread.call(call)

    def s(self, *args: P.args, **kwargs: P.kwargs) -> Signature[R_co]:
        """The call as a value, bound and encoded now, for `app.enqueue_many`. Raises as `delay` does at the call."""
        args_json, kwargs_json = self._encoded(args, kwargs)
        return Signature(task=self._registered.name, args=args_json, kwargs=kwargs_json, options=self._options, of=self)

    def _enqueuing(self, args: tuple[Any, ...], kwargs: dict[str, Any], frame: FrameType) -> Enqueuing:
        args_json, kwargs_json = self._encoded(args, kwargs)
        if self._core.hooked:
            call = self._pending(args, kwargs, args_json, kwargs_json)
            return EnqueuingHooked(self._core, call, self._registered, frame.f_code, frame.f_lasti)
        new = self.new_job(args_json, kwargs_json)
        return self._sending(self._core, new, self._registered, frame.f_code, frame.f_lasti)

    def new_job(
        self,
        args_json: bytes,
        kwargs_json: bytes,
        headers: bytes | None = None,
        *,
        drawn: tuple[str, str] | None = None,
    ) -> NewJob:
        """A job of these arguments, with an id of its own unless the call gives one. Cost: 3 µs.

        headers: a JSON object; None: those of the call. drawn: id and generation, if they were drawn for it before.
        """
        options, random = self._options, draw()
        now_ms = time.time_ns() // 1_000_000  # for an id that sorts, and an absolute `expires`; never for a due time
        first = self._first
        if first is None:
            expires_ms = options.expires_ms
            if options.expires_at_ms is not None:
                expires_ms = max(0, options.expires_at_ms - now_ms)
            first = First(self._document(expires_ms), signer=self._core.signer)
            if options.expires_at_ms is None:
                self._first = first
        new_id, generation = drawn or (options.job_id or job_id(now_ms, random[4:]), record.generation(random[:4]))
        sent = self._headers if headers is None else headers
        head, body, generation = first.new(args_json, kwargs_json, sent, job_id=new_id, generation=generation)
        return NewJob(
            job_id=new_id,
            named=options.job_id is not None,
            line=self._line,
            generation=generation,
            head=head,
            body=body,
            delay_ms=options.delay_ms,
            due_ms=options.due_ms,
            max_len=self._max_len,
        )

    def pending_call(self, call: Signature[Any]) -> Pending:
        """A call that the middlewares have yet to see, with its arguments as the task will get them."""
        try:
            args, kwargs = self._registered.codec.decode_arguments(call.args, call.kwargs)
        except SerializationError:  # the job fails of that; not the enqueuing, as it would not without a middleware
            args, kwargs = tuple(msgspec.json.decode(call.args)), msgspec.json.decode(call.kwargs)
        return self._pending(args, kwargs, call.args, call.kwargs)

    def _pending(self, args: tuple[Any, ...], kwargs: dict[str, Any], args_json: bytes, kwargs_json: bytes) -> Pending:
        options = self._options
        job = Outgoing(
            id=options.job_id or job_id(time.time_ns() // 1_000_000, draw()[4:]),
            task=self._registered.name,
            queue=self._queue,
            priority=self._priority,
            args=args,
            kwargs=kwargs,
            headers=options.headers or {},
        )
        return Pending(self, job, args_json, kwargs_json, options.durable)

    def changed(self, pending: Pending, job: Outgoing, *, generation: str) -> NewJob:
        """The job of a call as the middlewares want it. Raises as `delay` does, UsageError for headers or options."""
        args, kwargs, before = pending.args, pending.kwargs, pending.job
        if job.args is not before.args or job.kwargs is not before.kwargs:
            args, kwargs = self._encoded(job.args, dict(job.kwargs))
        of: Enqueuer[P, R_co] = self
        if job.said:
            of = Call(self._core, self._registered, options.changed(self._options, job.said))
        return of.new_job(args, kwargs, encoded_headers(job.headers), drawn=(job.id, generation))

    def _document(self, expires_ms: int | None) -> Document:
        """What the record says of each job of these options."""
        options = self._options
        return Document(
            task=self._registered.name,
            queue=self._queue,
            priority=self._priority,
            retries=options.retries,
            timeout_ms=options.timeout_ms,
            result_ttl_ms=options.result_ttl_ms,
            delay_ms=options.delay_ms,
            due_ms=options.due_ms,
            expires_ms=expires_ms,
        )

    def _encoded(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes, bytes]:
        codec = self._registered.codec
        try:
            codec.bind(args, kwargs)
        except TypeError as error:
            stray = next((name for name in kwargs if name in options.NAMES and f"{name!r}" in str(error)), None)
            if stray is not None:
                name = self._registered.fn.__name__
                error.add_note(f"{stray} is said of a call before it is made: {name}.options({stray}=...).delay(...)")
            raise
        limit = self._core.settings.max_payload
        size = outgrown(args, limit) if args else 0
        if kwargs:
            size = size or outgrown(kwargs.values(), limit)
        if size:
            raise PayloadTooLarge(task=self._registered.name, size=size, limit=limit)
        args_json, kwargs_json = codec.encode_arguments(args, kwargs)
        size = len(args_json) + len(kwargs_json)
        if size > limit:
            raise PayloadTooLarge(task=self._registered.name, size=size, limit=limit)
        return args_json, kwargs_json


class Call(Enqueuer[P, R_co]):
    """A task with the options of one call: what `task.options(...)` returns."""


class Task(Enqueuer[P, R_co]):
    """A registered function. Calling it runs it here, as it stands; `delay` enqueues it for a worker.

    P: its parameters. R: what it returns; for an async def, what awaiting it gives.
    """

    __name__: str
    __qualname__: str
    __wrapped__: Callable[P, Any]  # the function itself

    def __init__(self, core: Core, registered: RegisteredTask) -> None:
        functools.update_wrapper(self, registered.fn)
        super().__init__(core, registered, NO_OPTIONS)

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
        durable: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Call[P, R_co]:
        """Say more of one call: `await task.options(countdown=60).delay(...)`. What is left out, the task decides.

        countdown: due this long from now. eta: due at this instant (an aware datetime). expires: cancelled if it has
        not started by then (a duration or an aware datetime). priority: 0 (first) to 9. lifo: to the front of its
        priority. retries: attempts after the first. timeout: of each attempt. job_id: if there is a job of this id
        already, nothing is enqueued and the handle is of that one (`.existed`). result_ttl: how long the record is kept
        once it has ended. durable: `delay` returns only when the job is on the server's disk, or on a replica of one
        without; it raises NotDurable, with nothing queued, where neither can be. headers: what goes along with the job,
        at most 16 of 4 KiB together; `current_job().headers`.

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
            durable=durable,
            headers=headers,
        )
        return Call(self._core, self._registered, checked)


class AsyncTask(Task[P, R_co]):
    """A task made of an async def."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:
        """Run the function here, unchanged: `await task(...)`."""
        return self._registered.fn(*args, **kwargs)


class SyncTask(Task[P, R_co]):
    """A task made of a plain def, which workers run in a thread, or in a process of their pool."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run the function here and now, unchanged."""
        return self._registered.fn(*args, **kwargs)


async def enqueue_many(core: Core, signatures: Iterable[Signature[R]]) -> list[Job[R]]:
    """What `App.enqueue_many` does."""
    calls = list(signatures)
    for call in calls:
        if not isinstance(call, Signature) or call.of.core is not core:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"{checks.shown(call)} is no call of a task of this app; pass what task.s(...) returns")
    if core.hooked:
        return await through(core, [call.of.pending_call(call) for call in calls]) if calls else []
    ids: list[tuple[str, bool]] = []

    def new_jobs() -> Iterable[NewJob]:
        for call in calls:
            new = call.of.new_job(call.args, call.kwargs)
            ids.append((new.job_id, new.named))
            yield new

    client = core.client()
    durable = any(call.options.durable for call in calls)
    answers = await (client.durable.send_many(new_jobs()) if durable else client.sender.send_many(new_jobs()))
    raise_refusals(answers)
    return [
        Job(core, job_id, existed=named and answer is Enqueued.EXISTED)
        for (job_id, named), answer in zip(ids, answers, strict=True)
    ]
