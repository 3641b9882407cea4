"""The poller: one worker of all, the leader, moves due jobs to their queues on time. Runs in the keeper's thread.

A BLPOP's timeout is checked ten times a second, so it only brings news of an earlier due time; the due time itself is
met by a local timer that wakes a millisecond early, and a thread's sleep for the rest (epoll rounds timers up to whole
milliseconds). Before that the threads' turns are made short: the worker's loop may be busy (turns.py).
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

from aiotq.errors import StoreError
from aiotq.store.contract import MAX_PROMOTED, POLLER_LEASE_MS
from aiotq.worker.log import say_garbage
from aiotq.worker.outage import DutyOutage, Outage
from aiotq.worker.turns import Turns

if TYPE_CHECKING:
    from aiotq.store.contract import Promoted, Store

KEEP_LEASE_S = POLLER_LEASE_MS / 2000  # the leader renews its lease at half of it
LOOK_EVERY_S = 1.5  # another one looks whether the leader has gone: one that stops gives its lease up
EARLY_S = 0.001
TURN_S = 0.007  # before a due time: a turn that has begun may take 5 ms yet
BACKOFF_CAP_S = 0.9  # and a try: so it is back within a second of its store


class Poller:
    """Promotes while it is the leader, and asks now and then while it is not."""

    def __init__(self, store: Store, outage: Outage, *, worker_id: str) -> None:
        """outage: the fetcher's."""
        self._store = store
        self.worker_id = worker_id
        self._outage = DutyOutage("moving due jobs to their queues", outage)
        self._deaf = DutyOutage("waiting for news of due jobs", outage)
        self._news = asyncio.Event()
        self._leading = asyncio.Event()
        self._turns = Turns()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as duties:
                # Children of this group: they end with it.
                duties.create_task(self._listen())
                duties.create_task(self._promote())
        finally:
            self._turns.usual()

    async def _promote(self) -> None:
        backoff_s = 0.05
        while True:
            self._news.clear()  # before the call: news that comes during it is seen after it
            try:
                reply = await self._store.promote(self.worker_id)
                self._outage.end()
                backoff_s = 0.05
            except StoreError as error:  # else the fetcher says it aloud
                self._outage.begin(error)
                self._leading.clear()
                self._turns.usual()
                await asyncio.sleep(random.uniform(backoff_s / 2, backoff_s))  # noqa: S311  spread, no secret
                backoff_s = min(2 * backoff_s, BACKOFF_CAP_S)
                continue
            say_garbage(reply.garbage)
            await self._until_next(reply)

    async def _until_next(self, reply: Promoted) -> None:
        if not reply.leader:
            self._leading.clear()
            self._turns.usual()
            await asyncio.sleep(min(LOOK_EVERY_S, max(0.01, (reply.wait_us or 0) / 1e6)))
            return
        self._leading.set()
        if reply.moved >= MAX_PROMOTED:
            return
        wait_s = KEEP_LEASE_S if reply.wait_us is None else min(KEEP_LEASE_S, reply.wait_us / 1e6)
        due_s = time.monotonic() + wait_s
        if wait_s > TURN_S:
            self._turns.usual()
            came = await self._came(due_s - TURN_S)
            self._turns.quick()
            if came:
                return
        self._turns.quick()
        if wait_s > EARLY_S and await self._came(due_s - EARLY_S):
            return
        # Nothing earlier came: the due time itself.
        rest_s = due_s - time.monotonic()
        if rest_s > 0:
            time.sleep(rest_s)  # noqa: ASYNC251, TID251  less than 2 ms of the keeper's own thread: a timer may be 1 ms late

    async def _came(self, until_s: float) -> bool:
        """Whether there is news by then (monotonic)."""
        try:
            async with asyncio.timeout(max(0.0, until_s - time.monotonic())):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    async def _listen(self) -> None:
        """News of an earlier due time. Only the leader listens: another's would be lost on it."""
        while True:
            await self._leading.wait()
            try:
                came = await self._store.wait_poller_token()
                self._deaf.end()
                if came and not self._leading.is_set():
                    await self._store.leave_poller_token()
                elif came:
                    self._news.set()
            except StoreError as error:  # what it would have brought is found by the next look
                self._deaf.begin(error)
                await asyncio.sleep(random.uniform(0.1, 0.5))  # noqa: S311  spread, no secret
