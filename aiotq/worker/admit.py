"""From a claim to a job that waits for a slot, or to one that is decided without being run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiotq.errors import StoreError
from aiotq.worker.triage import triage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiotq.registry import Registry
    from aiotq.store.contract import Store
    from aiotq.worker.clock import ServerClock
    from aiotq.worker.held import Held
    from aiotq.worker.settings import WorkerSettings

AGAIN_S = 0.1
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
        self._readers: set[asyncio.Task[None]] = set()
        self._reads = asyncio.Semaphore(READS_AT_ONCE)
        self.reading = 0  # how many jobs wait for their record

    def admit(self, held: Held, now_ms: int) -> None:
        """A claimed job: to be run, or decided at once. now_ms: Unix milliseconds, by Redis's clock."""
        if held.data is None:
            self.reading += 1
            # Its owner is this set, until it has ended.
            reader = asyncio.get_running_loop().create_task(self._read(held))
            self._readers.add(reader)
            reader.add_done_callback(self._readers.discard)
            return
        outcome = triage(held, registry=self._registry, settings=self._settings, now_ms=now_ms)
        if outcome is None:
            self._ready(held)
        else:
            held.outcome = outcome
            self._decided([held])

    def close(self) -> None:
        """Read nothing more."""
        for reader in self._readers:
            reader.cancel()

    async def _read(self, held: Held) -> None:
        try:
            while held.data is None and held.why is None and held.outcome is None:
                try:
                    async with self._reads:
                        held.data = await self._store.read(held.job_id) or b""
                except StoreError:  # it has been tried for a while, and the fetcher says it aloud
                    await asyncio.sleep(AGAIN_S)
        finally:
            self.reading -= 1
        if held.why is None and held.outcome is None:
            self.admit(held, self._clock.now_ms())
            self._late()
