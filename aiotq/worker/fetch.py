"""The fetcher: the one loop between the store and the jobs in hand.

While there are outcomes to store or slots to fill it exchanges, one call in flight: what ends during a round trip goes
with the next, so batches grow with load by themselves and nothing waits when idle.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

from aiotq.errors import StoreError, StoreUnavailable
from aiotq.job import Returned
from aiotq.store.contract import MAX_BATCH_BYTES, MAX_CLAIMED, MAX_FINISHED, PutBack
from aiotq.worker.held import Held, Why
from aiotq.worker.log import say
from aiotq.worker.settings import GIVE_BACK_S, READ_AHEAD_MOST, READ_AHEAD_S
from aiotq.worker.settle import settle

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiotq.store.contract import Claimed, Exchanged, Finished, Store
    from aiotq.worker.clock import ServerClock
    from aiotq.worker.run import Runner
    from aiotq.worker.settings import WorkerSettings

BACKOFF_CAP_S = 1.0
THREAD_BOUND_S = 1.0  # once threads were the bottleneck, for so long no more is claimed than there are free ones


class Fetcher:
    """Holds what this worker has claimed. `admit` decodes a claim: None to run it, else it has set an outcome."""

    def __init__(
        self,
        store: Store,
        settings: WorkerSettings,
        clock: ServerClock,
        *,
        label: str,
        admit: Callable[[Held], None],
        lease_good: Callable[[], bool],
    ) -> None:
        self._store, self._settings, self._clock, self._label = store, settings, clock, label
        self._admit, self._lease_good = admit, lease_good
        self.runner: Runner  # set by its maker: each needs the other
        self.worker_id = ""
        self.held: dict[str, Held] = {}  # by ticket
        self.ready: deque[Held] = deque()  # admitted, waiting for a slot
        self._finished: deque[tuple[Held, Finished]] = deque()
        self._wake = asyncio.Event()
        self.thirsty = asyncio.Event()  # there is room, and nothing is known to wait in the queues
        self.hungry = True  # there may be something to claim
        self.doubt = False
        self.stopping = False
        self.down_since_s: float | None = None
        self._thread_bound_until_s = 0.0  # until then, claim only for free threads
        self.asked_at_s = 0.0  # when the store last said that this worker is alive
        self.lost = asyncio.Event()  # reclaimed: the worker has to start under a new id
        self.idle = asyncio.Event()  # nothing in hand, and the last claim found nothing

    # --- what the others tell it --------------------------------------------------------------------------------

    def wake(self, *, hungry: bool = False) -> None:
        """Something has changed. hungry: there may be something to claim."""
        if hungry:
            self.hungry = True
        self._wake.set()

    def decided(self, held: Held) -> None:
        """A job has its outcome."""
        if held.why is Why.LOST or self.held.get(held.ticket) is not held:
            return  # another worker's now
        finished = settle(
            held, settings=self._settings, label=self._label, now_ms=self._clock.now_ms(), random=os.urandom(4)
        )
        self._finished.append((held, finished))
        self._wake.set()

    def freed(self) -> None:
        """A slot is free."""
        if self.ready:
            self.start_ready()
        self._wake.set()

    def stop(self) -> None:
        """Claim nothing more; what has not been started goes back."""
        self.stopping = True
        self.give_back()
        self._wake.set()

    def give_back(self) -> None:
        """Return every job that has not been started."""
        while self.ready:
            held = self.ready.popleft()
            held.outcome = Returned()
            self.decided(held)

    @property
    def settled(self) -> bool:
        """Whether nothing is in hand."""
        return not self.held

    def room(self) -> int:
        """How many jobs to claim now: free slots, and what will start within some 10 ms by the measured durations."""
        if self.stopping:
            return 0
        runner = self.runner
        room = runner.free - len(self.ready)
        if runner.average_s < READ_AHEAD_S:
            ahead = self._settings.concurrency * READ_AHEAD_S / max(runner.average_s, 1e-6)
            room += int(min(ahead, READ_AHEAD_MOST * self._settings.concurrency))
        if monotonic() < self._thread_bound_until_s:
            room = min(room, runner.free_threads - len(self.ready))
        return max(0, min(room, MAX_CLAIMED))

    # --- the loop -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Exchange whenever there is something to exchange. Ends when stopping and nothing is in hand."""
        backoff_s = 0.05
        while not (self.stopping and self.settled):
            if self._idle_now():
                self._wake.clear()
                if self._idle_now():
                    await self._wait()
                continue
            try:
                await self._exchange()
                backoff_s = 0.05
            except StoreError as error:
                self._is_down(error)
                await asyncio.sleep(random.uniform(backoff_s / 2, backoff_s))  # noqa: S311  spread, no secret
                backoff_s = min(2 * backoff_s, BACKOFF_CAP_S)
            if self.lost.is_set():
                return

    def _idle_now(self) -> bool:
        room = self.room()
        if self._finished or self.doubt or (self.hungry and room > 0):
            return False
        if room > 0:
            self.thirsty.set()
        if not self.held:
            self.idle.set()
        return not (self.stopping and self.settled)

    async def _wait(self) -> None:
        """Until something changes; a claimed job that can't be started goes back after a while."""
        if not self.ready:
            await self._wake.wait()
            return
        left_s = self.ready[0].claimed_s + GIVE_BACK_S - monotonic()
        try:
            async with asyncio.timeout(max(0.0, left_s)):
                await self._wake.wait()
        except TimeoutError:
            if self.ready and not self._lease_good():
                self.doubt = True
            else:
                self._give_back_for_now()

    def _give_back_for_now(self) -> None:
        """What could not be started for a while goes to whoever can; claim with more care."""
        if any(held.threaded for held in self.ready):
            self._thread_bound_until_s = monotonic() + THREAD_BOUND_S
        self.runner.average_s = max(self.runner.average_s, READ_AHEAD_S)
        self.give_back()

    async def _exchange(self) -> None:
        batch = self._batch()
        limit = self.room() if not self.doubt else MAX_CLAIMED
        leaving = {held.ticket for held, _ in batch}
        others = [ticket for ticket in self.held if ticket not in leaving] if self.doubt else None
        in_doubt, self.hungry = self.doubt, False
        self.thirsty.clear()
        try:
            reply = await self._store.exchange(
                self.worker_id,
                [finished for _, finished in batch],
                queues=self._settings.queues,
                limit=limit,
                suspects=not any(held.suspect for held in self.held.values() if held.ticket not in leaving),
                held=others,
                failure_ttl_ms=self._settings.failure_ttl_ms,
            )
        except BaseException:
            # Its effect is unknown: the outcomes are repeated (the fence drops those already stored), and all that is
            # held is named, so that what a lost reply claimed comes to light.
            self.doubt = self.hungry = True
            self._finished.extendleft(reversed(batch))
            raise
        self._take(reply, batch, in_doubt=in_doubt, limit=limit)

    def _batch(self) -> list[tuple[Held, Finished]]:
        batch: list[tuple[Held, Finished]] = []
        size = 0
        while self._finished and len(batch) < MAX_FINISHED:
            finished = self._finished[0][1]
            size += 128 if isinstance(finished, PutBack) else len(finished.record) + 128
            if batch and size > MAX_BATCH_BYTES:
                break
            batch.append(self._finished.popleft())
        return batch

    async def flush(self) -> None:
        """Store the outcomes at hand and claim nothing: a forced stop's last words."""
        while self._finished:
            batch = self._batch()
            await self._store.exchange(
                self.worker_id,
                [finished for _, finished in batch],
                queues=(),
                limit=0,
                failure_ttl_ms=self._settings.failure_ttl_ms,
            )

    # --- a reply ------------------------------------------------------------------------------------------------

    def _take(self, reply: Exchanged, batch: list[tuple[Held, Finished]], *, in_doubt: bool, limit: int) -> None:
        self._is_up()
        if not reply.alive:
            self._lost_all()
            return
        now_s = self.asked_at_s = monotonic()
        self._clock.set(reply.now_ms)
        for (held, _), stored in zip(batch, reply.stored, strict=True):
            self.held.pop(held.ticket, None)
            if not stored and not in_doubt:
                say(
                    logging.WARNING,
                    "refused",
                    "the outcome of %s %s came too late: the job is no longer here",
                    held.name,
                    held.job_id,
                    job_id=held.job_id,
                    task=held.name,
                    queue=held.queue,
                    attempt=held.attempt,
                )
        for ticket in reply.gone:
            self._drop(ticket)
        for claim in reply.claimed:
            self._claimed(claim, reply.fence, now_s)
        self.doubt = reply.active != len(self.held)
        if (len(reply.claimed) >= limit and not in_doubt) or reply.dropped or in_doubt:
            self.hungry = True
        if reply.claimed or self.held:
            self.idle.clear()
        for job_id in reply.cancels:
            self.cancel(job_id)
        for key in reply.garbage:
            say(
                logging.ERROR,
                "garbage",
                "something that is not aiotq's was found in %s and put aside: see the dead letters",
                key,
                key=key,
            )
        self.start_ready()

    def _claimed(self, claim: Claimed, fence: int, now_s: float) -> None:
        held = Held(claim, fence=fence, now_s=now_s)
        self.held[held.ticket] = held
        self._admit(held)

    def start_ready(self) -> None:
        """Start what waits, as far as slots and threads go. Nothing is started on a lease that may have gone."""
        runner, ready = self.runner, self.ready
        if not ready:
            return
        if not (self._lease_good() or monotonic() - self.asked_at_s < self._settings.heartbeat_s):
            self.doubt = True  # ask first
            self._wake.set()
            return
        waiting: list[Held] = []
        while ready and runner.free > 0:
            held = ready.popleft()
            if held.threaded and runner.free_threads <= 0:
                waiting.append(held)
            else:
                runner.start(held)
        ready.extendleft(reversed(waiting))

    def cancel(self, job_id: str) -> None:
        """A person wants a job of this worker stopped."""
        for held in self.held.values():
            if held.job_id == job_id:
                held.cancelled = True
                self.runner.cancel(held, Why.ASKED)

    def _drop(self, ticket: str) -> None:
        held = self.held.pop(ticket, None)
        if held is not None:
            self.runner.cancel(held, Why.LOST)
            held.why = Why.LOST
            if held in self.ready:
                self.ready.remove(held)

    def _lost_all(self) -> None:
        """Reclaimed: all that was in hand is another worker's now."""
        count = len(self.held)
        for ticket in list(self.held):
            self._drop(ticket)
        self._finished.clear()
        say(
            logging.ERROR,
            "lease_lost",
            "this worker's lease had ended and its %d jobs went to others; starting afresh",
            count,
            jobs=count,
        )
        self.doubt = False
        self.lost.set()

    # --- when the store is away ---------------------------------------------------------------------------------

    def _is_down(self, error: StoreError) -> None:
        if self.down_since_s is None:
            self.down_since_s = monotonic()
            kind = "store_down" if isinstance(error, StoreUnavailable) else "store_refuses"
            say(logging.ERROR, kind, "%s; trying again", error, url=error.url, error=str(error))

    def _is_up(self) -> None:
        if self.down_since_s is not None:
            down_s, self.down_since_s = monotonic() - self.down_since_s, None
            say(logging.WARNING, "store_up", "connected again after %.1f s", down_s, url=self._store.url, down_s=down_s)
