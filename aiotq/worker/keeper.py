"""The keeper: a thread with a loop and connections of its own, so that a task that blocks the event loop costs latency,
but not the lease, and nobody's delayed jobs. It renews, reclaims, promotes (poll.py), and says which task blocks.

A C call that holds the interpreter's lock stops it too.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import threading
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from aiotq.errors import AiotqError, StoreError
from aiotq.store.contract import Reclaimed
from aiotq.worker.log import say, say_garbage
from aiotq.worker.outage import DutyOutage, Outage
from aiotq.worker.poll import Poller
from aiotq.worker.run import blocking_stack
from aiotq.worker.settings import HEARTBEATS_A_LEASE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aiotq.store.contract import Peer, Store
    from aiotq.worker.settings import WorkerSettings
    from aiotq.worker.tell import Teller

WATCH_EVERY_S = 0.25
BLOCKED_AFTER_S = 0.5
STILL_BLOCKED_S = 5.0  # then it is said while it lasts
# Of a heartbeat, after the first that failed: an answer waited for in vain has cost seconds of the lease already. Twice
# as long after each further one, up to AGAIN_CAP_S or half a heartbeat.
AGAIN_SHARE = 0.05
AGAIN_CAP_S = 1.0


class Keeper:
    """Keeps one worker's lease. `start` and `stop` are called on the worker's loop, once each."""

    def __init__(
        self,
        store: Store,
        settings: WorkerSettings,
        outage: Outage,
        *,
        worker_id: str,
        lost: Callable[[], None],
        running: Callable[[], str],
    ) -> None:
        """store: for this thread alone. outage: the fetcher's. lost: called on the worker's loop when the lease turns
        out to be reclaimed. running: names the running jobs, for the message about a blocked loop.
        """
        self._store, self._settings, self._worker_id = store, settings, worker_id
        self._lost, self._running, self._fetchers = lost, running, outage
        self.teller: Teller | None = None  # set before the start
        self.renewed_at_s = monotonic()  # when the last renewal that succeeded was sent; registering counts as one
        self._seen: dict[str, tuple[int, float]] = {}  # odd leases of others: lease end, first seen
        self._epoch = 0  # of the connection on which they were seen
        self._main: asyncio.AbstractEventLoop | None = None
        self._main_thread = 0
        self._alive_at_s = self._looked_at_s = (
            monotonic()
        )  # when the worker's loop last turned; when that was looked at
        self._asked_at_s: float | None = None  # a question to it that is unanswered
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="aiotq-keeper", daemon=True)
        self._ended: asyncio.Future[None] | None = None

    @property
    def lease_good(self) -> bool:
        """Whether the lease can't have been reclaimed: it was renewed less than a lease ago."""
        return monotonic() - self.renewed_at_s < self._settings.lease_s

    def silent_s(self, now_s: float) -> float | None:
        """How long ago its thread last did anything; infinite if it has ended untold, None if it is told to end."""
        alive = self._thread.is_alive()
        if self._stopping:
            return None
        return now_s - self._looked_at_s if alive else math.inf

    def blocked_s(self, now_s: float) -> float:
        """For how long the worker's loop has stood still."""
        return 0.0 if self._asked_at_s is None else now_s - self._alive_at_s

    def start(self) -> None:
        """Start the thread."""
        self._main, self._main_thread = asyncio.get_running_loop(), threading.get_ident()
        self._ended = self._main.create_future()
        self._thread.start()

    async def watched(self) -> None:
        """Raises AiotqError when the thread ends untold: without it the lease would, and jobs would run twice."""
        assert self._ended is not None
        await asyncio.shield(self._ended)
        if not self._stopping:
            raise AiotqError("the keeper's thread has ended, and with it the lease; see its traceback; start anew")

    async def stop(self, *, within_s: float) -> bool:
        """End the thread, and wait for it. False if it goes on: a name that is looked up can't be cancelled."""
        if self._ended is None:
            return True
        self._stopping = True  # first: the thread looks at it once it can be told
        if self._loop is not None and self._stop is not None:
            try:
                self._loop.call_soon_threadsafe(self._stop.set)
            except RuntimeError:
                pass  # its loop has closed already: the thread is ending
        await asyncio.wait({self._ended}, timeout=within_s)
        if not self._ended.done():
            return False
        self._thread.join()  # at its last line by now
        return True

    # --- in the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            asyncio.run(self._keep())
        finally:
            main, ended = self._main, self._ended
            if main is not None and ended is not None and not main.is_closed():
                main.call_soon_threadsafe(lambda: ended.done() or ended.set_result(None))

    async def _keep(self) -> None:
        self._stop, self._loop = asyncio.Event(), asyncio.get_running_loop()
        if self._stopping:  # by one who could not tell it
            self._stop.set()
        poller, teller = Poller(self._store, self._fetchers, worker_id=self._worker_id), self.teller
        try:
            async with asyncio.TaskGroup() as duties:
                # Children of this group: they end with it.
                running = [
                    duties.create_task(self._always("heartbeat", self._heartbeat)),
                    duties.create_task(self._always("watch", self._watch)),
                    duties.create_task(self._always("poller", poller.run)),
                ]
                if teller is not None:
                    telling = partial(teller.run, self._store, self._worker_id)
                    running.append(duties.create_task(self._always("teller", telling)))
                await self._stop.wait()
                for duty in running:
                    duty.cancel()
            if teller is not None:
                await teller.last(self._store, self._worker_id)
        finally:
            await self._store.close()

    async def _always(self, name: str, duty: Callable[[], Awaitable[None]]) -> None:
        """A duty that fails by a mistake of ours is said aloud and begun again: it is never silently gone."""
        while True:
            try:
                return await duty()
            except Exception:  # noqa: BLE001, RUF100  the last stand of a thread that nobody watches
                said = "the keeper's %s failed by a mistake in aiotq and goes on; please report it"
                say(logging.ERROR, "mistake", said, name, exc_info=True)
                await asyncio.sleep(1)

    # --- heartbeat and reclaim ----------------------------------------------------------------------------------

    async def _heartbeat(self) -> None:
        heartbeat_s = self._settings.heartbeat_s
        first_s, most_s = AGAIN_SHARE * heartbeat_s, min(AGAIN_CAP_S, heartbeat_s / 2)
        wait_s, backoff_s, outage = heartbeat_s, first_s, DutyOutage("renewing the lease", self._fetchers)
        while True:
            await asyncio.sleep(wait_s)
            wait_s = heartbeat_s
            if monotonic() - self._alive_at_s > self._settings.max_block_s:
                continue  # the worker's loop stands still: let the jobs go to one that works
            try:
                if not await self._beat():
                    self._tell_lost()
                    return await self._for_ever()
                outage.end()
                backoff_s = first_s
            except StoreError as error:  # else the fetcher says it aloud
                self._seen.clear()  # what was seen before the break is no proof of anything
                outage.begin(error)
                wait_s = random.uniform(backoff_s / 2, backoff_s)  # noqa: S311  spread, no secret
                backoff_s = min(2 * backoff_s, most_s)

    async def _beat(self) -> bool:
        """Renew, and reclaim who did not. False if this worker has been reclaimed."""
        sent_at_s = monotonic()
        reply = await self._store.renew(self._worker_id, lease_ms=self._settings.lease_ms)
        if not reply.alive:
            return False
        self.renewed_at_s = sent_at_s
        if reply.epoch != self._epoch:  # the connection broke: perhaps the others could not renew either
            self._seen.clear()
            self._epoch = reply.epoch
        say_garbage(reply.garbage)
        await self._reclaim(reply.suspicious)
        return True

    async def _for_ever(self) -> None:
        await asyncio.Event().wait()

    def _tell_lost(self) -> None:
        if self._main is not None and not self._main.is_closed():
            self._main.call_soon_threadsafe(self._lost)

    async def _reclaim(self, odd: Sequence[Peer]) -> None:
        """Reclaim a worker whose lease end has not moved for a heartbeat.

        Redis may have been away longer than a lease, and the first one back must not reclaim all the others.
        """
        now_s = monotonic()
        self._seen = {
            peer.worker_id: self._seen[peer.worker_id]
            if self._seen.get(peer.worker_id, (None, 0))[0] == peer.lease_end_ms
            else (peer.lease_end_ms, now_s)
            for peer in odd
        }
        patience_s = {peer.worker_id: self._patience_s(peer) for peer in odd}
        for worker_id, (lease_end_ms, since_s) in list(self._seen.items()):
            if now_s - since_s < patience_s[worker_id]:
                continue
            del self._seen[worker_id]
            seen_ms = lease_end_ms
            while (came_to := await self._store.reclaim(worker_id, seen_ms=seen_ms)) is Reclaimed.MORE:
                seen_ms = 0
            if came_to is Reclaimed.DONE:
                say(
                    logging.WARNING,
                    "reclaimed",
                    "worker %s has vanished; its jobs are back in their queues",
                    worker_id,
                    worker=worker_id,
                )

    def _patience_s(self, peer: Peer) -> float:
        """How long a worker has to renew an ended lease: its heartbeat, which may be longer than this one's."""
        heartbeat_s = peer.lease_ms / 1000 / HEARTBEATS_A_LEASE
        if heartbeat_s > self._settings.heartbeat_s:  # else no look falls between the two beats
            return 1.1 * heartbeat_s + AGAIN_CAP_S
        return 0.9 * self._settings.heartbeat_s

    # --- a task that blocks the loop ----------------------------------------------------------------------------

    async def _watch(self) -> None:
        since_s: float | None = None  # blocked since then
        stack, jobs, said = "", "", 0
        main, max_block_s = self._main, self._settings.max_block_s
        says_s = (STILL_BLOCKED_S, max_block_s) if max_block_s > STILL_BLOCKED_S else (max_block_s,)
        while main is not None:
            await asyncio.sleep(WATCH_EVERY_S)
            now_s, asked_at_s = monotonic(), self._asked_at_s
            self._looked_at_s = now_s
            if asked_at_s is None:
                if since_s is not None:
                    self._say_blocked(self._alive_at_s - since_s, stack, jobs)
                    since_s = None
                self._asked_at_s = now_s
                if main.is_closed():
                    return
                main.call_soon_threadsafe(self._pong)
            elif since_s is None and now_s - asked_at_s >= BLOCKED_AFTER_S:
                since_s, said = asked_at_s, 0
                stack, jobs = blocking_stack(self._main_thread), self._running()
            elif since_s is not None and said < len(says_s) and now_s - since_s >= says_s[said]:
                said += 1  # while it lasts, as it may never end
                self._say_blocked(now_s - since_s, blocking_stack(self._main_thread), jobs, still=True)

    def _pong(self) -> None:
        self._asked_at_s, self._alive_at_s = None, monotonic()

    def _say_blocked(self, blocked_s: float, stack: str, jobs: str, *, still: bool = False) -> None:
        said = "%s blocked the event loop for %.1f s; write a plain 'def' to run it in a thread; it was at:\n%s"
        if still:
            said = "%s has blocked the event loop for %.1f s; write a plain 'def' to run it in a thread; it is at:\n%s"
            if blocked_s >= self._settings.max_block_s:
                said = "%s has blocked the event loop for %.1f s: its jobs go to others (max_block); it is at:\n%s"
        say(
            logging.WARNING,
            "blocked",
            said,
            jobs,
            blocked_s,
            stack,
            blocked_s=blocked_s,
            stack=stack,
            jobs=jobs,
        )
