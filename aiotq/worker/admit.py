"""From a claim to a job that waits for a slot, or to one that is decided without being run."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from aiotq.errors import StoreError
from aiotq.frames import describe
from aiotq.job import Failed, Returned
from aiotq.worker.log import say_of
from aiotq.worker.outage import DutyOutage, Outage
from aiotq.worker.triage import triage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from aiotq.registry import Registry
    from aiotq.store.contract import Store
    from aiotq.worker.clock import ServerClock
    from aiotq.worker.held import Held
    from aiotq.worker.settings import WorkerSettings
    from aiotq.worker.watch import Watch

AGAIN_S = 0.5
READS_AT_ONCE = 8  # megabytes each, perhaps, and the next exchange waits for them: they share its connection


class Admission:
    """Decodes what was claimed. Records too large to come along are read first."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        settings: WorkerSettings,
        clock: ServerClock,
        *,
        ready: Callable[[Held], None],
        decided: Callable[[Sequence[Held]], None],
        late: Callable[[], None],
    ) -> None:
        """ready, decided: called once for a job, one of them. late: called besides once a record was read."""
        self._store, self._registry, self._settings, self._clock = store, registry, settings, clock
        self._ready, self._decided, self._late = ready, decided, late
        self._readers: dict[Held, asyncio.Task[None]] = {}
        self._reads = asyncio.Semaphore(READS_AT_ONCE)
        self.outage = Outage()  # the worker's view of its store: the fetcher's, and of the duties beside it
        self.watch: Watch | None = None
        self._duty = DutyOutage("reading large records", self.outage)

    @property
    def reading(self) -> int:
        """How many jobs wait for their record."""
        if not self._readers:  # as nearly always, and asked for with each job that ends
            return 0
        return sum(held.why is None for held in self._readers)  # of any other nothing comes any more

    def take(self, claims: Iterable[Held], now_ms: int, *, took_s: float) -> None:
        """Admit jobs that one call of the store brought in so many seconds."""
        for held in (taken := list(claims)):
            self.admit(held, now_ms)
        if self.watch is not None:
            self.watch.claimed(taken, took_s)

    def admit(self, held: Held, now_ms: int) -> None:
        """A claimed job: to be run, or decided at once. now_ms: Unix milliseconds, by Redis's clock."""
        if held.data is None:
            # Its owner is this dict, until it has read.
            self._readers[held] = asyncio.get_running_loop().create_task(self._read(held))
            return
        try:
            outcome = triage(held, registry=self._registry, settings=self._settings, now_ms=now_ms)
        except Exception as error:  # noqa: BLE001  somebody's bytes, a mistake of ours: it is of this job alone
            say_of(held, logging.ERROR, "mistake", "can't be looked at; see the dead letters", error)
            outcome = Failed(error=describe(error), reason="invalid record")
        if outcome is None:
            if held.suspect:
                told = f"was in the hands of {held.lost} workers that vanished; such jobs are run one at a time"
                say_of(held, logging.WARNING, "suspect", told)
            self._ready(held)
        else:
            held.outcome = outcome
            self._decided([held])

    def give_back(self) -> int:
        """Read nothing more, and return the jobs that wait for their record: how many."""
        waiting = [held for held in self._readers if held.why is None and held.outcome is None]
        self.close()
        for held in waiting:
            held.outcome = Returned()
        self._decided(waiting)
        return len(waiting)

    def close(self) -> None:
        """Read nothing more."""
        while self._readers:
            _, reader = self._readers.popitem()
            reader.cancel()

    async def _read(self, held: Held) -> None:
        try:
            while held.data is None and held.why is None and held.outcome is None:
                try:
                    async with self._reads:
                        held.data = await self._store.read(held.job_id, at_most=self._settings.max_record + 1) or b""
                    self._duty.end()
                except StoreError as error:  # it has been tried for a while; else the fetcher says it aloud
                    self._duty.begin(error)
                    await asyncio.sleep(random.uniform(AGAIN_S / 2, AGAIN_S))  # noqa: S311  spread, no secret
                except Exception as error:  # noqa: BLE001  a mistake of ours: else nobody would ever look at the job
                    say_of(held, logging.ERROR, "mistake", "can't be read; tried again", error)
                    await asyncio.sleep(AGAIN_S)
        finally:
            self._readers.pop(held, None)
        if held.why is None and held.outcome is None:
            self.admit(held, self._clock.now_ms())
            self._late()
