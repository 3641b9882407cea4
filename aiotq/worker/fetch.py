"""The fetcher: the one loop between the store and the jobs in hand.

While there are outcomes to store or slots to fill it exchanges, one call in flight: what ends during a round trip goes
with the next, so batches grow with load by themselves and nothing waits when idle.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

from aiotq.errors import StoreError
from aiotq.job import Returned
from aiotq.store.contract import MAX_CLAIMED
from aiotq.worker.allowance import Allowance
from aiotq.worker.bounds import Bounds
from aiotq.worker.hands import Hands
from aiotq.worker.held import Why
from aiotq.worker.log import say, say_garbage, say_of
from aiotq.worker.settings import GIVE_BACK_S, LOOK_S, READ_AHEAD_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiotq.store.contract import Exchanged, Store
    from aiotq.worker.admit import Admission
    from aiotq.worker.clock import ServerClock
    from aiotq.worker.held import Held
    from aiotq.worker.outbox import Decided, Outbox
    from aiotq.worker.run import Runner
    from aiotq.worker.settings import WorkerSettings

BACKOFF_CAP_S = 0.9  # and a try: so it is back within a second of its store


class Fetcher:
    """Holds what this worker has claimed, from the claim to the acknowledged outcome."""

    def __init__(
        self,
        store: Store,
        settings: WorkerSettings,
        clock: ServerClock,
        *,
        outbox: Outbox,
        admission: Admission,
        runner: Runner,
        lease_good: Callable[[], bool],
    ) -> None:
        self._store, self._settings, self._clock = store, settings, clock
        self._admission, self._runner, self._lease_good = admission, runner, lease_good
        self.worker_id, self._hands = "", Hands(runner.scribe)
        self.held = self._hands.held  # by ticket
        self.ready: deque[Held] = deque()  # admitted, waiting for a slot
        self.hungry, self.doubt = True, False  # there may be something to claim; ask the store what is in hand
        self.stopping, self.allowance = False, Allowance()
        self.thirsty = asyncio.Event()  # there is room, and nothing is known to wait in the queues
        self.idle = asyncio.Event()  # nothing in hand, and the last claim found nothing
        self.lost = asyncio.Event()  # reclaimed: the worker has to start under a new id
        self.outage, self._outbox = admission.outage, outbox
        self._wake, self._bounds = asyncio.Event(), Bounds()
        self._asked_at_s = 0.0  # when the store was last asked, and said that this worker is alive
        self.claimed_at_s: float | None = None  # ... for jobs, or while there was no room for any; None: not yet

    # --- what the others tell it --------------------------------------------------------------------------------

    def wake(self, *, hungry: bool = False, doubt: bool = False) -> None:
        """Something has changed. hungry: there may be something to claim. doubt: ask what is in hand."""
        self.hungry |= hungry
        self.doubt |= doubt
        self._wake.set()

    def decided(self, jobs: Iterable[Held]) -> None:
        """Jobs have their outcomes."""
        now_ms, put, mine = self._clock.now_ms(), self._outbox.put, self.held
        for held in jobs:
            if mine.get(held.ticket) is held:  # else it is another worker's now
                put(held, now_ms=now_ms)
        self._wake.set()

    def freed(self) -> None:
        """A slot is free."""
        self._start_ready()
        self._had_all()
        self._wake.set()

    def _had_all(self) -> bool:
        """Whether it has started all that it may."""
        return self.allowance.started(waiting=len(self.ready) + self._admission.reading)

    def stop(self) -> None:
        """Claim nothing more; what has not been started goes back."""
        self.stopping = True
        self._give_back()
        self.allowance.returned(self._admission.give_back())
        self._wake.set()

    def cancel(self, job_id: str) -> None:
        """A person wants a job of this worker stopped."""
        for held in self._hands.stop(job_id):
            if held in self.ready:
                self.ready.remove(held)
                self._admission.admit(held, self._clock.now_ms())  # which refuses it now
            else:
                self._runner.cancel(held, Why.ASKED)

    def room(self) -> int:
        """How many jobs to claim now: free slots, and what will start within some 10 ms by the measured durations."""
        if self.stopping:
            return 0
        runner, waiting = self._runner, len(self.ready) + self._admission.reading
        room = runner.free + runner.ahead - waiting
        if (now_s := monotonic()) < self._bounds.until_s:
            room = min(room, self._bounds.free(runner, now_s=now_s) - waiting)
        return max(0, min(room, self.allowance.left, MAX_CLAIMED))

    # --- the loop -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Exchange whenever there is something to exchange. Ends when lost, or when stopping and nothing is in hand."""
        backoff_s = 0.05
        while (self.held or not self.stopping) and not self.lost.is_set():
            if self._nothing_to_do():
                self._wake.clear()
                await self._wait()
                continue
            try:
                await self._exchange()
                backoff_s = 0.05
            except StoreError as error:
                self.outage.begin(error)
                await asyncio.sleep(random.uniform(backoff_s / 2, backoff_s))  # noqa: S311  spread, no secret
                backoff_s = min(2 * backoff_s, BACKOFF_CAP_S)

    def _nothing_to_do(self) -> bool:
        room = self.room()
        if self._outbox or self.doubt or (self.hungry and room > 0):
            return False
        if room > 0:
            self.thirsty.set()
        if not self.held:
            self.idle.set()
        return True

    async def _wait(self) -> None:
        """Until something changes, or until it is time to look by itself."""
        now_s = monotonic()
        looks_s: list[float] = []
        if self.held:
            looks_s.append(self._asked_at_s + LOOK_S)
        if self.ready:
            looks_s.append(self.ready[0].claimed_s + GIVE_BACK_S)
        if self._bounds.until_s > now_s:
            looks_s.append(self._bounds.until_s)
        try:
            async with asyncio.timeout(max(0.0, min(looks_s) - now_s) if looks_s else None):
                await self._wake.wait()
        except TimeoutError:
            self._look(monotonic())

    def _look(self, now_s: float) -> None:
        """Nothing has happened for a while. What could not be started goes to whoever can; claim with more care."""
        if self.held and now_s - self._asked_at_s >= LOOK_S:
            self.doubt = True
        if self.ready and now_s - self.ready[0].claimed_s >= GIVE_BACK_S:
            self._bounds.notice(self.ready, now_s=now_s)
            self._runner.average_s = max(self._runner.average_s, READ_AHEAD_S)
            self._give_back()

    def _give_back(self) -> None:
        """Return every job that has not been started."""
        self.allowance.returned(len(self.ready))
        while self.ready:
            held = self.ready.popleft()
            held.outcome = Returned()
            self.decided([held])

    async def _exchange(self) -> None:
        batch = self._outbox.batch()
        try:
            await self._outbox.last_words(batch, self._runner.scribe)
            in_doubt, self.doubt, self.hungry = self.doubt, False, False
            limit = MAX_CLAIMED if in_doubt else self.room()
            leaving = {held.ticket for held, _ in batch}
            self.thirsty.clear()
            sent_at_s = monotonic()
            reply = await self._store.exchange(
                self.worker_id,
                [finished for _, finished in batch],
                queues=self._settings.queues,
                limit=limit,
                suspects=self._hands.may_take_suspect(leaving),
                held=[ticket for ticket in self.held if ticket not in leaving] if in_doubt else None,
                failure_ttl_ms=self._settings.failure_ttl_ms,
            )
        except BaseException:
            # Its effect is unknown: outcomes are repeated (the fence drops those stored already), and held ones named.
            self.doubt = self.hungry = True
            self._outbox.again(batch)
            raise
        self.outage.end(self._store.url)
        if reply.alive:
            self._asked_at_s = sent_at_s  # not when the answer came: that may have been long on its way
            if not in_doubt or self.room() <= 0:
                self.claimed_at_s = sent_at_s
            self._take(reply, batch, in_doubt=in_doubt, limit=limit)
        else:
            self._lost_all(batch)

    async def flush(self) -> None:
        """Store the outcomes at hand and claim nothing: a forced stop's last words. May be repeated if it fails."""
        while self._outbox:
            with self._outbox.leaving() as batch:
                await self._outbox.last_words(batch, self._runner.scribe)
                finished, keep_ms = [one for _, one in batch], self._settings.failure_ttl_ms
                await self._store.exchange(self.worker_id, finished, queues=(), limit=0, failure_ttl_ms=keep_ms)

    def _take(self, reply: Exchanged, batch: list[Decided], *, in_doubt: bool, limit: int) -> None:
        self._clock.set(reply.now_ms, sent_at_s=self._asked_at_s)
        for (held, _), stored in zip(batch, reply.stored, strict=True):
            self._hands.let_go(held.ticket)
            if not stored and not in_doubt:
                self._outbox.refused(held)
        for ticket in reply.gone:
            self._drop(ticket)
        now_ms = self._clock.now_ms()
        self._admission.take(self._hands.take(reply), now_ms, took_s=monotonic() - self._asked_at_s)
        self.allowance.claimed(len(reply.claimed))
        self.doubt |= self._hands.came_anew(reply) or reply.active != len(self.held)
        self.hungry |= in_doubt or reply.dropped > 0 or len(reply.claimed) >= limit
        if self.held:
            self.idle.clear()
        for job_id in reply.cancels:
            self.cancel(job_id)
        self._hands.forget_stops()
        say_garbage(reply.garbage, dropped=reply.dropped)
        self._start_ready()
        self.stopping |= self._had_all() and not self.held

    def _start_ready(self) -> None:
        """Start what waits, as far as slots and threads go. Nothing is started on a lease that may have gone."""
        runner, ready = self._runner, self.ready
        if not ready:
            return
        if self.stopping:  # its claim was on its way
            self._give_back()
            return
        if not self._lease_good() and monotonic() - self._asked_at_s >= self._settings.heartbeat_s:
            self.wake(doubt=True)  # ask first
            return
        now_s, free = monotonic(), runner.free
        now_ms = self._clock.at(now_s)
        waiting: list[Held] = []
        while ready and free > 0:
            held = ready.popleft()
            if (held.threaded and runner.free_threads <= 0) or (held.pooled and runner.free_processes <= 0):
                waiting.append(held)
            else:
                runner.start(held, now_s, now_ms)
                free -= 1
        ready.extendleft(reversed(waiting))

    def _drop(self, ticket: str) -> None:
        """A job is another worker's now."""
        held = self._hands.let_go(ticket)
        if held is not None:
            self._runner.cancel(held, Why.LOST)
            self._outbox.forget(held)
            held.why = Why.LOST
            if held in self.ready:
                self.ready.remove(held)
            say_of(held, logging.WARNING, "lost", "is another worker's now; what becomes of it here is dropped")

    def _lost_all(self, batch: Iterable[Decided]) -> None:
        """Reclaimed: all that was in hand is another worker's now, with what was on its way to be stored."""
        self._outbox.clear(batch)
        jobs = len([self._drop(ticket) for ticket in list(self.held)])
        self._hands.forget_stops()
        said = "this worker's lease had ended and its %d jobs went to others; starting afresh"
        say(logging.ERROR, "lease_lost", said, jobs, jobs=jobs)
        self.doubt, self.hungry = False, True
        self.stopping |= self._had_all()
        self.lost.set()
