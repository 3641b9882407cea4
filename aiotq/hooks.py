"""What a user may hook in: a `Middleware` wraps, and may change; an `Observer` only watches.

`App(middleware=[...], observers=[...])`, or `app.add_middleware(...)` and `app.add_observer(...)` before a worker
starts. docs/hooks.md shows both at work.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, Unpack, cast

from msgspec import Struct, json, structs

from aiotq.checks import shown
from aiotq.current import CurrentJob
from aiotq.errors import UsageError
from aiotq.frames import full_traceback
from aiotq.job import Cancelled, Failed, Outcome, Retried, Returned, Succeeded

if TYPE_CHECKING:
    from datetime import datetime

    from aiotq.retry import Duration

__all__ = [
    "Attempt",
    "Cancelled",
    "Failed",
    "Incoming",
    "Middleware",
    "Observer",
    "Outcome",
    "Outgoing",
    "Retried",
    "Returned",
    "Succeeded",
]

MAX_HEADERS = 16
MAX_HEADERS_BYTES = 4 << 10  # of all of them, as JSON

log = logging.getLogger("aiotq.hooks")


class OptionKeywords(TypedDict, total=False):
    """What `Outgoing.options()` takes; `Task.options` describes it."""

    countdown: Duration | None
    eta: datetime | None
    expires: Duration | datetime | None
    priority: int | None
    queue: str | None
    lifo: bool
    retries: int | None
    timeout: Duration | None
    job_id: str | None
    result_ttl: Duration | None
    durable: bool


# --- what hooks see ---------------------------------------------------------------------------------------------------


class Outgoing(Struct, frozen=True, kw_only=True):
    """A job that is about to be enqueued. `replace`, `with_headers` and `options` give a changed one."""

    id: str
    task: str  # the registered name
    queue: str
    priority: int
    args: tuple[Any, ...]  # of the call, bound already
    kwargs: Mapping[str, Any]
    headers: Mapping[str, str] = {}
    said: Mapping[str, Any] = {}  # what middlewares have said with `options`

    def __repr__(self) -> str:
        """Without arguments, which may be secret."""
        return f"<Outgoing {self.task} {self.id}>"

    def replace(
        self,
        *,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Outgoing:
        """The same with other arguments or headers; binding and encoding them anew may raise as `delay` does."""
        return structs.replace(
            self,
            args=self.args if args is None else tuple(args),
            kwargs=self.kwargs if kwargs is None else kwargs,
            headers=self.headers if headers is None else headers,
        )

    def with_headers(self, headers: Mapping[str, str]) -> Outgoing:
        """The same with these headers besides: at most 16 in all, of 4 KiB together, str to str."""
        return structs.replace(self, headers={**self.headers, **headers})

    def options(self, **options: Unpack[OptionKeywords]) -> Outgoing:
        """The same with these options, which go before those of the call: the words of `task.options(...)`."""
        given = {name: value for name, value in options.items() if value is not None}
        return structs.replace(
            self,
            said={**self.said, **given},
            id=cast("str", given.get("job_id", self.id)),
            queue=cast("str", given.get("queue", self.queue)),
            priority=cast("int", given.get("priority", self.priority)),
        )


class Incoming(Struct, frozen=True, kw_only=True):
    """A job that is about to run here: its attempt and its arguments, decoded. `replace` gives a changed one."""

    job: CurrentJob
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def __repr__(self) -> str:
        """Without arguments, which may be secret."""
        return f"<Incoming {self.job.task} {self.job.id}>"

    def replace(self, *, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None) -> Incoming:
        """The same with other arguments."""
        return structs.replace(
            self, args=self.args if args is None else tuple(args), kwargs=self.kwargs if kwargs is None else kwargs
        )


class Attempt(Struct, frozen=True, kw_only=True):
    """One attempt, as an observer is shown it. Times by Redis's clock; `_s` are seconds."""

    id: str  # the job's
    task: str  # its registered name; of a task that is not known here what its record says, as one short word
    known: bool = True  # this worker has such a task; else anybody may have made its name up: make no label of it
    queue: str
    number: int  # 1 is the first; 0: its record can't be read
    fence: int  # with the id it names the attempt
    worker: str  # the label
    headers: Mapping[str, str] = {}
    waited_s: float | None = None  # from due to started; None: it has not started
    took_s: float | None = None  # from started to ended; None: it has not


# A middleware's way on: to the next one, and in the end to the store, or to the task.
SendNext: TypeAlias = Callable[[Sequence[Outgoing]], Awaitable[Sequence[bool]]]
RunNext: TypeAlias = Callable[[Incoming], Awaitable[Any]]


class Middleware:
    """Wraps every enqueuing and every run of an app; each method passes on what it was given unless it is overridden.

    The first one that an app was given is the outermost. What a middleware raises is what its caller, or the job, gets.
    """

    async def enqueue(self, jobs: Sequence[Outgoing], send: SendNext) -> None:
        """Around enqueuing: one job of `delay` or `delay_sync`, or all of an `enqueue_many`.

        Pass the jobs on with `await send(jobs)`: as many, in their order, changed or not. It returns for each whether
        there was a job of its id already. To refuse them, raise: then none of them is queued. A `send` that failed may
        be repeated; what it raised is what the caller gets, unless one succeeds.
        """
        await send(jobs)

    async def run(self, job: Incoming, call: RunNext) -> Any:
        """Around a run: `await call(job)` runs the task, and what this returns is its result. In the worker's process.

        It runs within the job's own context, timeout and cancellation; `current_job()` works. A cancelled job stays
        one, whatever is returned. `call` raises what the task did; for a task with process=True that is JobFailed,
        Retry or Reject, and its result is what its annotation makes of the JSON.
        """
        return await call(job)


class Observer:
    """Watches the jobs of an app. Plain methods, called on the event loop: they must be quick, and wait for nothing.

    What one raises is logged, once for each kind of error, and changes no job.
    """

    def enqueued(self, job: Outgoing, *, existed: bool) -> None:
        """The store has it. existed: there was one of its id, and nothing was queued. For `delay_sync`: in a thread."""

    def working(self, worker: str, *, slots: int, queues: Sequence[str]) -> None:
        """A worker of this process has begun to work. worker: its label; slots: how many jobs it runs at once."""

    def stopped(self, worker: str) -> None:
        """It has ended."""

    def claimed(self, attempts: Sequence[Attempt], took_s: float) -> None:
        """A worker got these jobs in one round trip to the store, and will run them; took_s: how long that was."""

    def started(self, attempt: Attempt) -> None:
        """An attempt begins."""

    def ended(self, attempt: Attempt, outcome: Outcome) -> None:
        """It is decided what it came to; that is not stored yet. `waited_s` is None for a job that was not started.

        `Returned`: the worker stops, and the job went back to its queue.
        """

    def lost(self, attempt: Attempt) -> None:
        """The job is another worker's now: what it comes to here does not count. Perhaps after `ended`."""


# --- what an app holds ------------------------------------------------------------------------------------------------

EVENTS = ("enqueued", "working", "stopped", "claimed", "started", "ended", "lost")


class Hooks:
    """The middlewares and observers of one app. What nobody overrides costs nobody anything."""

    def __init__(self) -> None:
        self.middleware: tuple[Middleware, ...] = ()
        self.observers: tuple[Observer, ...] = ()
        self.enqueuing: tuple[Middleware, ...] = ()  # those that do something around it
        self.running: tuple[Middleware, ...] = ()
        self.watching: dict[str, tuple[Observer, ...]] = dict.fromkeys(EVENTS, ())
        self._said: set[tuple[type, str, type]] = set()

    @property
    def outgoing(self) -> bool:
        """Whether anybody cares for what is enqueued."""
        return bool(self.enqueuing or self.watching["enqueued"])

    @property
    def watched(self) -> bool:
        """Whether anybody watches what a worker does."""
        return any(self.watching[event] for event in EVENTS if event != "enqueued")

    def add(self, hook: object) -> None:
        """Take one that is a middleware, an observer or both. Raises UsageError for what is neither."""
        if not isinstance(hook, Middleware | Observer):
            derive = "derive its class from aiotq.Middleware or aiotq.Observer"
            to_do = f"pass an instance: {hook.__name__}()" if isinstance(hook, type) else derive
            raise UsageError(f"{shown(hook)} is no middleware and no observer; {to_do}")
        if isinstance(hook, Middleware) and not any(each is hook for each in self.middleware):
            _refuse_kind(hook, ("enqueue", "run"), asynchronous=True)
            self.middleware += (hook,)
            self.enqueuing = tuple(each for each in self.middleware if _overrides(each, Middleware, "enqueue"))
            self.running = tuple(each for each in self.middleware if _overrides(each, Middleware, "run"))
        if isinstance(hook, Observer) and not any(each is hook for each in self.observers):
            _refuse_kind(hook, EVENTS, asynchronous=False)
            self.observers += (hook,)
            for event in EVENTS:
                self.watching[event] = tuple(each for each in self.observers if _overrides(each, Observer, event))

    def tell(self, event: str, *facts: Any, **more: Any) -> None:
        """Tell the observers. Never raises: an error is logged, once for each observer, event and kind."""
        for observer in self.watching[event]:
            try:
                getattr(observer, event)(*facts, **more)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001  the wall: a user's code that only watches
                self._broken(observer, event, error)

    def _broken(self, observer: Observer, event: str, error: BaseException) -> None:
        kind = (type(observer), event, type(error))
        if kind in self._said:
            return
        self._said.add(kind)
        name = type(observer).__name__
        said = "observer %s failed in %s(), which is said once and affects no job:\n%s"
        log.error(said, name, event, full_traceback(error).rstrip(), extra={"event": "observer_failed", "hook": event})


def encoded_headers(headers: Mapping[str, str]) -> bytes:
    """Headers as a JSON object; nothing if there are none. Raises UsageError for what a record does not carry."""
    if not headers:
        return b""
    given = cast("Mapping[object, object]", headers)
    for name, value in given.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise UsageError(f"headers={{{shown(name)}: {shown(value)}}} is not allowed; pass str for both")
    if len(headers) > MAX_HEADERS:
        raise UsageError(f"{len(headers)} headers are too many; a job carries at most {MAX_HEADERS}")
    try:
        stored = json.encode(dict(headers))
    except UnicodeEncodeError as error:
        raise UsageError(f"a header is no text: {error.reason}; pass str without lone surrogates") from None
    if len(stored) > MAX_HEADERS_BYTES:
        raise UsageError(
            f"the headers take {len(stored):,} bytes as JSON; a job carries at most {MAX_HEADERS_BYTES:,}; "
            "pass data as arguments, or an id of where it is"
        )
    return stored


def _overrides(hook: object, of: type, name: str) -> bool:
    return getattr(type(hook), name) is not getattr(of, name) or name in vars(hook)


def _refuse_kind(hook: object, names: Sequence[str], *, asynchronous: bool) -> None:
    for name in names:
        if inspect.iscoroutinefunction(getattr(hook, name)) is not asynchronous:
            wanted, is_one = ("an async def", "a plain def") if asynchronous else ("a plain def", "an async def")
            raise UsageError(f"{type(hook).__name__}.{name}() is {is_one}, and {wanted} was expected; make it one")
