"""On the way from a call to a queued job: what `delay()` returns, and the way through the middlewares of an app."""

from __future__ import annotations

import warnings
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from aiotq.errors import UsageError
from aiotq.handle import Job
from aiotq.hooks import Outgoing
from aiotq.ids import draw
from aiotq.record import generation
from aiotq.sender import refusals
from aiotq.store.contract import Enqueued, NewJob

if TYPE_CHECKING:
    from collections.abc import Container, Generator, Iterable, Sequence
    from types import CodeType, TracebackType

    from aiotq.client import Core
    from aiotq.hooks import Middleware, SendNext
    from aiotq.registry import RegisteredTask


class Enqueuing(Coroutine[Any, Any, Job[Any]]):
    """What `delay()` returns: a coroutine that sends the job once it is awaited, and warns if it never is."""

    __slots__ = ("_at", "_code", "_core", "_new", "_registered", "_running")
    _durably = False

    def __init__(self, core: Core, new: NewJob, registered: RegisteredTask, code: CodeType, at: int) -> None:
        """code, at: of the caller; the line is looked up only if it is needed."""
        self._core, self._registered, self._code, self._at = core, registered, code, at
        self._new: NewJob | None = new
        self._running: Generator[Any, Any, Job[Any]] | None = None

    @property
    def __name__(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As asyncio shows it in its messages."""
        return f"{self._registered.fn.__name__}.delay"

    def __await__(self) -> Generator[Any, Any, Job[Any]]:
        new, self._new = self._new, None
        if new is None:
            raise RuntimeError(f"{self._registered.fn.__name__}.delay(...) was awaited already; call delay() again")
        client = self._core.client()
        answer = yield from (client.durable.send(new).__await__() if self._durably else client.sender.send(new))
        return Job(self._core, new.job_id, existed=new.named and answer is Enqueued.EXISTED)

    def send(self, value: Any) -> Any:
        """As a coroutine's."""
        return self._steps().send(value)

    def throw(self, typ: Any, val: Any = None, tb: TracebackType | None = None) -> Any:
        """As a coroutine's."""
        error = typ if val is None else val
        steps = self._steps()
        self._new = None  # cancelled before its first step: nobody has forgotten it
        return steps.throw(error if tb is None else error.with_traceback(tb))

    def close(self) -> None:
        """As a coroutine's; whoever closes it has not forgotten it."""
        self._steps().close()
        self._new = None

    def _steps(self) -> Generator[Any, Any, Job[Any]]:
        if self._running is None:
            self._running = self.__await__()
        return self._running

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


class EnqueuingDurably(Enqueuing):
    """The same with `durable=True`."""

    __slots__ = ()
    _durably = True


class EnqueuingHooked(Enqueuing):
    """The same in an app with middlewares or observers."""

    __slots__ = ("_call",)

    def __init__(self, core: Core, call: Pending, registered: RegisteredTask, code: CodeType, at: int) -> None:
        super().__init__(core, _UNMADE, registered, code, at)
        self._call = call

    def __await__(self) -> Generator[Any, Any, Job[Any]]:
        new, self._new = self._new, None
        if new is None:
            raise RuntimeError(f"{self._registered.fn.__name__}.delay(...) was awaited already; call delay() again")
        [job] = yield from through(self._core, [self._call]).__await__()
        return job


_UNMADE = NewJob(job_id="", line="", generation="", head=b"", body=b"")  # that of a call which has yet to be made

# --- through the middlewares ------------------------------------------------------------------------------------------


class Maker(Protocol):
    """What makes jobs of a task: an `Enqueuer`."""

    def changed(self, pending: Pending, job: Outgoing, *, generation: str) -> NewJob:
        """The job as the middlewares want it, of that generation. Raises as `delay` does."""
        ...


class Pending(Struct, frozen=True):
    """A call that is bound and encoded; the middlewares have yet to see it."""

    of: Maker
    job: Outgoing
    args: bytes  # its arguments, unless a middleware changes them
    kwargs: bytes
    durable: bool


async def through(core: Core, calls: Sequence[Pending]) -> list[Job[Any]]:
    """Enqueue calls through the middlewares, and tell the observers. Raises as `enqueue_many`, or what they raise."""
    sending = _Sending(core, calls)
    send: SendNext = sending.send
    for middleware in reversed(core.hooks.enqueuing):
        send = _around(middleware, send)
    try:
        await send([call.job for call in calls])
    except Exception as error:
        if sending.queued is not None:
            error.add_note("raised by a middleware after the store had taken what was enqueued: it is queued")
        raise
    if sending.queued is None:
        raise sending.error or UsageError(
            "a middleware's enqueue() returned without having sent the jobs on; "
            "await send(jobs), or raise to refuse them"
        )
    return sending.queued


class _Sending:
    """The innermost step: to the store. A middleware may take it again.

    Then each job has the id and the generation that it had: so the store knows those that it has taken before, also
    without a word, as this call's own.
    """

    def __init__(self, core: Core, calls: Sequence[Pending]) -> None:
        self._core, self._calls = core, calls
        self._generations: dict[tuple[int, str], str] = {}  # by place and id
        self._told: set[tuple[int, str]] = set()  # of which the observers have heard
        self.queued: list[Job[Any]] | None = None
        self.error: Exception | None = None

    async def send(self, jobs: Sequence[Outgoing]) -> list[bool]:
        if len(jobs) != len(self._calls):
            raise UsageError(
                f"a middleware sent {len(jobs)} jobs on and was given {len(self._calls)}; send as many, in their order"
            )
        try:
            existed, self.queued = await self._sent(jobs)
        except Exception as error:
            self.error = error
            raise
        return existed

    async def _sent(self, jobs: Sequence[Outgoing]) -> tuple[list[bool], list[Job[Any]]]:
        client, pairs = self._core.client(), list(zip(self._calls, jobs, strict=True))
        durable = any(call.durable or job.said.get("durable") for call, job in pairs)
        named: list[bool] = []

        def made() -> Iterable[NewJob]:
            for place, (call, job) in enumerate(pairs):
                drawn = self._generations.setdefault((place, job.id), generation(draw()[:4]))
                new = call.of.changed(call, job, generation=drawn)
                named.append(new.named)
                yield new

        if len(pairs) == 1:
            [new] = made()
            answers = [await (client.durable.send(new) if durable else client.sender.send(new))]
        else:
            answers = await (client.durable.send_many(made()) if durable else client.sender.send_many(made()))
        existed = [known and answer is Enqueued.EXISTED for known, answer in zip(named, answers, strict=True)]
        self._tell(jobs, existed, refused=refusals(answers))
        raise_refusals(answers)
        return existed, [Job(self._core, job.id, existed=known) for job, known in zip(jobs, existed, strict=True)]

    def _tell(self, jobs: Sequence[Outgoing], existed: Sequence[bool], *, refused: Container[int]) -> None:
        """The observers, once of each job."""
        hooks = self._core.hooks
        if not hooks.watching["enqueued"]:
            return
        for place, job in enumerate(jobs):
            if place not in refused and (place, job.id) not in self._told:
                self._told.add((place, job.id))
                hooks.tell("enqueued", job, existed=existed[place])


def _around(middleware: Middleware, send: SendNext) -> SendNext:
    async def step(jobs: Sequence[Outgoing]) -> list[bool]:
        sent: list[bool] = []

        async def on(given: Sequence[Outgoing]) -> Sequence[bool]:
            sent[:] = await send(given)
            return tuple(sent)

        await middleware.enqueue(jobs, on)
        return sent

    return step


def raise_refusals(answers: Sequence[object]) -> None:
    """Raise QueueFull if some of many jobs did not fit their queue."""
    refused = refusals(answers)
    if not refused:
        return
    error = next(iter(refused.values()))
    error.refused = tuple(refused)
    error.add_note(
        f"{len(answers) - len(refused):,} of {len(answers):,} jobs of this enqueue_many() were queued; "
        "`refused` has the places of those that were not"
    )
    raise error


def _line_at(code: CodeType, at: int) -> int:
    """The source line of an instruction."""
    for start, end, number in code.co_lines():
        if start <= at < end and number is not None:
            return number
    return code.co_firstlineno
