"""Tells the store what the meter has counted, and how the worker does. In the keeper's thread, so that one whose loop
stands still is seen, too. Nothing depends on it: where it fails, jobs run all the same.

A tally whose answer was lost is repeated under its number, and counts once; what cannot be known any more, as the
worker has another id by now, is left out rather than counted twice.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING

from msgspec import structs

from aiotq.errors import StoreError, StoreRefused, StoreUnavailable
from aiotq.store.tallies import MAX_COUNTERS, MAX_FAILURES, Tally
from aiotq.worker.log import say_garbage
from aiotq.worker.outage import DutyOutage

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiotq.store.contract import Store
    from aiotq.worker.meter import Meter
    from aiotq.worker.outage import Outage
    from aiotq.worker.settings import WorkerSettings
    from aiotq.worker.vitals import Pulse

EVERY_S = 2.0  # while there is news
LAST_S = 0.3  # for what is told as the worker goes
AT_ONCE = 10  # tallies in a row, of more than one can carry


class Teller:
    """Of one worker, under all its ids. Used by one keeper's thread after the other."""

    def __init__(self, meter: Meter, pulse: Callable[[], Pulse], outage: Outage, settings: WorkerSettings) -> None:
        """pulse: how the worker does now. outage: the fetcher's."""
        self._meter, self._pulse, self._heartbeat_s = meter, pulse, settings.heartbeat_s
        self._outage, self._fetchers = DutyOutage("telling how it does", outage), outage
        self._told: dict[str, int] = {}  # of each counter
        self._number = 0  # of the last tally
        self._pending: Tally | None = None  # one that was not answered
        self._maybe_by: str | None = None  # the id under which it may have been counted all the same
        self._shown: object = None  # what of the last pulse would be news if it changed
        self._at_s = 0.0  # when something was told last (monotonic)

    async def run(self, store: Store, worker_id: str) -> None:
        """Tell at once, as there is news, and with each heartbeat. Until cancelled."""
        self._shown = None
        while True:
            try:
                if self._is_due():
                    await self.tell(store, worker_id)
                    self._outage.end()
            except StoreError as error:  # else the fetcher says it aloud
                self._outage.begin(error)
            await asyncio.sleep(EVERY_S)

    async def last(self, store: Store, worker_id: str) -> None:
        """As the worker goes: what is left to be told, if the store takes it now."""
        if self._fetchers.lasts:
            return
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(LAST_S):
                await self.tell(store, worker_id)

    async def tell(self, store: Store, worker_id: str) -> None:
        """How it does, and all that is new, in several tallies if one can't carry it. Raises StoreError."""
        for _ in range(AT_ONCE):
            if not await self._tell(store, worker_id) or not self._has_news():
                return

    def _is_due(self) -> bool:
        if self._pending is not None or self._has_news() or self._pulse().shown != self._shown:
            return True
        return monotonic() - self._at_s >= self._heartbeat_s - EVERY_S / 4  # a little early rather than a look too late

    def _has_news(self) -> bool:
        return self._meter.has_failures or bool(self._more())

    def _more(self) -> dict[str, int]:
        """By how much each counter has grown. One that has shrunk (`Meter.void`) is told once that is made up for."""
        told = self._told
        return {
            name: number - told.get(name, 0)
            for name, number in self._meter.counters().items()
            if number > told.get(name, 0)
        }

    async def _tell(self, store: Store, worker_id: str) -> bool:
        """One tally. Whether it was counted."""
        if self._maybe_by not in (None, worker_id):
            self._settle(counted=True)  # perhaps it was: at most once
        self._pending = self._pending or self._next()
        pulse = self._pulse()
        tally = structs.replace(self._pending, vitals=pulse.json())
        try:
            reply = await store.tally(worker_id, tally)
        except BaseException as error:
            nothing_done = isinstance(error, StoreRefused) or (isinstance(error, StoreUnavailable) and not error.sent)
            if not nothing_done:
                self._maybe_by = worker_id
            raise
        say_garbage(reply.garbage)
        self._settle(counted=reply.known or self._maybe_by is not None)
        self._shown, self._at_s = pulse.shown, monotonic()
        return reply.known

    def _next(self) -> Tally:
        self._number += 1
        counters = dict(islice(self._more().items(), MAX_COUNTERS))
        return Tally(number=self._number, counters=counters, failures=self._meter.take_failures(MAX_FAILURES))

    def _settle(self, *, counted: bool) -> None:
        """Nothing more will become of the last tally."""
        tally, self._pending, self._maybe_by = self._pending, None, None
        if tally is None:
            return
        if counted:
            self._told.update({name: self._told.get(name, 0) + more for name, more in tally.counters.items()})
        else:
            self._meter.put_back(tally.failures)
