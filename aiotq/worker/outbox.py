"""What has been decided and is not stored yet: outcomes on their way out, in batches."""

from __future__ import annotations

import logging
import os
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aiotq.store.contract import MAX_BATCH_BYTES, MAX_FINISHED, Ended, PutBack
from aiotq.worker.log import say_of
from aiotq.worker.settle import settle, unsettled

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from aiotq.store.contract import Finished, Postponed
    from aiotq.worker.held import Held
    from aiotq.worker.scribe import Scribe
    from aiotq.worker.settings import WorkerSettings

    Decided = tuple[Held, Finished]


class Outbox:
    """Of the jobs that are put back the last go out first: each batch lands in front of the one before it."""

    def __init__(self, settings: WorkerSettings, *, label: str, void: Callable[[Held], None]) -> None:
        """label: the worker's. void: called with a job whose outcome will never be stored."""
        self._settings, self._label, self._void = settings, label, void
        self._over: deque[tuple[Held, Ended | Postponed]] = deque()
        self._back: list[tuple[Held, PutBack]] = []

    def __bool__(self) -> bool:
        return bool(self._over or self._back)

    def put(self, held: Held, *, now_ms: int) -> None:
        """Take in a job that has its outcome. One that can't be stored is a dead letter, and stops no other."""
        try:
            finished = settle(held, settings=self._settings, label=self._label, now_ms=now_ms, random=os.urandom)
        except Exception as error:  # noqa: BLE001  whatever it is, it is of this job alone
            say_of(held, logging.ERROR, "mistake", "has an outcome that can't be stored; see the dead letters", error)
            finished = unsettled(held, error, settings=self._settings, label=self._label, now_ms=now_ms)
        if type(finished) is Ended:
            self._over.append((held, finished))
        else:
            self._add(held, finished)

    def batch(self) -> list[Decided]:
        """Take out what one call of the store may carry."""
        batch: list[Decided] = []
        size, over = 0, self._over
        for _ in range(min(MAX_FINISHED, len(over))):
            size += 128 + len(over[0][1].record)
            if batch and size > MAX_BATCH_BYTES:
                break
            batch.append(over.popleft())
        if self._back and len(batch) < MAX_FINISHED:
            self._back.sort(key=_by_claim)
            first = max(0, len(self._back) - (MAX_FINISHED - len(batch)))
            batch += self._back[first:]
            del self._back[first:]
        return batch

    async def last_words(self, batch: list[Decided], scribe: Scribe) -> None:
        """Tell what the jobs of a batch wrote. Those that shall wait for it, as the store is away, go out of the batch.

        Raises StoreUnavailable if that is all of them.
        """
        waits = await scribe.close(batch)
        if waits:
            self.again([one for one in batch if one[0].ticket in waits])
            batch[:] = [one for one in batch if one[0].ticket not in waits]

    def again(self, batch: Iterable[Decided]) -> None:
        """Take a batch back whose call failed."""
        over: list[tuple[Held, Ended | Postponed]] = []
        for held, finished in batch:
            if isinstance(finished, PutBack):
                self._back.append((held, finished))
            else:
                over.append((held, finished))
        # First of all, so that they are the next batch: some may be stored, and the others are asked about with it.
        self._over.extendleft(reversed(over))

    @contextmanager
    def leaving(self) -> Generator[list[Decided]]:
        """What one call of the store may carry; it comes back in if the call fails."""
        batch = self.batch()
        try:
            yield batch
        except BaseException:
            self.again(batch)
            raise

    def forget(self, held: Held) -> None:
        """Of a job that is another worker's now nothing is stored any more."""
        before = len(self._over) + len(self._back)
        self._over = deque(entry for entry in self._over if entry[0] is not held)
        self._back = [entry for entry in self._back if entry[0] is not held]
        if len(self._over) + len(self._back) < before:
            self._void(held)

    def refused(self, held: Held) -> None:
        """The store did not take its outcome."""
        self._void(held)
        say_of(held, logging.WARNING, "refused", "ended too late: it is no longer this worker's, or has gone")

    def clear(self, batch: Iterable[Decided]) -> None:
        """Forget all, and a batch that was taken out: they are another worker's jobs now."""
        for held, _ in (*batch, *self._over, *self._back):
            self._void(held)
        self._over.clear()
        self._back.clear()

    def _add(self, held: Held, finished: Finished) -> None:
        if isinstance(finished, PutBack):
            self._back.append((held, finished))
        else:
            self._over.append((held, finished))


def _by_claim(entry: tuple[Held, PutBack]) -> int:
    return entry[0].number
