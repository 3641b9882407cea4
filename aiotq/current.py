"""What a task may know of the job that it is running for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakValueDictionary

from msgspec import Struct

from aiotq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator


class Scribe(Protocol):
    """Takes down what jobs write, at once and from any thread. Of a job that has ended it takes nothing more."""

    def log(self, ticket: str, attempt: int, level_name: str, text: object) -> None:
        """A line."""
        ...

    def progress(self, ticket: str, attempt: int, done: float, of: float | None, word: str | None) -> None:
        """How far it is."""
        ...


SCRIBES: WeakValueDictionary[int, Scribe] = WeakValueDictionary()  # those of this process
_numbers = count(1)


def enlist(scribe: Scribe) -> int:
    """The number by which jobs name their scribe: so they hold plain data alone."""
    number = next(_numbers)
    SCRIBES[number] = scribe
    return number


class _OneTurn:
    """To be awaited, or not: it lets the others of the loop have their turn."""

    __slots__ = ()

    def __await__(self) -> Generator[None]:
        yield


_ONE_TURN = _OneTurn()


class CurrentJob(Struct, frozen=True, kw_only=True):
    """The job that the running code belongs to."""

    id: str
    attempt: int  # 1 is the first
    retries: int  # at most this many attempts follow the first one
    task: str  # the registered name
    queue: str
    priority: int
    enqueued_ms: int  # Unix milliseconds, by Redis's clock
    # Grows with every attempt, whatever Redis has lost meanwhile (64 bits; below 2^53): write it beside what a task
    # stores elsewhere, and refuse a lower one: so a worker that came back too late can't overwrite its successor's.
    fence: int
    state: Any = None  # what the app's `lifespan` yielded in this worker
    headers: Mapping[str, str] = {}  # what the call and middlewares sent along with it
    ticket: str = ""  # the store's word for this attempt
    scribe: int | None = None  # who takes down what it writes: its number in SCRIBES

    @property
    def enqueued_at(self) -> datetime:
        """When it was enqueued: aware, in UTC, by Redis's clock."""
        return datetime.fromtimestamp(self.enqueued_ms / 1000, UTC)

    @property
    def last_attempt(self) -> bool:
        """Whether no further attempt follows if this one fails."""
        return self.attempt > self.retries

    def log(self, text: object, level: str = "info") -> None:
        """Write a line into the job's log, which `Job.logs()`, `aiotq job` and the dashboard show.

        It costs some microseconds, waits for nothing and never fails for the store's sake; callable from any thread.
        Of a job the last 200 lines are kept, 2 KiB of each and 64 KiB of all; what was left out is counted there. Lines
        are shown to whoever may see the job, as they are: `sensitive=` hides nothing in them.
        """
        scribe = self._scribe()
        if scribe is not None:
            scribe.log(self.ticket, self.attempt, level, text)

    def progress(self, done: float, *, of: float | None = None, note: str | None = None) -> Awaitable[None]:
        """Say how far the job is: `await current_job().progress(3, of=10, note="p. 3")`; in a plain def without await.

        The store hears the last word of it about twice a second, and before the job's end, however often it is called.
        To await it only lets others have their turn. note: at most 500 characters. What is not finite is not said.
        """
        far, all_of = _number("done", done), None if of is None else _number("of", of)
        scribe = self._scribe()
        if scribe is not None and math.isfinite(far):
            all_of = None if all_of is None or not math.isfinite(all_of) else all_of
            scribe.progress(self.ticket, self.attempt, far, all_of, note)
        return _ONE_TURN

    def _scribe(self) -> Scribe | None:
        """None: its worker has gone."""
        if self.scribe is None:
            raise UsageError(
                f"nobody takes down what job {self.id} writes: this CurrentJob is not of a worker; "
                "use the one that current_job() gives inside of a task"
            )
        return SCRIBES.get(self.scribe)


def _number(name: str, value: object) -> float:
    if isinstance(value, bool | str | bytes) or not hasattr(value, "__float__"):
        raise UsageError(
            f"progress({name}={value!r:.50}) is no number; pass how much is done, and with of= of how much"
        )
    try:
        return float(value)  # pyright: ignore[reportArgumentType]  it has __float__
    except OverflowError:
        return math.inf


CURRENT: ContextVar[CurrentJob] = ContextVar("aiotq_current_job")  # set by the worker in each job's own context


def current_job() -> CurrentJob:
    """The job that this code is running for. Raises UsageError outside of one."""
    job = CURRENT.get(None)
    if job is None:
        raise UsageError(
            "current_job() was called outside of a job; it is known only to a task that a worker runs; "
            "pass what you need as an argument where a function is also called directly"
        )
    return job
