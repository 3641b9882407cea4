"""One worker's parts, and its life: connect, register, work, and leave nothing behind."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, suppress
from contextvars import copy_context
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from aiotq.worker.admit import Admission
from aiotq.worker.clock import ServerClock
from aiotq.worker.ears import hear_cancels, hear_tokens
from aiotq.worker.fetch import Fetcher
from aiotq.worker.held import Held, Why
from aiotq.worker.join import LAST_WORDS_S, reach, register
from aiotq.worker.keeper import Keeper
from aiotq.worker.leave import say_goodbye
from aiotq.worker.log import say
from aiotq.worker.outbox import Outbox
from aiotq.worker.run import Runner
from aiotq.worker.scribe import Scribe
from aiotq.worker.settings import STUCK_AFTER_S
from aiotq.worker.tell import Teller
from aiotq.worker.vitals import pulse
from aiotq.worker.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from aiotq.registry import Registry
    from aiotq.store.contract import ServerFacts, Store
    from aiotq.worker.report import Report
    from aiotq.worker.settings import WorkerSettings

FORMER = 16  # ids of its own that a worker names as it comes anew


class Life:
    """Made and used on the worker's loop, once."""

    def __init__(
        self,
        *,
        registry: Registry,
        settings: WorkerSettings,
        store: Store,
        lifespan: Callable[[], AbstractAsyncContextManager[Any]] | None,
        label: str,
        report: Report,
        give_back: Callable[[], Awaitable[None]],
    ) -> None:
        self._loop, self._report = asyncio.get_running_loop(), report
        self._give_back = give_back  # called once the store is needed no more
        self.settings, self.store, self._lifespan, self._label = settings, store, lifespan, label
        self.keeper: Keeper | None = None  # while it stands in the store
        self._working: asyncio.Task[None] | None = None  # the fetcher's run; None: before it, and after it
        self.owner: asyncio.Task[None] | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self.started: asyncio.Future[None] = self._loop.create_future()  # it works, or what kept it from that
        self.facts: ServerFacts | None = None
        self.forced = self.lingers = self.exhausted = False  # told to go now; a keeper goes on; every slot is stuck
        self.registered: Callable[[str | None], None] | None = None  # see worker.Supervised
        clock = ServerClock()
        self._admission = Admission(
            store, registry, settings, clock, ready=self._ready, decided=self._decided, late=self._freed
        )
        self.scribe = Scribe(store, settings, clock, self._admission.outage)
        self._watch = self._admission.watch = watch = Watch(settings.hooks, report, registry, label=label)
        self.runner = Runner(
            settings, scribe=self.scribe, started=watch.started, decided=self._decided, freed=self._freed
        )
        self.fetcher = Fetcher(
            store,
            settings,
            clock,
            outbox=Outbox(settings, label=label, void=watch.void),
            admission=self._admission,
            runner=self.runner,
            lease_good=self._lease_good,
        )
        self._teller = Teller(report.meter, partial(pulse, self), self.fetcher.outage, settings)

    # --- from its beginning to its end --------------------------------------------------------------------------

    def begin(self, *, give_up_s: float | None) -> None:
        """Begin to live; `started` tells how that went."""
        # The owner of all that is the worker's: it hosts the lifespan and every duty, and `end` waits for it. A context
        # manager that may be entered in one task and left in another can't host them itself.
        self.owner = self._loop.create_task(self._live(give_up_s))
        # Cancelled before its first step, none of it runs; whoever waits for its start must still be told.
        self.owner.add_done_callback(lambda _: self.started.cancel())

    async def end(self) -> None:
        """Wait for its end. Raises what went wrong after it had started."""
        owner = self.owner
        assert owner is not None
        await asyncio.wait([owner])  # not cancelled with its caller: jobs are in hand
        if not owner.cancelled() and (error := owner.exception()) is not None:
            raise error

    async def _live(self, give_up_s: float | None) -> None:
        began_s, works = monotonic(), False
        try:
            self.facts = await reach(self.store, self.fetcher.outage, give_up_s=give_up_s)
            async with AsyncExitStack() as stack:
                if self._lifespan is not None:
                    self.runner.state = await stack.enter_async_context(self._lifespan())
                self.runner.context = copy_context()  # with what the lifespan has set
                await self._work()
                self._cancel_timers()  # the lifespan may take its time to end
        except BaseException as error:
            works = self.started.done()
            if works:
                raise
            if isinstance(error, Exception):
                self.started.set_exception(error)
            else:
                self.started.cancel()
        else:
            works = True
        finally:
            self._cancel_timers()
            self.fetcher.ready.clear()  # nothing is started as the running ones end
            self.runner.close()
            self._admission.close()
            try:
                await self.runner.pool.ended()
                if works:
                    self._say_stopped(monotonic() - began_s)
            finally:  # also if it is told meanwhile to go at once
                await self._give_back()

    async def _work(self) -> None:
        """Under one id after the other: a worker that was reclaimed starts afresh under a new one."""
        fetcher, former = self.fetcher, list[str]()
        while True:
            fetcher.lost.clear()
            fetcher.claimed_at_s = self._working = None  # a stop now has to interrupt this
            worker_id, sent_at_s = await register(
                self.store, self.settings, fetcher.outage, label=self._label, former=former[-FORMER:]
            )
            former.append(worker_id)
            fetcher.worker_id = self.scribe.worker_id = worker_id
            if self.registered is not None:
                self.registered(worker_id)
            # However long users are ready to wait for an answer: the lease is not.
            store = self.store.sibling(limit_s=max(1.0, self.settings.lease_s / 3))
            keeper = Keeper(
                store, self.settings, fetcher.outage, worker_id=worker_id, lost=self._lost, running=self._at_fault
            )
            keeper.renewed_at_s, keeper.teller = sent_at_s, self._teller
            keeper.start()
            self.keeper = keeper
            try:
                await self._work_as(worker_id, keeper)
            finally:
                self.lingers |= not await keeper.stop(within_s=LAST_WORDS_S)
                self.keeper = None
            if fetcher.stopping or not fetcher.lost.is_set():
                break
        await self._retire()
        self._working = None  # ... and the lifespan's end, if it must go at once

    async def _work_as(self, worker_id: str, keeper: Keeper) -> None:
        async with asyncio.TaskGroup() as duties:
            # Children of this group: they end with it.
            working = self._working = duties.create_task(self.fetcher.run())
            others = [
                duties.create_task(hear_tokens(self.store, self.fetcher, queues=self.settings.queues)),
                duties.create_task(hear_cancels(self.store, self.fetcher, worker_id=worker_id)),
                duties.create_task(keeper.watched()),
                duties.create_task(self.scribe.run()),
            ]
            working.add_done_callback(lambda _: [other.cancel() for other in others])
            if not self.started.done():
                self.started.set_result(None)

    async def _retire(self) -> None:
        """Say goodbye; what is still in hand goes back to the front of its line. Then see off whose code runs on."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                await say_goodbye(self.store, self.fetcher, queues=self.settings.queues, registered=self.registered)
        # Cancelled already, they may clean up; a thread can't be cancelled, and who is forced does not wait for one.
        ending = [
            held.handle
            for held in self.runner.running - self.runner.stuck
            if held.handle is not None and not (self.forced and held.in_thread)
        ]
        if ending:
            await asyncio.wait(ending, timeout=LAST_WORDS_S if self.forced else STUCK_AFTER_S)

    # --- how it is stopped --------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Claim nothing more; running jobs get their grace, then are put back."""
        if not self.started.done():
            self._interrupt()
            return
        if self.fetcher.stopping:  # by itself, with every slot stuck
            return
        self.fetcher.stop()
        grace_s = self.settings.grace_s
        self._timers = [
            self._loop.call_later(grace_s, self._grace_over),
            self._loop.call_later(grace_s + STUCK_AFTER_S + LAST_WORDS_S, self.abandon),
        ]
        running = len(self.runner.running - self.runner.stuck)  # what is stuck has its outcome: nobody waits for that
        said = "stopping: %d jobs still running, waiting up to %g s"
        say(logging.INFO, "stopping", said, running, grace_s, running=running, grace_s=grace_s)

    def drain(self) -> None:
        """Claim nothing more, and end once all that is in hand has ended."""
        fetcher = self.fetcher
        fetcher.allowance.close()
        fetcher.stopping |= not fetcher.held
        fetcher.wake()

    def abandon(self) -> None:
        """Wait no longer: what is in hand goes back now, or when the lease ends."""
        self.fetcher.stop()
        for held in tuple(self.fetcher.held.values()):
            self.runner.leave(held)
        self._interrupt()

    def _grace_over(self) -> None:
        for held in tuple(self.fetcher.held.values()):  # in the order of their claims
            self.runner.cancel(held, Why.STOPPING)
        if self.fetcher.outage.lasts:
            self.abandon()
        else:  # it may yet go away
            self._timers.append(self._loop.call_later(LAST_WORDS_S, self._grace_over))

    def _interrupt(self) -> None:
        """Go on to the end, from wherever its life is."""
        if (where := self._working or self.owner) is not None:
            where.cancel()

    def _cancel_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()

    def _say_stopped(self, up_s: float) -> None:
        self._report.flush()
        tally = self._report.tally.copy()
        said = ", ".join(f"{number} {what}" for what, number in tally.items())
        say(logging.INFO, "stopped", "stopped after %.1f s: %s", up_s, said, tally=tally, up_s=up_s)

    # --- what its parts tell each other -------------------------------------------------------------------------

    def _ready(self, held: Held) -> None:
        self.fetcher.ready.append(held)

    def _decided(self, jobs: Sequence[Held]) -> None:
        mine = [held for held in jobs if held.why is not Why.LOST]  # else it is another worker's now
        self.fetcher.decided(mine)  # first: what is said of them may fail
        self._watch.decided(jobs, mine)
        if len(self.runner.stuck) >= self.settings.concurrency and not self.fetcher.stopping:
            say(logging.CRITICAL, "all_stuck", "every slot holds a job that can't be ended; this worker gives up")
            self.exhausted = True
            self.stop()

    def _freed(self) -> None:
        self.fetcher.freed()

    def _lease_good(self) -> bool:
        return self.keeper is not None and self.keeper.lease_good

    def _lost(self) -> None:
        """The keeper was told that this worker has been reclaimed; the next exchange will be told, too."""
        self.fetcher.wake(doubt=True)

    def _at_fault(self) -> str:
        """For the keeper's thread: the task that blocks the loop now, or those that may be it."""
        current = asyncio.current_task(self._loop)
        running = [held for held in tuple(self.runner.running) if held.on_loop]
        names = sorted({held.name for held in running if held.handle is current} or {held.name for held in running})
        return ", ".join(names[:5]) or "something"
