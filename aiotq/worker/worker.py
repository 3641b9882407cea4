"""The worker, as its users hold it.

fetcher ──claims──▶ triage ──▶ runner ──outcomes──▶ fetcher        keeper thread: heartbeat, reclaim, poller
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from aiotq.errors import AiotqError, StoreError, UsageError
from aiotq.health import Health, Signs, Stage, judge
from aiotq.registry import refuse_what_no_process_finds
from aiotq.worker.call import Here
from aiotq.worker.join import warn
from aiotq.worker.life import Life
from aiotq.worker.log import say
from aiotq.worker.report import Report
from aiotq.worker.vitals import signs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from aiotq.registry import Registry
    from aiotq.store.contract import ServerFacts, Store
    from aiotq.worker.settings import WorkerSettings

GENTLE, FAILED, FORCED = 0, 1, 130  # exit codes


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervised:
    """What a worker does for whoever replaces it. Both are called on its loop."""

    registered: Callable[[str | None], None]  # with each id under which it claims, before it does; None: it has retired
    full: Callable[[], None]  # once it claims no more, by `max_jobs` or `drain`; it ends when what it holds has ended
    max_jobs: int | None = None
    first: bool = True  # no process has worked before it: what it finds at its start is news


class Worker:
    """Runs the jobs of some queues. Made by `App.worker()`.

    As an async context manager it works in the background of a service or a test, and stops gently when it is left; it
    may be left in another asyncio task than it was entered in. `run` is for a process of its own.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        settings: WorkerSettings,
        store: Callable[[], Store],
        give_back: Callable[[], Awaitable[None]],
        lifespan: Callable[[], AbstractAsyncContextManager[Any]] | None = None,
    ) -> None:
        """store: gives the running loop's store, shared with what the tasks enqueue. give_back: it may go."""
        self._registry, self._settings, self._lifespan = registry, settings, lifespan
        self._make_store, self._give_back = store, give_back
        self.label = settings.name or f"{socket.gethostname()}-{secrets.token_hex(2)}"
        self._report = Report()
        self._life: Life | None = None
        self._stopping = False
        self.supervised: Supervised | None = None  # set before it is started
        self._failed = False  # it could not do what it was run for

    # --- what a user sees ---------------------------------------------------------------------------------------

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues it serves, the first first."""
        return self._settings.queues

    @property
    def pool_processes(self) -> int:
        """How many processes its tasks with process=True may have at once; 0 if it has no such task."""
        return self._settings.pool_processes if any(task.process for task in self._registry) else 0

    @property
    def tally(self) -> Mapping[str, int]:
        """How many jobs succeeded, failed, retried, returned and were cancelled here so far."""
        return self._report.tally.copy()

    @property
    def facts(self) -> ServerFacts | None:
        """What its server says of itself; None until it is reached."""
        return None if self._life is None else self._life.facts

    def health(self) -> Health:
        """How it does: `.live`, `.ready` and, where one of them is False, `.reason` in a few words. From any thread.

        What `--health-port` answers, for a service that has a health page of its own. It asks nobody, and costs 10 µs.
        """
        seen = None if self._life is None else signs(self._life, stopping=self._stopping)
        return judge(seen or Signs(stage=Stage.NEW, max_block_s=self._settings.max_block_s))

    @property
    def ready(self) -> bool:
        """Whether it takes jobs: registered, with a lease that holds, and it has asked for jobs of late."""
        return self.health().ready

    @property
    def in_hand(self) -> int:
        """How many jobs it holds, from the claim to the stored outcome."""
        return 0 if self._life is None else len(self._life.fetcher.held)

    @property
    def stuck(self) -> bool:
        """Whether it has ended, and code goes on that can't be ended: only the end of the process will."""
        life = self._life
        if life is None or life.owner is None or not life.owner.done():
            return False
        return bool(life.runner.running) or life.lingers

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        await self._started().end()

    async def start(self, *, give_up_s: float | None = None) -> None:
        """Connect, register, begin to work. Tries for ever to reach the store, or for `give_up_s` seconds.

        Raises StoreUnusable (or StoreUnavailable once given up), what the lifespan raises, UsageError if started twice.
        """
        if self._life is not None:
            raise UsageError(
                "this worker has been started already; a worker lives once: make another with app.worker()"
            )
        if Here.importing:
            raise UsageError(
                "a process of a worker's pool imports this module for a task with process=True, and that starts a "
                "worker; "
                'put what the script does when run under: if __name__ == "__main__"'
            )
        refuse_what_no_process_finds(self._registry)
        life = self._life = Life(
            registry=self._registry,
            settings=self._settings,
            store=self._make_store(),
            lifespan=self._lifespan,
            label=self.label,
            report=self._report,
            give_back=self._give_back,
        )
        if self.supervised is not None:
            life.registered = self.supervised.registered
            life.fetcher.allowance.limit(self.supervised.max_jobs, spent=self.supervised.full)
        life.begin(give_up_s=give_up_s)
        try:
            await asyncio.shield(life.started)
        except asyncio.CancelledError:
            self.stop(now=True)
            await life.end()
            raise
        hooks, settings = self._settings.hooks, self._settings
        hooks.tell("working", self.label, slots=settings.concurrency, queues=settings.queues)
        if life.owner is not None:
            life.owner.add_done_callback(lambda _: hooks.tell("stopped", self.label))
        if life.facts is not None and (self.supervised is None or self.supervised.first):
            # Once its caller has said that it is ready: that is the first line.
            asyncio.get_running_loop().call_soon(warn, life.facts)

    async def run(self, *, until_empty: bool = False, give_up_s: float | None = None) -> int:
        """Work until `stop`, or until nothing is left. Returns the exit code: 0, 1 if it failed, 130 if forced."""
        if self._life is None:
            await self.start(give_up_s=give_up_s)
        life = self._started()
        if until_empty:
            try:
                await self.run_until_empty()
            except StoreError as error:
                say(logging.ERROR, "gave_up", "%s", error, url=error.url)
                self._failed = True
            self.stop()
        await life.end()
        if life.forced:
            return FORCED
        return FAILED if self._failed or life.exhausted else GENTLE

    async def run_until_empty(self) -> None:
        """Until nothing is queued, running (here or in another worker) or scheduled in its queues.

        Raises StoreError if the store can't be asked, UsageError before `start`.
        """
        life = self._started()
        fetcher = life.fetcher
        while not fetcher.stopping:  # told to, or by itself once every slot is stuck
            await _until(fetcher.idle, life)
            left = await life.store.backlog(self.queues)
            if left.empty and fetcher.idle.is_set():
                return
            if left.queued:
                fetcher.idle.clear()
                fetcher.wake(hungry=True)
            # Other workers' jobs and the schedule end without a word to this one: it asks again, sooner where some run.
            await asyncio.sleep(0.02 if left.running or left.queued else 0.1)

    def stop(self, *, now: bool = False) -> None:
        """Begin to stop: claim nothing more, give running jobs their grace, then put them back. now: without grace.

        Call it on the worker's loop; it returns at once.
        """
        life = self._life
        if life is None or life.owner is None or life.owner.done():
            return
        if now and not life.forced:
            self._stopping = life.forced = True
            life.abandon()
        elif not self._stopping:
            self._stopping = True
            life.stop()

    def drain(self) -> None:
        """Claim nothing more, and end when all that is in hand has ended. `stop` may still cut that short.

        Call it on the worker's loop; it returns at once.
        """
        self._started().drain()

    def _started(self) -> Life:
        if self._life is None:
            raise UsageError("this worker has not been started; write: async with app.worker() as worker, or run it")
        return self._life


async def _until(event: asyncio.Event, life: Life) -> None:
    """Wait for an event, or for the worker's end."""
    waiting = asyncio.ensure_future(event.wait())  # noqa: TID251  ended below
    owner = life.owner
    assert owner is not None
    try:
        await asyncio.wait({waiting, owner}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    if owner.done() and not life.fetcher.stopping and not owner.cancelled():
        raise owner.exception() or AiotqError("the worker has ended")
