"""The worker: its life from connecting to retiring, and what ties its duties together.

fetcher ──claims──▶ triage ──▶ runner ──outcomes──▶ fetcher        keeper thread: heartbeat, reclaim, poller
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from contextlib import AsyncExitStack, suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

from aiotq.errors import AiotqError, StoreError, UsageError
from aiotq.worker.admit import Admission
from aiotq.worker.clock import ServerClock
from aiotq.worker.ears import hear_cancels, hear_tokens
from aiotq.worker.fetch import Fetcher
from aiotq.worker.held import Held, Why
from aiotq.worker.join import reach, register
from aiotq.worker.keeper import Keeper
from aiotq.worker.log import say
from aiotq.worker.report import Report
from aiotq.worker.run import Runner
from aiotq.worker.settings import STUCK_AFTER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from aiotq.registry import Registry
    from aiotq.store.contract import ServerFacts, Store
    from aiotq.worker.settings import WorkerSettings

GENTLE, FAILED, FORCED = 0, 1, 130  # exit codes
LAST_WORDS_S = 1.0  # what a forced stop gives the store, and the user's code


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
        lifespan: Callable[[], AbstractAsyncContextManager[Any]] | None = None,
    ) -> None:
        """store: gives the running loop's store, shared with what the tasks enqueue."""
        self._registry, self._settings, self._make_store, self._lifespan = registry, settings, store, lifespan
        self.label = settings.name or f"{socket.gethostname()}-{secrets.token_hex(2)}"
        self.facts: ServerFacts | None = None
        self._clock = ServerClock()
        self._report = Report()
        self._exit_code = GENTLE
        self._forced = False
        self._stopping = False
        self._owner: asyncio.Task[None] | None = None
        self._started: asyncio.Future[None] | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._keeper: Keeper | None = None
        self._fetching: asyncio.Task[None] | None = None

    # --- what a user sees ---------------------------------------------------------------------------------------

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues it serves, the first first."""
        return self._settings.queues

    @property
    def tally(self) -> Mapping[str, int]:
        """How many jobs succeeded, failed, retried, returned and were cancelled here so far."""
        return self._report.tally.copy()

    @property
    def stuck(self) -> bool:
        """Whether code of a job goes on that can't be ended: only the end of the process will."""
        return bool(self._runner.running) if self._owner is not None and self._owner.done() else False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        await self._end()

    async def start(self, *, give_up_s: float | None = None) -> None:
        """Connect, register, begin to work. Tries for ever to reach the store, or for `give_up_s` seconds.

        Raises StoreUnusable (or StoreUnavailable once given up), what the lifespan raises, UsageError if started twice.
        """
        if self._owner is not None:
            raise UsageError(
                "this worker has been started already; a worker lives once: make another with app.worker()"
            )
        loop = asyncio.get_running_loop()
        self._store = self._make_store()
        self._started = loop.create_future()
        self._runner = Runner(
            self._settings, self._clock, started=self._begun, decided=self._decided, freed=self._freed
        )
        self._admission = Admission(
            self._store,
            self._registry,
            self._settings,
            self._clock,
            ready=self._ready,
            decided=self._decided,
            late=self._freed,
        )
        self._fetcher = Fetcher(
            self._store,
            self._settings,
            self._clock,
            label=self.label,
            admit=self._admission.admit,
            lease_good=self._lease_good,
        )
        self._fetcher.runner = self._runner
        # The worker's owner: it hosts the lifespan and every duty, and `_end` waits for it. A context manager that may
        # be entered in one task and left in another can't host them itself.
        self._owner = loop.create_task(self._live(give_up_s))
        try:
            await asyncio.shield(self._started)
        except asyncio.CancelledError:
            self.stop(now=True)
            raise

    async def run(self, *, until_empty: bool = False, give_up_s: float | None = None) -> int:
        """Work until `stop`, or until nothing is left. Returns the exit code: 0, 1 if it failed, 130 if forced."""
        if self._owner is None:
            await self.start(give_up_s=give_up_s)
        if until_empty:
            try:
                await self.run_until_empty()
            except StoreError as error:
                say(logging.ERROR, "gave_up", "%s", error, url=error.url)
                self._exit_code = FAILED
            self.stop()
        await self._end()
        return self._exit_code

    async def run_until_empty(self) -> None:
        """Until nothing is queued, running (here or in another worker) or scheduled in its queues.

        Raises StoreError if the store can't be asked.
        """
        fetcher = self._fetcher
        while not self._stopping:
            await self._until(fetcher.idle)
            left = await self._store.backlog(self.queues)
            if left.empty and fetcher.idle.is_set():
                return
            if left.queued:
                fetcher.idle.clear()
                fetcher.wake(hungry=True)
            await asyncio.sleep(0.02 if left.running or left.queued else 0.1)

    def stop(self, *, now: bool = False) -> None:
        """Begin to stop: claim nothing more, give running jobs their grace, then put them back. now: without grace.

        Call it on the worker's loop; it returns at once.
        """
        if self._owner is None or self._owner.done():
            return
        if now and not self._forced:
            self._forced, self._stopping, self._exit_code = True, True, FORCED
            self._abandon()
            return
        if self._stopping:
            return
        self._stopping = True
        if self._started is not None and not self._started.done():
            self._owner.cancel()
            return
        self._fetcher.stop()
        loop = asyncio.get_running_loop()
        self._timers = [
            loop.call_later(self._settings.grace_s, self._grace_over),
            loop.call_later(self._settings.grace_s + STUCK_AFTER_S + LAST_WORDS_S, self._abandon),
        ]
        running = len(self._runner.running)
        say(
            logging.INFO,
            "stopping",
            "stopping: %d jobs still running, waiting up to %g s",
            running,
            self._settings.grace_s,
            running=running,
            grace_s=self._settings.grace_s,
        )

    # --- its life -----------------------------------------------------------------------------------------------

    async def _live(self, give_up_s: float | None) -> None:
        started_s = monotonic()
        try:
            self.facts = await reach(self._store, give_up_s=give_up_s)
            async with AsyncExitStack() as life:
                if self._lifespan is not None:
                    self._runner.state = await life.enter_async_context(self._lifespan())
                await self._lives()
        except BaseException as error:
            if self._started is None or self._started.done():
                raise
            if isinstance(error, Exception):
                self._started.set_exception(error)
            else:
                self._started.cancel()
            return
        finally:
            for timer in self._timers:
                timer.cancel()
            self._runner.close()
            self._admission.close()
        self._report.flush()
        up_s = monotonic() - started_s
        say(
            logging.INFO,
            "stopped",
            "stopped after %.1f s: %s",
            up_s,
            ", ".join(f"{count} {what}" for what, count in self.tally.items()),
            tally=self.tally,
            up_s=up_s,
        )

    async def _lives(self) -> None:
        """A life under each id: a worker that was reclaimed starts afresh under a new one."""
        while True:
            worker_id, keeper = await self._register()
            try:
                await self._work(worker_id)
            finally:
                await keeper.stop()
            if not self._fetcher.lost.is_set() or self._stopping:
                break
            self._fetcher.lost.clear()
        await self._retire(worker_id)

    async def _register(self) -> tuple[str, Keeper]:
        worker_id, sent_at_s = await register(self._store, self._settings, label=self.label)
        keeper = self._keeper = Keeper(
            self._store.sibling(), self._settings, worker_id=worker_id, lost=self._lost, running=self._names_running
        )
        keeper.renewed_at_s = sent_at_s
        self._fetcher.worker_id = worker_id
        keeper.start()
        return worker_id, keeper

    async def _work(self, worker_id: str) -> None:
        async with asyncio.TaskGroup() as duties:
            # Children of this group: they end with it.
            fetching = self._fetching = duties.create_task(self._fetcher.run())
            others = [
                duties.create_task(hear_tokens(self._store, self._fetcher, queues=self.queues)),
                duties.create_task(hear_cancels(self._store, self._fetcher, worker_id=worker_id)),
            ]
            fetching.add_done_callback(lambda _: [other.cancel() for other in others])
            if self._started is not None and not self._started.done():
                self._started.set_result(None)

    async def _retire(self, worker_id: str) -> None:
        """Say goodbye; what is still in hand goes back to the front of its line."""
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                if self._forced:
                    await self._fetcher.flush()
                self._report.tally["returned"] += await self._store.retire(worker_id)
        if self._forced and (handles := [held.handle for held in self._runner.running if held.handle is not None]):
            await asyncio.wait(handles, timeout=LAST_WORDS_S)  # what has been cancelled may clean up

    async def _end(self) -> None:
        owner = self._owner
        if owner is None:
            return
        await asyncio.wait([owner])  # not cancelled with its caller: jobs are in hand
        if not owner.cancelled() and (error := owner.exception()) is not None:
            raise error

    # --- its duties ---------------------------------------------------------------------------------------------

    def _ready(self, held: Held) -> None:
        self._fetcher.ready.append(held)

    def _decided(self, held: Held) -> None:
        if held.why is Why.LOST:
            return
        self._report.decided(held)
        self._fetcher.decided(held)
        if self._runner.stuck and len(self._runner.stuck) >= self._settings.concurrency and not self._stopping:
            say(logging.CRITICAL, "all_stuck", "every slot holds a job that can't be ended; this worker gives up")
            self._exit_code = FAILED
            self.stop()

    def _begun(self, held: Held) -> None:
        self._report.started(held, now_ms=held.started_ms or 0)

    def _freed(self) -> None:
        self._fetcher.freed()

    def _lease_good(self) -> bool:
        return self._keeper is not None and self._keeper.lease_good

    def _lost(self) -> None:
        """The keeper was told that this worker has been reclaimed; the next exchange will be told, too."""
        self._fetcher.doubt = True
        self._fetcher.wake()

    def _names_running(self) -> str:
        """For another thread."""
        names = sorted({held.name for held in tuple(self._runner.running) if not held.threaded})
        return ", ".join(names[:5]) or "something"

    # --- stopping -----------------------------------------------------------------------------------------------

    def _grace_over(self) -> None:
        for held in tuple(self._runner.running):
            self._runner.cancel(held, Why.STOPPING)
        if self._fetcher.down_since_s is not None:
            self._abandon()

    def _abandon(self) -> None:
        """Wait no longer: what is in hand goes back as this worker retires, or when its lease ends."""
        for held in tuple(self._runner.running):
            self._runner.cancel(held, Why.LOST)
        if self._fetching is not None and not self._fetching.done():
            self._fetching.cancel()
        elif self._owner is not None:
            self._owner.cancel()

    async def _until(self, event: asyncio.Event) -> None:
        """Wait for an event, or for the worker's end."""
        waiting = asyncio.ensure_future(event.wait())  # noqa: TID251  ended below
        owner = self._owner
        assert owner is not None
        try:
            await asyncio.wait({waiting, owner}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if owner.done() and not self._stopping and not owner.cancelled():
            raise owner.exception() or AiotqError("the worker has ended")
